//! A backup that fails in the middle: what failed is said, what was written is taken away or left as asked,
//! and that is said too.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::{
    Cluster, Outcome, Personality, Running, StopMode, backup_sender, scratch_directory, start_slow_backup,
    wait_until_nothing_replicates, wal_sender,
};

const MAJOR: u16 = 15;

/// How soon a failure must be noticed that nothing stands in the way of.
const PROMPTLY: Duration = Duration::from_secs(20);

fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::TERM).unwrap();
}

fn end_backup_sender(cluster: &Cluster) {
    kill(backup_sender(cluster));
}

fn end_wal_sender(cluster: &Cluster) {
    kill(wal_sender(cluster));
}

const BACKUP_SENDER_ENDED: &str =
    "pg_basebackup: error: backup failed: FATAL:  terminating connection due to administrator command\n";

/// Takes a slow backup in a new directory, disturbs it, and gives the directory back with what was printed,
/// in which it is called `DIR`.
#[track_caller]
fn disturbed(
    cluster: &Cluster,
    arguments: &[&str],
    prepare: impl Fn(&Path),
    disturb: impl FnOnce(&Cluster),
) -> (tempfile::TempDir, String) {
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let place = directory.path().to_str().unwrap();
    prepare(directory.path());
    let arguments: Vec<String> = arguments.iter().map(|text| text.replace("DIR", place)).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let running = start_slow_backup(cluster, program.path(), &arguments);
    disturb(cluster);
    let outcome = finish_promptly(running).expect_code(1);
    assert_eq!(outcome.stdout_text(), "");
    let stderr = outcome.stderr.replace(place, "DIR");
    (directory, stderr)
}

/// At 32 kB/s the backup itself would take minutes.
#[track_caller]
fn finish_promptly(running: Running) -> Outcome {
    let noticed = std::time::Instant::now();
    let outcome = running.finish();
    assert!(noticed.elapsed() < PROMPTLY, "it took {:?}", noticed.elapsed());
    outcome
}

fn names_in(directory: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into()).collect();
    names.sort();
    names
}

#[test]
fn bb_241_to_244_directories_are_as_they_were() {
    let cluster = Cluster::builder(MAJOR).start();
    for (format, wal) in [("-Fp", "-Xnone"), ("-Ft", "-Xfetch"), ("-Fp", "-Xstream"), ("-Ft", "-Xstream")] {
        let (directory, stderr) =
            disturbed(&cluster, &[format, wal, "-D", "DIR/out"], |_| {}, end_backup_sender);
        assert_eq!(
            stderr,
            format!("{BACKUP_SENDER_ENDED}pg_basebackup: removing data directory \"DIR/out\"\n")
        );
        assert!(names_in(directory.path()).is_empty(), "{format} {wal}");
    }
    let make_out = |directory: &Path| fs::create_dir(directory.join("out")).unwrap();
    let (directory, stderr) = disturbed(&cluster, &["-D", "DIR/out"], make_out, end_backup_sender);
    assert_eq!(
        stderr,
        format!("{BACKUP_SENDER_ENDED}pg_basebackup: removing contents of data directory \"DIR/out\"\n")
    );
    assert!(names_in(&directory.path().join("out")).is_empty());

    // A WAL directory that was made, and one that was there; links are taken away, not followed.
    let with_wal = ["-D", "DIR/out", "--waldir", "DIR/wal"];
    let (directory, stderr) = disturbed(&cluster, &with_wal, make_out, end_backup_sender);
    assert_eq!(
        stderr,
        format!(
            "{BACKUP_SENDER_ENDED}pg_basebackup: removing contents of data directory \"DIR/out\"\n\
             pg_basebackup: removing WAL directory \"DIR/wal\"\n"
        )
    );
    assert_eq!(names_in(directory.path()), [Path::new("out")]);
    let make_wal = |directory: &Path| fs::create_dir(directory.join("wal")).unwrap();
    let (directory, stderr) = disturbed(&cluster, &with_wal, make_wal, end_backup_sender);
    assert_eq!(
        stderr,
        format!(
            "{BACKUP_SENDER_ENDED}pg_basebackup: removing data directory \"DIR/out\"\n\
             pg_basebackup: removing contents of WAL directory \"DIR/wal\"\n"
        )
    );
    assert_eq!(names_in(directory.path()), [Path::new("wal")]);
    assert!(names_in(&directory.path().join("wal")).is_empty());
    wait_until_nothing_replicates(&cluster);
}

#[test]
fn bb_245_bb_246_what_stays_is_named() {
    let cluster = Cluster::builder(MAJOR).start();
    let location = cluster.make_directory("tablespace").display().to_string();
    cluster.psql(&format!("CREATE TABLESPACE t LOCATION '{location}'"));
    cluster.psql("CREATE TABLE x TABLESPACE t AS SELECT 1");
    let mapping = format!("{location}=DIR/ts");
    let all = ["-D", "DIR/out", "--waldir", "DIR/wal", "-T", &mapping];
    let (directory, stderr) = disturbed(&cluster, &all, |_| {}, end_backup_sender);
    assert_eq!(
        stderr,
        format!(
            "{BACKUP_SENDER_ENDED}pg_basebackup: removing data directory \"DIR/out\"\n\
             pg_basebackup: removing WAL directory \"DIR/wal\"\n\
             pg_basebackup: changes to tablespace directories will not be undone\n"
        )
    );
    assert_eq!(names_in(directory.path()), [Path::new("ts")]);

    let (directory, stderr) = disturbed(&cluster, &[&all[..], &["-n"]].concat(), |_| {}, end_backup_sender);
    assert_eq!(
        stderr,
        format!(
            "{BACKUP_SENDER_ENDED}pg_basebackup: data directory \"DIR/out\" not removed at user's request\n\
             pg_basebackup: WAL directory \"DIR/wal\" not removed at user's request\n\
             pg_basebackup: changes to tablespace directories will not be undone\n"
        )
    );
    let out = directory.path().join("out");
    assert!(out.join("backup_label").exists(), "what had come is kept");
    assert!(!out.join("backup_manifest").exists(), "what is kept does not pass for a backup (BB-214)");
}

#[test]
fn bb_193_the_receiver_of_wal_dies() {
    let cluster = Cluster::builder(MAJOR).start();
    for format in ["-Fp", "-Ft"] {
        let (directory, stderr) = disturbed(&cluster, &[format, "-D", "DIR/out"], |_| {}, end_wal_sender);
        let (cause, rest) = stderr.split_once('\n').unwrap();
        assert_eq!(
            cause,
            "pg_basebackup: error: unexpected termination of replication stream: FATAL:  terminating \
             connection due to administrator command"
        );
        assert_eq!(
            rest,
            "pg_basebackup: error: background process terminated unexpectedly\n\
             pg_basebackup: removing data directory \"DIR/out\"\n"
        );
        assert!(names_in(directory.path()).is_empty());
    }
    wait_until_nothing_replicates(&cluster);
}

#[test]
fn bb_099_the_server_goes_away() {
    for mode in [StopMode::Fast, StopMode::Immediate] {
        let mut cluster = Cluster::builder(MAJOR).start();
        let program = Personality::named("pg_basebackup");
        let directory = scratch_directory();
        let out = directory.path().join("out");
        let running = start_slow_backup(&cluster, program.path(), &["-D", out.to_str().unwrap()]);
        cluster.stop(mode);
        let stderr = finish_promptly(running).expect_code(1).stderr;
        // Either connection may be the first to notice.
        assert!(stderr.contains("pg_basebackup: error: "), "{mode:?}: {stderr}");
        let end = format!("pg_basebackup: removing data directory \"{}\"\n", out.display());
        assert!(stderr.ends_with(&end), "{mode:?}: {stderr}");
        assert!(names_in(directory.path()).is_empty());
    }
}

#[test]
fn bb_099_the_server_is_killed() {
    let mut cluster = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let out = directory.path().join("out");
    let running = start_slow_backup(&cluster, program.path(), &["-Xnone", "-D", out.to_str().unwrap()]);
    cluster.crash();
    assert_eq!(
        finish_promptly(running).expect_code(1).stderr,
        format!(
            "pg_basebackup: error: could not read COPY data: server closed the connection unexpectedly\n\
             \tThis probably means the server terminated abnormally\n\
             \tbefore or while processing the request.\n\
             pg_basebackup: removing data directory \"{}\"\n",
            out.display()
        )
    );
    assert!(names_in(directory.path()).is_empty());
}

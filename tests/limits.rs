//! What the system does not give: space, descriptors, file sizes, memory.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::path::Path;

use support::{Cluster, Outcome, Personality, Run, SmallDisk, client_program, scratch_directory};

const MAJOR: u16 = 15;

fn backup(program: &Personality, cluster: &Cluster, out: &Path, more: &[&str]) -> Run {
    Run::new(program.path()).args(["-c", "fast", "-d", &cluster.conninfo(), "-D"]).arg(out).args(more)
}

#[track_caller]
fn assert_disk_full(outcome: &Outcome, disk: &SmallDisk, lines_after: &str) {
    let out = disk.path().join("out");
    let (warning, errors) = outcome.stderr.split_once('\n').unwrap();
    assert!(warning.starts_with("pg_basebackup: warning: file system of "), "{}", outcome.stderr);
    let (first, rest) = errors.split_once('\n').unwrap();
    let begin = format!("pg_basebackup: error: could not write to file \"{}/", out.display());
    assert!(
        first.starts_with(&begin) && first.ends_with("\": No space left on device"),
        "{}",
        outcome.stderr
    );
    assert_eq!(rest, lines_after.replace("OUT", out.to_str().unwrap()));
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
}

#[test]
fn bb_138_a_full_disk_is_named_with_the_file() {
    let program = Personality::named("pg_basebackup");
    let cluster = Cluster::builder(MAJOR).start();
    let removing = "pg_basebackup: removing data directory \"OUT\"\n";
    for format in ["-Fp", "-Ft"] {
        let disk = SmallDisk::new("8m");
        let out = disk.path().join("out");
        let outcome = backup(&program, &cluster, &out, &[format, "-X", "fetch"]).run().expect_code(1);
        assert_disk_full(&outcome, &disk, removing);
    }
}

/// A segment takes all its space when it begins.
#[test]
fn bb_138_bb_193_a_disk_that_is_full_of_wal() {
    let program = Personality::named("pg_basebackup");
    let cluster = Cluster::builder(MAJOR).start();
    let disk = SmallDisk::new("8m");
    let out = disk.path().join("out");
    // Slow enough that the first segment is begun before the rest fills the disk.
    let outcome = backup(&program, &cluster, &out, &["-r", "1M"]).run().expect_code(1);
    let rest = "pg_basebackup: error: background process terminated unexpectedly\n\
                pg_basebackup: removing data directory \"OUT\"\n";
    assert_disk_full(&outcome, &disk, rest);
    assert!(outcome.stderr.contains("/pg_wal/"), "{}", outcome.stderr);
}

#[test]
fn bb_236_a_disk_that_may_only_be_read() {
    let program = Personality::named("pg_basebackup");
    let cluster = Cluster::builder(MAJOR).start();
    let disk = SmallDisk::new("1m");
    disk.make_read_only();
    let out = disk.path().join("a/out");
    let expected = format!(
        "pg_basebackup: error: could not create directory \"{}\": Read-only file system\n",
        disk.path().join("a").display()
    );
    let original = Run::new(client_program("pg_basebackup"))
        .args(["-c", "fast", "-d", &cluster.conninfo(), "-D"])
        .arg(&out)
        .run();
    assert_eq!(original.stderr, expected);
    assert_eq!(backup(&program, &cluster, &out, &[]).run().expect_code(1).stderr, expected);
}

/// Runs a backup, synced, in a shell that has set a limit.
#[track_caller]
fn limited_backup(limit: &str, cluster: &Cluster, out: &Path, more: &[&str]) -> Outcome {
    Run::new("/bin/sh")
        .args(["-c", &format!("ulimit {limit}; exec \"$0\" \"$@\"")])
        .arg(Personality::named("pg_basebackup").path())
        .args(["-c", "fast", "-d", &cluster.conninfo(), "-D"])
        .arg(out)
        .args(more)
        .run()
}

#[test]
fn few_descriptors_are_enough() {
    let cluster = Cluster::builder(MAJOR).start();
    let directory = scratch_directory();
    let outcome = limited_backup("-n 64", &cluster, &directory.path().join("out"), &[]);
    assert_eq!(outcome.stderr, "");
    outcome.expect_success();
}

#[test]
fn bb_241_too_few_descriptors_are_said_and_everything_is_taken_away() {
    let cluster = Cluster::builder(MAJOR).start();
    for limit in [20, 25, 30] {
        let directory = scratch_directory();
        let out = directory.path().join("out");
        let outcome = limited_backup(&format!("-n {limit}"), &cluster, &out, &[]);
        if outcome.code() == Some(0) {
            continue;
        }
        assert_eq!(outcome.code(), Some(1), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("Too many open files"), "{}", outcome.stderr);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{}", outcome.stderr);
    }
}

/// The signal that the system sends would end the process without a word.
#[test]
fn a_file_that_may_not_grow_is_an_error() {
    let cluster = Cluster::builder(MAJOR).start();
    for format in ["-Fp", "-Ft"] {
        let directory = scratch_directory();
        let out = directory.path().join("out");
        // In units of 512 bytes.
        let outcome = limited_backup("-f 200", &cluster, &out, &["-X", "none", format]).expect_code(1);
        let error = outcome.stderr.lines().find(|line| line.contains("error: ")).unwrap();
        assert!(error.starts_with("pg_basebackup: error: could not write to file \""), "{}", outcome.stderr);
        assert!(error.ends_with("\": File too large"), "{}", outcome.stderr);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

//! A signal ends a backup: the process dies of that signal, and what was there before is there again.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{
    Cluster, DEADLINE, Personality, Running, backup, scratch_directory, start_slow_backup, wait_for,
    wait_for_phase, wait_until_nothing_replicates, wal_sender,
};

const MAJOR: u16 = 15;

const ENDING: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

/// Sends the signal and checks how the backup below `directory` ends; nothing may be left in there.
#[track_caller]
fn assert_ended_by(signal: Signal, mut running: Running, directory: &Path) {
    running.signal(signal);
    let outcome = running.finish();
    assert_eq!(outcome.signal(), Some(signal.as_raw()), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("error"), "{}", outcome.stderr);
    assert!(is_empty(directory), "something was left; {}", outcome.stderr);
}

#[test]
fn bb_249_while_the_server_makes_its_checkpoint() {
    // A checkpoint that takes its time; the settings make it wait between any two pages.
    let cluster = Cluster::builder(MAJOR)
        .setting("checkpoint_timeout", "1d")
        .setting("checkpoint_completion_target", "1.0")
        .start();
    cluster.psql("CHECKPOINT");
    cluster.psql("CREATE TABLE t AS SELECT generate_series(1, 10000)");
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let out = directory.path().join("out");
    let mut running = backup(&cluster, program.path()).arg("-D").arg(&out).start();
    wait_for_phase(&cluster, &mut running, "waiting for checkpoint to finish");
    assert_ended_by(Signal::INT, running, directory.path());
}

#[test]
fn bb_195_bb_249_while_data_is_coming() {
    let cluster = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    for (signal, format) in ENDING.into_iter().zip(["-Fp", "-Ft", "-Fp"]) {
        let directory = scratch_directory();
        let out = directory.path().join("out");
        let out = out.to_str().unwrap();
        let running = start_slow_backup(&cluster, program.path(), &[format, "-D", out]);
        assert_ended_by(signal, running, directory.path());
        wait_until_nothing_replicates(&cluster);
    }
}

#[test]
fn bb_242_bb_244_bb_249_directories_that_were_there_stay() {
    let cluster = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let [out, wal] = ["out", "wal"].map(|name| directory.path().join(name));
    fs::create_dir(&out).unwrap();
    fs::create_dir(&wal).unwrap();
    let arguments = ["-D", out.to_str().unwrap(), "--waldir", wal.to_str().unwrap()];
    let mut running = start_slow_backup(&cluster, program.path(), &arguments);
    running.signal(Signal::TERM);
    let outcome = running.finish();
    assert_eq!(outcome.signal(), Some(Signal::TERM.as_raw()), "{}", outcome.stderr);
    assert!(is_empty(&out) && is_empty(&wal), "{}", outcome.stderr);
}

#[test]
fn bb_246_bb_249_nothing_is_taken_away_where_that_is_asked_for() {
    let cluster = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let out = directory.path().join("out");
    let arguments = ["-n", "-D", out.to_str().unwrap()];
    let mut running = start_slow_backup(&cluster, program.path(), &arguments);
    running.signal(Signal::TERM);
    let outcome = running.finish();
    assert_eq!(outcome.signal(), Some(Signal::TERM.as_raw()));
    let said = format!("pg_basebackup: data directory \"{}\" not removed at user's request\n", out.display());
    assert_eq!(outcome.stderr, said);
    assert!(out.join("backup_label").exists() && !out.join("backup_manifest").exists());
}

/// The server's process that sends WAL is stopped, so that the end of the backup is awaited in vain.
#[test]
fn bb_196_bb_249_while_the_end_of_wal_is_awaited() {
    let cluster = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let out = directory.path().join("out");
    let running =
        backup(&cluster, program.path()).args(["-v", "-c", "fast", "-r", "8M", "-D"]).arg(&out).start();
    let sender = Pid::from_raw(i32::try_from(wal_sender(&cluster)).unwrap()).unwrap();
    kill_process(sender, Signal::STOP).unwrap();
    wait_for("the backup to wait for WAL", DEADLINE, || {
        running.stderr_so_far().contains("waiting for background process to finish streaming")
    });
    assert_ended_by(Signal::TERM, running, directory.path());
    kill_process(sender, Signal::CONT).unwrap();
    wait_until_nothing_replicates(&cluster);
}

/// The manifest of the backup before comes through a pipe that nobody writes to.
#[test]
fn bb_112_bb_249_while_a_manifest_is_awaited() {
    let cluster = Cluster::builder(18).setting("summarize_wal", "on").start();
    let program = Personality::named("pg_basebackup");
    let [directory, elsewhere] = [scratch_directory(), scratch_directory()];
    let pipe = elsewhere.path().join("manifest");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let out = directory.path().join("out");
    let running = backup(&cluster, program.path()).arg("-i").arg(&pipe).arg("-D").arg(&out).start();
    // All that comes before.
    let identified =
        "SELECT count(*) FROM pg_stat_activity WHERE query = 'IDENTIFY_SYSTEM' AND state = 'idle'";
    wait_for("the program to look for the manifest", DEADLINE, || cluster.psql(identified) == "1");
    assert_ended_by(Signal::TERM, running, directory.path());
    wait_until_nothing_replicates(&cluster);
}

/// The archive command never succeeds, and the server waits for it.
#[test]
fn bb_176_bb_249_while_the_server_waits_for_archiving() {
    let cluster =
        Cluster::builder(MAJOR).setting("archive_mode", "on").setting("archive_command", "false").start();
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let out = directory.path().join("out");
    let mut running =
        backup(&cluster, program.path()).args(["-c", "fast", "-X", "none", "-D"]).arg(&out).start();
    wait_for_phase(&cluster, &mut running, "waiting for wal archiving to finish");
    assert_ended_by(Signal::TERM, running, directory.path());
}

/// Nobody reads standard error and it is full, so that the first signal finds a program that is stuck.
#[test]
fn bb_249_a_second_signal_ends_at_once() {
    let cluster = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    let directory = scratch_directory();
    let (reader, writer) = full_pipe();
    let mut child = Command::new(program.path())
        .args(["-v", "-c", "fast", "-d", &cluster.conninfo(), "-D"])
        .arg(directory.path().join("out"))
        .stderr(Stdio::from(writer))
        .spawn()
        .unwrap();
    wait_for("the program to begin", DEADLINE, || directory.path().join("out").exists());
    let pid = Pid::from_child(&child);
    let status = {
        let mut ended = None;
        wait_for("the program to end", DEADLINE, || {
            kill_process(pid, Signal::TERM).unwrap();
            ended = child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    };
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::TERM.as_raw()));
    drop(reader);
}

/// A pipe that takes not one byte more.
fn full_pipe() -> (std::io::PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    let writer = OwnedFd::from(writer);
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, &[0; 4096]).is_ok() {}
    while rustix::io::write(&writer, &[0]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

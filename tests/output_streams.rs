//! Standard error may be closed, full, slow or non-blocking: a backup that is complete is still a success. On
//! standard output every byte counts.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::io::{PipeReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use support::{Cluster, DEADLINE, Personality, Run, scratch_directory, wait_for, wait_for_some};

const MAJOR: u16 = 15;

/// A whole backup, with everything that can be printed, to that standard error.
#[track_caller]
fn backup_to(stderr: OwnedFd, cluster: &Cluster, out: &Path, meanwhile: impl FnOnce()) -> ExitStatus {
    let program = Personality::named("pg_basebackup");
    let mut child = Command::new(program.path())
        .args(["-vP", "--no-sync", "-c", "fast", "-d", &cluster.conninfo(), "-D"])
        .arg(out)
        .stderr(Stdio::from(stderr))
        .spawn()
        .unwrap();
    meanwhile();
    wait_for_some("the backup to end", DEADLINE, || child.try_wait().unwrap())
}

fn non_blocking_pipe() -> (PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    let writer = OwnedFd::from(writer);
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    (reader, writer)
}

#[track_caller]
fn assert_complete(status: ExitStatus, out: &Path) {
    assert!(status.success(), "{status}");
    assert!(out.join("backup_manifest").exists());
}

#[test]
fn bb_234_standard_streams_that_are_closed() {
    let cluster = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    for closed in ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"] {
        let directory = scratch_directory();
        let out = directory.path().join("out");
        Run::new("/bin/sh")
            .args(["-c", &format!("exec \"$0\" \"$@\" {closed}")])
            .arg(program.path())
            .args(["-vP", "--no-sync", "-c", "fast", "-d", &cluster.conninfo(), "-D"])
            .arg(&out)
            .run()
            .expect_success();
        assert!(out.join("backup_manifest").exists(), "{closed}");
    }
}

#[test]
fn bb_234_nobody_is_left_to_read() {
    let cluster = Cluster::builder(MAJOR).start();
    let directory = scratch_directory();
    let out = directory.path().join("out");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_complete(backup_to(writer.into(), &cluster, &out, || {}), &out);
}

#[test]
fn bb_234_a_non_blocking_pipe_that_is_full() {
    let cluster = Cluster::builder(MAJOR).start();
    let directory = scratch_directory();
    let out = directory.path().join("out");
    let (_reader, writer) = non_blocking_pipe();
    while rustix::io::write(&writer, &[0; 4096]).is_ok() {}
    assert_complete(backup_to(writer, &cluster, &out, || {}), &out);
}

/// Nothing can be written and nothing has to be put in order: one signal is enough.
#[test]
fn bb_249_a_signal_ends_a_backup_that_nobody_reads() {
    let cluster = Cluster::builder(MAJOR).start();
    let program = Personality::named("pg_basebackup");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (_reader, writer) = std::io::pipe().unwrap();
        let mut child = Command::new(program.path())
            .args(["-Ft", "-Xn", "-c", "fast", "-d", &cluster.conninfo(), "-D-"])
            .stdout(Stdio::from(OwnedFd::from(writer)))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let waits = || {
            let state = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'";
            cluster.psql(state) == "1"
        };
        wait_for("the server to wait for its client", DEADLINE, waits);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = wait_for_some("the program to end", DEADLINE, || child.try_wait().unwrap());
        assert_eq!(status.signal(), Some(signal.as_raw()));
    }
}

/// Some supervisors make their end non-blocking, which the other end does not notice.
#[test]
fn bb_234_a_non_blocking_pipe_with_a_slow_reader_gets_every_line() {
    let cluster = Cluster::builder(MAJOR).start();
    let directory = scratch_directory();
    let out = directory.path().join("out");
    let (mut reader, writer) = non_blocking_pipe();
    let mut text = String::new();
    let status = backup_to(writer, &cluster, &out, || {
        let mut byte = [0];
        while let Ok(1) = reader.read(&mut byte) {
            text.push(char::from(byte[0]));
        }
    });
    assert_complete(status, &out);
    for line in ["initiating base backup", "checkpoint completed", "base backup completed"] {
        assert!(text.contains(line), "{text}");
    }
}

//! Signals end `pg_receivewal` in good order, whatever it does at that moment, or at once.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::byte_script::{ByteScriptServer, Step};
use support::wal_program::{WalProgram, names_in, write_wal};
use support::{Cluster, DEADLINE, Running, StopMode, scratch_directory, wait_for, wal_sender};
use tempfile::TempDir;

fn cluster() -> Cluster {
    Cluster::builder(15).initdb_arg("--wal-segsize=1").start()
}

/// A receiver that has got something, with `-v`.
fn receiving(program: &WalProgram, cluster: &Cluster, more: &[&str]) -> (Running, TempDir) {
    let directory = scratch_directory();
    let running = program.receive(cluster, directory.path()).arg("-v").args(more).start();
    write_wal(cluster, 10);
    wait_for("a segment to begin", DEADLINE, || !names_in(directory.path()).is_empty());
    (running, directory)
}

/// The only file is a segment that is not complete.
#[track_caller]
fn assert_one_partial(directory: &TempDir, suffix: &str) {
    let names = names_in(directory.path());
    assert!(
        matches!(&names[..], [name] if name.len() == 24 + suffix.len() && name.ends_with(suffix)),
        "{names:?}"
    );
    let size = directory.path().join(&names[0]).metadata().unwrap().len();
    assert!(suffix != ".partial" || size == 1 << 20, "{size}");
}

const INTERRUPTED: &str = "pg_receivewal: received interrupt signal, exiting\n";

#[test]
fn rw_053_rw_161_rw_200_and_201_the_first_signal_ends_it_in_good_order() {
    let cluster = cluster();
    for (major, signal) in [(15, Signal::INT), (18, Signal::INT), (18, Signal::TERM)] {
        for (more, suffix) in [(&[][..], ".partial"), (&["-Z", "gzip"], ".gz.partial"), (&["-n"], ".partial")]
        {
            let (mut running, directory) = receiving(&WalProgram::ours_as(major), &cluster, more);
            running.signal(signal);
            let outcome = running.finish().expect_success();
            assert!(outcome.stderr.contains(INTERRUPTED), "{}", outcome.stderr);
            assert!(outcome.stderr.contains(".partial\", segment is not complete\n"), "{}", outcome.stderr);
            assert!(!outcome.stderr.contains("error:"), "{}", outcome.stderr);
            assert_one_partial(&directory, suffix);
        }
    }
}

/// The program of 15 knows one signal only, and no program knows the third.
#[test]
fn rw_008_rw_201_other_signals_do_what_they_do_by_default() {
    let cluster = cluster();
    for (major, signal) in [(15, Signal::TERM), (15, Signal::HUP), (18, Signal::HUP)] {
        for program in [WalProgram::real_of(major), WalProgram::ours_as(major)] {
            let (mut running, directory) = receiving(&program, &cluster, &[]);
            running.signal(signal);
            let outcome = running.finish();
            assert_eq!(outcome.signal(), Some(signal.as_raw()), "{major}: {}", outcome.stderr);
            let names = names_in(directory.path());
            assert!(names.iter().any(|name| name.ends_with(".partial")), "{names:?}");
        }
    }
}

/// A shell that is not interactive has the commands it runs in the background ignore the interrupt.
#[test]
fn rw_200_jobs_in_the_background_of_a_script_are_interrupted_too() {
    let cluster = cluster();
    for program in [WalProgram::real_of(15), WalProgram::ours_as(15)] {
        let directory = scratch_directory();
        let mut running = program
            .receive_by(&["/bin/sh", "-c", "trap '' INT; exec \"$0\" \"$@\""], &cluster, directory.path())
            .arg("-v")
            .start();
        write_wal(&cluster, 10);
        wait_for("a segment to begin", DEADLINE, || !names_in(directory.path()).is_empty());
        running.signal(Signal::INT);
        assert!(running.finish().expect_success().stderr.contains(INTERRUPTED));
        assert_one_partial(&directory, ".partial");
    }
}

/// Stops a process until this value is dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: u32) -> Self {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[test]
fn rw_202_a_server_that_hangs_is_not_waited_for_for_long() {
    let cluster = cluster();
    let (mut running, directory) = receiving(&WalProgram::ours(), &cluster, &[]);
    let _hung = Stopped::new(wal_sender(&cluster));
    running.signal(Signal::INT);
    assert!(running.finish().expect_success().stderr.contains(INTERRUPTED));
    assert_one_partial(&directory, ".partial");
}

#[test]
fn rw_205_the_second_signal_ends_it_at_once() {
    let cluster = cluster();
    let (mut running, directory) = receiving(&WalProgram::ours(), &cluster, &[]);
    let _hung = Stopped::new(wal_sender(&cluster));
    running.signal(Signal::INT);
    wait_for("the signal to be noticed", DEADLINE, || running.stderr_so_far().contains(INTERRUPTED));
    running.signal(Signal::TERM);
    let outcome = running.finish();
    assert_eq!(outcome.signal(), Some(Signal::TERM.as_raw()), "{}", outcome.stderr);
    assert_one_partial(&directory, ".partial");
}

#[test]
fn rw_055_rw_203_in_the_pause_between_two_attempts() {
    let mut cluster = cluster();
    let (mut running, directory) = receiving(&WalProgram::ours(), &cluster, &[]);
    cluster.stop(StopMode::Fast);
    // The first ones are over at once.
    let pauses = |text: String| text.matches("pg_receivewal: disconnected; waiting ").count();
    wait_for("a pause", DEADLINE, || pauses(running.stderr_so_far()) > 4);
    running.signal(Signal::INT);
    let outcome = running.finish().expect_success();
    let waiting = "pg_receivewal: disconnected; waiting 0 seconds to try again\n";
    assert!(outcome.stderr.contains(waiting), "{}", outcome.stderr);
    assert!(outcome.stderr.contains(INTERRUPTED), "{}", outcome.stderr);
    assert_one_partial(&directory, ".partial");
}

#[test]
fn rw_204_while_it_connects() {
    let directory = scratch_directory();
    for signal in [Signal::INT, Signal::TERM] {
        let server = ByteScriptServer::start([Step::Receive, Step::Stall]);
        let conninfo = server.conninfo();
        let mut running =
            WalProgram::ours().run().args(["-v", "-d", &conninfo, "-D"]).arg(directory.path()).start();
        wait_for("the startup packet", DEADLINE, || !server.received().is_empty());
        running.signal(signal);
        assert_eq!(running.finish().expect_success().stderr, INTERRUPTED);
        assert!(names_in(directory.path()).is_empty());
    }
}

/// Neither a server that goes away nor a reader of messages that does kills the program.
#[test]
fn rw_206_writing_to_nobody_is_survived() {
    let cluster = cluster();
    let program = WalProgram::ours();
    let directory = scratch_directory();
    let mut child = Command::new(program.path())
        .args(["-v", "-s1", "-d", &cluster.conninfo(), "-D"])
        .arg(directory.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    for _ in 0..2 {
        let sender = wal_sender(&cluster);
        cluster.psql(&format!("SELECT pg_terminate_backend({sender})"));
        wait_for("another connection", DEADLINE, || wal_sender(&cluster) != sender);
    }
    assert!(child.try_wait().unwrap().is_none());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
}

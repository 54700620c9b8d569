//! What `pg_receivewal` does beyond PostgreSQL's own program: its own options, and the exit status for lost WAL.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use support::wal_program::{WalProgram, end_of_wal, names_in, write_wal};
use support::{Cluster, DEADLINE, Run, StopMode, scratch_directory, wait_for, wal_sender};

fn cluster() -> Cluster {
    Cluster::builder(15).initdb_arg("--wal-segsize=1").start()
}

/// A value of the status file, which is whole at any time.
fn status(file: &Path, name: &str) -> serde_json::Value {
    let document: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    document.get(name).unwrap().clone()
}

#[test]
fn a_status_file_follows_the_receiver() {
    let mut cluster = cluster();
    let program = WalProgram::ours();
    let (directory, elsewhere) = (scratch_directory(), scratch_directory());
    let file = elsewhere.path().join("status.json");
    let mut running = Run::new("/bin/sh")
        .args(["-c", "umask 022; exec \"$0\" \"$@\""])
        .arg(program.path())
        .args(["--synchronous", "-d", &cluster.conninfo(), "-D"])
        .arg(directory.path())
        .arg("--status-file")
        .arg(&file)
        .start();
    let is = |name: &str, value: &str| file.exists() && status(&file, name) == value;
    wait_for("the stream", DEADLINE, || is("state", "streaming"));
    assert_eq!((status(&file, "timeline"), status(&file, "failed_attempts")), (1.into(), 0.into()));
    write_wal(&cluster, 10);
    let end = end_of_wal(&cluster);
    wait_for("WAL to be told of", DEADLINE, || is("received", &end) && is("flushed", &end));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    cluster.stop(StopMode::Fast);
    wait_for("the loss to be told of", DEADLINE, || is("state", "waiting"));
    assert!(status(&file, "failed_attempts").as_u64().unwrap() > 0);
    assert!(status(&file, "last_error").is_string() && status(&file, "streaming_since").is_null());
    running.signal(Signal::INT);
    running.finish().expect_success();
    assert!(is("state", "stopped"));
    assert_eq!(names_in(elsewhere.path()), ["status.json"]);

    let run = program.receive(&cluster, directory.path()).arg("--status-file").arg(&file);
    run.run().expect_code(1);
    assert!(is("state", "failed"));
}

#[test]
fn a_status_file_that_cannot_be_written_is_refused() {
    let directory = scratch_directory();
    let program = WalProgram::ours();
    let run = program.run().arg("-D").arg(directory.path());
    let outcome = run.args(["--status-file=/nonexistent/s", "-d", "host=/nowhere"]).run().expect_code(1);
    let expected =
        "pg_receivewal: error: could not write status file \"/nonexistent/s\": No such file or directory\n";
    assert_eq!(outcome.stderr, expected);
}

#[test]
fn rw_056_a_server_is_waited_for_on_request_and_given_up() {
    let mut cluster = cluster();
    cluster.stop(StopMode::Fast);
    let directory = scratch_directory();
    let program = WalProgram::ours();
    let outcome = program.receive(&cluster, directory.path()).run().expect_code(1);
    assert!(!outcome.stderr.contains("disconnected"), "{}", outcome.stderr);
    let run = program.receive(&cluster, directory.path());
    let outcome = run.args(["--wait-for-server", "--give-up-after=1"]).run().expect_code(1);
    let giving_up = "\npg_receivewal: error: no write-ahead log could be streamed for 1 seconds, giving up\n";
    assert!(outcome.stderr.ends_with(giving_up), "{}", outcome.stderr);

    let mut running = program.receive(&cluster, directory.path()).arg("--wait-for-server").start();
    wait_for("an attempt", DEADLINE, || running.stderr_so_far().contains("disconnected; waiting 0 seconds"));
    cluster.start();
    wal_sender(&cluster);
    running.signal(Signal::INT);
    running.finish().expect_success();
}

#[test]
fn rw_233_a_silent_server_counts_as_dead() {
    let cluster = cluster();
    let directory = scratch_directory();
    let program = WalProgram::ours();
    let run = program.receive(&cluster, directory.path());
    let running = run.args(["-n", "--receive-timeout=1"]).start();
    let sender = Pid::from_raw(i32::try_from(wal_sender(&cluster)).unwrap()).unwrap();
    kill_process(sender, Signal::STOP).unwrap();
    let outcome = running.finish().expect_code(1);
    kill_process(sender, Signal::CONT).unwrap();
    assert!(
        outcome.stderr.contains("error: no message from the server for 1 seconds\n"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn rw_104_lost_wal_has_an_exit_status_of_its_own() {
    let cluster = Cluster::builder(15)
        .initdb_arg("--wal-segsize=1")
        .setting("min_wal_size", "2MB")
        .setting("max_wal_size", "2MB")
        .start();
    let directory = scratch_directory();
    let program = WalProgram::ours();
    let mut running = program.receive(&cluster, directory.path()).start();
    write_wal(&cluster, 10);
    wait_for("a segment", DEADLINE, || !names_in(directory.path()).is_empty());
    running.signal(Signal::INT);
    running.finish().expect_success();
    let partial = names_in(directory.path()).remove(0);
    for _ in 0..3 {
        write_wal(&cluster, 3000);
        cluster.psql("CHECKPOINT");
    }
    assert!(!cluster.data_dir().join("pg_wal").join(partial.strip_suffix(".partial").unwrap()).exists());
    for more in [&[][..], &["-n"], &["--wait-for-server"]] {
        let outcome = program.receive(&cluster, directory.path()).args(more).run().expect_code(3);
        let lines: Vec<_> = outcome.stderr.lines().collect();
        assert!(lines[0].starts_with("pg_receivewal: error: WAL is missing"), "{lines:?}");
        assert!(lines[0].contains("has already been removed"), "{lines:?}");
        assert!(
            lines.last().unwrap().starts_with("pg_receivewal: hint: Get the missing segments"),
            "{lines:?}"
        );
        assert_eq!(names_in(directory.path()), std::slice::from_ref(&partial));
    }
}

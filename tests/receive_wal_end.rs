//! The end position of `pg_receivewal`: it stops strictly after it, and what came is on disk by then.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::path::Path;

use support::wal_program::{WalProgram, end_of_wal, names_in, write_wal};
use support::{Cluster, DEADLINE, scratch_directory, wait_for};

fn cluster() -> Cluster {
    Cluster::builder(15).initdb_arg("--wal-segsize=1").setting("wal_keep_size", "64MB").start()
}

/// The file of the segment that holds the position, as the server calls it.
fn segment(cluster: &Cluster, position: &str) -> String {
    cluster.psql(&format!("SELECT pg_walfile_name('{position}'::pg_lsn + 1)"))
}

#[track_caller]
fn assert_same_bytes(cluster: &Cluster, directory: &Path, name: &str) {
    let [received, sent] = [directory.join(name), cluster.data_dir().join("pg_wal").join(name)];
    assert!(std::fs::read(received).unwrap() == std::fs::read(sent).unwrap(), "{name}");
}

#[test]
fn rw_010_rw_196_within_a_segment_and_across_segments() {
    let cluster = cluster();
    let (program, directory) = (WalProgram::ours(), scratch_directory());
    write_wal(&cluster, 10);
    let end = end_of_wal(&cluster);
    write_wal(&cluster, 1);
    let receive = |end: &str| {
        program.receive(&cluster, directory.path()).args(["-n", "-E", end]).run().expect_success();
    };
    receive(&end);
    let first = segment(&cluster, &end);
    assert_eq!(names_in(directory.path()), [format!("{first}.partial")]);
    write_wal(&cluster, 2500);
    let end = end_of_wal(&cluster);
    write_wal(&cluster, 1);
    receive(&end);
    let names = names_in(directory.path());
    let (partial, complete) = names.split_last().unwrap();
    assert!(complete.len() > 1 && complete[0] == first, "{names:?}");
    assert_eq!(*partial, format!("{}.partial", segment(&cluster, &end)));
    for name in complete {
        assert_same_bytes(&cluster, directory.path(), name);
    }
    // It is already there.
    let outcome =
        program.receive(&cluster, directory.path()).args(["-nv", "-E", &end]).run().expect_success();
    assert!(outcome.stderr.contains("stopped log streaming at"), "{}", outcome.stderr);
    assert_eq!(names_in(directory.path()), names);
}

#[test]
fn rw_193_rw_194_the_position_itself_is_not_beyond_it() {
    let cluster = cluster();
    let directory = scratch_directory();
    write_wal(&cluster, 10);
    let end = end_of_wal(&cluster);
    let line = ["-n", "--synchronous", "-E", &end];
    let mut running = WalProgram::ours().receive(&cluster, directory.path()).args(line).start();
    // All that there is has come and is on disk.
    let is_there = format!("SELECT count(*) FROM pg_stat_replication WHERE flush_lsn = '{end}'");
    wait_for("the receiver to be there", DEADLINE, || cluster.psql(&is_there) == "1");
    assert!(running.is_running());
    write_wal(&cluster, 1);
    assert_eq!(running.finish().expect_success().stderr.matches("error").count(), 0);
}

#[test]
fn rw_195_a_position_that_has_passed_ends_it_with_nothing_written() {
    let cluster = cluster();
    let directory = scratch_directory();
    let program = WalProgram::ours();
    let outcome =
        program.receive(&cluster, directory.path()).args(["-v", "-E", "0/1"]).run().expect_success();
    assert_eq!(names_in(directory.path()), [""; 0]);
    assert!(outcome.stderr.contains("stopped log streaming at"), "{}", outcome.stderr);
    assert!(!cluster.log().contains("START_REPLICATION"));
}

#[test]
fn rw_197_a_position_on_a_boundary_needs_a_byte_of_the_next_segment() {
    let cluster = cluster();
    let directory = scratch_directory();
    let boundary = cluster
        .psql("SELECT '0/0'::pg_lsn + (div(pg_current_wal_flush_lsn() - '0/0', 1048576) + 1) * 1048576");
    let before = segment(&cluster, &end_of_wal(&cluster));
    let line = ["-n", "--synchronous", "-E", &boundary];
    let mut running = WalProgram::ours().receive(&cluster, directory.path()).args(line).start();
    wait_for("the stream", DEADLINE, || cluster.psql("SELECT count(*) FROM pg_stat_replication") == "1");
    // Not in one transaction: its commit would be the first record of the next segment.
    cluster.psql("SELECT pg_logical_emit_message(true, 'x', 'x')");
    cluster.psql("SELECT pg_switch_wal()");
    wait_for("the segment", DEADLINE, || directory.path().join(&before).exists());
    assert!(running.is_running());
    write_wal(&cluster, 1);
    running.finish().expect_success();
    let next = segment(&cluster, &boundary);
    assert_eq!(names_in(directory.path()), [before.clone(), format!("{next}.partial")]);
    assert_same_bytes(&cluster, directory.path(), &before);
}

//! A WAL receiver whose disk is slow: it keeps its connection, claims nothing that is not durable, and takes no more
//! memory than with a fast one.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/receiving.rs"]
mod receiving;
#[path = "support/stalling.rs"]
mod stalling;
mod support;

use std::path::Path;
use std::sync::mpsc;

use pgsiphon::receive::{DirectoryArchive, ReceiveOptions};
use pgsiphon::storage::{Access, Directory, SyncPolicy};
use pgsiphon::types::{Lsn, SegmentSize};
use receiving::{Receiving, plain_options};
use stalling::{Gate, Stall, Stalling};
use support::log_writer::{LogKind, LogWriter};
use support::{
    Cluster, DEADLINE, Peer, Personality, Run, ScriptedServer, Status, scratch_directory, wait_for,
};

const MIB: u64 = 1 << 20;

fn archive(root: &Path, size: SegmentSize) -> DirectoryArchive {
    let root = Directory::open(root).unwrap();
    DirectoryArchive::create(&root, size, false, Access::Owner, SyncPolicy::Durable).unwrap()
}

#[test]
fn i_016_rw_222_a_sync_that_takes_longer_than_the_timeout_costs_no_connection() {
    let size = SegmentSize::new(16 * MIB).unwrap();
    let cluster = Cluster::builder(15).setting("wal_sender_timeout", "2s").start();
    cluster.psql("SELECT pg_switch_wal()");
    let start: Lsn = cluster.psql("SELECT pg_current_wal_flush_lsn()").parse().unwrap();
    let (directory, gate) = (tempfile::tempdir().unwrap(), Gate::default());
    let stall = Stall::Syncs(gate.clone());
    let stalling = Stalling { archive: archive(directory.path(), size), stall };
    let options = ReceiveOptions { synchronous: true, ..plain_options(start, size) };
    let receiving = Receiving::start(&cluster.conninfo(), options, stalling);
    let standby_says = |what: &str| {
        cluster.psql(&format!("SELECT {what} FROM pg_stat_replication WHERE state = 'streaming'"))
    };
    wait_for("the stream", DEADLINE, || !standby_says("pid").is_empty());
    let walsender = standby_says("pid");

    cluster.psql("CREATE TABLE t AS SELECT 1");
    let end: Lsn = cluster.psql("SELECT pg_current_wal_flush_lsn()").parse().unwrap();
    wait_for("answers for longer than the timeout", DEADLINE, || {
        standby_says(&format!(
            "pid = {walsender} AND write_lsn >= '{end}' AND reply_time - backend_start > '3 s'"
        )) == "t"
    });
    assert_eq!(standby_says(&format!("coalesce(flush_lsn <= '{start}', true)")), "t", "claimed too early");
    gate.open();
    wait_for("the sync to be told", DEADLINE, || standby_says(&format!("flush_lsn >= '{end}'")) == "t");
    assert_eq!(standby_says("pid"), walsender);
    receiving.stop_at(Lsn::ZERO);
    assert!(receiving.finish().unwrap().end.value() >= end);
}

#[test]
fn rw_125_a_server_that_always_has_more_hears_of_durable_positions_all_the_same() {
    const START: u64 = 3 * MIB;
    let size = SegmentSize::new(MIB).unwrap();
    for ahead in [1, 1 << 40] {
        let directory = tempfile::tempdir().unwrap();
        let (tell, told) = mpsc::channel();
        let server = ScriptedServer::start(move |peer| {
            peer.expect_command("IDENTIFY_SYSTEM");
            peer.answer(&["7000000000000000001", "1", "0/400000", ""]);
            peer.expect_command("START_REPLICATION");
            peer.copy_both();
            let log = LogWriter::new(START, LogKind::with_segments_of(MIB)).filled(3000);
            for (number, wal) in log.chunks(1000).enumerate() {
                let start = START + 1000 * number as u64;
                let mut message = Peer::wal_message(start, wal);
                // Type and length, then the kind of message and its position: the end of the server's log follows.
                message[14..22].copy_from_slice(&(start + 1000 + ahead).to_be_bytes());
                peer.send(message[0], &message[5..]);
            }
            let mut status = peer.expect_status();
            while status.flushed < START + 3000 {
                status = peer.expect_status();
            }
            assert_eq!(status, Status { written: START + 3000, flushed: START + 3000 });
            tell.send(()).unwrap();
            peer.expect_copy_done();
            peer.send(b'c', b"");
            peer.complete("COPY 0");
            peer.ready();
            peer.expect_end();
        });
        let options = ReceiveOptions { synchronous: true, ..plain_options(Lsn::new(START), size) };
        let receiving = Receiving::start(&server.conninfo(), options, archive(directory.path(), size));
        told.recv_timeout(DEADLINE).unwrap();
        receiving.stop_at(Lsn::ZERO);
        receiving.finish().unwrap();
        server.finish();
    }
}

#[test]
fn i_017_memory_does_not_grow_with_what_waits_for_a_slow_disk() {
    const MOST_MEMORY: u64 = 48 << 20;
    let cluster = Cluster::builder(15).setting("wal_keep_size", "1GB").start();
    cluster.psql("SELECT pg_create_physical_replication_slot('s', true)");
    // Several times what may be taken.
    cluster.psql(
        "SELECT count(pg_logical_emit_message(false, '', repeat('x', 1000000))) FROM generate_series(1, 200)",
    );
    let end = cluster.psql("SELECT pg_current_wal_lsn()");
    cluster.psql("CREATE TABLE beyond_the_end ()");
    for synchronous in [false, true] {
        let (directory, log) = (scratch_directory(), tempfile::NamedTempFile::new().unwrap());
        // The process is the program, not `strace`.
        let each_sync_stalls =
            ["-D", "-f", "--seccomp-bpf", "-e", "inject=fdatasync:delay_enter=30000", "-o"];
        cluster.psql("SELECT pg_copy_physical_replication_slot('s', 't')");
        let program = Personality::named("pg_receivewal");
        let (outcome, peak) = Run::new("/usr/bin/strace")
            .args(each_sync_stalls)
            .args([log.path(), program.path()])
            .args(["-d", &cluster.conninfo(), "-n", "-S", "t", "-E", &end, "-D"])
            .arg(directory.path())
            .args(synchronous.then_some("--synchronous"))
            .start()
            .finish_measured();
        outcome.expect_success();
        assert!((1 << 20..MOST_MEMORY).contains(&peak), "{peak} bytes");
        cluster.psql("SELECT pg_drop_replication_slot('t')");
    }
}

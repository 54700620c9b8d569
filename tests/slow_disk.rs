//! A WAL receiver whose disk is slow: it keeps its connection, claims nothing that is not durable, and takes no more
//! memory than with a fast one.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/receiving.rs"]
mod receiving;
#[path = "support/stalling.rs"]
mod stalling;
mod support;
#[path = "support/wal_run.rs"]
mod wal_run;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use pgsiphon::receive::{DirectoryArchive, ReceiveOptions, RunOptions};
use pgsiphon::storage::{Access, Directory, SyncPolicy};
use pgsiphon::types::{Lsn, SegmentSize};
use receiving::{Receiving, plain_options};
use stalling::{Gate, Stall, Stalling};
use support::certificates::{Certificate, Template};
use support::log_writer::{LogKind, LogWriter};
use support::{
    Cluster, ClusterBuilder, DEADLINE, Peer, Personality, Run, ScriptedServer, ServerTls, Status,
    scratch_directory, wait_for,
};
use wal_run::{Heard, WalRun};

const MIB: u64 = 1 << 20;

fn archive(root: &Path, size: SegmentSize) -> DirectoryArchive {
    let root = Directory::open(root).unwrap();
    DirectoryArchive::create(&root, size, false, Access::Owner, SyncPolicy::Durable).unwrap()
}

/// A server that loses its patience after two seconds, with a standby that is to be asked for.
struct Impatient {
    cluster: Cluster,
    start: Lsn,
    directory: tempfile::TempDir,
    gate: Gate,
}

impl Impatient {
    fn start(builder: ClusterBuilder) -> Self {
        let cluster = builder.setting("wal_sender_timeout", "2s").start();
        cluster.psql("SELECT pg_switch_wal()");
        let start = cluster.psql("SELECT pg_current_wal_flush_lsn()").parse().unwrap();
        Self { cluster, start, directory: tempfile::tempdir().unwrap(), gate: Gate::default() }
    }

    /// An archive whose syncs wait.
    fn archive(&self) -> Stalling {
        let size = SegmentSize::new(16 * MIB).unwrap();
        Stalling { archive: archive(self.directory.path(), size), stall: Stall::Syncs(self.gate.clone()) }
    }

    fn standby(&self, what: &str) -> String {
        self.cluster.psql(&format!("SELECT {what} FROM pg_stat_replication WHERE state = 'streaming'"))
    }

    /// The receiver, which has begun, keeps its connection while a sync takes longer than the server's patience.
    /// Gives how far it must have come when it ends.
    #[track_caller]
    fn stall(&self) -> Lsn {
        wait_for("the stream", DEADLINE, || !self.standby("pid").is_empty());
        let walsender = self.standby("pid");
        self.cluster.psql("CREATE TABLE t AS SELECT 1");
        let end: Lsn = self.cluster.psql("SELECT pg_current_wal_flush_lsn()").parse().unwrap();
        wait_for("answers for longer than the timeout", DEADLINE, || {
            self.standby(&format!("pid = {walsender} AND reply_time - backend_start > '5 s'")) == "t"
        });
        let claimed = format!("coalesce(flush_lsn <= '{}', true)", self.start);
        assert_eq!(self.standby(&claimed), "t", "claimed too early");
        self.gate.open();
        let told = format!("write_lsn >= '{end}' AND flush_lsn >= '{end}'");
        wait_for("the sync to be told", DEADLINE, || self.standby(&told) == "t");
        assert_eq!(self.standby("pid"), walsender);
        end
    }

    /// The same for a whole run, which takes a server for dead that says nothing for two seconds.
    #[track_caller]
    fn stall_a_run(&self, conninfo: &str) {
        let timeout = Duration::from_secs(2);
        let options = RunOptions { synchronous: true, receive_timeout: Some(timeout), ..wal_run::once() };
        let heard = Heard::default();
        let run = WalRun::start_with(conninfo, &options, self.archive(), heard.clone());
        let end = self.stall();
        assert!(run.stop().unwrap().end.value() >= end);
        assert_eq!(heard.about("failed"), <[&str; 0]>::default());
    }
}

#[test]
fn i_016_rw_222_a_sync_that_takes_longer_than_the_timeout_costs_no_connection() {
    let server = Impatient::start(Cluster::builder(15));
    let size = SegmentSize::new(16 * MIB).unwrap();
    let options = ReceiveOptions { synchronous: true, ..plain_options(server.start, size) };
    let receiving = Receiving::start(&server.cluster.conninfo(), options, server.archive());
    let end = server.stall();
    receiving.stop_at(Lsn::ZERO);
    assert!(receiving.finish().unwrap().end.value() >= end);
}

#[test]
fn i_016_rw_222_nor_of_a_receiver_that_waits_for_the_disk_itself() {
    let server = Impatient::start(Cluster::builder(15));
    server.stall_a_run(&server.cluster.conninfo());
}

#[test]
fn i_016_rw_222_nor_of_one_over_tls() {
    let certificate = Certificate::self_signed(&Template::server("server.example"));
    let server = Impatient::start(Cluster::builder(15).tls(ServerTls::new(&certificate)));
    server.stall_a_run(&format!("{} sslmode=require", server.cluster.conninfo()));
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

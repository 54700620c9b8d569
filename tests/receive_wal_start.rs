//! Where a receiver starts: at the end of what it has, where its slot begins, or where the server is.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;
#[path = "support/wal_run.rs"]
mod wal_run;

use std::path::Path;

use pgsiphon::receive::{ReceiveError, RunOptions, SlotError};
use pgsiphon::types::{Lsn, SegmentSize};
use support::{Cluster, ClusterBuilder, DEADLINE, ErrorText, Peer, ScriptedServer, VERSIONS, wait_for};
use tempfile::TempDir;
use wal_run::{Heard, WalRun, again_and_again, assert_same_segments, end_of_wal, once, segments, up_to_now};

const MIB: u64 = 1 << 20;

fn segment_size() -> SegmentSize {
    SegmentSize::new(MIB).unwrap()
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A server with small segments, where they can be, that keeps all of them.
fn builder(major: u16) -> ClusterBuilder {
    let kept = if major < 13 { ("wal_keep_segments", "64") } else { ("wal_keep_size", "1GB") };
    let builder = Cluster::builder(major).setting(kept.0, kept.1).setting("wal_level", "logical");
    if major < 11 { builder } else { builder.initdb_arg("--wal-segsize=1") }
}

fn with_slot(name: &str, options: RunOptions) -> RunOptions {
    RunOptions { slot: Some(name.to_owned()), ..options }
}

/// Fills so many segments.
fn fill_segments(cluster: &Cluster, count: usize) {
    for _ in 0..count {
        cluster.psql("SELECT pg_logical_emit_message(false, 'p', 'm')");
        cluster.psql("SELECT pg_switch_wal()");
    }
    cluster.psql("SELECT pg_logical_emit_message(true, 'p', 'm')");
}

/// Receives up to now, and gives what was told.
#[track_caller]
fn receive(cluster: &Cluster, options: RunOptions, directory: &Path) -> Heard {
    let run = WalRun::start(&cluster.conninfo(), &up_to_now(cluster, options), directory);
    let heard = run.heard().clone();
    if let Err(error) = run.finish() {
        panic!("{}: {:?}", error.with_causes(), heard.lines());
    }
    heard
}

fn starting_at(position: Lsn) -> Vec<String> {
    vec![format!("starting at {} on 1", position.segment_start(segment_size()))]
}

#[test]
fn rw_066_rw_084_rw_089_rw_091_rw_092_rw_095_i_009_where_it_starts_without_and_with_a_slot() {
    let cluster = builder(15).setting("log_connections", "on").start();
    cluster.psql("SELECT pg_create_physical_replication_slot('used', true)");
}

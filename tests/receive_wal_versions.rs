//! The receiver with servers of every supported version, as an archive and as a synchronous standby.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;
#[path = "support/wal_run.rs"]
mod wal_run;

use pgsiphon::receive::RunOptions;
use support::{Cluster, DEADLINE, VERSIONS, wait_for};
use wal_run::{WalRun, assert_same_segments, end_of_wal, once};

/// Fills some segments.
fn fill_segments(cluster: &Cluster) {
    for _ in 0..2 {
        cluster.psql("INSERT INTO filler SELECT repeat('x', 500) FROM generate_series(1, 1000)");
        cluster.psql("SELECT pg_switch_wal()");
    }
    cluster.psql("INSERT INTO filler VALUES ('y')");
}

/// What was written while it was away and while it was there is in the directory; commits wait for it.
#[track_caller]
fn receives_and_is_waited_for(major: u16) {
    let kept = if major < 13 { ("wal_keep_segments", "64") } else { ("wal_keep_size", "1GB") };
    let builder = Cluster::builder(major).setting(kept.0, kept.1).setting("wal_level", "replica");
    let builder = if major < 11 { builder } else { builder.initdb_arg("--wal-segsize=1") };
    let cluster = builder.start();
    cluster.psql("CREATE TABLE filler (text text)");
    cluster.psql("SELECT pg_create_physical_replication_slot('s', true)");
    fill_segments(&cluster);

    let directory = tempfile::tempdir().unwrap();
    let options = RunOptions { slot: Some("s".to_owned()), synchronous: true, ..once() };
    let run = WalRun::start(&cluster.conninfo(), &options, directory.path());
    run.heard().wait_for(1, "starting");
    cluster.psql("ALTER SYSTEM SET synchronous_standby_names = 'pg_receivewal'");
    cluster.psql("SELECT pg_reload_conf()");
    let state = "SELECT sync_state FROM pg_stat_replication WHERE application_name = 'pg_receivewal'";
    wait_for("it to be synchronous", DEADLINE, || cluster.psql(state) == "sync");
    for level in ["on", "remote_write"] {
        cluster.psql(&format!("SET synchronous_commit = {level}; INSERT INTO filler VALUES ('{level}')"));
    }
    fill_segments(&cluster);
    assert_never_applies(&cluster);
    cluster.psql("ALTER SYSTEM RESET synchronous_standby_names");
    cluster.psql("SELECT pg_reload_conf()");

    let end = end_of_wal(&cluster);
    let flushed = format!("SELECT flush_lsn >= '{end}' FROM pg_stat_replication");
    wait_for("everything to be durable", DEADLINE, || cluster.psql(&flushed) == "t");
    let report = run.stop().unwrap();
    assert!(report.end.value() >= end);
    assert_same_segments(directory.path(), &cluster, 4);
}

/// Who waits for WAL to be applied waits on when it is durable.
#[track_caller]
fn assert_never_applies(cluster: &Cluster) {
    std::thread::scope(|scope| {
        let committing = scope.spawn(|| {
            cluster
                .psql_outcome("SET synchronous_commit = remote_apply; INSERT INTO filler VALUES ('applied')")
        });
        let waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        let durable = "FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_flush_lsn()";
        wait_for("the commit to wait", DEADLINE, || {
            cluster.psql(&format!("SELECT count(*) {waiting}")) == "1"
        });
        wait_for("it to be durable", DEADLINE, || cluster.psql(&format!("SELECT count(*) {durable}")) == "1");
        assert_eq!(cluster.psql(&format!("SELECT pg_cancel_backend(pid) {waiting}")), "t");
        let outcome = committing.join().unwrap().expect_success();
        assert!(outcome.stderr.contains("canceling wait for synchronous replication"), "{}", outcome.stderr);
    });
}

macro_rules! every_version {
    ($($name:ident: $major:literal,)*) => {
        $(#[test] fn $name() { receives_and_is_waited_for($major); })*

        #[test]
        fn every_supported_version_is_tested() {
            assert_eq!([$($major),*], VERSIONS);
        }
    };
}

every_version! {
    rw_064_rw_216_rw_217_rw_225_postgresql_10: 10,
    rw_064_rw_216_rw_217_rw_225_postgresql_11: 11,
    rw_064_rw_216_rw_217_rw_225_postgresql_12: 12,
    rw_064_rw_216_rw_217_rw_225_postgresql_13: 13,
    rw_064_rw_216_rw_217_rw_225_postgresql_14: 14,
    rw_064_rw_216_rw_217_rw_225_postgresql_15: 15,
    rw_064_rw_216_rw_217_rw_225_postgresql_16: 16,
    rw_064_rw_216_rw_217_rw_225_postgresql_17: 17,
    rw_064_rw_216_rw_217_rw_225_postgresql_18: 18,
}

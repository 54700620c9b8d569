//! Servers that cannot take us now: starting, stopping, or without a free place.

use std::fs;

use pgsiphon::client::ReplicationClient;
use rustix::process::{Pid, Signal, kill_process};

use crate::attempt::{admitted, config, in_time, reference, refused_like_the_reference};
use crate::support::{Cluster, DEADLINE, Run, ServerAccount, StopMode, client_program, wait_for};

/// A server in recovery that takes no connections.
fn cold_standby(major: u16) -> Cluster {
    let mut cluster = Cluster::builder(major).setting("hot_standby", "off").start();
    cluster.stop(StopMode::Fast);
    let signal_file = cluster.data_dir().join("standby.signal");
    fs::write(&signal_file, "").unwrap();
    ServerAccount::current().own(&signal_file);
    cluster.start();
    cluster
}

#[test]
fn cn_109_a_server_that_is_not_ready_passes_the_turn_on() {
    let ready = Cluster::builder(15).start();
    for major in [13, 15, 18] {
        let starting = cold_standby(major);
        let error = refused_like_the_reference(&starting.conninfo());
        assert!(error.is_retryable());
        assert_eq!(error.hint().as_deref(), Some("Try again when the server has started."));
        let hosts = format!("host=127.0.0.1,127.0.0.1 port={},{}", starting.port(), ready.port());
        admitted(&format!("{hosts} user=postgres"));
    }
}

#[test]
fn cn_109_a_server_that_shuts_down_passes_the_turn_on() {
    let ready = Cluster::builder(18).start();
    let stopping = Cluster::builder(18).start();
    // A smart shutdown waits for this session.
    let _session = Run::new(client_program("psql"))
        .args(["-X", "-d", &format!("{} dbname=postgres", stopping.conninfo()), "-c", "SELECT pg_sleep(600)"])
        .start();
    let sleeping =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND state = 'active'";
    wait_for("the session", DEADLINE, || stopping.psql(sleeping) == "1");
    let postmaster = Pid::from_raw(i32::try_from(stopping.pid()).unwrap()).unwrap();
    kill_process(postmaster, Signal::TERM).unwrap();
    wait_for("the shutdown", DEADLINE, || {
        reference(&stopping.conninfo()).contains("the database system is shutting down")
    });

    refused_like_the_reference(&stopping.conninfo());
    let hosts = format!("host=127.0.0.1,127.0.0.1 port={},{}", stopping.port(), ready.port());
    admitted(&format!("{hosts} user=postgres"));
}

#[test]
fn cn_305_no_free_wal_sender() {
    for major in [10, 15, 18] {
        let cluster = Cluster::builder(major).setting("max_wal_senders", "1").start();
        let conninfo = cluster.conninfo();
        in_time(async move {
            let only = ReplicationClient::connect(&config(&conninfo)).await.unwrap();
            let error = refused_like_the_reference(&conninfo);
            assert!(error.to_string().contains("(currently 1)"), "{error}");
            assert!(error.hint().unwrap().contains("max_wal_senders"));
            assert!(error.is_retryable());
            only.close().await;
        });
        wait_for("the place to be free again", DEADLINE, || {
            cluster.psql("SELECT count(*) FROM pg_stat_replication") == "0"
        });
        admitted(&cluster.conninfo());
    }
}

#[test]
fn cn_305_no_wal_senders_at_all() {
    let cluster =
        Cluster::builder(15).setting("max_wal_senders", "0").setting("wal_level", "minimal").start();
    let error = refused_like_the_reference(&cluster.conninfo());
    assert!(error.hint().unwrap().contains("max_wal_senders"));
}

//! What a new session is good for, with servers of every version, and how it ends.

use pgsiphon::client::ReplicationClient;
use pgsiphon::types::{SegmentSize, TimelineId};

use crate::attempt::{config, connected, in_time, with_notices};
use crate::support::{Cluster, ClusterBuilder, DEADLINE, ErrorText, VERSIONS, wait_for};

#[test]
fn cn_306_to_310_every_version_tells_what_it_is() {
    for major in VERSIONS {
        // Since version 11 these are chosen by initdb.
        let chosen = ["--wal-segsize=1", "--allow-group-access"];
        let builder = Cluster::builder(major);
        let builder =
            if major < 11 { builder } else { chosen.into_iter().fold(builder, ClusterBuilder::initdb_arg) };
        let cluster = builder.start();
        let (mode, segment_size) = if major < 11 { (0o700, 16 << 20) } else { (0o750, 1 << 20) };

        let config = config(&cluster.conninfo());
        let (client, system) = in_time(async move {
            let mut client = ReplicationClient::connect(&config).await.unwrap();
            client.require_integer_datetimes().unwrap();
            assert_eq!(client.data_directory_mode().await.unwrap(), mode);
            let size = client.wal_segment_size().await.unwrap();
            assert_eq!(size, SegmentSize::new(segment_size).unwrap());
            let system = client.identify_system().await.unwrap();
            (client, system)
        });
        assert_eq!(client.server_version().to_string(), cluster.psql("SHOW server_version"));
        assert_eq!(client.server_version().number().to_string(), cluster.psql("SHOW server_version_num"));
        let of_the_server = cluster.psql("SELECT system_identifier FROM pg_control_system()");
        assert_eq!(system.system_id.to_string(), of_the_server);
        assert_eq!(system.timeline, TimelineId::FIRST);
        assert_eq!(system.dbname, None);
        let is_flushed = format!("SELECT pg_current_wal_flush_lsn() >= '{}'", system.xlog_position);
        assert_eq!(cluster.psql(&is_flushed), "t");
    }
}

#[test]
fn cn_304_the_backend_is_the_one_that_serves_us() {
    for major in [10, 18] {
        let cluster = Cluster::builder(major).start();
        let one = connected(config(&cluster.conninfo()));
        let other = connected(config(&cluster.conninfo()));
        let senders = cluster.psql("SELECT pid FROM pg_stat_replication ORDER BY pid");
        let mut pids = [one.backend_pid().unwrap(), other.backend_pid().unwrap()];
        pids.sort_unstable();
        assert_eq!(senders, format!("{}\n{}", pids[0], pids[1]));
    }
}

#[test]
fn cn_318_a_refused_command_leaves_the_session_usable() {
    for major in [10, 15, 18] {
        let cluster = Cluster::builder(major).start();
        let config = config(&cluster.conninfo());
        in_time(async move {
            let mut client = ReplicationClient::connect(&config).await.unwrap();
            let second = TimelineId::new(2).unwrap();
            let error = client.timeline_history(second).await.unwrap_err();
            assert!(
                error.with_causes().starts_with("could not send replication command \"TIMELINE_HISTORY\": ")
            );
            assert!(error.server_message().is_some());
            client.identify_system().await.unwrap();
        });
    }
}

#[test]
fn cn_288_notices_of_a_real_server_are_passed_on() {
    let cluster = Cluster::builder(15).start();
    let settings = "options='-c client_min_messages=log'";
    let (result, notices) = with_notices(config(&format!("{} {settings}", cluster.conninfo())));
    result.unwrap();
    assert_eq!(notices, ["LOG:  received replication command: IDENTIFY_SYSTEM"]);
}

#[test]
fn cn_315_leave_is_taken_of_the_server() {
    for major in [10, 15, 18] {
        // The level at which the server speaks of clients that vanish.
        let cluster = Cluster::builder(major).setting("log_min_messages", "debug1").start();
        let leave = |politely: bool| {
            let config = config(&cluster.conninfo());
            in_time(async move {
                let client = ReplicationClient::connect(&config).await.unwrap();
                if politely {
                    client.close().await;
                }
            });
            wait_for("the session to end", DEADLINE, || {
                cluster.psql("SELECT count(*) FROM pg_stat_replication") == "0"
            });
            cluster.log().matches("unexpected EOF on").count()
        };
        assert_eq!(leave(true), 0);
        assert_eq!(leave(false), 1);
    }
}

#[test]
fn cn_293_a_session_that_the_server_ends_says_why() {
    for major in [10, 15, 18] {
        let cluster = Cluster::builder(major).start();
        let config = config(&cluster.conninfo());
        let error = in_time(async move {
            let mut client = ReplicationClient::connect(&config).await.unwrap();
            cluster.psql(&format!("SELECT pg_terminate_backend({})", client.backend_pid().unwrap()));
            wait_for("the session to end", DEADLINE, || {
                cluster.psql("SELECT count(*) FROM pg_stat_replication") == "0"
            });
            client.identify_system().await.unwrap_err()
        });
        assert_eq!(
            error.with_causes(),
            "could not send replication command \"IDENTIFY_SYSTEM\": \
             FATAL:  terminating connection due to administrator command"
        );
    }
}

//! What the server is told at the start of a session, and what is refused before it is told anything.

use std::fs;

use pgsiphon::conninfo::Config;

use crate::attempt::{
    Variable, admitted, config, config_with, connected, reference, reference_with, refused,
    refused_like_the_reference, try_config,
};
use crate::support::byte_script::{ByteScriptServer, Step, authentication};
use crate::support::{Cluster, DEADLINE, wait_for_some};

fn set(name: &'static str, value: &str) -> Variable {
    (name, value.to_owned())
}

#[test]
fn cn_053_054_and_207_to_211_the_startup_packet_is_that_of_the_reference() {
    let server = ByteScriptServer::start([Step::Receive, Step::Send(authentication(99, b""))]);
    let host = format!("host=127.0.0.1 port={} sslmode=disable", server.port());
    for (conninfo, variables) in [
        ("user=u", vec![]),
        ("user=größe", vec![]),
        ("user=u replication=database", vec![]),
        ("user=u options='-c a=b\\\\ c --d=e'", vec![]),
        ("user=u application_name=me", vec![]),
        ("user=u application_name=''", vec![]),
        ("user=u client_encoding=LATIN1", vec![]),
        ("user=u client_encoding=auto", vec![set("LC_ALL", "C")]),
        ("", vec![set("PGUSER", "of the environment"), set("PGDATABASE", "other")]),
        ("user=u", vec![set("PGAPPNAME", "of the environment"), set("PGOPTIONS", "-c a=b")]),
        ("user=u application_name=me", vec![set("PGAPPNAME", "of the environment")]),
        ("user=u", vec![set("PGAPPNAME", ""), set("PGOPTIONS", ""), set("PGCLIENTENCODING", "UTF8")]),
        ("user=u", vec![set("PGDATESTYLE", "ISO, DMY"), set("PGTZ", "UTC"), set("PGGEQO", "off")]),
        ("user=u", vec![set("PGDATESTYLE", "Default"), set("PGTZ", "default"), set("PGGEQO", "DEFAULT")]),
        ("user=u", vec![set("PGDATESTYLE", ""), set("PGTZ", ""), set("PGGEQO", "")]),
        ("user=u options=' ' application_name=' '", vec![]),
    ] {
        let conninfo = format!("{host} {conninfo}");
        let text = reference_with(&conninfo, &variables);
        let ours = format!("{conninfo} fallback_application_name=pg_basebackup");
        let error = try_config(config_with(&ours, &variables)).unwrap_err();
        assert_eq!(error.to_string(), text);
        let [.., theirs, ours] = &server.received()[..] else { panic!("two startup packets") };
        assert_eq!(ours.escape_ascii().to_string(), theirs.escape_ascii().to_string(), "{conninfo}");
    }
}

#[test]
fn cn_093_a_database_of_the_connection_string_is_named_to_the_server() {
    let server = ByteScriptServer::start([Step::Receive, Step::Send(authentication(99, b""))]);
    refused(&format!("{} dbname=other", server.conninfo()));
    let startup = server.received()[0].escape_ascii().to_string();
    assert!(startup.contains("\\x00database\\x00other\\x00replication\\x00true\\x00"), "{startup}");

    let cluster = Cluster::builder(18).start();
    admitted(&format!("{} dbname=other", cluster.conninfo()));
}

/// The application name under which the server knows a session.
fn application_name(cluster: &Cluster, config: Config) -> String {
    let session = connected(config);
    let pid = session.backend_pid().unwrap();
    cluster.psql(&format!("SELECT application_name FROM pg_stat_activity WHERE pid = {pid}"))
}

#[test]
fn cn_055_and_058_options_and_application_name_reach_the_server() {
    for major in [10, 15, 18] {
        let cluster = Cluster::builder(major).start();
        let with = |settings: &str, variables: &[Variable]| {
            application_name(&cluster, config_with(&format!("{} {settings}", cluster.conninfo()), variables))
        };
        assert_eq!(with("", &[]), "");
        assert_eq!(with("fallback_application_name=f", &[]), "f");
        assert_eq!(with("fallback_application_name=f application_name=a", &[]), "a");
        assert_eq!(with("fallback_application_name=f", &[set("PGAPPNAME", "e")]), "e");
        assert_eq!(with("fallback_application_name=f", &[set("PGAPPNAME", "")]), "");
        assert_eq!(with("options='-c application_name=of\\\\ options'", &[]), "of options");
        assert_eq!(with("options=--application_name=of_options", &[]), "of_options");
        assert_eq!(with("", &[set("PGOPTIONS", "-capplication_name=e")]), "e");
    }
}

#[test]
fn cn_212_and_053_values_that_the_server_refuses() {
    for major in [10, 15, 18] {
        let cluster = Cluster::builder(major).start();
        // The reference tries once more without its name, which very old servers do not know.
        let unknown = format!("{} options=-cnonsense=1", cluster.conninfo());
        let error = refused(&unknown);
        assert_eq!(format!("{error}\n{error}"), reference(&unknown));
        for settings in [
            "options='-c wal_sender_timeout=soon'",
            "options=nonsense",
            "options=-X",
            "client_encoding=nonsense",
        ] {
            refused_like_the_reference(&format!("{} {settings}", cluster.conninfo()));
        }
        for variable in
            [set("PGTZ", "Nowhere"), set("PGDATESTYLE", "never"), set("PGGEQO", "maybe"), set("PGGEQO", "")]
        {
            let variables = [variable];
            let error = try_config(config_with(&cluster.conninfo(), &variables)).unwrap_err();
            assert_eq!(error.to_string(), reference_with(&cluster.conninfo(), &variables));
        }
    }
}

#[test]
fn cn_213_long_values_up_to_the_largest_packet() {
    let cluster = Cluster::builder(15).start();
    let with_name = |length| format!("{} application_name={}", cluster.conninfo(), "n".repeat(length));
    admitted(&with_name(9_900));
    refused_like_the_reference(&with_name(10_000));
}

#[test]
fn cn_139_and_152_encryption_is_demanded_over_tcp_only() {
    let cluster = Cluster::builder(15).start();
    let socket = format!("host={} port={} user=postgres", cluster.socket_dir().display(), cluster.port());
    for mode in ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] {
        admitted(&format!("{socket} sslmode={mode}"));
    }
    for mode in ["disable", "allow", "prefer"] {
        admitted(&format!("{} sslmode={mode}", cluster.conninfo()));
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = refused(&format!("{} sslmode={mode}", cluster.conninfo()));
        assert!(error.to_string().contains("SSL"), "{error}");
    }
    assert!(!cluster.log().contains("FATAL"));
}

#[cfg(not(feature = "gssapi"))]
#[test]
fn cn_057_and_206_a_demand_that_cannot_be_met_is_refused_before_anything_is_sent() {
    let server = ByteScriptServer::start([Step::Receive, Step::Send(authentication(0, b""))]);
    let error = refused(&format!("{} gssencmode=require", server.conninfo()));
    assert_eq!(
        error.to_string(),
        "gssencmode value \"require\" invalid when GSSAPI support is not compiled in"
    );
    assert!(!error.is_retryable());
    assert!(server.received().is_empty());
}

#[test]
fn cn_056_and_057_what_is_not_demanded_is_accepted() {
    let cluster = Cluster::builder(15).start();
    for setting in [
        "gssencmode=prefer",
        "channel_binding=prefer",
        "sslcertmode=allow",
        "sslrootcert=/nonexistent sslcert=/nonexistent sslkey=/nonexistent sslcrl=/nonexistent",
        "require_auth=''",
        "target_session_attrs=any",
        "load_balance_hosts=disable",
        "max_protocol_version=latest",
        "krbsrvname=x gssdelegation=1 sslcompression=1",
        "keepalives=0",
        "keepalives_idle=10 keepalives_interval=5 keepalives_count=2 tcp_user_timeout=60000",
    ] {
        admitted(&format!("{} {setting}", cluster.conninfo()));
    }
}

/// The kernel's timer for keepalives of a session, in hundredths of a second; none if it does not run.
fn keepalive_timer(cluster: &Cluster, settings: &str) -> Option<u64> {
    let session = connected(config(&format!("{} {settings}", cluster.conninfo())));
    let pid = session.backend_pid().unwrap();
    let port = cluster.psql(&format!("SELECT client_port FROM pg_stat_activity WHERE pid = {pid}"));
    let local = format!("0100007F:{:04X}", port.parse::<u16>().unwrap());
    // Another timer runs until the server has acknowledged everything.
    wait_for_some("all data to be acknowledged", DEADLINE, || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = row.into_iter().find(|fields| fields.get(1) == Some(&local.as_str())).unwrap();
        match row[5].split_once(':').unwrap() {
            ("00", _) => Some(None),
            ("02", left) => Some(Some(u64::from_str_radix(left, 16).unwrap())),
            _ => None,
        }
    })
}

#[test]
fn cn_121_integers_that_are_none_are_reported_where_they_matter() {
    let cluster = Cluster::builder(15).start();
    for setting in [
        "keepalives=x",
        "keepalives_idle=x",
        "keepalives_interval=' '",
        "keepalives_count=99999999999",
        "tcp_user_timeout=x",
    ] {
        refused_like_the_reference(&format!("{} {setting}", cluster.conninfo()));
        let socket = cluster.socket_dir().display();
        admitted(&format!("host={socket} port={} user=postgres {setting}", cluster.port()));
    }
    admitted(&format!("{} keepalives=0 keepalives_idle=x tcp_user_timeout=x", cluster.conninfo()));
}

#[test]
fn cn_119_keepalives_are_as_asked_for() {
    let cluster = Cluster::builder(15).start();
    let of_the_system = keepalive_timer(&cluster, "").unwrap();
    let short = keepalive_timer(&cluster, "keepalives_idle=900").unwrap();
    assert!(short <= 900 * 100 && short < of_the_system, "{short} {of_the_system}");
    assert_eq!(keepalive_timer(&cluster, "keepalives=0 keepalives_idle=900"), None);
}

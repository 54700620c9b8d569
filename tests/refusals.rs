//! A backup that cannot begin: one clear line, what to do about it where that is known, exit status 1, and
//! everything as it was before.
//!
//! Each failure is met by PostgreSQL's own program too, on the same server; it prints the same without our
//! hints, except where a test says otherwise.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use support::{Attempt, Cluster, Personality, client_program, wait_until_nothing_replicates};

const MAJOR: u16 = 15;

/// All rules there are: whoever is not named has none.
const HBA: &str = "\
local all postgres trust
host replication keeper 127.0.0.1/32 scram-sha-256
host replication outsider 127.0.0.1/32 reject
host replication postgres,plain,limited 127.0.0.1/32 trust
";

fn cluster() -> Cluster {
    let mut cluster = Cluster::builder(MAJOR).start();
    cluster.psql(
        "CREATE ROLE keeper LOGIN REPLICATION PASSWORD 'right';
         CREATE ROLE outsider LOGIN REPLICATION;
         CREATE ROLE unnamed LOGIN REPLICATION;
         CREATE ROLE plain LOGIN;
         CREATE ROLE limited LOGIN REPLICATION CONNECTION LIMIT 1",
    );
    fs::write(cluster.data_dir().join("pg_hba.conf"), HBA).unwrap();
    cluster.restart();
    cluster
}

/// Both programs fail with status 1 and leave nothing; ours prints `expected` where `PORT` is the server's,
/// and the original the same without lines that are hints of ours.
#[track_caller]
fn assert_refused(attempt: &Attempt<'_>, expected: &str) {
    assert_refused_otherwise(attempt, expected, &without_hints(expected), &[]);
}

/// Like [`assert_refused`], where the original prints something else and both leave something.
#[track_caller]
fn assert_refused_otherwise(
    attempt: &Attempt<'_>,
    expected: &str,
    expected_of_original: &str,
    left: &[&str],
) {
    let port = attempt.cluster().port().to_string();
    let ours = Personality::named("pg_basebackup");
    let original = client_program("pg_basebackup");
    for (program, expected) in [(ours.path(), expected), (&original, expected_of_original)] {
        let attempted = attempt.with(program);
        assert_eq!(attempted.stderr, expected.replace("PORT", &port), "{}", program.display());
        assert_eq!(attempted.outcome.code(), Some(1), "{}", program.display());
        assert_eq!(attempted.outcome.stdout_text(), "");
        assert_eq!(attempted.left, left.iter().map(PathBuf::from).collect::<Vec<_>>());
    }
}

fn without_hints(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with("pg_basebackup: hint:")).collect()
}

#[test]
fn bb_066_cn_275_cn_305_the_server_lets_nobody_in() {
    let cluster = cluster();
    let refused = |arguments: &[&str], password: &str, expected: &str| {
        assert_refused(&Attempt::new(&cluster, arguments).env("PGPASSWORD", password), expected);
    };
    refused(
        &["-D", "DIR/out", "-U", "keeper"],
        "wrong",
        "pg_basebackup: error: connection to server at \"127.0.0.1\", port PORT failed: FATAL:  password \
         authentication failed for user \"keeper\"\n",
    );
    refused(
        &["-D", "DIR/out", "-U", "keeper", "-w"],
        "",
        "pg_basebackup: error: connection to server at \"127.0.0.1\", port PORT failed: fe_sendauth: no \
         password supplied\n\
         pg_basebackup: hint: Set PGPASSWORD, use a password file, or leave out -w to be asked for the password.\n",
    );
    refused(
        &["-D", "DIR/out", "-U", "outsider"],
        "",
        "pg_basebackup: error: connection to server at \"127.0.0.1\", port PORT failed: FATAL:  pg_hba.conf \
         rejects replication connection for host \"127.0.0.1\", user \"outsider\", no encryption\n\
         pg_basebackup: hint: Add a line for the database \"replication\", this user and this address to \
         pg_hba.conf on the server, and reload its configuration. If there is one of type hostssl, connect with \
         sslmode=require.\n",
    );
    refused(
        &["-D", "DIR/out", "-U", "unnamed"],
        "",
        "pg_basebackup: error: connection to server at \"127.0.0.1\", port PORT failed: FATAL:  no pg_hba.conf \
         entry for replication connection from host \"127.0.0.1\", user \"unnamed\", no encryption\n\
         pg_basebackup: hint: Add a line for the database \"replication\", this user and this address to \
         pg_hba.conf on the server, and reload its configuration. If there is one of type hostssl, connect with \
         sslmode=require.\n",
    );
    refused(
        &["-D", "DIR/out", "-U", "plain"],
        "",
        "pg_basebackup: error: connection to server at \"127.0.0.1\", port PORT failed: FATAL:  must be \
         superuser or replication role to start walsender\n\
         pg_basebackup: hint: Give the role the REPLICATION attribute: ALTER ROLE … REPLICATION.\n",
    );
}

#[test]
fn bb_066_cn_298_nobody_listens() {
    let cluster = cluster();
    // A port that is held and not listened on is refused.
    let held = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    assert_refused(
        &Attempt::new(&cluster, &["-D", "DIR/out", "-p", &held]),
        &format!(
            "pg_basebackup: error: connection to server at \"127.0.0.1\", port {held} failed: Connection refused\n\
             \tIs the server running on that host and accepting TCP/IP connections?\n"
        ),
    );
    assert_refused(
        &Attempt::new(&cluster, &["-D", "DIR/out", "-h", "DIR"]),
        "pg_basebackup: error: connection to server on socket \"DIR/.s.PGSQL.PORT\" failed: No such file or \
         directory\n\
         \tIs the server running locally and accepting connections on that socket?\n",
    );
}

#[test]
fn bb_179_too_few_wal_senders_for_the_second_connection() {
    let cluster = Cluster::builder(MAJOR).setting("max_wal_senders", "1").start();
    let refused = |prepare: fn(&std::path::Path), last_line: &str| {
        // The connection of the program before counts until the server has noticed its end.
        let attempt = Attempt::new(&cluster, &["-D", "DIR/out", "-U", "postgres"]).prepare(|directory| {
            wait_until_nothing_replicates(&cluster);
            prepare(directory);
        });
        assert_refused(
            &attempt,
            &format!(
                "pg_basebackup: error: connection to server at \"127.0.0.1\", port PORT failed: FATAL:  number \
                 of requested standby connections exceeds max_wal_senders (currently 1)\n\
                 pg_basebackup: hint: Raise max_wal_senders on the server, or end other replication \
                 connections: a base backup takes one, with -X stream two, and a WAL receiver one.\n\
                 pg_basebackup: {last_line}\n"
            ),
        );
    };
    refused(|_| {}, "removing data directory \"DIR/out\"");
    refused(
        |directory| fs::create_dir(directory.join("out")).unwrap(),
        "removing contents of data directory \"DIR/out\"",
    );
}

/// A server as it is for nobody but its own clients.
#[test]
fn bb_066_a_server_without_replication() {
    let settings = [("max_wal_senders", "0"), ("wal_level", "minimal")];
    let builder =
        settings.iter().fold(Cluster::builder(MAJOR), |builder, (name, value)| builder.setting(name, value));
    let cluster = builder.start();
    let attempt = Attempt::new(&cluster, &["-D", "DIR/out", "-U", "postgres"]);
    assert_refused(
        &attempt,
        "pg_basebackup: error: connection to server at \"127.0.0.1\", port PORT failed: FATAL:  number of requested \
         standby connections exceeds max_wal_senders (currently 0)\n\
         pg_basebackup: hint: Raise max_wal_senders on the server, or end other replication connections: a base \
         backup takes one, with -X stream two, and a WAL receiver one.\n",
    );
}

/// Servers do not count replication connections against this limit; both programs succeed.
#[test]
fn bb_178_a_connection_limit_of_one_is_no_obstacle() {
    let cluster = cluster();
    let attempt = Attempt::new(&cluster, &["-D", "DIR/out", "-U", "limited", "-X", "stream"]);
    for program in [Personality::named("pg_basebackup").path(), &client_program("pg_basebackup")] {
        let attempted = attempt.with(program);
        assert_eq!((attempted.outcome.code(), attempted.stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn bb_238_bb_239_bb_240_a_directory_that_cannot_be_had() {
    let cluster = cluster();
    let fill = |directory: &std::path::Path| {
        fs::create_dir(directory.join("out")).unwrap();
        fs::write(directory.join("out/.hidden"), "precious").unwrap();
        fs::write(directory.join("file"), "precious").unwrap();
    };
    let refused = |arguments: &[&str], expected: &str| {
        let attempt = Attempt::new(&cluster, arguments).prepare(fill);
        assert_refused(&attempt, &format!("pg_basebackup: error: {expected}\n"));
    };
    refused(&["-U", "postgres", "-D", "DIR/out"], "directory \"DIR/out\" exists but is not empty");
    refused(&["-U", "postgres", "-D", "DIR/out", "-n"], "directory \"DIR/out\" exists but is not empty");
    refused(&["-U", "postgres", "-D", "DIR/out", "-Ft"], "directory \"DIR/out\" exists but is not empty");
    refused(
        &["-U", "postgres", "-D", "DIR/file"],
        "could not access directory \"DIR/file\": Not a directory",
    );
    refused(
        &["-U", "postgres", "-D", "DIR/file/a/b"],
        "could not access directory \"DIR/file/a/b\": Not a directory",
    );
}

#[test]
fn bb_236_a_parent_that_may_not_be_written() {
    let cluster = cluster();
    let refused = |directory: &str, expected: &str| {
        let attempt = Attempt::new(&cluster, &["-U", "postgres", "-D", directory]).by_server_account();
        assert_refused(&attempt, expected);
    };
    let denied = "pg_basebackup: error: could not create directory \"DIR/a\": Permission denied\n";
    refused("DIR/a", denied);
    refused("DIR/a/b", denied);
    // An empty directory that nothing can be put into.
    refused(
        "DIR",
        "pg_basebackup: error: could not create directory \"DIR/pg_wal\": Permission denied\n\
         pg_basebackup: removing contents of data directory \"DIR\"\n",
    );
}

#[test]
fn bb_240_bb_243_a_wal_directory_that_cannot_be_had() {
    let cluster = cluster();
    let fill = |directory: &std::path::Path| {
        fs::create_dir(directory.join("wal")).unwrap();
        fs::write(directory.join("wal/precious"), "").unwrap();
    };
    let attempt = |arguments: &[&str]| Attempt::new(&cluster, arguments).prepare(fill);
    assert_refused(
        &attempt(&["-U", "postgres", "-D", "DIR/out", "--waldir", "DIR/wal"]),
        "pg_basebackup: error: directory \"DIR/wal\" exists but is not empty\n\
         pg_basebackup: removing data directory \"DIR/out\"\n",
    );
    assert_refused(
        &attempt(&["-U", "postgres", "-D", "DIR/out", "--waldir", "DIR/wal/precious"]),
        "pg_basebackup: error: could not access directory \"DIR/wal/precious\": Not a directory\n\
         pg_basebackup: removing data directory \"DIR/out\"\n",
    );
}

#[test]
fn bb_135_bb_136_bb_245_tablespaces_that_have_no_place() {
    let cluster = cluster();
    let first = cluster.make_directory("first").display().to_string();
    cluster.psql(&format!("CREATE TABLESPACE first LOCATION '{first}'"));
    let fill = |directory: &std::path::Path| {
        fs::create_dir(directory.join("full")).unwrap();
        fs::write(directory.join("full/precious"), "").unwrap();
    };
    let base = ["-U", "postgres", "-D", "DIR/out"];
    let attempt = |arguments: &[&str]| Attempt::new(&cluster, &[&base, arguments].concat()).prepare(fill);
    // Without a mapping a tablespace goes where it is on the server, and here that is the server itself.
    assert_refused(
        &attempt(&[]),
        &format!(
            "pg_basebackup: error: directory \"{first}\" exists but is not empty\n\
             pg_basebackup: removing data directory \"DIR/out\"\n"
        ),
    );
    assert_refused(
        &attempt(&["-T", &format!("{first}=DIR/full")]),
        "pg_basebackup: error: directory \"DIR/full\" exists but is not empty\n\
         pg_basebackup: removing data directory \"DIR/out\"\n",
    );
    // One that was made stays, whatever fails later.
    cluster.psql("SELECT pg_create_physical_replication_slot('taken')");
    let expected = |options: &str| {
        format!(
            "pg_basebackup: error: could not send replication command \"CREATE_REPLICATION_SLOT \"taken\" \
             PHYSICAL ({options})\": ERROR:  replication slot \"taken\" already exists\n\
             pg_basebackup: removing data directory \"DIR/out\"\n\
             pg_basebackup: changes to tablespace directories will not be undone\n"
        )
    };
    assert_refused_otherwise(
        &attempt(&["-C", "-S", "taken", "-T", &format!("{first}=DIR/new")]),
        &expected("RESERVE_WAL"),
        &expected(" RESERVE_WAL"),
        &["new"],
    );
}

/// The original has a blank before the options of a slot.
#[test]
fn bb_118_bb_185_slots_that_are_not_there_or_are_there_already() {
    let cluster = cluster();
    cluster.psql("SELECT pg_create_physical_replication_slot('taken')");
    let refused = |arguments: &[&str], expected: &str, original: &str| {
        let base = ["-U", "postgres", "-D", "DIR/out"];
        let attempt = Attempt::new(&cluster, &[&base, arguments].concat());
        assert_refused_otherwise(&attempt, expected, original, &[]);
    };
    let missing = "pg_basebackup: error: could not send replication command \"START_REPLICATION\": ERROR:  \
                   replication slot \"missing\" does not exist\n\
                   pg_basebackup: error: background process terminated unexpectedly\n\
                   pg_basebackup: removing data directory \"DIR/out\"\n";
    refused(&["-S", "missing"], missing, missing);
    let taken = |options: &str| {
        format!(
            "pg_basebackup: error: could not send replication command \"CREATE_REPLICATION_SLOT \"taken\" \
             PHYSICAL ({options})\": ERROR:  replication slot \"taken\" already exists\n\
             pg_basebackup: removing data directory \"DIR/out\"\n"
        )
    };
    refused(&["-C", "-S", "taken"], &taken("RESERVE_WAL"), &taken(" RESERVE_WAL"));
    assert_eq!(cluster.psql("SELECT string_agg(slot_name, ' ') FROM pg_replication_slots"), "taken");
}

#[test]
fn bb_092_bb_208_the_server_refuses_the_backup() {
    let cluster = cluster();
    let refused = |arguments: &[&str], message: &str, clean_up: &str| {
        let attempt = Attempt::new(&cluster, &[&["-U", "postgres"], arguments].concat());
        let expected =
            format!("pg_basebackup: error: could not initiate base backup: ERROR:  {message}\n{clean_up}\n");
        let left: &[&str] = if arguments.contains(&"DIR/a/b/out") { &["a", "a/b"] } else { &[] };
        assert_refused_otherwise(&attempt, &expected, &expected, left);
    };
    let removing = "pg_basebackup: removing data directory \"DIR/out\"";
    refused(
        &["-D", "DIR/out", "--manifest-checksums=bogus"],
        "unrecognized checksum algorithm: \"bogus\"",
        removing,
    );
    refused(&["-D", "DIR/out", "-l", &"x".repeat(1025)], "backup label too long (max 1024 bytes)", removing);
    // Parents that were made for the directory stay (BB-241).
    refused(
        &["-D", "DIR/a/b/out", "--manifest-checksums=bogus"],
        "unrecognized checksum algorithm: \"bogus\"",
        "pg_basebackup: removing data directory \"DIR/a/b/out\"",
    );
}

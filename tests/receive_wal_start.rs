//! Where a receiver starts: at the end of what it has, where its slot begins, or where the server is.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/looping.rs"]
mod looping;
mod support;
#[path = "support/wal_run.rs"]
mod wal_run;

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use looping::{FIRST_TIMELINE, Looping, MIB, answer_until, segment_size, start_of};
use pgsiphon::receive::{ReceiveError, RefusedArchive, RunOptions, SlotError};
use pgsiphon::types::{Lsn, SegmentSize, WalFileName};
use support::byte_script::{ByteScriptServer, Step, authentication, fatal, message};
use support::{Cluster, ClusterBuilder, DEADLINE, ErrorText, Peer, Script, ScriptedServer, wait_for};
use tempfile::TempDir;
use wal_run::{Heard, WalRun, again_and_again, assert_same_segments, end_of_wal, once, segments, up_to_now};

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A server with small segments, where they can be, that keeps all of them.
fn builder(major: u16) -> ClusterBuilder {
    let kept = if major < 13 { ("wal_keep_segments", "64") } else { ("wal_keep_size", "1GB") };
    let builder = Cluster::builder(major).setting(kept.0, kept.1).setting("wal_level", "logical");
    if major < 11 { builder } else { builder.initdb_arg("--wal-segsize=1") }
}

fn with_slot(name: &str, mut options: RunOptions) -> RunOptions {
    options.slot = Some(name.to_owned());
    options
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
fn rw_066_rw_084_rw_089_rw_091_rw_092_rw_095_i_009_it_starts_at_its_end_or_with_its_slot_or_at_the_server() {
    let cluster = builder(15).setting("log_connections", "on").start();
    for (name, reserves) in [("reserved", "true"), ("2_early", "true"), ("3_unused", "false")] {
        cluster.psql(&format!("SELECT pg_create_physical_replication_slot('{name}', {reserves})"));
    }
    let reserved: Lsn = cluster
        .psql("SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'reserved'")
        .parse()
        .unwrap();
    fill_segments(&cluster, 3);

    let connections = || cluster.log().matches("replication connection authorized").count();
    let before = connections();
    let current = starting_at(end_of_wal(&cluster));
    let plain = directory();
    assert_eq!(receive(&cluster, once(), plain.path()).about("starting"), current);
    assert_eq!(connections(), before + 1);
    assert_eq!(
        receive(&cluster, with_slot("3_unused", once()), directory().path()).about("starting"),
        current
    );

    let from_slot = directory();
    let heard = receive(&cluster, with_slot("reserved", once()), from_slot.path());
    assert_eq!(heard.about("starting"), starting_at(reserved));
    assert_same_segments(from_slot.path(), &cluster, 3);

    // What is there counts more than the slot.
    fill_segments(&cluster, 1);
    let starting = receive(&cluster, with_slot("2_early", once()), plain.path()).about("starting");
    assert_ne!(starting, starting_at(reserved));
    assert_same_segments(plain.path(), &cluster, 1);
}

#[test]
fn rw_085_to_087_rw_102_slots_that_are_missing_or_of_another_kind() {
    let cluster = builder(15).start();
    cluster.psql("SELECT pg_create_logical_replication_slot('logical', 'pgoutput')");
    let refusal = |slot: &str| {
        let directory = directory();
        let options = with_slot(slot, once());
        WalRun::start(&cluster.conninfo(), &options, directory.path()).finish().unwrap_err().with_causes()
    };
    assert_eq!(refusal("missing"), "replication slot \"missing\" does not exist");
    assert_eq!(
        refusal("logical"),
        "could not send replication command \"READ_REPLICATION_SLOT\": ERROR:  \
         cannot use READ_REPLICATION_SLOT with a logical replication slot"
    );

    let kept = directory();
    let options = with_slot("late", again_and_again());
    let run = WalRun::start(&cluster.conninfo(), &options, kept.path());
    let failed = run.heard().wait_for(3, "failed: ");
    assert_eq!(failed[2], "failed: replication slot \"late\" does not exist");
    cluster.psql("SELECT pg_create_physical_replication_slot('late')");
    run.heard().wait_for(1, "starting");

    // One that is busy is waited for, too.
    wait_for("the slot to be used", DEADLINE, || {
        cluster.psql("SELECT active FROM pg_replication_slots WHERE slot_name = 'late'") == "t"
    });
    let second = directory();
    let next = WalRun::start(&cluster.conninfo(), &options, second.path());
    let failed = next.heard().wait_for(2, "failed: ");
    let busy = "failed: could not send replication command \"START_REPLICATION\": ERROR:  \
                replication slot \"late\" is active for PID ";
    assert!(failed[1].starts_with(busy), "{failed:?}");
    run.stop().unwrap();
    cluster.psql("SELECT pg_switch_wal()");
    let finished = |heard: &Heard| !heard.about("finished").is_empty();
    wait_for("the next one to stream", DEADLINE, || {
        cluster.psql("SELECT pg_logical_emit_message(true, 'p', 'm')");
        cluster.psql("SELECT pg_switch_wal()");
        finished(next.heard())
    });
    next.stop().unwrap();
}

/// The server knows where its slot begins, but only an ordinary session is told.
#[track_caller]
fn starts_with_the_slot_of_an_old_server(major: u16) {
    let cluster = builder(major).start();
    cluster.psql("SELECT pg_create_physical_replication_slot('s', true)");
    let reserved: Lsn = cluster.psql("SELECT restart_lsn FROM pg_replication_slots").parse().unwrap();
    let unused = "SELECT pg_create_physical_replication_slot('unused')";
    cluster.psql(unused);
    fill_segments(&cluster, 2);
    let size = if major < 11 { SegmentSize::new(16 * MIB).unwrap() } else { segment_size() };
    let kept = directory();
    let heard = receive(&cluster, with_slot("s", once()), kept.path());
    assert_eq!(heard.about("starting"), [format!("starting at {} on 1", reserved.segment_start(size))]);
    assert_eq!(heard.about("warning"), [""; 0]);
    assert_same_segments(kept.path(), &cluster, 2);
    assert!(!cluster.log().contains("READ_REPLICATION_SLOT"));

    let current = format!("starting at {} on 1", end_of_wal(&cluster).segment_start(size));
    assert_eq!(
        receive(&cluster, with_slot("unused", once()), directory().path()).about("starting"),
        [current]
    );
    let missing = WalRun::start(&cluster.conninfo(), &with_slot("none", once()), directory().path()).finish();
    assert_eq!(missing.unwrap_err().to_string(), "replication slot \"none\" does not exist");
}

#[test]
fn rw_090_the_slot_of_postgresql_10_is_used_all_the_same() {
    starts_with_the_slot_of_an_old_server(10);
}

#[test]
fn rw_090_the_slot_of_postgresql_14_is_used_all_the_same() {
    starts_with_the_slot_of_an_old_server(14);
}

#[test]
fn rw_090_without_an_ordinary_session_it_starts_at_the_server_with_a_warning() {
    let cluster = builder(14).hba("host all all 127.0.0.1/32 reject\n").start();
    cluster.psql("SELECT pg_create_physical_replication_slot('s', true)");
    fill_segments(&cluster, 2);
    let current = starting_at(end_of_wal(&cluster));
    let heard = receive(&cluster, with_slot("s", once()), directory().path());
    assert_eq!(heard.about("starting"), current);
    let warnings = heard.about("warning");
    let begins =
        "warning: could not find out whether replication slot \"s\" still has the WAL that it reserved: ";
    assert!(warnings.len() == 1 && warnings[0].starts_with(begins), "{warnings:?}");
    assert!(warnings[0].contains("pg_hba.conf rejects connection"), "{warnings:?}");
}

/// A slot that has lost its WAL ends a run, and so does an archive whose next WAL is gone.
#[track_caller]
fn what_is_removed_is_not_skipped(major: u16) -> (ReceiveError, ReceiveError) {
    let cluster = builder(major)
        .setting("max_slot_wal_keep_size", "1MB")
        .setting("wal_keep_size", "0")
        .setting("min_wal_size", "2MB")
        .setting("max_wal_size", "4MB")
        .start();
    let behind = directory();
    receive(&cluster, once(), behind.path());
    cluster.psql("SELECT pg_create_physical_replication_slot('s', true)");
    fill_segments(&cluster, 8);
    cluster.psql("CHECKPOINT");
    let status = "SELECT wal_status FROM pg_replication_slots";
    wait_for("the slot to lose its WAL", DEADLINE, || cluster.psql(status) == "lost");
    let oldest = cluster.psql("SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'");

    let empty = directory();
    let lost = WalRun::start(&cluster.conninfo(), &with_slot("s", again_and_again()), empty.path());
    let lost = lost.finish().unwrap_err();
    assert!(lost.is_gap(), "{lost:?}");
    assert_eq!(segments(empty.path()), [""; 0]);

    let run = WalRun::start(&cluster.conninfo(), &again_and_again(), behind.path());
    let heard = run.heard().clone();
    let gap = run.finish().unwrap_err();
    let asked = heard.about("starting").pop().unwrap();
    let ReceiveError::Gap { from, to: Some(to), timeline, .. } = &gap else { panic!("{gap:?}") };
    assert_eq!(asked, format!("starting at {from} on {timeline}"));
    let kept = WalFileName::new(*timeline, to.segment_number(segment_size()), segment_size());
    assert_eq!(oldest, kept.to_string());
    assert!(heard.about("failed").is_empty());
    (lost, gap)
}

macro_rules! invalidated_slots {
    ($($name:ident: $major:literal,)*) => {$(
        #[test]
        fn $name() {
            let (lost, gap) = what_is_removed_is_not_skipped($major);
            assert!(matches!(lost, ReceiveError::Slot(SlotError::Invalidated(_))), "{lost:?}");
            assert_eq!(lost.to_string(), "replication slot \"s\" was invalidated: the WAL that it reserved is removed");
            let text = gap.with_causes();
            assert!(text.starts_with("WAL is missing in the archive from 0/"), "{text}");
            assert!(text.contains("on timeline 1: the server has removed it: "), "{text}");
            assert!(text.ends_with(" has already been removed"), "{text}");
        }
    )*};
}

invalidated_slots! {
    rw_094_rw_103_rw_104_i_009_a_lost_slot_of_postgresql_13_is_no_start: 13,
    rw_094_rw_103_rw_104_i_009_a_lost_slot_of_postgresql_15_is_no_start: 15,
    rw_094_rw_103_rw_104_i_009_a_lost_slot_of_postgresql_17_is_no_start: 17,
}

#[test]
fn rw_093_a_lost_slot_of_postgresql_18_is_refused_in_the_words_of_the_server() {
    let (lost, _) = what_is_removed_is_not_skipped(18);
    assert!(matches!(lost, ReceiveError::SlotInvalidated(_)), "{lost:?}");
    let text = lost.with_causes();
    assert!(text.contains("ERROR:  can no longer access replication slot \"s\""), "{text}");
    assert!(
        text.contains("DETAIL:  This replication slot has been invalidated due to \"wal_removed\"."),
        "{text}"
    );
}

#[test]
fn rw_056_rw_223_the_first_connection_is_not_tried_again() {
    let cluster = builder(15).hba("host replication barred 127.0.0.1/32 reject\n").start();
    cluster.psql("CREATE ROLE plain LOGIN; CREATE ROLE barred LOGIN REPLICATION");
    let refusal = |user: &str| {
        let conninfo = format!("host=127.0.0.1 port={} user={user} sslmode=disable", cluster.port());
        let run = WalRun::start(&conninfo, &again_and_again(), directory().path());
        let heard = run.heard().clone();
        let error = run.finish().unwrap_err();
        assert!(matches!(error, ReceiveError::Connect(_)), "{error:?}");
        assert_eq!(heard.lines(), [""; 0]);
        error.to_string()
    };
    for (user, expected) in [
        ("plain", "must be superuser or replication role to start walsender"),
        ("barred", "pg_hba.conf rejects replication connection"),
        ("nobody", "role \"nobody\" does not exist"),
    ] {
        let text = refusal(user);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn rw_224_a_server_without_free_senders_is_tried_again_once_it_was_there() {
    let cluster = builder(15).setting("max_wal_senders", "1").start();
    let [first, second] = [directory(), directory()];
    let run = WalRun::start(&cluster.conninfo(), &again_and_again(), first.path());
    run.heard().wait_for(1, "starting");
    let sender = "SELECT pid FROM pg_stat_replication WHERE state = 'streaming'";
    wait_for("the stream", DEADLINE, || !cluster.psql(sender).is_empty());

    let refused = WalRun::start(&cluster.conninfo(), &again_and_again(), second.path()).finish().unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("number of requested standby connections exceeds max_wal_senders"), "{text}");
    run.stop().unwrap();
}

/// Plays the servers' part of a connection, and gives the error that the receiver ends with.
#[track_caller]
fn refusal(options: RunOptions, script: impl FnOnce(&mut Peer) + Send + 'static) -> String {
    refusal_of("15.18", options, script)
}

#[track_caller]
fn refusal_of(
    version: &'static str,
    options: RunOptions,
    script: impl FnOnce(&mut Peer) + Send + 'static,
) -> String {
    let server = ScriptedServer::start_as(version, script);
    let looping = Looping::start(&server.conninfo(), options);
    let kept = looping.kept.clone();
    let error = looping.finish().unwrap_err().with_causes();
    server.finish();
    assert!(kept.files().is_empty());
    error
}

#[test]
fn rw_057_dates_must_be_integers() {
    for (setting, expected) in [
        (Some("off"), "\"integer_datetimes\" compile flag does not match server"),
        (None, "could not determine server setting for \"integer_datetimes\""),
    ] {
        let parameter = setting.map(|value| format!("integer_datetimes\0{value}\0"));
        let mut welcome = authentication(0, b"");
        welcome.extend(message(b'S', b"server_version\x0015.18\0"));
        welcome.extend(parameter.iter().flat_map(|body| message(b'S', body.as_bytes())));
        welcome.extend(message(b'K', &[0, 0, 0, 7, 1, 2, 3, 4]));
        welcome.extend(message(b'Z', b"I"));
        let server = ByteScriptServer::start([Step::Receive, Step::Send(welcome)]);
        let conninfo = format!("host=127.0.0.1 port={} user=u sslmode=disable", server.port());
        assert_eq!(Looping::start(&conninfo, again_and_again()).finish().unwrap_err().to_string(), expected);
    }
}

#[test]
fn rw_062_a_connection_that_is_bound_to_a_database_is_refused() {
    let with_database = |peer: &mut Peer| {
        answer_until(peer, "IDENTIFY_SYSTEM", FIRST_TIMELINE);
        peer.answer(&["7000000000000000001", "1", "0/300010", "app"]);
        peer.expect_end();
    };
    assert_eq!(
        refusal(with_slot("s", again_and_again()), with_database),
        "replication connection using slot \"s\" is unexpectedly database specific"
    );
    assert_eq!(
        refusal(again_and_again(), with_database),
        "replication connection is unexpectedly database specific"
    );
}

#[test]
fn rw_063_servers_before_10_are_refused_and_newer_ones_met_with_a_warning() {
    assert_eq!(
        refusal_of("9.6.24", again_and_again(), Peer::expect_end),
        "incompatible server version 9.6.24; client does not support streaming from server versions older than 10"
    );
    let server = ScriptedServer::start_as("19devel", |peer| {
        answer_until(peer, "START_REPLICATION", FIRST_TIMELINE);
        peer.error("XX000", "enough", "");
        peer.ready();
        peer.expect_end();
    });
    let heard = Heard::default();
    let archive = looping::MemoryArchive(looping::Kept::default());
    let run = WalRun::start_with(&server.conninfo(), &once(), archive, heard.clone());
    run.finish().unwrap_err();
    server.finish();
    let warning = "warning: server version 19devel is newer than any that this program was tested with";
    assert_eq!(heard.about("warning"), [warning]);
}

#[test]
fn rw_067_rw_068_rw_095_segments_have_the_size_that_the_server_says() {
    for (size, start) in [("1MB", 0x1230_0000), ("16MB", 0x1200_0000), ("64MB", 0x1000_0000), ("1GB", 0)] {
        let server = ScriptedServer::start(move |peer| {
            answer_until(peer, "IDENTIFY_SYSTEM", FIRST_TIMELINE);
            peer.answer_nullable(&[Some("7000000000000000001"), Some("1"), Some("5/1234FFF8"), None]);
            peer.expect_command("SHOW wal_segment_size");
            peer.answer(&[size]);
            let asked = start_of(&peer.expect_command("START_REPLICATION"));
            assert_eq!(asked, (5 << 32) + start, "{size}");
            peer.error("XX000", "enough", "");
            peer.ready();
            peer.expect_end();
        });
        let error = Looping::start(&server.conninfo(), once()).finish().unwrap_err().with_causes();
        assert!(error.contains("ERROR:  enough"), "{error}");
        server.finish();
    }
    for (size, expected) in [
        ("3MB", "remote server reported invalid WAL segment size (3145728 bytes)"),
        ("MB", "WAL segment size could not be parsed"),
        ("2GB", "remote server reported invalid WAL segment size (2147483648 bytes)"),
        ("1", "remote server reported invalid WAL segment size (1 bytes)"),
    ] {
        let error = refusal(again_and_again(), move |peer| {
            answer_until(peer, "SHOW wal_segment_size", FIRST_TIMELINE);
            peer.answer(&[size]);
            peer.expect_end();
        });
        assert_eq!(error, expected);
    }
}

#[test]
fn rw_096_malformed_answers_about_a_slot_end_the_attempt() {
    let answers: [(&[Option<&str>], &str); 4] = [
        (
            &[Some("physical"), None],
            "could not read replication slot \"s\": got 1 rows and 2 fields, expected 1 rows and 3 fields",
        ),
        (
            &[Some("physical"), Some("zz"), Some("1")],
            "could not parse restart_lsn \"zz\" for replication slot \"s\"",
        ),
        (
            &[Some("odd"), Some("0/300000"), Some("1")],
            "expected a physical replication slot, got type \"odd\" instead",
        ),
        (
            &[Some("physical"), Some("0/300000"), Some("9")],
            "starting timeline 9 is not present in the server",
        ),
    ];
    for (answer, expected) in answers {
        let error = refusal(with_slot("s", once()), move |peer| {
            answer_until(peer, "READ_REPLICATION_SLOT", FIRST_TIMELINE);
            peer.answer_nullable(answer);
            peer.expect_end();
        });
        assert_eq!(error, expected);
    }
}

#[test]
fn rw_098_rw_102_rw_106_what_the_server_does_not_know_is_told_in_its_words() {
    let detail = "This server's history forked from timeline 1 at 0/2FFFF0.";
    let error = refusal(once(), move |peer| {
        answer_until(peer, "START_REPLICATION", FIRST_TIMELINE);
        peer.error(
            "XX000",
            "requested starting point 0/300000 on timeline 1 is not in this server's history",
            detail,
        );
        peer.ready();
        peer.expect_end();
    });
    assert_eq!(
        error,
        format!(
            "could not send replication command \"START_REPLICATION\": ERROR:  requested starting point 0/300000 on \
             timeline 1 is not in this server's history\nDETAIL:  {detail}"
        )
    );
}

#[test]
fn rw_097_i_007_wal_of_two_clusters_does_not_come_together() {
    let [mine, foreign] = [builder(15), builder(15)].map(|builder| builder.own_system_identifier().start());
    let kept = directory();
    fill_segments(&mine, 1);
    receive(&mine, once(), kept.path());
    let before = wal_run::files(kept.path());
    let run = WalRun::start(&foreign.conninfo(), &again_and_again(), kept.path());
    let error = run.finish().unwrap_err();
    assert!(matches!(error.refused_archive(), Some(RefusedArchive::ForeignSystem { .. })), "{error:?}");
    assert_eq!(wal_run::files(kept.path()), before);
}

/// A server that is one thing on the first connection, and another on the second.
#[track_caller]
fn changes_its_mind(second: &'static [&'static str; 2]) -> String {
    let identify = |peer: &mut Peer, [system_id, size]: [&str; 2]| {
        answer_until(peer, "IDENTIFY_SYSTEM", FIRST_TIMELINE);
        peer.answer_nullable(&[Some(system_id), Some("1"), Some("0/300010"), None]);
        peer.expect_command("SHOW wal_segment_size");
        peer.answer(&[size]);
    };
    let server = ScriptedServer::start_each(vec![
        Box::new(move |peer| {
            identify(peer, ["7000000000000000001", "1MB"]);
            peer.expect_command("START_REPLICATION");
        }),
        Box::new(move |peer| {
            identify(peer, *second);
            peer.expect_end();
        }),
    ]);
    let error = Looping::start(&server.conninfo(), again_and_again()).finish().unwrap_err();
    server.finish();
    error.to_string()
}

#[test]
fn rw_097_rw_067_a_server_that_becomes_another_ends_the_run() {
    assert_eq!(
        changes_its_mind(&["7000000000000000002", "1MB"]),
        "server is of a different database system than before: identifier 7000000000000000002, was \
         7000000000000000001"
    );
    assert_eq!(
        changes_its_mind(&["7000000000000000001", "2MB"]),
        "server has WAL segments of 2097152 bytes, but had some of 1048576 bytes before"
    );
}

#[test]
fn i_009_a_run_goes_on_where_it_began_although_nothing_came() {
    let server = ScriptedServer::start_each(
        ["0/300010", "0/800010"]
            .map(|current| {
                let script: Script = Box::new(move |peer| {
                    answer_until(peer, "IDENTIFY_SYSTEM", FIRST_TIMELINE);
                    peer.answer_nullable(&[Some("7000000000000000001"), Some("1"), Some(current), None]);
                    assert_eq!(start_of(&answer_until(peer, "START_REPLICATION", FIRST_TIMELINE)), 3 * MIB);
                });
                script
            })
            .into(),
    );
    let looping = Looping::start(&server.conninfo(), again_and_again());
    server.finish();
    looping.cancel();
    looping.finish().unwrap_err();
}

#[test]
fn rw_233_a_server_that_never_answers_is_left_for_a_new_connection() {
    let options = RunOptions { receive_timeout: Some(Duration::from_millis(200)), ..again_and_again() };
    let silent_at = |command: &'static str| {
        let script: Script = Box::new(move |peer| {
            answer_until(peer, command, FIRST_TIMELINE);
            peer.expect_end();
        });
        script
    };
    let server = ScriptedServer::start_each(vec![
        // The first one must say what it is.
        silent_at("READ_REPLICATION_SLOT"),
        silent_at("SHOW data_directory_mode"),
        silent_at("IDENTIFY_SYSTEM"),
        silent_at("SHOW wal_segment_size"),
        silent_at("START_REPLICATION"),
        Box::new(|peer| {
            answer_until(peer, "START_REPLICATION", FIRST_TIMELINE);
        }),
    ]);
    let looping = Looping::start(&server.conninfo(), with_slot("s", options));
    let heard = looping.heard.clone();
    server.finish();
    looping.cancel();
    looping.finish().unwrap_err();
    assert_eq!(heard.failures()[..5], ["no message from the server for 0 seconds"; 5]);
}

#[test]
fn rw_233_a_server_that_lets_nobody_in_is_left_for_the_next_host() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let cluster = builder(15).start();
    let ports = format!("{silent_port},{}", cluster.port());
    let conninfo =
        format!("host=127.0.0.1,127.0.0.1 port={ports} user=postgres sslmode=disable gssencmode=disable");
    let kept = directory();
    let options = RunOptions { receive_timeout: Some(Duration::from_secs(2)), ..again_and_again() };
    // There at first, but not when it is asked again.
    let first = WalRun::start(&conninfo, &options, kept.path());
    let (mut refused, _) = silent.accept().unwrap();
    refused.write_all(&fatal("57P03", "the database system is starting up")).unwrap();
    drop(refused);
    first.heard().wait_for(1, "starting");
    let sender = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_replication";
    wait_for("the stream to end", DEADLINE, || cluster.psql(sender) == "1");
    first.heard().wait_for(2, "starting");
    first.stop().unwrap();
}

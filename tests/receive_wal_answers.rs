//! The receiver that reconnects, against servers whose answers to commands make no sense.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/lies.rs"]
mod lies;
#[path = "support/looping.rs"]
mod looping;
mod support;

use lies::{
    Place, Tell, a_lie_ends_a_run_without_loop, all_cost_one_attempt, instead_of, keepalive, log, options,
};
use looping::{Identity, Looping, answer_until};
use pgsiphon::receive::{Reconnect, RunOptions};
use support::{ErrorText, ScriptedServer};

#[test]
fn rw_065_rw_101_commands_answered_with_something_else_end_the_attempt() {
    const IDENTIFY: &str = "IDENTIFY_SYSTEM";
    const START_REPLICATION: &str = "START_REPLICATION";
    all_cost_one_attempt(vec![
        // WAL, a keepalive and the end of a COPY before there is one.
        instead_of(
            IDENTIFY,
            "could not send replication command \"IDENTIFY_SYSTEM\": unexpected message \"d\" from server while \
             waiting for a result",
            |peer, at| peer.send_wal(at, log(at, at + 100)),
        ),
        instead_of(
            START_REPLICATION,
            "could not send replication command \"START_REPLICATION\": unexpected message \"d\" from server while \
             waiting for a result",
            |peer, _| keepalive(peer),
        ),
        instead_of(
            START_REPLICATION,
            "could not send replication command \"START_REPLICATION\": unexpected message \"c\" from server while \
             waiting for a result",
            |peer, _| peer.send(b'c', b""),
        ),
        instead_of(IDENTIFY, "could not send replication command \"IDENTIFY_SYSTEM\": ", |peer, _| {
            peer.copy_both();
        }),
        instead_of(
            START_REPLICATION,
            "could not send replication command \"START_REPLICATION\": ",
            |peer, _| {
                peer.send(b'H', &[0, 0, 0]);
            },
        ),
        instead_of(
            START_REPLICATION,
            "unexpected result set after end-of-timeline: got 0 rows and 0 fields, expected 1 rows and 2 fields",
            |peer, _| {
                peer.complete("START_REPLICATION");
                peer.ready();
            },
        ),
        instead_of(
            START_REPLICATION,
            "server reported unexpected next timeline 1, following timeline 1",
            |peer, _| peer.answer(&["1", "0/300000"]),
        ),
        instead_of(START_REPLICATION, "server stopped streaming timeline 1 at 0/3", |peer, _| {
            peer.answer(&["2", "1/0"]);
        }),
        instead_of(
            IDENTIFY,
            "could not identify system: got 0 rows and 4 fields, expected 1 rows and 3 or more fields",
            |peer, _| {
                peer.rows(4, &[]);
                peer.complete("IDENTIFY_SYSTEM");
                peer.ready();
            },
        ),
        instead_of(
            IDENTIFY,
            "could not identify system: got 1 rows and 2 fields, expected 1 rows and 3 or more fields",
            |peer, _| peer.answer(&["7000000000000000001", "1"]),
        ),
        instead_of(
            IDENTIFY,
            "could not send replication command \"IDENTIFY_SYSTEM\": malformed result row",
            |peer, _| {
                peer.rows(4, &[&[Some("7000000000000000001"), Some("1"), Some("0/300010")]]);
            },
        ),
        instead_of(IDENTIFY, "could not parse timeline \"1\\u{0}\"", |peer, _| {
            peer.answer(&["7000000000000000001", "1\0", "0/300010", ""]);
        }),
        instead_of(IDENTIFY, "could not parse timeline \"4294967296\"", |peer, _| {
            peer.answer(&["7000000000000000001", "4294967296", "0/300010", ""]);
        }),
        instead_of(IDENTIFY, "could not parse system identifier \"-1\"", |peer, _| {
            peer.answer(&["-1", "1", "0/300010", ""]);
        }),
        instead_of(IDENTIFY, "could not parse write-ahead log location \"AAAAAAAA", |peer, _| {
            peer.answer(&["7000000000000000001", "1", &"A".repeat(1 << 20), ""]);
        }),
        instead_of("SHOW wal_segment_size", "WAL segment size could not be parsed", |peer, _| {
            peer.answer(&[""]);
        }),
        instead_of(
            "SHOW wal_segment_size",
            "remote server reported invalid WAL segment size (3145728 bytes)",
            |peer, _| peer.answer(&["3MB"]),
        ),
        instead_of(
            "SHOW wal_segment_size",
            "could not fetch WAL segment size: got 0 rows and 0 fields, expected 1 rows and 1 or more fields",
            |peer, _| {
                peer.complete("SHOW");
                peer.ready();
            },
        ),
        instead_of("SHOW data_directory_mode", "group access flag could not be parsed: 0999", |peer, _| {
            peer.answer(&["0999"]);
        }),
    ]);
}

#[test]
fn rw_096_answers_about_a_slot_that_make_no_sense_end_the_attempt() {
    let lies: [(&str, Tell); 7] = [
        (
            "could not read replication slot \"s\": got 0 rows and 3 fields, expected 1 rows and 3 fields",
            |peer, _| {
                peer.rows(3, &[]);
                peer.complete("READ_REPLICATION_SLOT");
                peer.ready();
            },
        ),
        (
            "could not read replication slot \"s\": got 1 rows and 4 fields, expected 1 rows and 3 fields",
            |peer, _| peer.answer(&["physical", "0/300000", "1", ""]),
        ),
        ("replication slot \"s\" does not exist", |peer, _| peer.answer_nullable(&[None, None, None])),
        ("expected a physical replication slot, got type \"logical\" instead", |peer, _| {
            peer.answer(&["logical", "0/300000", "1"]);
        }),
        ("could not parse restart_lsn \"0\" for replication slot \"s\"", |peer, _| {
            peer.answer(&["physical", "0", "1"]);
        }),
        ("could not parse timeline \"x\"", |peer, _| peer.answer(&["physical", "0/300000", "x"])),
        ("starting timeline 2 is not present in the server", |peer, _| {
            peer.answer(&["physical", "0/300000", "2"]);
        }),
    ];
    for (error, tell) in lies {
        a_lie_ends_a_run_without_loop(Place::Command("READ_REPLICATION_SLOT"), tell, error);
    }
}

#[test]
fn rw_175_a_history_that_is_none_ends_the_attempt() {
    for (name, content, expected) in [
        (
            "00000003.history",
            "1\t0/300000\tx\n",
            "server reported unexpected history file name for timeline 2: 0000",
        ),
        (
            "00000002.history\0",
            "1\t0/300000\tx\n",
            "server reported unexpected history file name for timeline 2: 0",
        ),
        (
            "00000002.history",
            "2\t0/300000\tx\n",
            "invalid history file of timeline 2: its parents must be less",
        ),
        (
            "00000002.history",
            "1\tx\n",
            "syntax error in history file of timeline 2, line 1: expected a write-ahead",
        ),
        ("00000002.history", &"\n".repeat(2 << 20), "history file of timeline 2 is too long (2097152 bytes)"),
    ] {
        let content = content.to_owned();
        let server = ScriptedServer::start(move |peer| {
            answer_until(peer, "TIMELINE_HISTORY", Identity { timeline: "2", history: "" });
            peer.answer(&[name, &content]);
            peer.expect_end();
        });
        let looping =
            Looping::start(&server.conninfo(), RunOptions { reconnect: Reconnect::Never, ..options() });
        let kept = looping.kept.clone();
        let error = looping.finish().unwrap_err().with_causes();
        assert!(error.starts_with(expected), "{error}");
        server.finish();
        assert!(kept.files().is_empty());
    }
}

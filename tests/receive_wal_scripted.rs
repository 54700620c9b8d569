//! The receiver that reconnects, against servers that lie: the attempt ends with an error that says what was wrong and
//! where, nothing of the lie is kept or acknowledged, and with an honest server everything is there in the end.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/looping.rs"]
mod looping;
mod support;

use std::sync::LazyLock;

use looping::{
    FIRST_TIMELINE, Kept, Looping, MIB, START, answer_until, begin_stream, expect_flushed, take_leave,
};
use pgsiphon::receive::{Reconnect, RunOptions};
use pgsiphon::types::Lsn;
use support::log_writer::{LogKind, LogWriter};
use support::{ErrorText, Peer, Script, ScriptedServer};

/// What an honest server sends in the end.
const LENGTH: usize = MIB as usize + 100_000;

/// Where the honest part before a lie ends: in a page, at its end, or at the end of a segment.
const IN_PAGE: u64 = START + 20 * 8192 + 100;
const PAGE_END: u64 = START + 21 * 8192;
const SEGMENT_END: u64 = START + MIB;

fn kind() -> LogKind {
    LogKind::with_segments_of(MIB)
}

/// The log of the honest server.
static LOG: LazyLock<Vec<u8>> = LazyLock::new(|| LogWriter::new(START, kind()).filled(LENGTH));

/// The honest log between two positions.
fn log(from: u64, to: u64) -> &'static [u8] {
    &LOG[(from - START) as usize..(to - START) as usize]
}

/// As a synchronous standby that stops at the end of the honest log.
fn options() -> RunOptions {
    RunOptions {
        slot: Some("s".to_owned()),
        synchronous: true,
        end: Some(Lsn::new(START + LENGTH as u64 - 1)),
        ..RunOptions::default()
    }
}

/// Something that no server says.
struct Lie {
    /// The command that it answers, or where in the stream it comes.
    place: Place,
    tell: fn(&mut Peer, u64),
    /// What the error begins with.
    error: &'static str,
}

#[derive(Clone, Copy)]
enum Place {
    Command(&'static str),
    Stream(u64),
}

/// The end of what was received and cannot be wrong before a lie.
fn honest_end(place: Place) -> u64 {
    match place {
        Place::Command(_) => IN_PAGE,
        Place::Stream(position) => position,
    }
}

/// Sends the honest log from where the client asks up to `end`.
fn stream_up_to(peer: &mut Peer, end: u64, known: u64) {
    let from = begin_stream(peer);
    assert!(from <= known && from + 100_000 > known, "asked from {from:X}, has {known:X}");
    peer.send_wal(from, log(from, end));
    expect_flushed(peer, end, known);
}

/// The lie is told on the second of three connections.
fn a_lie_costs_one_attempt(lie: &Lie) {
    let Lie { place, tell, error: expected } = *lie;
    let end = honest_end(place);
    let kept = Kept::default();
    let witness = kept.clone();
    let scripts: Vec<Script> = vec![
        Box::new(move |peer| stream_up_to(peer, IN_PAGE, START)),
        Box::new(move |peer| {
            match place {
                Place::Command(command) => {
                    answer_until(peer, command, FIRST_TIMELINE);
                }
                Place::Stream(position) => stream_up_to(peer, position, IN_PAGE),
            }
            tell(peer, end);
            for status in peer.remaining_updates() {
                assert!(status.written <= end && status.flushed <= end, "{expected}: {status:?}");
            }
            peer.expect_end();
        }),
        Box::new(move |peer| {
            let from = begin_stream(peer);
            let before = witness.log(1);
            assert!(before.len() as u64 <= end - START, "{expected}");
            assert!(before[..] == LOG[..before.len()], "{expected}");
            peer.send_wal(from, log(from, START + LENGTH as u64));
            take_leave(peer);
        }),
    ];
    let server = ScriptedServer::start_each(scripts);
    let looping = Looping::start_with(&server.conninfo(), options(), kept.clone());
    let heard = looping.heard.clone();
    let outcome = looping.finish();
    let failures = heard.failures();
    assert_eq!(failures.len(), 2, "{expected}: {failures:?} {outcome:?}");
    assert!(failures[0].starts_with("could not receive data from WAL stream: "), "{failures:?}");
    assert!(failures[1].starts_with(expected), "{}\n{expected}", failures[1]);
    assert_eq!(outcome.unwrap().end.value(), Lsn::new(START + LENGTH as u64));
    server.finish();
    assert!(kept.log(1) == *LOG, "{expected}");
    assert_eq!(kept.files().len(), 2);
}

/// The lie is told on the only connection, which then ends the run.
fn a_lie_ends_a_run_without_loop(place: Place, tell: fn(&mut Peer, u64), expected: &str) {
    let server = ScriptedServer::start_each(vec![Box::new(move |peer| {
        match place {
            Place::Command(command) => {
                answer_until(peer, command, FIRST_TIMELINE);
            }
            Place::Stream(position) => stream_up_to(peer, position, START),
        }
        tell(peer, honest_end(place));
        peer.remaining_updates();
        peer.expect_end();
    })]);
    let looping = Looping::start(&server.conninfo(), RunOptions { reconnect: Reconnect::Never, ..options() });
    let kept = looping.kept.clone();
    let error = looping.finish().unwrap_err().with_causes();
    assert!(error.starts_with(expected), "{error}\n{expected}");
    server.finish();
    let kept = kept.log(1);
    assert!(kept[..] == LOG[..kept.len()]);
    assert!(matches!(place, Place::Stream(_)) || kept.is_empty());
}

fn all_cost_one_attempt(lies: Vec<Lie>) {
    for lie in lies {
        a_lie_ends_a_run_without_loop(lie.place, lie.tell, lie.error);
        a_lie_costs_one_attempt(&lie);
    }
}

fn lie(place: Place, error: &'static str, tell: fn(&mut Peer, u64)) -> Lie {
    Lie { place, tell, error }
}

/// A lie after so much of the stream.
fn after(position: u64, error: &'static str, tell: fn(&mut Peer, u64)) -> Lie {
    lie(Place::Stream(position), error, tell)
}

/// A lie in place of the answer to a command.
fn instead_of(command: &'static str, error: &'static str, tell: fn(&mut Peer, u64)) -> Lie {
    lie(Place::Command(command), error, tell)
}

/// The end of a timeline, with a result that says where the log goes on.
fn end_timeline(peer: &mut Peer, columns: usize, rows: &[&[Option<&str>]]) {
    peer.send(b'c', b"");
    peer.expect_copy_done();
    peer.rows(columns, rows);
    peer.complete("START_STREAMING");
    peer.complete("START_REPLICATION");
    peer.ready();
}

fn keepalive(peer: &mut Peer) {
    peer.send(b'd', &[&b"k"[..], &[0; 17]].concat());
}

#[test]
fn rw_109_i_008_wal_of_another_position_is_not_taken() {
    all_cost_one_attempt(vec![
        after(IN_PAGE, "got WAL data offset 0002a064, expected 00028064", |peer, at| {
            peer.send_wal(at + 8192, log(at + 8192, at + 9000));
        }),
        after(IN_PAGE, "got WAL data offset 00028063, expected 00028064", |peer, at| {
            peer.send_wal(at - 1, log(at - 1, at + 9000));
        }),
        after(IN_PAGE, "got WAL data at 0/428064, expected 0/328064", |peer, at| {
            peer.send_wal(at + MIB, log(at, at + 100));
        }),
        after(IN_PAGE, "got WAL data at FFFFFFFF/FFF28064, expected 0/328064", |peer, at| {
            peer.send_wal(at.wrapping_sub(START + MIB), log(at, at + 100));
        }),
        after(SEGMENT_END, "received write-ahead log record for offset 8 with no file open", |peer, at| {
            peer.send_wal(at + 8, log(at + 8, at + 100));
        }),
        after(SEGMENT_END, "got WAL data at 0/300000, expected 0/400000", |peer, _| {
            peer.send_wal(START, log(START, START + 100));
        }),
    ]);
}

/// A log like the honest one, but for the kind.
fn log_of(kind: LogKind) -> Vec<u8> {
    LogWriter::new(START, kind).filled(LENGTH)
}

fn send_from(peer: &mut Peer, at: u64, log: &[u8], length: usize) {
    let offset = (at - START) as usize;
    peer.send_wal(at, &log[offset..offset + length]);
}

/// The honest log with other bits in one byte.
fn send_flipped(peer: &mut Peer, at: u64, flipped: u64) {
    let mut log = LOG.clone();
    log[(flipped - START) as usize] ^= 0x11;
    send_from(peer, at, &log, 60_000);
}

#[test]
fn i_008_wal_of_another_timeline_or_cluster_and_damaged_wal_are_not_taken() {
    all_cost_one_attempt(vec![
        after(PAGE_END, "invalid WAL page at 0/32A000: unexpected timeline 2", |peer, at| {
            send_from(peer, at, &log_of(LogKind { timeline: 2, ..kind() }), 1000);
        }),
        after(SEGMENT_END, "invalid WAL page at 0/400000: unexpected timeline 2", |peer, at| {
            send_from(peer, at, &log_of(LogKind { timeline: 2, ..kind() }), 1000);
        }),
        after(
            SEGMENT_END,
            "invalid WAL page at 0/400000: WAL is from a different database system, whose identifier is 8",
            |peer, at| send_from(peer, at, &log_of(LogKind { system_identifier: 8, ..kind() }), 1000),
        ),
        after(PAGE_END, "invalid WAL page at 0/32A000: unexpected magic number D113", |peer, at| {
            send_from(peer, at, &log_of(LogKind { magic: 0xD113, ..kind() }), 1000);
        }),
        after(PAGE_END, "invalid WAL page at 0/32A000: unexpected page address 0/32B100", |peer, at| {
            send_flipped(peer, at, at + 9);
        }),
        after(IN_PAGE, "invalid WAL page at 0/32A000: unexpected info bits 1", |peer, at| {
            send_flipped(peer, at, PAGE_END + 3);
        }),
        after(IN_PAGE, "invalid WAL record at 0/3", |peer, at| send_flipped(peer, at, at + 30_000)),
        after(PAGE_END, "invalid WAL page at 0/32A000: unexpected magic number 0000", |peer, at| {
            peer.send_wal(at, &[0; 8192]);
        }),
    ]);
}

#[test]
fn rw_110_rw_111_payloads_that_no_stream_has_are_not_taken() {
    all_cost_one_attempt(vec![
        after(IN_PAGE, "streaming header too small: 5", |peer, _| peer.send(b'd', b"w1234")),
        after(IN_PAGE, "streaming header too small: 24", |peer, _| peer.send(b'd', &[b'w'; 24])),
        after(IN_PAGE, "streaming header too small: 17", |peer, _| peer.send(b'd', &[b'k'; 17])),
        after(IN_PAGE, "unrecognized streaming header: \"x\"", |peer, _| peer.send(b'd', b"x")),
        after(IN_PAGE, "unrecognized streaming header: \"\\x00\"", |peer, _| peer.send(b'd', &[0; 40])),
        // What the other side says is not what this side says.
        after(IN_PAGE, "unrecognized streaming header: \"r\"", |peer, _| peer.send(b'd', &[b'r'; 34])),
    ]);
}

#[test]
fn rw_112_messages_out_of_turn_end_the_stream() {
    all_cost_one_attempt(vec![
        after(
            IN_PAGE,
            "could not receive data from WAL stream: unexpected message \"A\" from server while copying",
            |peer, _| peer.send(b'A', b"\0\0\0\x01x\0y\0"),
        ),
        after(
            IN_PAGE,
            "could not receive data from WAL stream: unexpected message \"Z\" from server while copying",
            |peer, _| peer.ready(),
        ),
        after(
            IN_PAGE,
            "could not receive data from WAL stream: unexpected message \"W\" from server while copying",
            |peer, _| peer.copy_both(),
        ),
        after(
            IN_PAGE,
            "could not receive data from WAL stream: unexpected message \"T\" from server while copying",
            |peer, _| peer.row(&["2", "0/300000"]),
        ),
        after(
            IN_PAGE,
            "could not receive data from WAL stream: lost synchronization with server: got message type \"!\", \
             length 4",
            |peer, _| peer.send(b'!', b""),
        ),
        after(
            IN_PAGE,
            "could not receive data from WAL stream: lost synchronization with server: got message type \"d\", \
             length 3",
            |peer, _| peer.send_bytes(b"d\0\0\0\x03"),
        ),
        after(
            IN_PAGE,
            "could not receive data from WAL stream: lost synchronization with server: got message type \"d\", \
             length 4294967295",
            |peer, _| peer.send_bytes(b"d\xff\xff\xff\xffw"),
        ),
        after(
            IN_PAGE,
            "could not receive data from WAL stream: lost synchronization with server: got message type \"d\", \
             length 16777217",
            |peer, _| peer.send_bytes(b"d\x01\0\0\x01w"),
        ),
        after(
            IN_PAGE,
            "could not receive data from WAL stream: lost synchronization with server: got message type \"E\", \
             length 1048577",
            |peer, _| peer.send_bytes(b"E\0\x10\0\x01SERROR"),
        ),
        after(
            IN_PAGE,
            "unexpected termination of replication stream: ERROR:  WAL is out\nDETAIL:  all of it",
            |peer, _| peer.error("XX000", "WAL is out", "all of it"),
        ),
        after(IN_PAGE, "unexpected termination of replication stream: ", |peer, _| {
            peer.send(b'E', b"nothing here ends");
        }),
        after(IN_PAGE, "replication stream was terminated before stop point", |peer, _| {
            peer.complete("COPY 0");
            peer.stream().shutdown(std::net::Shutdown::Write).unwrap();
        }),
    ]);
}

#[test]
fn rw_179_rw_180_what_cannot_follow_the_end_of_a_timeline_is_refused() {
    const UNEXPECTED: &str =
        "unexpected termination of replication stream: unexpected message \"d\" from server";
    all_cost_one_attempt(vec![
        after(IN_PAGE, UNEXPECTED, |peer, at| {
            peer.send(b'c', b"");
            peer.send_wal(at, log(at, at + 100));
        }),
        after(IN_PAGE, UNEXPECTED, |peer, _| {
            peer.send(b'c', b"");
            keepalive(peer);
        }),
        after(
            IN_PAGE,
            "unexpected termination of replication stream: unexpected message \"c\" from server",
            |peer, _| {
                peer.send(b'c', b"");
                peer.send(b'c', b"");
            },
        ),
        after(IN_PAGE, "replication stream was terminated before stop point", |peer, _| {
            peer.send(b'c', b"");
            peer.expect_copy_done();
            peer.complete("COPY 0");
            peer.ready();
        }),
        after(
            IN_PAGE,
            "unexpected result set after end-of-timeline: got 0 rows and 2 fields, expected 1 rows and 2 fields",
            |peer, _| end_timeline(peer, 2, &[]),
        ),
        after(
            IN_PAGE,
            "unexpected result set after end-of-timeline: got 1 rows and 1 fields, expected 1 rows and 2 fields",
            |peer, _| end_timeline(peer, 1, &[&[Some("2")]]),
        ),
        after(IN_PAGE, "could not parse next timeline's starting point \"0/x\"", |peer, _| {
            end_timeline(peer, 2, &[&[Some("2"), Some("0/x")]]);
        }),
        after(IN_PAGE, "could not parse next timeline's starting point \"\"", |peer, _| {
            end_timeline(peer, 2, &[&[Some("2"), None]]);
        }),
        after(IN_PAGE, "could not parse timeline \"0\"", |peer, _| {
            end_timeline(peer, 2, &[&[Some("0"), Some("0/300000")]]);
        }),
        after(IN_PAGE, "server reported unexpected next timeline 1, following timeline 1", |peer, _| {
            end_timeline(peer, 2, &[&[Some("1"), Some("0/300000")]]);
        }),
        after(
            IN_PAGE,
            "server stopped streaming timeline 1 at 0/328064, but reported next timeline 2 to begin at 0/328065",
            |peer, _| end_timeline(peer, 2, &[&[Some("2"), Some("0/328065")]]),
        ),
        after(SEGMENT_END, "server reported unexpected history file name for timeline 2: ../2", |peer, _| {
            end_timeline(peer, 2, &[&[Some("2"), Some("0/300000")]]);
            peer.expect_command("TIMELINE_HISTORY 2");
            peer.answer(&["../2", "1\t0/300000\tpromoted\n"]);
        }),
        after(
            SEGMENT_END,
            "unexpected response to TIMELINE_HISTORY command: got 1 rows and 1 fields, expected 1 rows and 2 fields",
            |peer, _| {
                end_timeline(peer, 2, &[&[Some("2"), Some("0/300000")]]);
                peer.expect_command("TIMELINE_HISTORY 2");
                peer.answer(&["00000002.history"]);
            },
        ),
    ]);
}

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

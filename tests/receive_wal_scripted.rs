//! The receiver that reconnects, against servers whose stream lies: the attempt ends with an error that says what was
//! wrong and where, nothing of the lie is kept or acknowledged, and with an honest server everything is there in the
//! end.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/lies.rs"]
mod lies;
#[path = "support/looping.rs"]
mod looping;
mod support;

use lies::{
    IN_PAGE, LENGTH, LOG, PAGE_END, SEGMENT_END, after, all_cost_one_attempt, end_timeline, keepalive, kind,
    log, options, stream_up_to,
};
use looping::{Looping, MIB, START, begin_stream, take_leave};
use pgsiphon::types::Lsn;
use support::log_writer::{LogKind, LogWriter};
use support::{Peer, Personality, Run, Script, ScriptedServer, scratch_directory};

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
fn rw_235_wal_that_differs_from_what_is_kept_is_not_joined_to_it() {
    let scripts: Vec<Script> = vec![
        Box::new(|peer| stream_up_to(peer, IN_PAGE, START)),
        Box::new(|peer| {
            let from = begin_stream(peer);
            // Sound WAL of the same place, but with another record in it.
            let mut other = LogWriter::new(START, kind());
            while other.position() < from {
                other.record(77);
            }
            let other = other.filled(LENGTH);
            peer.send_wal(from, &other[(from - START) as usize..(IN_PAGE - START) as usize]);
            assert_eq!(peer.remaining_updates(), []);
            peer.expect_end();
        }),
        Box::new(|peer| {
            let from = begin_stream(peer);
            peer.send_wal(from, log(from, START + LENGTH as u64));
            take_leave(peer);
        }),
    ];
    let server = ScriptedServer::start_each(scripts);
    let looping = Looping::start(&server.conninfo(), options());
    let (kept, heard) = (looping.kept.clone(), looping.heard.clone());
    assert_eq!(looping.finish().unwrap().end.value(), Lsn::new(START + LENGTH as u64));
    server.finish();
    let failures = heard.failures();
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures[1].starts_with("WAL that the server sends for 0/32"), "{failures:?}");
    assert!(failures[1].ends_with(" on timeline 1 differs from what was received before"), "{failures:?}");
    assert!(kept.log(1) == *LOG);
}

#[test]
fn i_008_the_program_goes_on_after_lies_and_keeps_what_is_true() {
    let scripts: Vec<Script> = vec![
        Box::new(|peer| {
            stream_up_to(peer, IN_PAGE, START);
            send_flipped(peer, IN_PAGE, IN_PAGE + 30_000);
            peer.remaining_updates();
        }),
        Box::new(|peer| {
            stream_up_to(peer, PAGE_END, IN_PAGE);
            peer.send_wal(PAGE_END + 8192, log(PAGE_END + 8192, PAGE_END + 9000));
            peer.remaining_updates();
        }),
        Box::new(|peer| {
            let from = begin_stream(peer);
            peer.send_wal(from, log(from, START + LENGTH as u64));
            take_leave(peer);
        }),
    ];
    let server = ScriptedServer::start_each(scripts);
    let directory = scratch_directory();
    let last = Lsn::new(START + LENGTH as u64 - 1).to_string();
    let outcome = Run::new(Personality::named("pg_receivewal").path())
        .args(["--synchronous", "-S", "s", "-E", &last, "-d", &server.conninfo(), "-D"])
        .arg(directory.path())
        .run()
        .expect_success();
    server.finish();
    for reason in ["invalid WAL record at 0/3", "got WAL data offset 0002c000, expected 0002a000\n"] {
        assert!(outcome.stderr.contains(&format!("pg_receivewal: error: {reason}")), "{}", outcome.stderr);
    }
    let kept = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
    assert!(kept("000000010000000000000003") == log(START, SEGMENT_END));
    let partial = kept("000000010000000000000004.partial");
    assert!(partial[..LENGTH - MIB as usize] == LOG[MIB as usize..]);
    assert!(partial.len() as u64 == MIB && partial[LENGTH - MIB as usize..].iter().all(|&byte| byte == 0));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

//! What the receiver says to the server: its commands, and the positions that it reports, as the server reads them.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/looping.rs"]
mod looping;
#[path = "support/receiving.rs"]
mod receiving;
mod support;

use std::io::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use looping::{
    FIRST_TIMELINE, Identity, Kept, Looping, MIB, MemoryArchive, START, answer, answer_until, begin_stream,
    expect_flushed, segment_size, start_of, take_leave,
};
use pgsiphon::receive::{ReceiveError, ReceiveOptions, Reconnect, RunOptions};
use pgsiphon::types::Lsn;
use receiving::{Receiving, plain_options};
use support::byte_script::{ByteScriptServer, Step, authentication, message};
use support::log_writer::{LogKind, LogWriter};
use support::{ErrorText, Manner, Peer, Script, ScriptedServer, Status};

const SEGMENT_END: u64 = START + MIB;

static LOG: LazyLock<Vec<u8>> =
    LazyLock::new(|| LogWriter::new(START, LogKind::with_segments_of(MIB)).filled(3 << 20));

fn log(from: u64, to: u64) -> &'static [u8] {
    &LOG[(from - START) as usize..(to - START) as usize]
}

/// A run over one connection up to `end`.
fn options(end: u64) -> RunOptions {
    RunOptions { end: Some(Lsn::new(end - 1)), reconnect: Reconnect::Never, ..RunOptions::default() }
}

fn with_slot(end: u64) -> RunOptions {
    RunOptions { slot: Some("s".to_owned()), ..options(end) }
}

/// Receives the log up to `end` from a server that plays the scripts.
fn receive(options: RunOptions, scripts: Vec<Script>) -> Kept {
    let end = options.end.unwrap() + 1;
    let server = ScriptedServer::start_each(scripts);
    let looping = Looping::start(&server.conninfo(), options);
    let (kept, heard) = (looping.kept.clone(), looping.heard.clone());
    let outcome = looping.finish();
    assert_eq!(outcome.unwrap_or_else(|error| panic!("{error} {:?}", heard.failures())).end.value(), end);
    server.finish();
    kept
}

fn receive_over_one_connection(options: RunOptions, script: impl FnOnce(&mut Peer) + Send + 'static) -> Kept {
    receive(options, vec![Box::new(script)])
}

#[test]
fn rw_099_commands_are_those_of_the_manual() {
    const HISTORY: &str = "1\t0/300000\tpromoted\n";
    for (identity, slot, expected, others) in [
        (FIRST_TIMELINE, None, "START_REPLICATION 0/300000 TIMELINE 1", ""),
        (
            FIRST_TIMELINE,
            Some("a\"b"),
            "START_REPLICATION SLOT \"a\"\"b\" 0/300000 TIMELINE 1",
            "READ_REPLICATION_SLOT \"a\"\"b\"",
        ),
        (
            Identity { timeline: "2", history: HISTORY },
            None,
            "START_REPLICATION 0/300000 TIMELINE 2",
            "TIMELINE_HISTORY 2",
        ),
    ] {
        let slot = slot.map(str::to_owned);
        receive_over_one_connection(RunOptions { slot, ..options(START + 100) }, move |peer| {
            let known = ["IDENTIFY_SYSTEM", "SHOW data_directory_mode", "SHOW wal_segment_size", others];
            let command = loop {
                let command = peer.expect_command("");
                if !known.contains(&&*command) {
                    break command;
                }
                answer(peer, &command, identity);
            };
            assert_eq!(command, expected);
            peer.copy_both();
            peer.send_wal(START, log(START, START + 100));
            take_leave(peer);
        });
    }
}

#[test]
fn rw_100_rw_101_chatter_and_the_form_of_the_copy_do_not_matter() {
    for copy_both in [&b"\0\0\0"[..], b"\x01\0\x02\0\x01\0\x01", b""] {
        let kept = receive_over_one_connection(options(SEGMENT_END + 100), move |peer| {
            peer.manner = Manner::Chatty;
            answer_until(peer, "START_REPLICATION", FIRST_TIMELINE);
            peer.send(b'W', copy_both);
            peer.send(b'd', b"");
            peer.send_wal(START, b"");
            peer.send_wal(START, log(START, START + 100_000));
            peer.ping();
            peer.send_wal(START + 100_000, log(START + 100_000, SEGMENT_END + 100));
            take_leave(peer);
        });
        assert!(kept.log(1)[..] == *log(START, SEGMENT_END + 100));
    }
}

#[test]
fn rw_108_a_stream_byte_by_byte_is_the_same() {
    let kept = receive_over_one_connection(with_slot(SEGMENT_END + 9_000), |peer| {
        peer.manner = Manner::Bytewise;
        begin_stream(peer);
        peer.send_wal(START, log(START, START + 9_000));
        peer.ping();
        peer.manner = Manner::Plain;
        peer.send_wal(START + 9_000, log(START + 9_000, SEGMENT_END - 100));
        peer.manner = Manner::Bytewise;
        peer.send_wal(SEGMENT_END - 100, log(SEGMENT_END - 100, SEGMENT_END + 9_000));
        take_leave(peer);
    });
    assert!(kept.log(1)[..] == *log(START, SEGMENT_END + 9_000));
}

#[test]
fn rw_115_rw_117_rw_118_rw_130_rw_133_without_a_slot_nothing_is_told_of_the_disk() {
    receive_over_one_connection(options(SEGMENT_END + 200), |peer| {
        begin_stream(peer);
        assert_eq!(peer.expect_status(), Status { written: START, flushed: 0 });
        for end in [START + 1000, SEGMENT_END, SEGMENT_END + 100] {
            let from = [START, START + 1000, SEGMENT_END].into_iter().rfind(|from| *from < end).unwrap();
            peer.send_wal(from, log(from, end));
            peer.ping();
            assert_eq!(peer.expect_status(), Status { written: end, flushed: 0 });
        }
        peer.send_wal(SEGMENT_END + 100, log(SEGMENT_END + 100, SEGMENT_END + 200));
        take_leave(peer);
    });
}

#[test]
fn rw_122_rw_131_with_a_slot_whole_segments_and_what_is_asked_for_are_told() {
    receive_over_one_connection(with_slot(SEGMENT_END + 200), |peer| {
        begin_stream(peer);
        assert_eq!(peer.expect_status(), Status { written: START, flushed: START });
        peer.send_wal(START, log(START, START + 1000));
        peer.ping();
        assert_eq!(peer.expect_status(), Status { written: START + 1000, flushed: START + 1000 });
        // Nobody asks: only the end of the segment is told, at once (OP-07).
        peer.send_wal(START + 1000, log(START + 1000, START + 2000));
        peer.send_wal(START + 2000, log(START + 2000, SEGMENT_END + 100));
        expect_flushed_segment(peer, SEGMENT_END + 100);
        peer.send_wal(SEGMENT_END + 100, log(SEGMENT_END + 100, SEGMENT_END + 200));
        take_leave(peer);
    });
}

#[test]
fn rw_120_rw_123_rw_124_rw_132_synchronous_updates_follow_each_flush_also_without_an_interval() {
    for status_interval in [Duration::ZERO, Duration::from_secs(1000)] {
        let synchronous = RunOptions { synchronous: true, status_interval, ..options(SEGMENT_END + 200) };
        receive_over_one_connection(synchronous, move |peer| {
            begin_stream(peer);
            if status_interval > Duration::ZERO {
                assert_eq!(peer.expect_status(), Status { written: START, flushed: START });
            }
            let ends = [START + 1000, START + 2000, SEGMENT_END, SEGMENT_END + 100];
            let mut from = START;
            for end in ends {
                peer.send_wal(from, log(from, end));
                assert_eq!(peer.expect_status(), Status { written: end, flushed: end });
                from = end;
            }
            peer.send_wal(from, log(from, SEGMENT_END + 200));
            take_leave(peer);
        });
    }
}

#[test]
fn rw_136_without_syncing_only_whole_segments_are_told() {
    for synchronous in [false, true] {
        let options = RunOptions {
            durable: false,
            synchronous,
            reconnect: Reconnect::Always { even_first: false, give_up_after: None },
            ..with_slot(SEGMENT_END + 100_000)
        };
        let first: Script = Box::new(|peer| {
            begin_stream(peer);
            assert_eq!(peer.expect_status(), Status { written: START, flushed: START });
            peer.send_wal(START, log(START, START + 1000));
            peer.ping();
            assert_eq!(peer.expect_status(), Status { written: START + 1000, flushed: START });
            peer.send_wal(START + 1000, log(START + 1000, SEGMENT_END + 50_000));
            expect_flushed_segment(peer, SEGMENT_END + 50_000);
        });
        let second: Script = Box::new(|peer| {
            // It goes on in the middle of a segment, and says so of its start only.
            let from = begin_stream(peer);
            assert!(from > SEGMENT_END);
            expect_flushed_segment(peer, SEGMENT_END + 50_000);
            peer.send_wal(from, log(from, SEGMENT_END + 100_000));
            take_leave(peer);
        });
        receive(options, vec![first, second]);
    }
}

#[track_caller]
fn expect_flushed_segment(peer: &mut Peer, sent: u64) {
    let Status { written, flushed } = peer.expect_status();
    assert!(flushed == SEGMENT_END && (SEGMENT_END..=sent).contains(&written), "{written:X} {flushed:X}");
}

#[test]
fn rw_134_rw_235_a_new_connection_takes_nothing_back() {
    let known = START + 150_000;
    let options = RunOptions {
        synchronous: true,
        reconnect: Reconnect::Always { even_first: false, give_up_after: None },
        ..with_slot(SEGMENT_END)
    };
    let first: Script = Box::new(move |peer| {
        begin_stream(peer);
        peer.send_wal(START, log(START, known));
        expect_flushed(peer, known, START);
    });
    let second: Script = Box::new(move |peer| {
        let from = begin_stream(peer);
        // The archive ends with a record, which is before what was told: that is not taken back, nor said again
        // before it is true again.
        peer.ping();
        let Status { written, flushed } = peer.expect_status();
        assert!(written < known && flushed == 0, "{written:X} {flushed:X}");
        peer.send_wal(from, log(from, known - 1));
        peer.ping();
        assert_eq!(peer.expect_status(), Status { written: known - 1, flushed: 0 });
        peer.send_wal(known - 1, log(known - 1, known));
        assert_eq!(peer.expect_status(), Status { written: known, flushed: known });
        peer.send_wal(known, log(known, SEGMENT_END));
        take_leave(peer);
    });
    assert!(receive(options, vec![first, second]).log(1)[..] == *log(START, SEGMENT_END));
}

#[test]
fn rw_127_rw_128_updates_end_with_the_stream_and_begin_with_the_next_timeline() {
    let mut writer = LogWriter::new(START, LogKind::with_segments_of(MIB));
    for body in [100, 9000, 50] {
        writer.record(body);
    }
    let switch = writer.position();
    writer.kind.timeline = 2;
    for body in [20_000, 7] {
        writer.record(body);
    }
    let end = writer.position();
    let (bytes, switch_text) = (writer.bytes().to_vec(), Lsn::new(switch).to_string());
    let sent = bytes.clone();
    let kept = receive_over_one_connection(with_slot(end), move |peer| {
        begin_stream(peer);
        assert_eq!(peer.expect_status(), Status { written: START, flushed: START });
        peer.send_wal(START, &sent[..(switch - START) as usize]);
        peer.ping();
        assert_eq!(peer.expect_status(), Status { written: switch, flushed: switch });
        peer.send(b'c', b"");
        assert_eq!(peer.receive(), Some((b'c', Vec::new())));
        peer.row(&["2", &switch_text]);
        peer.complete("START_STREAMING");
        peer.complete("START_REPLICATION");
        peer.ready();
        let identity = Identity { timeline: "2", history: &format!("1\t{switch_text}\tpromoted\n") };
        let command = answer_until(peer, "START_REPLICATION", identity);
        assert_eq!(command, "START_REPLICATION SLOT \"s\" 0/300000 TIMELINE 2");
        peer.copy_both();
        // Nothing of the segment is there under the name of this timeline.
        assert_eq!(peer.expect_status(), Status { written: START, flushed: START });
        peer.send_wal(start_of(&command), &sent);
        peer.expect_copy_done();
        for _ in 0..3 {
            peer.ping();
            peer.send_wal(end, &[0; 100]);
        }
        peer.send(b'c', b"");
        peer.complete("START_REPLICATION");
        peer.ready();
        assert!(!matches!(peer.receive(), Some((b'd', _))), "an update after the end");
        peer.expect_end();
    });
    assert_eq!(kept.log(1), bytes[..(switch - START) as usize]);
    assert_eq!(kept.log(2), bytes);
}

#[test]
fn rw_119_updates_come_each_interval_from_an_idle_stream() {
    let each_millisecond = RunOptions { status_interval: Duration::from_millis(1), ..options(START + 100) };
    receive_over_one_connection(each_millisecond, |peer| {
        begin_stream(peer);
        for _ in 0..5 {
            assert_eq!(peer.expect_status(), Status { written: START, flushed: 0 });
        }
        peer.send_wal(START, log(START, START + 100));
        take_leave(peer);
    });
}

/// Sends messages without a pause until the client has said what is waited for, which must be before they run out.
fn under_load(
    peer: &mut Peer,
    messages: impl Iterator<Item = Vec<u8>> + Send,
    mut enough: impl FnMut(Status) -> bool,
) {
    let (mut stream, heard) = (peer.stream().try_clone().unwrap(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for message in messages {
                if heard.load(Ordering::Relaxed) {
                    return;
                }
                stream.write_all(&message).unwrap();
            }
            panic!("everything was sent, and nothing heard");
        });
        while !sender.is_finished() && !enough(peer.expect_status()) {}
        heard.store(true, Ordering::Relaxed);
    });
}

#[test]
fn rw_125_updates_come_in_the_middle_of_a_stream_that_does_not_pause() {
    static LONG: LazyLock<Vec<u8>> =
        LazyLock::new(|| LogWriter::new(START, LogKind::with_segments_of(MIB)).filled(48 << 20));
    let endless = RunOptions { end: None, ..options(SEGMENT_END) };
    let each_millisecond = RunOptions { status_interval: Duration::from_millis(1), ..endless.clone() };
    let synchronous = RunOptions { synchronous: true, ..endless };
    for options in [each_millisecond, synchronous] {
        let flushes = options.synchronous;
        let server = ScriptedServer::start(move |peer| {
            begin_stream(peer);
            let messages = LONG.chunks(30_000).enumerate();
            let messages = messages.map(|(i, wal)| Peer::wal_message(START + i as u64 * 30_000, wal));
            let mut seen = 0;
            under_load(peer, messages, |status| {
                let news = if flushes { status.flushed } else { status.written };
                seen += usize::from(news > START);
                seen == 3
            });
        });
        let looping = Looping::start(&server.conninfo(), options);
        server.finish();
        assert!(matches!(looping.finish(), Err(ReceiveError::Client(_))));
    }
}

#[test]
fn a_flood_that_says_nothing_keeps_neither_updates_nor_the_end_waiting() {
    let floods = [
        message(b'd', b""),
        message(b'd', &[&b"k"[..], &[0; 17]].concat()),
        message(b'N', b"SNOTICE\0Mand on\0\0"),
        message(b'S', b"application_name\0x\0"),
        message(b'd', &[&b"w\0\0\0\0\0\x30\0\0"[..], &[0; 16]].concat()),
    ];
    for flood in floods {
        let each_millisecond =
            RunOptions { status_interval: Duration::from_millis(1), end: None, ..options(SEGMENT_END) };
        let (tell, told) = std::sync::mpsc::channel();
        let server = ScriptedServer::start(move |peer| {
            begin_stream(peer);
            let flood = flood.repeat(100);
            let mut seen = 0;
            under_load(peer, std::iter::repeat(flood.clone()), |_| {
                seen += 1;
                seen == 3
            });
            let mut stream = peer.stream().try_clone().unwrap();
            let sender = std::thread::spawn(move || while stream.write_all(&flood).is_ok() {});
            tell.send(()).unwrap();
            peer.expect_copy_done();
            peer.stream().shutdown(std::net::Shutdown::Both).unwrap();
            sender.join().unwrap();
        });
        let looping = Looping::start(&server.conninfo(), each_millisecond);
        told.recv().unwrap();
        looping.cancel();
        assert_eq!(looping.finish().unwrap().end.value(), Lsn::new(START));
        server.finish();
    }
}

#[test]
fn rw_102_rw_103_rw_104_rw_106_refusals_are_told_in_the_words_of_the_server() {
    let refusals: [(bool, &str, &str, &str); 5] = [
        (false, "55006", "replication slot \"s\" is active for PID 7", ""),
        (false, "42704", "replication slot \"s\" does not exist", ""),
        (
            false,
            "22023",
            "requested starting point 0/300000 on timeline 1 is not in this server's history",
            "This server's history forked from timeline 1 at 0/200000.",
        ),
        (
            true,
            "22023",
            "requested starting point 0/300000 is ahead of the WAL flush position of this server 0/200000",
            "",
        ),
        (true, "58P01", "requested WAL segment 000000010000000000000003 has already been removed", ""),
    ];
    for (copies, sqlstate, text, detail) in refusals {
        let server = ScriptedServer::start(move |peer| {
            answer_until(peer, "START_REPLICATION", FIRST_TIMELINE);
            if copies {
                peer.copy_both();
            }
            peer.error(sqlstate, text, detail);
            if !copies {
                peer.ready();
            }
            peer.remaining_updates();
        });
        let looping = Looping::start(&server.conninfo(), with_slot(SEGMENT_END));
        let kept = looping.kept.clone();
        let error = looping.finish().unwrap_err().with_causes();
        assert!(error.contains(text) && error.contains(detail), "{error}");
        server.finish();
        assert!(kept.files().is_empty());
    }
}

#[test]
fn rw_126_an_update_that_cannot_be_sent_ends_the_attempt() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join(".s.PGSQL.5432");
    let parameter = |text: &[u8]| message(b'S', text);
    let ready = message(b'Z', b"I");
    let welcome = [
        authentication(0, b""),
        parameter(b"server_version\x0015.18\0"),
        parameter(b"integer_datetimes\0on\0"),
        ready.clone(),
    ];
    let mut identity =
        message(b'T', &[&[0, 3][..], &[b"c\0".as_slice(), &[0; 18]].concat().repeat(3)].concat());
    let mut row = vec![0, 3];
    for value in ["7000000000000000001", "1", "0/300010"] {
        row.extend_from_slice(&(value.len() as u32).to_be_bytes());
        row.extend_from_slice(value.as_bytes());
    }
    identity.extend(message(b'D', &row));
    identity.extend(message(b'C', b"IDENTIFY_SYSTEM\0"));
    identity.extend(ready);
    let _server = ByteScriptServer::start_on_path(
        &socket,
        vec![
            Step::Receive,
            Step::Send(welcome.concat()),
            Step::Receive,
            Step::Send(identity),
            Step::Receive,
            Step::StopReading,
            Step::Send(message(b'W', &[0, 0, 0])),
        ],
    );
    let conninfo = format!("host={} user=u", directory.path().display());
    // The first update is due at once.
    let hourly = Some(Duration::from_hours(1));
    let options =
        ReceiveOptions { status_interval: hourly, ..plain_options(Lsn::new(START), segment_size()) };
    let receiving = Receiving::start(&conninfo, options, MemoryArchive(Kept::default()));
    let error = receiving.finish().unwrap_err();
    assert!(error.with_causes().starts_with("could not send feedback packet: "), "{}", error.with_causes());
    assert!(error.may_pass());
}

#[test]
fn rw_116_rw_233_a_silent_server_is_asked_for_an_answer_and_left() {
    let server = ScriptedServer::start(|peer| {
        begin_stream(peer);
        let first = Status { written: START, flushed: 0 };
        assert_eq!(peer.expect_update(), (first, false));
        assert_eq!(peer.expect_update(), (first, true));
        assert_eq!(peer.remaining_updates(), []);
    });
    let impatient = RunOptions { receive_timeout: Some(Duration::from_millis(200)), ..options(SEGMENT_END) };
    let error = Looping::start(&server.conninfo(), impatient).finish().unwrap_err();
    assert!(matches!(error, ReceiveError::Silent(_)), "{error}");
    assert!(error.may_pass());
    server.finish();
}

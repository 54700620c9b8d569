//! The WAL receiver against servers that no PostgreSQL would be, and a disk that stalls.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/receiving.rs"]
mod receiving;
#[path = "support/stalling.rs"]
mod stalling;
mod support;

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::sync::mpsc;

use pgsiphon::receive::{DirectoryArchive, ReceiveError, ReceiveOptions};
use pgsiphon::storage::{Access, Directory, SyncPolicy};
use pgsiphon::types::{Lsn, SegmentSize, SystemId, TimelineId};
use receiving::{Receiving, plain_options};
use stalling::{Gate, Stall, Stalling};
use support::log_writer::{LogKind, LogWriter};
use support::{DEADLINE, ErrorText, Peer, ScriptedServer, Status, wait_for};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const START: u64 = 3 * MIB;

fn segment_size() -> SegmentSize {
    SegmentSize::new(MIB).unwrap()
}

fn options() -> ReceiveOptions {
    plain_options(Lsn::new(START), segment_size())
}

fn archive(root: &Path) -> DirectoryArchive {
    let root = Directory::open(root).unwrap();
    DirectoryArchive::create(&root, segment_size(), false, Access::Owner, SyncPolicy::Durable).unwrap()
}

fn segment(root: &Path, name: &str) -> Vec<u8> {
    std::fs::read(root.join("pg_wal").join(name)).unwrap()
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The log from the start on.
fn wal(length: usize) -> Vec<u8> {
    LogWriter::new(START, LogKind::with_segments_of(MIB)).filled(length)
}

/// Answers everything up to `START_REPLICATION`.
fn until_start(peer: &mut Peer) -> String {
    identify(peer, "1");
    let command = peer.expect_command("START_REPLICATION");
    peer.copy_both();
    command
}

fn identify(peer: &mut Peer, timeline: &str) {
    peer.expect_command("IDENTIFY_SYSTEM");
    peer.answer(&["7000000000000000001", timeline, "0/400000", ""]);
}

/// Takes leave as a server does whose timeline goes on.
fn goodbye(peer: &mut Peer) {
    peer.expect_copy_done();
    peer.send(b'c', b"");
    peer.complete("COPY 0");
    peer.ready();
}

#[test]
fn rw_108_any_cut_of_the_stream_gives_the_same_segments() {
    let sent = wal(2 * MIB as usize + 1000);
    for lengths in [&[1, 7, 8192, 131_072, 131_071][..], &[3 << 20], &[25, 26, 27]] {
        let directory = directory();
        let (script_wal, lengths) = (sent.clone(), lengths.to_vec());
        let server = ScriptedServer::start(move |peer| {
            assert_eq!(until_start(peer), "START_REPLICATION 0/300000 TIMELINE 1");
            let (mut at, mut lengths) = (0, lengths.iter().cycle());
            while at < script_wal.len() {
                let end = script_wal.len().min(at + lengths.next().unwrap());
                peer.send_wal(START + at as u64, &script_wal[at..end]);
                at = end;
            }
            goodbye(peer);
            peer.expect_end();
        });
        let receiving = Receiving::start(&server.conninfo(), options(), archive(directory.path()));
        let end = Lsn::new(START + sent.len() as u64);
        receiving.stop_at(end);
        assert_eq!(receiving.finish().unwrap().end.value(), end);
        server.finish();
        assert!(segment(directory.path(), "000000010000000000000003") == sent[..1 << 20]);
        assert!(segment(directory.path(), "000000010000000000000004") == sent[1 << 20..2 << 20]);
        let last = segment(directory.path(), "000000010000000000000005");
        assert!(last[..1000] == sent[2 << 20..] && last[1000..].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn rw_109_wal_for_another_place_ends_the_stream_and_is_not_written() {
    for (second, message) in [
        (START + 200, "got WAL data offset 000000c8, expected 00000064"),
        (START + 50, "got WAL data offset 00000032, expected 00000064"),
        (START + MIB + 100, "got WAL data at 0/400064, expected 0/300064"),
    ] {
        let directory = directory();
        let server = ScriptedServer::start(move |peer| {
            until_start(peer);
            peer.send_wal(START, &wal(100));
            peer.send_wal(second, &wal(200)[100..]);
            peer.expect_end();
        });
        let receiving = Receiving::start(&server.conninfo(), options(), archive(directory.path()));
        assert_eq!(receiving.finish().unwrap_err().with_causes(), message);
        server.finish();
        let written = segment(directory.path(), "000000010000000000000003");
        assert!(written[..100] == wal(100) && written[100..].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn rw_226_wal_that_no_server_has_written_ends_the_stream_and_is_not_written() {
    let valid = 150_000;
    for (at, message) in [
        (160_008, "invalid WAL page at 0/326000: unexpected page address "),
        (170_000, "incorrect resource manager data checksum in record"),
    ] {
        let directory = directory();
        let mut sent = wal(200_000);
        sent[at / 8192 * 8192 + 9] ^= u8::from(at == 160_008);
        sent[at] ^= u8::from(at != 160_008);
        let server = ScriptedServer::start(move |peer| {
            until_start(peer);
            peer.send_wal(START, &sent[..valid]);
            peer.send_wal(START + valid as u64, &sent[valid..]);
            peer.expect_end();
        });
        let receiving = Receiving::start(&server.conninfo(), options(), archive(directory.path()));
        let error = receiving.finish().unwrap_err();
        assert!(matches!(error, ReceiveError::Wal(_)), "{error}");
        assert!(error.with_causes().contains(message), "{}", error.with_causes());
        server.finish();
        let written = segment(directory.path(), "000000010000000000000003");
        assert!(written[..valid] == wal(valid) && written[valid..].iter().all(|&byte| byte == 0));
    }
}

#[test]
fn rw_121_rw_135_a_stalled_disk_keeps_no_ping_waiting_and_nothing_is_claimed() {
    let directory = directory();
    let gate = Gate::default();
    let opener = gate.clone();
    let (tell, told) = mpsc::channel();
    let server = ScriptedServer::start(move |peer| {
        until_start(peer);
        peer.send_wal(START, &wal(1000));
        for _ in 0..3 {
            peer.ping();
            assert_eq!(peer.expect_status(), Status { written: START, flushed: START });
        }
        opener.open();
        // The last request made the disk sync, and what became durable is told without another one.
        assert_eq!(peer.expect_status(), Status { written: START + 1000, flushed: START + 1000 });
        tell.send(()).unwrap();
        goodbye(peer);
        peer.expect_end();
    });
    let stalling = Stalling { archive: archive(directory.path()), stall: Stall::Writes(gate) };
    let with_slot = ReceiveOptions { slot: Some("s".to_owned()), ..options() };
    let receiving = Receiving::start(&server.conninfo(), with_slot, stalling);
    told.recv_timeout(DEADLINE).unwrap();
    receiving.stop_at(Lsn::ZERO);
    assert_eq!(receiving.finish().unwrap().end.value(), Lsn::new(START + 1000));
    server.finish();
}

#[test]
fn i_17_a_stalled_disk_stops_the_reading_before_memory_grows() {
    const SENT_AT_MOST: u64 = 64 * MIB;
    let directory = directory();
    let gate = Gate::default();
    let opener = gate.clone();
    let server = ScriptedServer::start(move |peer| {
        until_start(peer);
        let stream = peer.stream();
        stream.set_nonblocking(true).unwrap();
        let log = wal(SENT_AT_MOST as usize);
        let (mut sent, mut heard, mut pending) = (0, 0, Vec::new());
        // The client tells that it lives while it does not read: three updates, and not a byte got through.
        while heard < 3 * 39 {
            if pending.is_empty() {
                let next = &log[sent as usize..][..131_072];
                pending = Peer::wal_message(START + sent, next);
                sent += 131_072;
                assert!(sent < SENT_AT_MOST, "the client reads on and on");
            }
            match stream.write(&pending) {
                Ok(written) => {
                    pending.drain(..written);
                    heard = 0;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            heard += stream.read(&mut [0; 39]).unwrap_or(0);
        }
        stream.set_nonblocking(false).unwrap();
        opener.open();
        stream.write_all(&pending).unwrap();
        goodbye(peer);
        peer.expect_end();
    });
    let stalling = Stalling { archive: archive(directory.path()), stall: Stall::Writes(gate) };
    let receiving = Receiving::start(&server.conninfo(), options(), stalling);
    wait_for("a full segment", DEADLINE, || {
        directory.path().join("pg_wal/archive_status/000000010000000000000003.done").exists()
    });
    receiving.stop_at(Lsn::ZERO);
    assert!(receiving.finish().unwrap().end.value() > Lsn::new(START + MIB));
    server.finish();
}

#[test]
fn bb_187_bb_188_the_first_update_comes_unasked_and_tells_nothing_of_the_disk() {
    let directory = directory();
    let server = ScriptedServer::start(move |peer| {
        until_start(peer);
        assert_eq!(peer.expect_status(), Status { written: START, flushed: 0 });
        peer.send_wal(START, &wal(10));
        peer.ping();
        assert_eq!(peer.expect_status(), Status { written: START + 10, flushed: 0 });
        peer.send_wal(START + 10, &wal(20)[10..]);
        goodbye(peer);
        peer.expect_end();
    });
    let hourly = ReceiveOptions { status_interval: Some(30 * DEADLINE), ..options() };
    let receiving = Receiving::start(&server.conninfo(), hourly, archive(directory.path()));
    receiving.stop_at(Lsn::new(START + 20));
    receiving.finish().unwrap();
    server.finish();
}

#[test]
fn rw_124_a_complete_segment_is_told_at_once() {
    let directory = directory();
    let (tell, told) = mpsc::channel();
    let server = ScriptedServer::start(move |peer| {
        until_start(peer);
        peer.send_wal(START, &wal(1 << 20));
        assert_eq!(peer.expect_status(), Status { written: START + MIB, flushed: START + MIB });
        tell.send(()).unwrap();
        goodbye(peer);
        peer.expect_end();
    });
    let synchronous = ReceiveOptions { synchronous: true, ..options() };
    let receiving = Receiving::start(&server.conninfo(), synchronous, archive(directory.path()));
    told.recv_timeout(DEADLINE).unwrap();
    receiving.stop_at(Lsn::new(START + MIB));
    assert_eq!(receiving.finish().unwrap().end.value(), Lsn::new(START + MIB));
    server.finish();
}

#[test]
fn bb_192_rw_180_a_next_timeline_that_cannot_follow_is_refused() {
    for (next, start, message) in [
        ("1", "0/300000", "server reported unexpected next timeline 1, following timeline 1"),
        (
            "2",
            "0/300065",
            "server stopped streaming timeline 1 at 0/300064, but reported next timeline 2 to begin at 0/300065",
        ),
    ] {
        let directory = directory();
        let server = ScriptedServer::start(move |peer| {
            until_start(peer);
            peer.send_wal(START, &wal(100));
            peer.send(b'c', b"");
            peer.expect_copy_done();
            peer.row(&[next, start]);
            peer.complete("START_STREAMING");
            peer.complete("START_REPLICATION");
            peer.ready();
            peer.expect_end();
        });
        let receiving = Receiving::start(&server.conninfo(), options(), archive(directory.path()));
        assert_eq!(receiving.finish().unwrap_err().with_causes(), message);
        server.finish();
    }
}

#[test]
fn bb_192_a_timeline_that_lacks_records_before_the_next_is_refused() {
    let mut log = LogWriter::new(START, LogKind::with_segments_of(MIB));
    let last = log.record(100);
    let end = log.position();
    // A whole segment, as if the rest of it had been zeroed, and a record more in the next one.
    let mut sent = log.bytes().to_vec();
    sent.resize(MIB as usize + 500, 0);
    for (switch, refusal) in [
        (last, None),
        (end, None),
        (end + 8, Some("write-ahead log has records up to 0/3000A8 only, but is needed up to 0/3000B0")),
        (
            START + MIB + 400,
            Some("write-ahead log has records up to 0/3000A8 only, but is needed up to 0/400190"),
        ),
    ] {
        let directory = directory();
        let (sent, next) = (sent.clone(), Lsn::new(switch).to_string());
        let server = ScriptedServer::start(move |peer| {
            until_start(peer);
            peer.send_wal(START, &sent);
            peer.send(b'c', b"");
            peer.expect_copy_done();
            peer.row(&["2", &next]);
            peer.complete("START_STREAMING");
            peer.complete("START_REPLICATION");
            peer.ready();
            if refusal.is_none() {
                // The next timeline is asked for.
                peer.expect_command("TIMELINE_HISTORY 2");
            }
        });
        let receiving = Receiving::start(&server.conninfo(), options(), archive(directory.path()));
        let error = receiving.finish().unwrap_err();
        assert_eq!(matches!(error, ReceiveError::RecordsMissing { .. }), refusal.is_some(), "{error}");
        assert_eq!(refusal.unwrap_or(&error.with_causes()), error.with_causes());
        server.finish();
    }
}

#[test]
fn bb_192_rw_105_a_timeline_without_anything_to_stream_leads_to_the_next() {
    let directory = directory();
    let server = ScriptedServer::start(move |peer| {
        identify(peer, "2");
        peer.expect_command("START_REPLICATION 0/300000 TIMELINE 1");
        peer.row(&["2", "0/300000"]);
        peer.complete("START_STREAMING");
        peer.complete("START_REPLICATION");
        peer.ready();
        peer.expect_command("TIMELINE_HISTORY 2");
        peer.answer(&["00000002.history", "1\t0/300000\tpromoted\n"]);
        peer.expect_command("START_REPLICATION 0/300000 TIMELINE 2");
        peer.copy_both();
        peer.send_wal(START, &wal(100));
        goodbye(peer);
        peer.expect_end();
    });
    let receiving = Receiving::start(&server.conninfo(), options(), archive(directory.path()));
    receiving.stop_at(Lsn::new(START + 100));
    assert_eq!(receiving.finish().unwrap().timeline.as_u32(), 2);
    server.finish();
    assert_eq!(segment(directory.path(), "000000020000000000000003")[..100], wal(100));
    assert_eq!(segment(directory.path(), "00000002.history"), b"1\t0/300000\tpromoted\n");
}

#[test]
fn rw_175_a_history_file_of_another_name_is_refused() {
    let directory = directory();
    let server = ScriptedServer::start(move |peer| {
        identify(peer, "2");
        peer.expect_command("TIMELINE_HISTORY 2");
        peer.answer(&["../../etc/passwd", "1\t0/300000\tpromoted\n"]);
        peer.expect_end();
    });
    let second = ReceiveOptions { timeline: TimelineId::new(2).unwrap(), ..options() };
    let receiving = Receiving::start(&server.conninfo(), second, archive(directory.path()));
    assert_eq!(
        receiving.finish().unwrap_err().with_causes(),
        "server reported unexpected history file name for timeline 2: ../../etc/passwd"
    );
    server.finish();
}

#[test]
fn bb_182_another_cluster_or_a_timeline_to_come_is_refused_before_any_wal() {
    let foreign = ReceiveOptions { system_id: Some(SystemId::new(1)), ..options() };
    let future = ReceiveOptions { timeline: TimelineId::new(2).unwrap(), ..options() };
    for (options, message) in [
        (foreign, "system identifier does not match between base backup and streaming connection"),
        (future, "starting timeline 2 is not present in the server"),
    ] {
        let directory = directory();
        let server = ScriptedServer::start(|peer| {
            identify(peer, "1");
            peer.expect_end();
        });
        let receiving = Receiving::start(&server.conninfo(), options, archive(directory.path()));
        assert_eq!(receiving.finish().unwrap_err().with_causes(), message);
        server.finish();
    }
}

#[test]
fn rw_188_a_server_that_goes_before_the_stop_position_ends_it() {
    let directory = directory();
    let server = ScriptedServer::start(|peer| {
        until_start(peer);
        peer.send_wal(START, &wal(100));
        peer.complete("COPY 0");
    });
    let receiving = Receiving::start(&server.conninfo(), options(), archive(directory.path()));
    let error = receiving.finish().unwrap_err();
    assert_eq!(error.with_causes(), "replication stream was terminated before stop point");
    server.finish();
    assert_eq!(segment(directory.path(), "000000010000000000000003")[..100], wal(100));
}

#[test]
fn rw_191_what_came_before_the_connection_was_lost_is_kept() {
    let directory = directory();
    let server = ScriptedServer::start(|peer| {
        until_start(peer);
        peer.send_wal(START, &wal(100));
        let whole = Peer::wal_message(START + 100, &wal(200)[100..]);
        peer.stream().write_all(&whole[..whole.len() - 1]).unwrap();
    });
    let receiving = Receiving::start(&server.conninfo(), options(), archive(directory.path()));
    let error = receiving.finish().unwrap_err();
    assert!(error.with_causes().starts_with("could not receive data from WAL stream: "), "{error}");
    assert!(error.is_retryable());
    server.finish();
    assert_eq!(segment(directory.path(), "000000010000000000000003")[..101], [&wal(100)[..], &[0]].concat());
}

#[test]
fn rw_150_a_segment_that_is_in_the_way_ends_it() {
    let directory = directory();
    let archive = archive(directory.path());
    std::fs::write(directory.path().join("pg_wal/000000010000000000000003"), "precious").unwrap();
    let server = ScriptedServer::start(|peer| {
        until_start(peer);
        peer.send_wal(START, &wal(100));
        peer.expect_end();
    });
    let receiving = Receiving::start(&server.conninfo(), options(), archive);
    let error = receiving.finish().unwrap_err();
    assert!(error.with_causes().starts_with("could not create file \""), "{error}");
    server.finish();
    assert_eq!(segment(directory.path(), "000000010000000000000003"), b"precious");
}

#[test]
fn rw_203_a_server_that_does_not_take_leave_costs_nothing_that_was_received() {
    let directory = directory();
    let server = ScriptedServer::start(|peer| {
        until_start(peer);
        peer.send_wal(START, &wal(100));
        peer.expect_end();
    });
    let receiving = Receiving::start(&server.conninfo(), options(), archive(directory.path()));
    receiving.stop_at(Lsn::new(START + 100));
    assert_eq!(receiving.finish().unwrap().end.value(), Lsn::new(START + 100));
    server.finish();
}

#[test]
fn bb_195_cancelling_ends_it_whatever_the_server_does() {
    let directory = directory();
    let server = ScriptedServer::start(|peer| {
        until_start(peer);
        peer.send_wal(START, &wal(100));
        peer.expect_end();
    });
    let receiving = Receiving::start(&server.conninfo(), options(), archive(directory.path()));
    wait_for("the segment", DEADLINE, || directory.path().join("pg_wal/000000010000000000000003").exists());
    assert!(!receiving.has_ended());
    receiving.cancel();
    assert!(matches!(receiving.finish(), Err(ReceiveError::Cancelled)));
    server.finish();
    assert_eq!(segment(directory.path(), "000000010000000000000003")[..100], wal(100));
}

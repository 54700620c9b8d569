//! What comes while a synchronous receiver waits for the next commit, and is none.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "support/looping.rs"]
mod looping;
mod support;

use std::sync::Arc;
use std::time::Duration;

use looping::{
    FIRST_TIMELINE, Identity, Kept, Looping, MIB, MemoryArchive, START, answer_until, begin_stream, start_of,
    take_leave,
};
use pgsiphon::conninfo::Config;
use pgsiphon::receive::{Event, Observer, Reconnect, RunOptions, run};
use pgsiphon::types::Lsn;
use support::byte_script::message;
use support::log_writer::{LogKind, LogWriter};
use support::{Peer, ScriptedServer, Status};
use tokio_util::sync::CancellationToken;

/// A run over one connection that says nothing without a reason.
fn options() -> RunOptions {
    RunOptions {
        synchronous: true,
        status_interval: Duration::from_hours(1),
        receive_timeout: None,
        reconnect: Reconnect::Never,
        ..RunOptions::default()
    }
}

/// Sends the first of the log, and waits until the receiver only waits for more.
fn begin_and_pause(peer: &mut Peer, sent: &[u8]) {
    begin_stream(peer);
    assert_eq!(peer.expect_status(), Status { written: START, flushed: START });
    peer.send_wal(START, sent);
    let end = START + sent.len() as u64;
    assert_eq!(peer.expect_status(), Status { written: end, flushed: end });
    // An observer is told of progress once a second, here of the beginning and of that. When the next second is over,
    // there is nothing that the receiver would wake up for by itself.
    std::thread::sleep(Duration::from_millis(2100));
}

#[test]
fn rw_181_the_end_of_the_timeline_behind_its_last_record_is_answered_at_once() {
    let mut writer = LogWriter::new(START, LogKind::with_segments_of(MIB));
    writer.record(9000);
    let middle = writer.position();
    writer.record(500);
    let switch = writer.position();
    writer.kind.timeline = 2;
    writer.record(20_000);
    let end = writer.position();
    let (sent, fork) = (writer.bytes().to_vec(), Lsn::new(switch).to_string());
    let server = ScriptedServer::start(move |peer| {
        let old = &sent[..(switch - START) as usize];
        let (first, last) = old.split_at((middle - START) as usize);
        begin_and_pause(peer, first);
        peer.send_bytes(&[Peer::wal_message(middle, last), message(b'c', b"")].concat());
        assert_eq!(peer.expect_status(), Status { written: switch, flushed: switch });
        peer.expect_copy_done();
        peer.row(&["2", &fork]);
        peer.complete("START_STREAMING");
        peer.ready();
        let identity = Identity { timeline: "2", history: &format!("1\t{fork}\tpromoted\n") };
        let command = answer_until(peer, "START_REPLICATION", identity);
        peer.copy_both();
        peer.send_wal(start_of(&command), &sent);
        take_leave(peer);
    });
    let looping =
        Looping::start(&server.conninfo(), RunOptions { end: Some(Lsn::new(end - 1)), ..options() });
    server.finish();
    assert_eq!(looping.finish().unwrap().end.value(), Lsn::new(end));
}

/// Cancels the run that it observes when the server says something.
struct CancelsAtNotice(CancellationToken);

impl Observer for CancelsAtNotice {
    fn observe(&self, event: &Event<'_>) {
        if matches!(event, Event::Notice(_)) {
            self.0.cancel();
        }
    }
}

#[test]
fn rw_201_a_run_that_is_cancelled_by_its_own_thread_ends_at_once() {
    let server = ScriptedServer::start(move |peer| {
        answer_until(peer, "START_REPLICATION", FIRST_TIMELINE);
        let notice = message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mby the way\0\0");
        // The thread reads both in its runtime, and leaves that to wait without looking at anything else.
        peer.send_bytes(&[notice, message(b'W', &[0, 0, 0])].concat());
        take_leave(peer);
    });
    let (config, cancel): (Config, _) = (server.conninfo().parse().unwrap(), CancellationToken::new());
    let observer = Arc::new(CancelsAtNotice(cancel.clone()));
    let archive = Box::new(MemoryArchive(Kept::default()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(run(&config, &options(), archive, observer, cancel)).unwrap();
    assert_eq!(report.end.value(), Lsn::new(START));
    server.finish();
}

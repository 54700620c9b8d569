//! Lies in the middle of honest connections, and what a receiver that reconnects has in the end.
//!
//! The tests that need it take this file in by its path, because most need no library. They need `looping` too.

// Every test file compiles this module for itself and uses a part of it.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

use std::sync::LazyLock;
use std::time::Duration;

use pgsiphon::receive::{Reconnect, RunOptions};
use pgsiphon::types::Lsn;

use crate::looping::{
    FIRST_TIMELINE, Kept, Looping, MIB, START, answer_until, begin_stream, expect_flushed, take_leave,
};
use crate::support::log_writer::{LogKind, LogWriter};
use crate::support::{ErrorText, Peer, Script, ScriptedServer};

/// What an honest server sends in the end.
pub const LENGTH: usize = MIB as usize + 100_000;

/// Where the honest part before a lie ends: in a page, at its end, or at the end of a segment.
pub const IN_PAGE: u64 = START + 20 * 8192 + 100;
pub const PAGE_END: u64 = START + 21 * 8192;
pub const SEGMENT_END: u64 = START + MIB;

pub fn kind() -> LogKind {
    LogKind::with_segments_of(MIB)
}

/// The log of the honest server.
pub static LOG: LazyLock<Vec<u8>> = LazyLock::new(|| LogWriter::new(START, kind()).filled(LENGTH));

/// The honest log between two positions.
pub fn log(from: u64, to: u64) -> &'static [u8] {
    &LOG[(from - START) as usize..(to - START) as usize]
}

/// As a synchronous standby that stops at the end of the honest log.
pub fn options() -> RunOptions {
    RunOptions {
        slot: Some("s".to_owned()),
        synchronous: true,
        end: Some(Lsn::new(START + LENGTH as u64 - 1)),
        longest_pause: Duration::from_millis(1),
        ..RunOptions::default()
    }
}

/// Says it, after so much of the log.
pub type Tell = fn(&mut Peer, u64);

/// Something that no server says.
pub struct Lie {
    /// The command that it answers, or where in the stream it comes.
    pub place: Place,
    pub tell: Tell,
    /// What the error begins with.
    pub error: &'static str,
}

#[derive(Clone, Copy)]
pub enum Place {
    Command(&'static str),
    Stream(u64),
}

/// The end of what was received and cannot be wrong before a lie.
pub fn honest_end(place: Place) -> u64 {
    match place {
        Place::Command(_) => IN_PAGE,
        Place::Stream(position) => position,
    }
}

/// Sends the honest log from where the client asks up to `end`.
pub fn stream_up_to(peer: &mut Peer, end: u64, known: u64) {
    let from = begin_stream(peer);
    assert!(from <= known && from + 100_000 > known, "asked from {from:X}, has {known:X}");
    peer.send_wal(from, log(from, end));
    expect_flushed(peer, end, known);
}

/// The lie is told on the second of three connections.
pub fn a_lie_costs_one_attempt(lie: &Lie) {
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
pub fn a_lie_ends_a_run_without_loop(place: Place, tell: Tell, expected: &str) {
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

pub fn all_cost_one_attempt(lies: Vec<Lie>) {
    for lie in lies {
        a_lie_ends_a_run_without_loop(lie.place, lie.tell, lie.error);
        a_lie_costs_one_attempt(&lie);
    }
}

fn lie(place: Place, error: &'static str, tell: Tell) -> Lie {
    Lie { place, tell, error }
}

/// A lie after so much of the stream.
pub fn after(position: u64, error: &'static str, tell: Tell) -> Lie {
    lie(Place::Stream(position), error, tell)
}

/// A lie in place of the answer to a command.
pub fn instead_of(command: &'static str, error: &'static str, tell: Tell) -> Lie {
    lie(Place::Command(command), error, tell)
}

/// The end of a timeline, with a result that says where the log goes on.
pub fn end_timeline(peer: &mut Peer, columns: usize, rows: &[&[Option<&str>]]) {
    peer.send(b'c', b"");
    peer.expect_copy_done();
    peer.rows(columns, rows);
    peer.complete("START_STREAMING");
    peer.complete("START_REPLICATION");
    peer.ready();
}

pub fn keepalive(peer: &mut Peer) {
    peer.send(b'd', &[&b"k"[..], &[0; 17]].concat());
}

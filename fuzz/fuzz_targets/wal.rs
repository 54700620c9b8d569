//! The write-ahead log: what a server streams or puts into a backup.
//!
//! The first byte is the length of the pieces in which the log comes, the second the kind of input: the log itself
//! from a segment's start on, or how a log is made and damaged, three bytes for each step.

#![no_main]

#[path = "../../tests/support/log_writer.rs"]
mod log_writer;

use libfuzzer_sys::fuzz_target;
use log_writer::{LogKind, LogWriter};
use pgsiphon::types::{Lsn, SegmentSize, TimelineId};
use pgsiphon::wal::{RecordReader, WalError};

const MIB: u64 = 1 << 20;
const START: u64 = 7 * MIB;
const LONGEST: u64 = 2 * MIB;

/// The step that changes a byte.
const DAMAGE: u8 = 3;

fuzz_target!(|input: &[u8]| {
    let &[piece, kind, ref rest @ ..] = input else { return };
    let first = START + u64::from(kind >> 2) * 8;
    if kind & 1 == 0 {
        check(rest, usize::from(piece) + 1, first, None);
        return;
    }
    let alignment = if kind & 2 == 0 { 8 } else { 4 };
    let kind = LogKind { alignment, ..LogKind::with_segments_of(MIB) };
    let log = make(rest, kind);
    let is_sound = damages(rest).next().is_none();
    let end = log.position();
    check(&damaged(&log, rest), usize::from(piece) * 97 + 1, START, is_sound.then_some(end));
});

/// The log that the steps make.
fn make(steps: &[u8], kind: LogKind) -> LogWriter {
    let mut log = LogWriter::new(START, kind);
    for (step, value) in read(steps) {
        if log.position() > START + LONGEST {
            break;
        }
        match step % 8 {
            0 => drop(log.switch()),
            1 if log.position() % log.kind.page_size != 0 => log.abandoned_record(),
            2 => log.kind.timeline = (log.kind.timeline + 1).min(3),
            DAMAGE => {}
            _ => drop(log.record(value * usize::from(step / 8))),
        }
    }
    log
}

/// The bytes of the log, after the steps that change one.
fn damaged(log: &LogWriter, steps: &[u8]) -> Vec<u8> {
    let mut bytes = log.bytes().to_vec();
    for (step, value) in damages(steps) {
        if let Some(byte) = bytes.get_mut(value) {
            *byte ^= step;
        }
    }
    bytes
}

fn damages(steps: &[u8]) -> impl Iterator<Item = (u8, usize)> {
    read(steps).filter(|(step, _)| step % 8 == DAMAGE)
}

fn read(steps: &[u8]) -> impl Iterator<Item = (u8, usize)> {
    steps.chunks_exact(3).map(|step| (step[0], usize::from(u16::from_le_bytes([step[1], step[2]]))))
}

/// However the log comes in, the same is found; nothing beyond its end is called sound; a sound log is found so.
fn check(log: &[u8], piece: usize, first: u64, sound_up_to: Option<u64>) {
    let whole = outcome(log, log.len().max(1), first);
    assert_eq!(outcome(log, piece, first), whole);
    let (end, result) = whole;
    assert!(end.as_u64() <= first.max(START + log.len() as u64 + 7));
    if let Some(expected) = sound_up_to {
        assert_eq!((end.as_u64(), result), (expected.max(START), Ok(())));
    }
}

fn outcome(log: &[u8], piece: usize, first: u64) -> (Lsn, Result<(), WalError>) {
    let size = SegmentSize::new(MIB).unwrap();
    let timeline = TimelineId::new(3).unwrap();
    let mut reader = RecordReader::new(Lsn::new(START), Lsn::new(first), size, timeline);
    let result = log.chunks(piece).try_for_each(|piece| reader.push(piece));
    if result.is_ok() {
        assert_eq!(reader.position().as_u64(), START + log.len() as u64);
    }
    (reader.end_of_records(), result)
}

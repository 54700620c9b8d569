//! The write-ahead log: what a server streams or puts into a backup.
//!
//! The first byte is the length of the pieces in which the log comes, the second the kind of input: the log itself
//! from a segment's start on, or how a log is made and damaged, three bytes for each step; from a segment's start on too,
//! or from shortly before its end.

#![no_main]

#[path = "../../tests/support/log_writer.rs"]
mod log_writer;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use log_writer::{LogKind, LogWriter};
use pgsiphon::types::{Lsn, SegmentSize, TimelineId};
use pgsiphon::wal::{RecordReader, WalError};

const MIB: u64 = 1 << 20;
const START: u64 = 7 * MIB;

/// The most bytes that are made: some pages.
const LONGEST: u64 = 40 << 10;

/// What the bodies of records begin with.
static BODY: [u8; 24 << 10] = [7; 24 << 10];

/// How far before the end of the segment a log begins that goes on in the next one.
const REST_OF_SEGMENT: u64 = 16 << 10;

/// More pieces than this make no difference.
const MOST_PIECES: usize = 4096;

/// The step that changes a byte.
const DAMAGE: u8 = 3;

/// The kinds of a log that is made: what the bits of the second byte say.
const MADE: u8 = 1;
const ALIGNED_TO_4: u8 = 2;
const FROM_START: u8 = 4;

fuzz_target!(|input: &[u8]| {
    let &[piece, kind, ref rest @ ..] = input else { return };
    if kind & MADE == 0 {
        let first = START + u64::from(kind >> 2) * 8;
        return check(rest, usize::from(piece) + 1, &reader(first), first, None);
    }
    let begun = begun(kind);
    let log = make(rest, begun.log.continuation());
    let is_sound = damages(rest).next().is_none();
    let end = log.position();
    let piece = (usize::from(piece) * 97 + 1).max(log.bytes().len() / MOST_PIECES);
    check(&damaged(&log, rest), piece, &begun.reader, begun.log.position(), is_sound.then_some(end));
});

/// A log, and who has read it.
struct Begun {
    log: LogWriter,
    reader: RecordReader,
}

/// What comes before the steps.
fn begun(kind: u8) -> &'static Begun {
    static ALL: OnceLock<[Begun; 4]> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        [(8, false), (4, false), (8, true), (4, true)].map(|(alignment, is_from_start)| {
            let kind = LogKind { alignment, ..LogKind::with_segments_of(MIB) };
            let mut log = LogWriter::new(START, kind);
            while !is_from_start && log.position() < START + MIB - REST_OF_SEGMENT {
                log.record(5000);
            }
            let mut reader = reader(START);
            reader.push(log.bytes()).unwrap();
            Begun { log, reader }
        })
    });
    let index = usize::from(kind & ALIGNED_TO_4 != 0) + 2 * usize::from(kind & FROM_START != 0);
    &all[index]
}

/// Goes on with a log as the steps say.
fn make(steps: &[u8], mut log: LogWriter) -> LogWriter {
    let start = log.position();
    for (step, value) in read(steps) {
        if log.position() > start + LONGEST {
            break;
        }
        let unused = log.position().next_multiple_of(MIB) - log.position();
        match step % 8 {
            0 if unused <= LONGEST => drop(log.switch()),
            1 if log.position() % log.kind.page_size != 0 => log.abandoned_record(),
            2 => log.kind.timeline = (log.kind.timeline + 1).min(3),
            DAMAGE => {}
            _ => drop(log.record_of(10, 0, &BODY[..value * usize::from(step / 8) % BODY.len()])),
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

/// However the log comes in, the same is found; nothing beyond its end is called sound; a sound log is found so. It
/// begins where the reader is.
fn check(log: &[u8], piece: usize, reader: &RecordReader, first: u64, sound_up_to: Option<u64>) {
    let whole = outcome(log, log.len().max(1), reader);
    assert_eq!(outcome(log, piece, reader), whole);
    let (first_record, end, result) = whole;
    // Where the first record begins is known before it has come.
    let end_of_log = reader.position().as_u64() + log.len() as u64;
    assert!(first_record.is_none() || end.as_u64() <= first.max(end_of_log + 7));
    if let Some(expected) = sound_up_to {
        assert_eq!((end.as_u64(), result), (expected, Ok(())));
    }
}

fn reader(first: u64) -> RecordReader {
    let size = SegmentSize::new(MIB).unwrap();
    RecordReader::new(Lsn::new(START), Lsn::new(first), size, TimelineId::new(3).unwrap())
}

/// The begin of the first record, the end of the last one, and what is wrong.
type Outcome = (Option<Lsn>, Lsn, Result<(), WalError>);

fn outcome(log: &[u8], piece: usize, reader: &RecordReader) -> Outcome {
    let mut reader = reader.clone();
    let start = reader.position();
    let result = log.chunks(piece).try_for_each(|piece| reader.push(piece));
    if result.is_ok() {
        assert_eq!(reader.position(), start + log.len() as u64);
    }
    (reader.first_record(), reader.end_of_records(), result)
}

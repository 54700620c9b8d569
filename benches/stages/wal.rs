//! WAL: its pages and records checked, and the stream of it cut into segments.

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box_drop};
use pgsiphon::types::{Lsn, SegmentSize, TimelineId};
use pgsiphon::wal::{RecordReader, SegmentCutter};

use crate::log_writer::{LogKind, LogWriter};
use crate::{MIB, WAL_MESSAGE};

pub(crate) const SEGMENT: usize = 16 * MIB;

const START: Lsn = Lsn::new(SEGMENT as u64);

/// The bodies of what a transaction of `pgbench` logs: changes of rows, new versions, the commit.
const SMALL_BODIES: [usize; 4] = [48, 120, 50, 22];

/// Records with images of whole pages, as after a checkpoint; the empty space of the page is left out.
const PAGE_IMAGES: [usize; 3] = [8200, 6100, 7400];

/// A segment full of records with such bodies, and their number.
pub(crate) fn segment(bodies: &[usize]) -> (Vec<u8>, usize) {
    let mut log = LogWriter::new(START.as_u64(), LogKind::with_segments_of(SEGMENT as u64));
    let mut records = 0;
    while log.bytes().len() < SEGMENT {
        log.record(bodies[records % bodies.len()]);
        records += 1;
    }
    (log.bytes()[..SEGMENT].to_vec(), records)
}

fn check(bencher: Bencher<'_, '_>, bodies: &[usize]) {
    let (segment, records) = segment(bodies);
    let size = SegmentSize::new(SEGMENT as u64).unwrap();
    bencher.counter(BytesCount::of_slice(&segment)).counter(ItemsCount::new(records)).bench_local(|| {
        let mut reader = RecordReader::new(START, START, size, TimelineId::FIRST);
        segment.chunks(WAL_MESSAGE).for_each(|chunk| reader.push(chunk).unwrap());
        reader.end_of_records()
    });
}

#[divan::bench]
fn check_small_records(bencher: Bencher<'_, '_>) {
    check(bencher, &SMALL_BODIES);
}

#[divan::bench]
fn check_page_images(bencher: Bencher<'_, '_>) {
    check(bencher, &PAGE_IMAGES);
}

/// Messages of which none ends where a segment does.
#[divan::bench]
fn cut_into_segments(bencher: Bencher<'_, '_>) {
    const MESSAGES: usize = 1000;
    let message = Bytes::from(vec![7; 100_000]);
    let size = SegmentSize::new(SEGMENT as u64).unwrap();
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        let mut cutter = SegmentCutter::new(TimelineId::FIRST, START, size);
        for _ in 0..MESSAGES {
            let cuts = cutter.push(cutter.position(), message.clone()).unwrap();
            cuts.for_each(black_box_drop);
        }
    });
}

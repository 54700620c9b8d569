use proptest::prelude::*;

use super::*;
use crate::wal::log_writer::{LogKind, LogWriter};

const MIB: u64 = 1 << 20;
const START: u64 = 3 * MIB;

fn size() -> SegmentSize {
    SegmentSize::new(MIB).unwrap()
}

fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

fn kind() -> LogKind {
    LogKind::with_segments_of(MIB)
}

fn writer() -> LogWriter {
    LogWriter::new(START, kind())
}

/// A reader that knows of no record.
fn reader() -> RecordReader {
    RecordReader::new(Lsn::new(START), Lsn::new(START), size(), TimelineId::FIRST)
}

/// What a reader finds, with the end of the records.
fn read(mut reader: RecordReader, bytes: &[u8]) -> (Lsn, Result<(), WalError>) {
    let outcome = reader.push(bytes);
    (reader.end_of_records(), outcome)
}

#[track_caller]
fn assert_sound(reader: RecordReader, bytes: &[u8], end: u64) {
    assert_eq!(read(reader, bytes), (Lsn::new(end), Ok(())));
}

fn message(bytes: &[u8]) -> String {
    read(reader(), bytes).1.unwrap_err().to_string()
}

/// Some records, the third longer than two pages, so that pages 1 and 2 continue it.
fn short_log() -> LogWriter {
    let mut log = writer();
    for body in [0, 100, 20_000, 3] {
        log.record(body);
    }
    log
}

#[test]
fn records_are_read_to_the_end_in_every_layout() {
    for (alignment, big_endian) in [(8, false), (8, true), (4, false)] {
        for magic in [0xD097, 0xD098, 0xD101, 0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118, 0xD119] {
            let mut log =
                LogWriter::new(START, LogKind { alignment, big_endian, magic, page_size: 4096, ..kind() });
            for body in [3, 5000, 0, 1, 4096 - 24] {
                log.record(body);
            }
            assert_sound(reader(), log.bytes(), log.position());
        }
    }
}

#[test]
fn a_record_without_a_body_may_cross_pages_too() {
    for (alignment, on_first_page) in [(8, 8), (8, 16), (4, 4), (4, 20)] {
        let mut log = LogWriter::new(START, LogKind { alignment, ..kind() });
        let page_end = START + 2 * kind().page_size;
        log.record(6000);
        let body = page_end - log.position() - on_first_page - 24;
        // What of the record lies behind the header of the second page.
        log.record(body as usize - if alignment == 8 { 24 } else { 20 });
        assert_eq!(log.position(), page_end - on_first_page);
        log.record(0);
        assert_sound(reader(), log.bytes(), log.position());
        log.record(1);
        assert_sound(reader(), log.bytes(), log.position());
    }
}

#[test]
fn bb_229_records_may_cross_segments() {
    let mut log = writer();
    while log.position() < START + 2 * MIB {
        log.record(70_000);
    }
    log.record(3 << 20);
    assert_sound(reader(), log.bytes(), log.position());
}

#[test]
fn what_has_no_meaning_is_skipped_after_a_segment_switch() {
    let mut log = short_log();
    let switch = log.switch();
    let end = log.position();
    log.record(10);
    assert_sound(reader(), log.bytes(), log.position());
    let (whole, rest) = log.bytes().split_at((switch + 24 - START) as usize);
    assert_sound(reader(), whole, switch + 24);
    assert_sound(reader(), &log.bytes()[..(end - START) as usize], end);

    let mut leftovers = whole.to_vec();
    leftovers.resize((end - START) as usize, 0xEE);
    assert_sound(reader(), &leftovers, end);
    assert_eq!(rest.len() as u64, log.position() - switch - 24);
}

#[test]
fn a_switch_at_the_very_end_of_a_segment_skips_nothing() {
    let mut log = writer();
    while log.position() < START + MIB - 8192 {
        log.record(4000);
    }
    let room = START + MIB - log.position() - 24;
    log.record((room - 24) as usize);
    log.switch();
    assert_eq!(log.position(), START + MIB);
    assert_sound(reader(), log.bytes(), START + MIB);
    log.record(5);
    assert_sound(reader(), log.bytes(), log.position());
}

#[test]
fn a_record_that_was_given_up_is_replaced() {
    for room in [24, 8, 2000] {
        let mut log = writer();
        let body = 8192 - 40 - 24 - room;
        log.record(body);
        log.abandoned_record();
        log.record(10);
        assert_sound(reader(), log.bytes(), log.position());
    }
}

#[test]
fn the_end_is_that_of_the_last_complete_record() {
    let log = short_log();
    let mut starts: Vec<u64> = vec![START + 40];
    let mut again = writer();
    for body in [0, 100, 20_000, 3] {
        again.record(body);
        starts.push(again.position());
    }
    let mut reader = reader();
    for (index, byte) in log.bytes().iter().enumerate() {
        reader.push(std::slice::from_ref(byte)).unwrap();
        let position = START + index as u64 + 1;
        assert_eq!(reader.position(), Lsn::new(position));
        let reached = starts.iter().rposition(|&start| start <= position + 7);
        let end = reader.end_of_records().as_u64();
        assert!(reached.is_none_or(|reached| end <= starts[reached]), "{position}");
        assert!(end == START || starts.contains(&end), "{position}");
    }
    assert_eq!(reader.end_of_records(), Lsn::new(log.position()));
}

#[test]
fn after_a_page_the_next_record_begins_behind_its_header() {
    let mut log = writer();
    log.record(8192 - 40 - 24);
    assert_sound(reader(), log.bytes(), START + 8192);
    log.record(1);
    assert_sound(reader(), &log.bytes()[..8192 + 24], START + 8192 + 24);
}

#[test]
fn records_are_checked_from_the_first_one_on() {
    let mut log = writer();
    let starts = [100, 300, 20_000, 5].map(|body| log.record(body));
    let from = |first: u64| RecordReader::new(Lsn::new(START), Lsn::new(first), size(), TimelineId::FIRST);
    let mut damaged = log.bytes().to_vec();
    damaged[(starts[1] - START) as usize + 50] ^= 1;
    let checksum = WalError::Record { at: Lsn::new(starts[1]), reason: RecordFault::Checksum };
    for first in [START, START + 40, starts[1]] {
        assert_eq!(read(from(first), &damaged).1, Err(checksum.clone()));
    }
    for first in [starts[2], starts[3], START + 8192, START + 16384, START + 16384 + 5] {
        assert_sound(from(first), &damaged, log.position());
    }
    let (_, outcome) = read(from(starts[1] + 8), log.bytes());
    assert!(matches!(outcome, Err(WalError::Record { .. })), "{outcome:?}");
    let misaligned = WalError::Record { at: Lsn::new(starts[1] + 4), reason: RecordFault::Misaligned };
    assert_eq!(read(from(starts[1] + 4), log.bytes()), (Lsn::new(starts[1] + 4), Err(misaligned)));
}

#[test]
fn a_segment_that_begins_within_a_record_is_read_from_its_first_own_record() {
    for body in [70_000, 8192 - 24, 8192 - 23, 16_384 - 48] {
        let mut log = writer();
        while log.position() < START + MIB - 9000 {
            log.record(4000);
        }
        log.record((START + MIB - log.position()) as usize - 24 + body);
        log.record(5);
        let second = &log.bytes()[MIB as usize..];
        let at = Lsn::new(START + MIB);
        let mut reader = RecordReader::new(at, at, size(), TimelineId::FIRST);
        for byte in second.chunks(1000) {
            reader.push(byte).unwrap();
        }
        assert_eq!(reader.end_of_records(), Lsn::new(log.position()));
    }
}

#[test]
fn zeros_end_the_log_and_nothing_comes_after_them() {
    let mut at_page_end = writer();
    at_page_end.record(8192 - 40 - 24);
    for log in [short_log(), at_page_end] {
        let mut bytes = log.bytes().to_vec();
        bytes.resize(2 * MIB as usize, 0);
        assert_sound(reader(), &bytes, log.position());
        bytes.push(1);
        let at = log.position();
        let reason = RecordFault::AfterEnd;
        assert_eq!(
            read(reader(), &bytes),
            (Lsn::new(at), Err(WalError::Record { at: Lsn::new(at), reason }))
        );
    }
    assert_eq!(message(&[0; 40]), "invalid WAL page at 0/300000: unexpected magic number 0000");
}

#[test]
fn beyond_the_end_that_is_wanted_there_may_be_anything() {
    let log = short_log();
    let mut bytes = log.bytes().to_vec();
    bytes.resize(2 * MIB as usize, 0xEE);
    assert!(read(reader(), &bytes).1.is_err());
    assert_sound(reader().until(Lsn::new(log.position())), &bytes, log.position());
}

#[test]
fn a_newer_timeline_begins_within_a_segment() {
    let mut log = LogWriter::new(START, LogKind { timeline: 4, ..kind() });
    log.record(9000);
    log.kind.timeline = 6;
    log.record(9000);
    let of = |number| RecordReader::new(Lsn::new(START), Lsn::new(START), size(), timeline(number));
    assert_sound(of(6), log.bytes(), log.position());
    assert_sound(of(7), log.bytes(), log.position());
    let fault = |number| WalError::Page {
        at: Lsn::new(START + if number == 3 { 0 } else { 2 * 8192 }),
        reason: PageFault::Timeline(if number == 3 { 4 } else { 6 }),
    };
    for number in [3, 4, 5] {
        assert_eq!(read(of(number), log.bytes()).1, Err(fault(number)));
    }
    log.kind.timeline = 5;
    log.record(9000);
    assert!(matches!(read(of(6), log.bytes()).1, Err(WalError::Page { reason: PageFault::Timeline(5), .. })));
}

#[test]
fn a_segment_of_a_newer_timeline_is_followed() {
    let mut log = writer();
    while log.position() < START + MIB {
        log.record(3000);
    }
    let mut reader = reader();
    reader.push(&log.bytes()[..MIB as usize]).unwrap();
    let mut newer = reader.clone();
    newer.follow(timeline(2));
    log.kind.timeline = 2;
    log.record(20_000);
    assert!(reader.push(&log.bytes()[MIB as usize..]).is_err());
    newer.push(&log.bytes()[MIB as usize..]).unwrap();
    assert_eq!(newer.end_of_records(), Lsn::new(log.position()));
}

#[test]
fn wal_of_another_cluster_is_refused() {
    let mut log = short_log();
    let own = SystemId::new(log.kind.system_identifier);
    assert_sound(reader().expect_system_id(own), log.bytes(), log.position());
    let other = reader().expect_system_id(SystemId::new(5));
    assert_eq!(
        read(other, log.bytes()).1.unwrap_err().to_string(),
        "invalid WAL page at 0/300000: WAL is from a different database system, whose identifier is \
         7000000000000000001"
    );
    log.kind.system_identifier = 5;
    log.switch();
    log.record(1);
    assert!(message(log.bytes()).starts_with("invalid WAL page at 0/400000: WAL is from a different"));
}

#[test]
fn pages_that_no_server_writes_are_refused() {
    let log = short_log();
    // Offset and byte, or what is wrong with the first page and with the second, which continues a record.
    let table: [(usize, u8, &str, &str); 8] = [
        (0, 0x13, "unexpected magic number D113", "unexpected magic number D113"),
        (2, 0x10, "unexpected info bits 0010", "unexpected info bits 0010"),
        (2, 0x00, "unexpected info bits 0000", "the record that began at 0/3000C0 is not continued"),
        (2, 0x02, "", "unexpected info bits 0002"),
        (4, 0, "unexpected timeline 0", "unexpected timeline 0"),
        (8, 7, "unexpected page address 0/300007", "unexpected page address 0/302007"),
        (15, 1, "unexpected page address 1000000/300000", "unexpected page address 1000000/302000"),
        (17, 1, "", "504 bytes of a record are left, but 12024 are missing"),
    ];
    for (offset, byte, first, second) in table {
        for (page, expected) in [(0, first), (8192, second)] {
            let mut bytes = log.bytes().to_vec();
            bytes[page + offset] = byte;
            let outcome = read(reader(), &bytes).1.map_err(|error| error.to_string());
            let place = if page == 0 { "0/300000" } else { "0/302000" };
            match (expected, page) {
                ("", _) => assert_eq!(outcome, Ok(())),
                // The first page with another magic number is only odd beside the second one.
                (expected, 0) if offset == 0 => {
                    let other = expected.replace("D113", "D110");
                    assert_eq!(outcome, Err(format!("invalid WAL page at 0/302000: {other}")));
                }
                (expected, _) => assert_eq!(outcome, Err(format!("invalid WAL page at {place}: {expected}"))),
            }
        }
    }
}

#[test]
fn segments_and_pages_of_other_sizes_are_refused() {
    let sizes = |segment_size: u32, page_size: u32| {
        let mut bytes = short_log().bytes().to_vec();
        bytes[32..36].copy_from_slice(&segment_size.to_le_bytes());
        bytes[36..40].copy_from_slice(&page_size.to_le_bytes());
        message(&bytes)
    };
    assert_eq!(sizes(16 << 20, 8192), "invalid WAL page at 0/300000: unexpected segment size 16777216");
    for page_size in [0, 1, 512, 8191, 1 << 17, 1 << 31] {
        let expected = format!("invalid WAL page at 0/300000: unexpected page size {page_size}");
        assert_eq!(sizes(1 << 20, page_size), expected);
    }
    let mut log = short_log();
    log.switch();
    log.kind.page_size = 16384;
    log.record(1);
    assert_eq!(message(log.bytes()), "invalid WAL page at 0/400000: unexpected page size 16384");
}

#[test]
fn records_that_no_server_writes_are_refused() {
    let first = START + 40;
    let at = |offset: usize, byte: u8| {
        let mut bytes = short_log().bytes().to_vec();
        bytes[40 + offset] = byte;
        message(&bytes)
    };
    assert_eq!(first, 0x30_0028);
    let invalid = "invalid WAL record at 0/300028: ";
    assert_eq!(at(0, 23), format!("{invalid}invalid record length, expected at least 24, got 23"));
    assert_eq!(at(11, 0x30), format!("{invalid}record with incorrect prev-link 0/30000000"));
    for (offset, byte) in [(0, 25), (4, 9), (16, 1), (17, 9), (18, 1), (20, 0), (23, 0)] {
        assert_eq!(at(offset, byte), format!("{invalid}incorrect resource manager data checksum in record"));
    }
    // The second record begins 24 bytes later.
    assert_eq!(at(24 + 8, 0x20), "invalid WAL record at 0/300040: record with incorrect prev-link 0/300020");
}

#[test]
fn an_error_stays() {
    let mut reader = reader();
    let mut bytes = short_log().bytes().to_vec();
    bytes[70] ^= 1;
    let error = reader.push(&bytes).unwrap_err();
    assert_eq!(reader.push(b""), Err(error.clone()));
    assert_eq!(reader.push(&[0; 10]), Err(error));
}

#[test]
fn a_position_at_the_end_of_all_logs_is_no_place_to_overflow() {
    let at = Lsn::new(u64::MAX);
    let mut reader = RecordReader::new(at, at, size(), TimelineId::FIRST);
    for _ in 0..3 {
        let _ = reader.push(&vec![0xD1; 1 << 20]);
    }
    let mut log = LogWriter::new(u64::MAX - MIB + 1, kind());
    log.record(MIB as usize - 64 * 1024);
    let start = Lsn::new(u64::MAX - MIB + 1);
    let mut reader = RecordReader::new(start, start, size(), TimelineId::FIRST);
    reader.push(log.bytes()).unwrap();
    for _ in 0..3 {
        let _ = reader.push(&vec![0; 1 << 20]);
    }
}

proptest! {
    #[test]
    fn any_cut_of_the_log_is_read_the_same(
        bodies in proptest::collection::vec(prop_oneof![0usize..200, 8000usize..8300, 0usize..40_000], 1..12),
        cuts in proptest::collection::vec(1usize..30_000, 1..20),
        flipped in proptest::option::of((any::<prop::sample::Index>(), 0u8..8)),
        alignment in prop_oneof![Just(4usize), Just(8)],
    ) {
        let mut log = LogWriter::new(START, LogKind { alignment, ..kind() });
        for (index, body) in bodies.into_iter().enumerate() {
            log.record(body);
            if index == 4 {
                log.switch();
            }
        }
        let mut bytes = log.bytes().to_vec();
        if let Some((index, bit)) = flipped {
            let index = index.index(bytes.len());
            bytes[index] ^= 1 << bit;
        }
        let whole = read(reader(), &bytes);
        if flipped.is_none() {
            prop_assert_eq!(&whole, &(Lsn::new(log.position()), Ok(())));
        }
        let (mut piecewise, mut rest, mut outcome) = (reader(), &bytes[..], Ok(()));
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*cut));
            outcome = piecewise.push(now);
            rest = later;
            if rest.is_empty() || outcome.is_err() {
                break;
            }
        }
        prop_assert_eq!((piecewise.end_of_records(), outcome), whole);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, damage in proptest::collection::vec((0usize..30_000, any::<u8>()), 0..10)) {
        let _ = read(reader(), &bytes);
        let mut log = writer().filled(30_000);
        for (at, byte) in damage {
            log[at] = byte;
        }
        let (end, _) = read(reader(), &log);
        prop_assert!(end.as_u64() <= START + 30_000 + 7);
    }
}

#[test]
fn rw_226_a_reader_tells_where_records_begin_and_whether_the_log_has_ended() {
    let mut log = writer();
    log.record(20_000);
    let bytes = log.filled(2 << 20);
    let second = Lsn::new(START + MIB);
    let mut later = RecordReader::new(second, second, size(), TimelineId::FIRST);
    later.push(&bytes[1 << 20..][..40]).unwrap();
    assert_eq!(later.first_record(), None);
    later.push(&bytes[(1 << 20) + 40..]).unwrap();
    let first = later.first_record().unwrap();
    assert!(first > second && first < later.end_of_records());
    assert!(!later.has_ended());

    let mut log = writer();
    log.record(100);
    let end = log.position();
    let mut reader = reader();
    reader.push(log.bytes()).unwrap();
    assert_eq!(reader.first_record(), Some(Lsn::new(START + 40)));
    assert!(!reader.has_ended());
    reader.push(&[0; 64]).unwrap();
    assert!(reader.has_ended());
    assert_eq!(reader.end_of_records(), Lsn::new(end));
}

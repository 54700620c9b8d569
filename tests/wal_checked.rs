//! WAL of real servers is read to its end, and a damaged byte is found.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use pgsiphon::backup::fetched_wal::{FetchedWal, FetchedWalError};
use pgsiphon::protocol::{EndPoint, StartPoint};
use pgsiphon::tar::TarSplitter;
use pgsiphon::types::{Lsn, SegmentSize, SystemId, TimelineId, WalFileName};
use pgsiphon::wal::{RecordReader, WalError};
use support::{
    Cluster, ClusterBuilder, Installation, Run, StopMode, VERSIONS, client_program, scratch_directory,
};

/// The flag of a page that does not continue the record before it.
const OVERWRITES_RECORD: u8 = 8;

/// More than the longest record that is written here has.
const LONGEST_RECORD: u64 = 4 << 20;

/// The segments of a stopped server in order, from the first one that it has kept.
struct Log {
    size: SegmentSize,
    timeline: TimelineId,
    start: Lsn,
    bytes: Vec<u8>,
}

impl Log {
    fn of(pg_wal: &Path, size: SegmentSize, timeline: TimelineId) -> Self {
        let mut segments: Vec<(WalFileName, PathBuf)> = fs::read_dir(pg_wal)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter_map(|path| {
                let name = WalFileName::parse(path.file_name()?.to_str()?, size).ok()?;
                (name.timeline() == timeline).then_some((name, path))
            })
            .collect();
        segments.sort_by_key(|(name, _)| name.segment());
        let first = segments[0].0.segment();
        for (index, (name, _)) in segments.iter().enumerate() {
            assert_eq!(name.segment().as_u64(), first.as_u64() + index as u64);
        }
        let bytes = segments.iter().flat_map(|(_, path)| fs::read(path).unwrap()).collect();
        Self { size, timeline, start: first.start(size), bytes }
    }

    fn reader(&self) -> RecordReader {
        RecordReader::new(self.start, self.start, self.size, self.timeline)
    }

    fn offset(&self, position: Lsn) -> usize {
        usize::try_from(position.checked_sub(self.start).unwrap()).unwrap()
    }

    /// A reader from the start of a segment, such that the record at this position begins after it, and what it
    /// reads.
    fn reader_before<'b>(&self, position: Lsn, bytes: &'b [u8]) -> (RecordReader, &'b [u8]) {
        let before = Lsn::new(position.as_u64().saturating_sub(LONGEST_RECORD));
        let start = before.segment_start(self.size).max(self.start);
        let reader = RecordReader::new(start, start, self.size, self.timeline);
        (reader, &bytes[self.offset(start)..])
    }
}

/// A server that keeps its WAL, in segments as small as its version can make them.
fn with_small_segments(major: u16) -> (ClusterBuilder, SegmentSize) {
    let kept = if major < 13 { ("wal_keep_segments", "1000") } else { ("wal_keep_size", "1GB") };
    let builder = Cluster::builder(major).setting(kept.0, kept.1).setting("wal_level", "logical");
    match major {
        ..11 => (builder, SegmentSize::new(16 << 20).unwrap()),
        _ => (builder.initdb_arg("--wal-segsize=1"), SegmentSize::new(1 << 20).unwrap()),
    }
}

/// What `pg_control` says of a cluster that was shut down: its identifier, and where the last record begins.
fn control_file(data_directory: &Path) -> (SystemId, Lsn) {
    let bytes = fs::read(data_directory.join("global/pg_control")).unwrap();
    let number = |offset: usize| u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap());
    (SystemId::new(number(0)), Lsn::new(number(32)))
}

/// Short records and long ones, segments that are full and segments that were left early.
fn write_wal(cluster: &Cluster) {
    cluster.pgbench_init(1);
    cluster.psql("SELECT pg_switch_wal()");
    for length in [10, 8_000, 100_000, 3_000_000] {
        let message = format!("pg_logical_emit_message(false, 'test', repeat('x', {length}))");
        cluster.psql(&format!("SELECT {message} FROM generate_series(1, 3)"));
        cluster.psql("SELECT pg_switch_wal()");
    }
    cluster.psql("CHECKPOINT");
    cluster.psql("UPDATE pgbench_accounts SET abalance = aid WHERE aid < 20000");
}

/// Everything up to the last record of a stopped server is sound, and that is where its log ends. Gives that place.
#[track_caller]
fn read_to_the_end(cluster: &Cluster, log: &Log) -> (Lsn, Lsn) {
    let (system_id, last_record) = control_file(cluster.data_dir());
    let at = log.offset(last_record);
    let length = u32::from_le_bytes(log.bytes[at..at + 4].try_into().unwrap());
    let end = last_record + u64::from(length).next_multiple_of(8);
    let mut reader = log.reader().expect_system_id(system_id).until(end);
    for chunk in log.bytes.chunks(50_000) {
        reader.push(chunk).unwrap();
    }
    assert_eq!(reader.end_of_records(), end);
    (last_record, end)
}

#[track_caller]
fn reads_wal_of(major: u16) {
    let (builder, size) = with_small_segments(major);
    let mut cluster = builder.start();
    write_wal(&cluster);
    cluster.stop(StopMode::Fast);

    let log = Log::of(&cluster.data_dir().join("pg_wal"), size, TimelineId::FIRST);
    let (last_record, end) = read_to_the_end(&cluster, &log);
    if major >= 14 {
        assert_eq!(end_by_pg_waldump(&cluster, log.start), end);
    }
    let last_segment = last_record.segment_start(size);
    let mut reader = RecordReader::new(last_segment, last_record, size, log.timeline);
    reader.push(&log.bytes[log.offset(last_segment)..]).unwrap();
    assert_eq!(reader.end_of_records(), end);
    finds_damage(&log, end);
}

/// A server that finds the beginning of a record only, after a crash, marks that it is not continued.
#[track_caller]
fn reads_a_record_that_was_given_up(major: u16) {
    let (builder, size) = with_small_segments(major);
    let mut cluster = builder.start();
    let message = "SELECT pg_logical_emit_message(false, 'test', repeat('x', 3000000))";
    let record_end: Lsn = cluster.psql(message).parse().unwrap();
    cluster.psql("CREATE TABLE t AS SELECT 1");
    cluster.stop(StopMode::Immediate);
    let pg_wal = cluster.data_dir().join("pg_wal");
    let cut = record_end.segment_number(size);
    for entry in fs::read_dir(&pg_wal).unwrap() {
        let path = entry.unwrap().path();
        let name = WalFileName::parse(path.file_name().unwrap().to_str().unwrap(), size);
        if name.is_ok_and(|name| name.segment() >= cut) {
            fs::remove_file(path).unwrap();
        }
    }
    cluster.start();
    cluster.psql("CREATE TABLE t AS SELECT 2");
    cluster.stop(StopMode::Fast);

    let log = Log::of(&pg_wal, size, TimelineId::FIRST);
    assert_eq!(log.bytes[log.offset(cut.start(size)) + 2] & OVERWRITES_RECORD, OVERWRITES_RECORD);
    read_to_the_end(&cluster, &log);
}

#[test]
fn bb_229_a_record_that_postgresql_15_gave_up_is_passed() {
    reads_a_record_that_was_given_up(15);
}

#[test]
fn bb_229_a_record_that_postgresql_18_gave_up_is_passed() {
    reads_a_record_that_was_given_up(18);
}

/// Where the program of the server's version finds no record any more.
fn end_by_pg_waldump(cluster: &Cluster, start: Lsn) -> Lsn {
    let outcome = Run::new(cluster.installation().program("pg_waldump"))
        .env("LD_LIBRARY_PATH", cluster.installation().library_directory())
        .arg("-q")
        .arg("-p")
        .arg(cluster.data_dir().join("pg_wal"))
        .args(["-s", &start.to_string()])
        .run();
    let place = outcome.stderr.rsplit_once("invalid record length at ").unwrap().1;
    place.split(':').next().unwrap().parse().unwrap()
}

/// A flipped bit is found wherever it is in a record or a page header, and the place is told.
#[track_caller]
fn finds_damage(log: &Log, end: Lsn) {
    let used = log.offset(end);
    let page = 8192;
    // The address of a page, and content in long records.
    let addresses = (0..used / page).map(|page| page * 8192 + 9);
    let contents = (0..used - 64).step_by(39_989).filter(|&at| log.bytes[at..at + 64] == [b'x'; 64]);
    let mut damaged = log.bytes.clone();
    let mut found = 0;
    for at in addresses.step_by(97).chain(contents) {
        if is_unused(&log.bytes, at / page * page) {
            continue;
        }
        damaged[at] ^= 0x10;
        let (mut reader, bytes) = log.reader_before(log.start + at as u64, &damaged);
        let place = match reader.push(bytes) {
            Err(WalError::Page { at, .. } | WalError::Record { at, .. }) => at,
            other => panic!("{other:?} with a damaged byte at {}", log.start + at as u64),
        };
        assert!(place <= log.start + at as u64, "{place}");
        damaged[at] ^= 0x10;
        found += 1;
    }
    assert!(found > 50, "only {found} places were damaged");
}

/// Whether a page was left out after a segment switch.
fn is_unused(bytes: &[u8], page: usize) -> bool {
    bytes[page + 40..page + 8192].iter().all(|&byte| byte == 0)
}

/// A backup of a busy server into a tar file by the C program, with the WAL in it.
fn fetch(cluster: &Cluster, directory: &Path) -> (StartPoint, EndPoint) {
    let busy = Run::new(client_program("psql"))
        .args(["-X", "-q", "-o", "/dev/null", "-d", &format!("{} dbname=postgres", cluster.conninfo()), "-c"])
        .arg(
            "SELECT pg_logical_emit_message(false, 'test', repeat('x', 100000)), pg_sleep(0.005)
              FROM generate_series(1, 100000)",
        )
        .start();
    let client = Installation::find(cluster.installation().major().max(15));
    let outcome = Run::new(client.program("pg_basebackup"))
        .env("LD_LIBRARY_PATH", client.library_directory())
        .args(["-v", "-c", "fast", "-X", "fetch", "-Ft", "-d", &cluster.conninfo(), "-D"])
        .arg(directory)
        .run()
        .expect_success();
    drop(busy);
    let said = |before: &str| {
        let (_, after) = outcome.stderr.split_once(before).unwrap();
        after.split_whitespace().next().unwrap().parse::<Lsn>().unwrap()
    };
    let timeline = TimelineId::FIRST;
    let start = StartPoint { lsn: said("write-ahead log start point: "), timeline };
    (start, EndPoint { lsn: said("write-ahead log end point: "), timeline })
}

/// What is found in an archive.
fn check_fetched(
    archive: &[u8],
    (start, end): (StartPoint, EndPoint),
    size: SegmentSize,
    system_id: SystemId,
) -> Result<(), FetchedWalError> {
    let (mut wal, mut splitter) = (FetchedWal::new(start, size, system_id), TarSplitter::new());
    for mut chunk in archive.chunks(100_000) {
        while let Some(piece) = splitter.next_piece(&mut chunk).unwrap() {
            wal.observe(&piece);
        }
    }
    wal.finish(end)
}

/// The segments that servers put into an archive are all there, in order and sound.
#[track_caller]
fn fetches_wal_of(major: u16) {
    let (builder, size) = with_small_segments(major);
    let cluster = builder.start();
    let scratch = scratch_directory();
    let range = fetch(&cluster, &scratch.path().join("backup"));
    let mut archive = fs::read(scratch.path().join("backup/base.tar")).unwrap();
    let (system_id, _) = control_file(cluster.data_dir());
    assert_eq!(check_fetched(&archive, range, size, system_id), Ok(()));

    let beyond = EndPoint { lsn: range.1.lsn + size.as_u64(), ..range.1 };
    assert!(matches!(
        check_fetched(&archive, (range.0, beyond), size, system_id),
        Err(FetchedWalError::Missing(_))
    ));
    let first = WalFileName::new(range.0.timeline, range.0.lsn.segment_number(size), size);
    let name = format!("pg_wal/{first}\0");
    let header = archive.chunks(512).position(|block| block.starts_with(name.as_bytes())).unwrap();
    let record = (header + 1) * 512 + usize::try_from(range.0.lsn.segment_offset(size)).unwrap();
    archive[record + 4] ^= 1;
    assert!(matches!(
        check_fetched(&archive, range, size, system_id),
        Err(FetchedWalError::Wal(WalError::Record { at, .. })) if at == range.0.lsn
    ));
}

macro_rules! every_version {
    ($($major:literal: $sound:ident, $fetched:ident,)*) => {
        $(
            #[test] fn $sound() { reads_wal_of($major); }
            #[test] fn $fetched() { fetches_wal_of($major); }
        )*

        #[test]
        fn every_supported_version_is_tested() {
            assert_eq!([$($major),*], VERSIONS);
        }
    };
}

every_version! {
    10: bb_229_wal_of_postgresql_10_is_sound, bb_177_bb_229_fetched_wal_of_postgresql_10_is_sound,
    11: bb_229_wal_of_postgresql_11_is_sound, bb_177_bb_229_fetched_wal_of_postgresql_11_is_sound,
    12: bb_229_wal_of_postgresql_12_is_sound, bb_177_bb_229_fetched_wal_of_postgresql_12_is_sound,
    13: bb_229_wal_of_postgresql_13_is_sound, bb_177_bb_229_fetched_wal_of_postgresql_13_is_sound,
    14: bb_229_wal_of_postgresql_14_is_sound, bb_177_bb_229_fetched_wal_of_postgresql_14_is_sound,
    15: bb_229_wal_of_postgresql_15_is_sound, bb_177_bb_229_fetched_wal_of_postgresql_15_is_sound,
    16: bb_229_wal_of_postgresql_16_is_sound, bb_177_bb_229_fetched_wal_of_postgresql_16_is_sound,
    17: bb_229_wal_of_postgresql_17_is_sound, bb_177_bb_229_fetched_wal_of_postgresql_17_is_sound,
    18: bb_229_wal_of_postgresql_18_is_sound, bb_177_bb_229_fetched_wal_of_postgresql_18_is_sound,
}

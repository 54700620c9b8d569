//! Checks the WAL that a server puts into the main archive itself (`-X fetch`).
//!
//! In come the pieces of the main archive, and at last where the backup ends; out comes whether each segment from
//! the start to the end was there and is sound. Servers send the segments in the order of their numbers. Nothing
//! of them is kept.
//!
//! Files of a server may hold anything after the end of the log, and a directory may hold segments of timelines
//! that the backup does not need. So nothing that is found on the way is an error before the end is known.

use crate::protocol::{EndPoint, StartPoint};
use crate::tar::{Entry, EntryKind, Piece};
use crate::types::{Lsn, SegmentNumber, SegmentSize, SystemId, TimelineId, WalFileName};
use crate::wal::{RecordReader, WalError};

/// Where servers put segments.
const DIRECTORY: &[u8] = b"pg_wal/";

/// The backup has not all the WAL that it needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchedWalError {
    /// A segment did not come.
    #[error("server did not send the write-ahead log segment \"{0}\"")]
    Missing(WalFileName),
    /// A segment is not of the size that segments have.
    #[error("write-ahead log segment \"{segment}\" has size {length}")]
    Size {
        /// The segment.
        segment: WalFileName,
        /// The bytes that it has.
        length: u64,
    },
    /// A segment is damaged or belongs elsewhere.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The segments are there, and the records in them end too early.
    #[error("write-ahead log has records up to {reached} only, but is needed up to {wanted}")]
    RecordsMissing {
        /// Where the last sound record ends.
        reached: Lsn,
        /// Where one had to end.
        wanted: Lsn,
    },
}

/// The segments of a backup that have arrived.
#[derive(Debug)]
pub struct FetchedWal {
    start: StartPoint,
    size: SegmentSize,
    /// The segments of the timeline on which the backup started.
    steady: Chain,
    /// Those of newer timelines too, as a standby needs them that was led to one of them meanwhile; once there is
    /// one.
    switched: Option<Chain>,
}

impl FetchedWal {
    /// Nothing has arrived of the WAL from `start` on.
    pub fn new(start: StartPoint, size: SegmentSize, system_id: SystemId) -> Self {
        let reader =
            RecordReader::new(start.lsn, start.lsn, size, start.timeline).expect_system_id(system_id);
        let steady = Chain {
            timeline: start.timeline,
            awaited: start.lsn.segment_number(size),
            before: reader.clone(),
            reader,
            takes: false,
            failure: None,
        };
        Self { start, size, steady, switched: None }
    }

    /// A piece of the main archive.
    pub fn observe(&mut self, piece: &Piece<'_>) {
        match piece {
            Piece::Entry(entry) => self.begin_member(entry),
            Piece::Data(data) => self.chains().for_each(|chain| chain.take(data)),
            Piece::EntryEnd | Piece::Padding(_) | Piece::End(_) => {}
        }
    }

    /// The backup ends there: all that it needs must have arrived.
    pub fn finish(self, end: EndPoint) -> Result<(), FetchedWalError> {
        let has_moved = end.timeline > self.start.timeline;
        let chain = self.switched.filter(|_| has_moved).unwrap_or(self.steady);
        chain.finish(end.lsn, self.size)
    }

    fn chains(&mut self) -> impl Iterator<Item = &mut Chain> {
        std::iter::once(&mut self.steady).chain(&mut self.switched)
    }

    fn begin_member(&mut self, entry: &Entry) {
        self.chains().for_each(|chain| chain.takes = false);
        let Some(segment) = segment_name(entry, self.size) else { return };
        if segment.timeline() < self.start.timeline {
            return;
        }
        let is_newer = segment.timeline() > self.start.timeline;
        if is_newer && self.switched.is_none() {
            self.switched = Some(self.steady.clone());
        }
        for chain in self.chains().skip(usize::from(is_newer)) {
            if chain.accepts(segment) {
                chain.begin(segment, entry.size);
            }
        }
    }
}

/// Segments that follow each other, each of the newest timeline that has come.
#[derive(Clone, Debug)]
struct Chain {
    /// That of the last segment; at first that of the start.
    timeline: TimelineId,
    /// The number of the segment that must come next.
    awaited: SegmentNumber,
    reader: RecordReader,
    /// The reader as it was before the last segment.
    before: RecordReader,
    /// Whether the member at hand is one of the segments.
    takes: bool,
    /// What is wrong with the last segment, or what came instead of the next one.
    failure: Option<FetchedWalError>,
}

impl Chain {
    /// Whether the segment comes next, or in place of the last one because it is of a newer timeline.
    fn accepts(&mut self, segment: WalFileName) -> bool {
        let replaces_last = segment.timeline() > self.timeline && segment.segment().next() == self.awaited;
        if replaces_last {
            self.reader = self.before.clone();
            self.failure = None;
            return true;
        }
        if self.failure.is_some() || segment.timeline() < self.timeline {
            return false;
        }
        if segment.segment() > self.awaited {
            self.failure = Some(FetchedWalError::Missing(self.next_name(segment.size())));
        }
        segment.segment() == self.awaited
    }

    fn begin(&mut self, segment: WalFileName, length: u64) {
        self.takes = true;
        self.before = self.reader.clone();
        self.reader.follow(segment.timeline());
        self.timeline = segment.timeline();
        self.awaited = segment.segment().next();
        if length != segment.size().as_u64() {
            self.failure = Some(FetchedWalError::Size { segment, length });
        }
    }

    fn take(&mut self, data: &[u8]) {
        if self.takes && self.failure.is_none() {
            self.failure = self.reader.push(data).err().map(FetchedWalError::Wal);
        }
    }

    /// What is wrong does not matter if it comes after the end.
    fn finish(self, end: Lsn, size: SegmentSize) -> Result<(), FetchedWalError> {
        let reached = self.reader.end_of_records();
        if reached >= end {
            return Ok(());
        }
        Err(match self.failure {
            Some(failure) => failure,
            None if self.reader.position() < end => FetchedWalError::Missing(self.next_name(size)),
            None => FetchedWalError::RecordsMissing { reached, wanted: end },
        })
    }

    fn next_name(&self, size: SegmentSize) -> WalFileName {
        WalFileName::new(self.timeline, self.awaited, size)
    }
}

/// The segment that a member is, if it is one.
fn segment_name(entry: &Entry, size: SegmentSize) -> Option<WalFileName> {
    let name = entry.path.as_bytes().strip_prefix(DIRECTORY)?;
    let is_file = entry.kind == EntryKind::File;
    is_file.then(|| WalFileName::parse(std::str::from_utf8(name).ok()?, size).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{MemberHeader, TarSplitter};
    use crate::wal::log_writer::{LogKind, LogWriter};

    const MIB: u64 = 1 << 20;
    const START: u64 = 3 * MIB;

    fn size() -> SegmentSize {
        SegmentSize::new(MIB).unwrap()
    }

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    /// A log of two and a half segments, and the start of its second record.
    fn log() -> (LogWriter, StartPoint) {
        let mut log = LogWriter::new(START, LogKind::with_segments_of(MIB));
        log.record(100);
        let lsn = Lsn::new(log.record(2000));
        while log.position() < START + 2 * MIB + MIB / 2 {
            log.record(30_000);
        }
        (log, StartPoint { lsn, timeline: TimelineId::FIRST })
    }

    /// The members of an archive.
    #[derive(Default)]
    struct Archive(Vec<u8>);

    impl Archive {
        fn member(mut self, path: &str, data: &[u8]) -> Self {
            let header = MemberHeader {
                path: path.as_bytes(),
                mode: 0o600,
                uid: 0,
                gid: 0,
                size: data.len() as u64,
                modified_at: 0,
            };
            self.0.extend(header.to_block().unwrap());
            self.0.extend(data);
            self.0.resize(self.0.len().next_multiple_of(512), 0);
            self
        }

        /// A segment of a log that starts at [`START`], with `filler` after the end of the log.
        fn segment(self, of: u32, number: u64, log: &[u8], filler: u8) -> Self {
            let offset = (number * MIB - START) as usize;
            let end = log.len().min(offset + MIB as usize);
            let mut data = log[offset..end].to_vec();
            data.resize(MIB as usize, filler);
            let mark = format!("pg_wal/archive_status/{of:08X}{number:016X}.done");
            self.member(&format!("pg_wal/{of:08X}{number:016X}"), &data).member(&mark, b"")
        }

        /// The same over and over again: with chunks of several sizes.
        #[track_caller]
        fn outcome(&self, start: StartPoint, end: u64, of: u32) -> Result<(), String> {
            let outcomes = [100, 100_000, 10_000_000].map(|length| {
                let mut wal = FetchedWal::new(start, size(), SystemId::new(7_000_000_000_000_000_001));
                let mut splitter = TarSplitter::new();
                for mut chunk in self.0.chunks(length) {
                    while let Some(piece) = splitter.next_piece(&mut chunk).unwrap() {
                        wal.observe(&piece);
                    }
                }
                wal.finish(EndPoint { lsn: Lsn::new(end), timeline: timeline(of) })
            });
            assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]));
            outcomes[0].clone().map_err(|error| error.to_string())
        }
    }

    /// All three segments, with members around them that are none.
    fn whole(log: &[u8], filler: u8) -> Archive {
        (3..6).fold(Archive::default().member("backup_label", b"x"), |archive, number| {
            archive.segment(1, number, log, filler)
        })
    }

    #[test]
    fn bb_177_all_segments_that_are_needed_are_there() {
        let (log, start) = log();
        for filler in [0, 0xEE] {
            let archive = whole(log.bytes(), filler).member("pg_wal/00000001.history", b"x");
            assert_eq!(archive.outcome(start, log.position(), 1), Ok(()));
            let reached = log.position();
            let error = archive.outcome(start, reached + 8, 1).unwrap_err();
            let expected = match filler {
                0 => format!(
                    "write-ahead log has records up to {} only, but is needed up to {}",
                    Lsn::new(reached),
                    Lsn::new(reached + 8)
                ),
                _ => format!("invalid WAL record at {}: record with incorrect prev-link", Lsn::new(reached)),
            };
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn bb_177_a_segment_that_is_not_there_is_missed() {
        let (log, start) = log();
        for absent in 3..6 {
            let archive = (3..6)
                .filter(|&number| number != absent)
                .fold(Archive::default(), |archive, number| archive.segment(1, number, log.bytes(), 0));
            let expected =
                format!("server did not send the write-ahead log segment \"00000001{absent:016X}\"");
            assert_eq!(archive.outcome(start, log.position(), 1), Err(expected));
        }
        let archive =
            Archive::default().segment(1, 3, log.bytes(), 0).member("pg_wal/000000010000000000000004", b"x");
        let expected = "write-ahead log segment \"000000010000000000000004\" has size 1";
        assert_eq!(archive.outcome(start, log.position(), 1), Err(expected.to_owned()));
    }

    #[test]
    fn bb_229_damage_is_found_between_start_and_end_only() {
        let (log, start) = log();
        let end = log.position();
        for (at, is_needed) in
            [(START + 60, false), (START + 500, true), (end - 100, true), (end + 100, false)]
        {
            let mut bytes = log.bytes().to_vec();
            bytes.resize(3 * MIB as usize, 0);
            bytes[(at - START) as usize] ^= 1;
            let outcome = whole(&bytes, 0).outcome(start, end, 1);
            assert_eq!(outcome.is_err(), is_needed, "{outcome:?}");
        }
        let foreign = LogKind { system_identifier: 5, ..log.kind };
        let foreign = LogWriter::new(START, foreign).filled(3 * MIB as usize);
        let error = whole(&foreign, 0).outcome(start, end, 1).unwrap_err();
        assert!(error.contains("different database system"), "{error}");
    }

    /// Timeline 2 begins in the second segment, which may be there of both timelines and in any order.
    #[test]
    fn bb_211_a_switch_to_another_timeline_is_followed() {
        let mut log = LogWriter::new(START, LogKind::with_segments_of(MIB));
        let start = StartPoint { lsn: Lsn::new(log.record(100)), timeline: TimelineId::FIRST };
        while log.position() < START + MIB + MIB / 2 {
            log.record(30_000);
        }
        let old = log.clone().filled(3 * MIB as usize);
        log.kind.timeline = 2;
        while log.position() < START + 2 * MIB + MIB / 2 {
            log.record(20_000);
        }
        let (new, end) = (log.bytes(), log.position());
        let orders: [&[(u32, u64)]; 6] = [
            &[(1, 3), (2, 4), (2, 5)],
            &[(1, 3), (1, 4), (2, 4), (2, 5)],
            &[(1, 3), (2, 4), (1, 4), (2, 5)],
            &[(1, 3), (2, 4), (1, 4), (1, 5), (2, 5)],
            &[(1, 3), (1, 4), (2, 4), (2, 5), (1, 5)],
            &[(2, 3), (1, 3), (2, 4), (2, 5)],
        ];
        for order in orders {
            let archive = order.iter().fold(Archive::default(), |archive, &(of, number)| {
                archive.segment(of, number, if of == 1 { &old } else { new }, 0xEE)
            });
            assert_eq!(archive.outcome(start, end, 2), Ok(()), "{order:?}");
            let stays_on_1 = order.iter().filter(|(of, _)| *of == 1).count() == 3;
            let old_end = START + 2 * MIB + 50;
            assert_eq!(archive.outcome(start, old_end, 1).is_ok(), stays_on_1, "{order:?}");
        }
    }
}

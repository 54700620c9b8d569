//! An archive in a directory of its own, with WAL as a server would write it.

mod compression;
mod ends;
mod parts;
mod segments;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::*;
use crate::compress::{Decoder, Encoder};
use crate::receive::archive::{ArchiveEnd, Closing};
use crate::storage::{Access, Durable};
use crate::types::{SegmentNumber, SegmentSize, SystemId};
use crate::wal::TimelineHistory;
use crate::wal::log_writer::{LogKind, LogWriter};

pub(super) const MIB: u64 = 1 << 20;

/// A directory, what is told about it, and the server whose WAL it gets.
pub(super) struct Fixture {
    root: tempfile::TempDir,
    told: Arc<Told>,
    pub(super) size: SegmentSize,
    pub(super) system_id: SystemId,
    pub(super) history: TimelineHistory,
    pub(super) access: Access,
    pub(super) compression: Option<CompressionSpec>,
    pub(super) policy: SyncPolicy,
}

/// What an observer heard, as text.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn observe(&self, event: &Event<'_>) {
        let text = match event {
            Event::Warning(warning) => format!("warning: {warning}"),
            Event::SegmentFinished { end, timeline } => format!("finished at {end} (timeline {timeline})"),
            Event::SegmentIncomplete { file } => format!("incomplete {file}"),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(text);
    }
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            told: Arc::default(),
            size: SegmentSize::new(MIB).unwrap(),
            system_id: SystemId::new(LogKind::with_segments_of(MIB).system_identifier),
            history: TimelineHistory::of_first(),
            access: Access::Owner,
            compression: None,
            policy: SyncPolicy::Never,
        }
    }

    /// The server is on this timeline, with such a history.
    pub(super) fn on_timeline(mut self, number: u32, history: &str) -> Self {
        self.history = TimelineHistory::parse(timeline(number), history.as_bytes()).unwrap();
        self
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The names in the directory, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let entry =
            |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = std::fs::read_dir(self.root.path()).unwrap().map(entry).collect();
        names.sort();
        names
    }

    pub(super) fn has_no_temporary(&self) -> bool {
        self.names().iter().all(|name| name.strip_suffix(".tmp").is_none())
    }

    /// What was told since it was asked the last time.
    pub(super) fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.0.lock().unwrap())
    }

    pub(super) fn try_open(&self) -> Result<SegmentArchive, StorageError> {
        let observer = Arc::clone(&self.told) as Arc<dyn Observer>;
        SegmentArchive::open(self.root.path(), self.compression, self.policy, observer)
    }

    pub(super) fn open(&self) -> SegmentArchive {
        self.try_open().unwrap()
    }

    pub(super) fn try_resume(
        &self,
        archive: &mut SegmentArchive,
    ) -> Result<Option<ArchiveEnd>, StorageError> {
        let Self { system_id, size: segment_size, access, ref history, .. } = *self;
        archive.resume(&Cluster { system_id, segment_size, access, history })
    }

    /// An archive that was asked where it ends.
    pub(super) fn resumed(&self) -> (SegmentArchive, Option<ArchiveEnd>) {
        let mut archive = self.open();
        let end = self.try_resume(&mut archive).unwrap();
        (archive, end)
    }

    /// Where the archive ends: timeline and position, in segments and bytes.
    pub(super) fn end(&self) -> Option<(u32, u64, u64)> {
        self.resumed().1.map(|end| {
            let position = end.position.value();
            let segment = position.segment_number(self.size).as_u64();
            (end.timeline.as_u32(), segment, position.segment_offset(self.size))
        })
    }

    /// Why the archive does not take the server's WAL.
    pub(super) fn refused(&self) -> RefusedArchive {
        match self.try_resume(&mut self.open()) {
            Err(StorageError::Other(error)) => *error.downcast().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn segment(&self, of_timeline: u32, number: u64) -> WalFileName {
        WalFileName::new(timeline(of_timeline), SegmentNumber::new(number), self.size)
    }

    pub(super) fn log_kind(&self) -> LogKind {
        LogKind {
            system_identifier: self.system_id.as_u64(),
            ..LogKind::with_segments_of(self.size.as_u64())
        }
    }

    /// So many segments of WAL from segment 1 on, full of records that cross pages and segments.
    pub(super) fn log(&self, segments: u64) -> Log {
        self.log_of(1, 1, segments)
    }

    /// So many segments of the timeline from one on.
    pub(super) fn log_of(&self, of_timeline: u32, first: u64, segments: u64) -> Log {
        let size = self.size.as_u64();
        let kind = LogKind { timeline: of_timeline, ..self.log_kind() };
        let bytes = LogWriter::new(first * size, kind).filled((segments * size) as usize);
        Log { timeline: of_timeline, start: first * size, size: self.size, bytes }
    }
}

/// WAL of a server.
pub(super) struct Log {
    timeline: u32,
    start: u64,
    size: SegmentSize,
    pub(super) bytes: Vec<u8>,
}

impl Log {
    /// The bytes of a segment.
    pub(super) fn segment(&self, number: u64) -> &[u8] {
        let from = (number * self.size.as_u64() - self.start) as usize;
        &self.bytes[from..from + self.size.as_u64() as usize]
    }

    /// The bytes from one position up to another.
    fn slice(&self, from: Lsn, to: Lsn) -> &[u8] {
        let index = |position: Lsn| (position.as_u64() - self.start) as usize;
        &self.bytes[index(from)..index(to)]
    }

    /// Gives the archive what lies between the positions, in pieces, and leaves the last segment as `closing` says, or
    /// as if the process had been killed.
    pub(super) fn stream(
        &self,
        archive: &mut SegmentArchive,
        mut from: Lsn,
        to: Lsn,
        closing: Option<Closing>,
    ) -> Result<(), StorageError> {
        const PIECE: u64 = 37_000;
        while from < to {
            let name = WalFileName::new(timeline(self.timeline), from.segment_number(self.size), self.size);
            let end = name.segment().next().start(self.size);
            let mut open = archive.open_segment(name, from)?;
            while from < end.min(to) {
                let next = (from + PIECE).min(end).min(to);
                open.append(self.slice(from, next))?;
                from = next;
            }
            if from == end {
                assert_eq!(open.complete(end)?.value(), end);
            } else if let Some(closing) = closing {
                assert_eq!(open.close_incomplete(from, closing)?.value(), from);
            }
        }
        Ok(())
    }

    /// Does to the archive what a receiver does: goes on where it ends, up to `to`.
    pub(super) fn receive(&self, fixture: &Fixture, archive: &mut SegmentArchive, to: Lsn) -> Durable<Lsn> {
        let end = fixture.try_resume(archive).unwrap();
        let from = match end {
            None => Durable::nothing_before(Lsn::new(self.start)),
            Some(end) => {
                assert_eq!(end.timeline.as_u32(), self.timeline);
                assert_eq!(end.overlap, self.before(end.position.value(), end.overlap.len()));
                assert_eq!(end.records.position(), end.position.value());
                end.position
            }
        };
        self.stream(archive, from.value(), to, Some(Closing::EndOfStream)).unwrap();
        from
    }

    fn before(&self, position: Lsn, length: usize) -> &[u8] {
        self.slice(Lsn::new(position.as_u64() - length as u64), position)
    }
}

pub(super) fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

/// What a file of the archive holds.
pub(super) fn decoded(name: &str, content: &[u8]) -> Vec<u8> {
    let Some(method) = Method::of_file_name(name.trim_end_matches(".partial")) else {
        return content.to_vec();
    };
    let (mut decoder, mut input, mut output) = (Decoder::new(method).unwrap(), content, Vec::new());
    while let Some(piece) = decoder.next_piece(&mut input).unwrap() {
        output.extend_from_slice(&piece);
    }
    decoder.finish().unwrap();
    output
}

pub(super) fn compressed(method: Method, content: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    let mut encoder = Encoder::new(&CompressionSpec::of(method)).unwrap();
    encoder.push(content, &mut output).unwrap();
    encoder.finish(&mut output).unwrap();
    output
}

/// The name of segment `number` of the first timeline, with what stands behind it.
pub(super) fn name(number: u64, suffix: &str) -> String {
    name_on(1, number, suffix)
}

pub(super) fn name_on(of_timeline: u32, number: u64, suffix: &str) -> String {
    let size = SegmentSize::new(MIB).unwrap();
    format!("{}{suffix}", WalFileName::new(timeline(of_timeline), SegmentNumber::new(number), size))
}

//! Reads the WAL that a backup needs, from start to end (BB-229).
//!
//! In: stretches of WAL and the directory of the segments. Out: what is missing or damaged. Segments are opened by
//! the names that the stretches give them, one at a time, and read no further than the stretch.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Problem;
use super::file_checksums::read_some;
use super::findings::{Findings, Stop};
use crate::manifest::WalRange;
use crate::types::{Lsn, OsError, SegmentSize, WalFileName};
use crate::wal::{RecordReader, WalError};

const CHUNK: usize = 256 << 10;

/// The bytes at the start of a segment that tell its size.
const LONG_HEADER_LEN: usize = 40;

/// Why WAL cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalFault {
    /// The directory cannot be read.
    #[error("could not open directory \"{}\"", .path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// There is no segment at all, or none that tells how large segments are.
    #[error("could not find any WAL file in \"{}\"", .0.display())]
    NoSegment(PathBuf),
    /// A segment is missing, or cannot be opened.
    #[error("could not open file \"{}\"", .path.display())]
    OpenSegment {
        /// The segment.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A segment cannot be read.
    #[error("could not read file \"{}\"", .path.display())]
    ReadSegment {
        /// The segment.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A segment ends before its end, and before the end of what is needed.
    #[error("file \"{}\" ends at {end}, but WAL is needed up to {needed}", .path.display())]
    SegmentTooShort {
        /// The segment.
        path: PathBuf,
        /// The position of its end.
        end: Lsn,
        /// The end of what is needed.
        needed: Lsn,
    },
    /// The records end before the end of what is needed.
    #[error("WAL ends at {end}, but is needed up to {needed}")]
    RecordsEnd {
        /// The end of the last record.
        end: Lsn,
        /// The end of what is needed.
        needed: Lsn,
    },
    /// A segment is damaged.
    #[error("file \"{}\" is damaged", .path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where and how.
        source: WalError,
    },
}

/// Reads every stretch of WAL.
pub(super) fn check(ranges: &[WalRange], directory: &Path, findings: &mut Findings<'_>) -> Result<(), Stop> {
    for range in ranges {
        if let Err(fault) = check_range(range, directory) {
            findings.report(&Problem::Wal { timeline: range.timeline, fault: Box::new(fault) })?;
        }
    }
    Ok(())
}

fn check_range(range: &WalRange, directory: &Path) -> Result<(), WalFault> {
    let size = segment_size_of(directory)?;
    let mut segment = range.start.segment_number(size);
    let mut reader = RecordReader::new(segment.start(size), range.start, size, range.timeline);
    let mut buffer = vec![0; CHUNK];
    while segment.start(size) < range.end {
        let path = directory.join(WalFileName::new(range.timeline, segment, size).to_string());
        read_segment(&path, segment.start(size), size, range.end, &mut reader, &mut buffer)?;
        if reader.end_of_records() >= range.end {
            return Ok(());
        }
        segment = segment.next();
    }
    let end = reader.end_of_records();
    if end < range.end { Err(WalFault::RecordsEnd { end, needed: range.end }) } else { Ok(()) }
}

/// Reads a segment up to its end, or to that of what is needed.
fn read_segment(
    path: &Path,
    mut position: Lsn,
    size: SegmentSize,
    needed: Lsn,
    reader: &mut RecordReader,
    buffer: &mut [u8],
) -> Result<(), WalFault> {
    let path = || path.to_owned();
    let mut file =
        File::open(path()).map_err(|source| WalFault::OpenSegment { path: path(), source: source.into() })?;
    let mut missing = size.as_u64();
    while missing > 0 && reader.end_of_records() < needed {
        let wanted = missing.min(buffer.len() as u64) as usize;
        let len = read_some(&mut file, &mut buffer[..wanted])
            .map_err(|source| WalFault::ReadSegment { path: path(), source: source.into() })?;
        if len == 0 {
            return Err(WalFault::SegmentTooShort { path: path(), end: position, needed });
        }
        reader.push(&buffer[..len]).map_err(|source| WalFault::Damaged { path: path(), source })?;
        position = position + len as u64;
        missing -= len as u64;
    }
    Ok(())
}

/// The size of segments, as the first one says that says it at all.
fn segment_size_of(directory: &Path) -> Result<SegmentSize, WalFault> {
    let mut paths = segments_in(directory)
        .map_err(|source| WalFault::OpenDirectory { path: directory.into(), source: source.into() })?;
    paths.sort_unstable();
    let sizes = paths.iter().filter_map(|path| {
        let mut header = [0; LONG_HEADER_LEN];
        File::open(path).and_then(|mut file| file.read_exact(&mut header)).ok()?;
        segment_size(&header)
    });
    sizes.into_iter().next().ok_or_else(|| WalFault::NoSegment(directory.into()))
}

fn segments_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.len() == 24 && name.iter().all(u8::is_ascii_hexdigit) {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

/// The size of segments that the header of one says, wherever the machine that wrote it has put that.
fn segment_size(header: &[u8; LONG_HEADER_LEN]) -> Option<SegmentSize> {
    let candidates = [32, 28].into_iter().flat_map(|at| {
        let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        [u32::from_le_bytes(bytes), u32::from_be_bytes(bytes)]
    });
    candidates.into_iter().find_map(|bytes| SegmentSize::new(bytes.into()).ok())
}

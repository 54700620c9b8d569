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
use crate::types::{Lsn, OsError, SegmentSize, SystemId, WalFileName};
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
    /// A segment ends before the end of what is needed of it.
    #[error("file \"{}\" ends at {end}, but is needed up to {needed}", .path.display())]
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

/// Reads every stretch of WAL, which must be of that cluster if one is known.
pub(super) fn check(
    ranges: &[WalRange],
    system_id: Option<SystemId>,
    directory: &Path,
    findings: &mut Findings<'_>,
) -> Result<(), Stop> {
    for range in ranges {
        if let Err(fault) = check_range(range, system_id, directory) {
            findings.report(&Problem::Wal { timeline: range.timeline, fault: Box::new(fault) })?;
        }
    }
    Ok(())
}

fn check_range(range: &WalRange, system_id: Option<SystemId>, directory: &Path) -> Result<(), WalFault> {
    let Layout { segment_size: size, page_size } = layout_of(directory)?;
    let mut segment = range.start.segment_number(size);
    let mut reader =
        RecordReader::new(segment.start(size), range.start, size, range.timeline).until(range.end);
    if let Some(system_id) = system_id {
        reader = reader.expect_system_id(system_id);
    }
    // A server reads whole pages, and so needs the last one whole.
    let last_page_end = range.end + range.end.as_u64().wrapping_neg() % page_size;
    let mut buffer = vec![0; CHUNK];
    while reader.position() < last_page_end {
        let path = directory.join(WalFileName::new(range.timeline, segment, size).to_string());
        let end = segment.next().start(size).min(last_page_end);
        read_segment(&path, end, &mut reader, &mut buffer)?;
        segment = segment.next();
    }
    let end = reader.end_of_records();
    if end < range.end { Err(WalFault::RecordsEnd { end, needed: range.end }) } else { Ok(()) }
}

/// Reads a segment from its start to `end`.
fn read_segment(path: &Path, end: Lsn, reader: &mut RecordReader, buffer: &mut [u8]) -> Result<(), WalFault> {
    let path = || path.to_owned();
    let mut file =
        File::open(path()).map_err(|source| WalFault::OpenSegment { path: path(), source: source.into() })?;
    while let Some(missing @ 1..) = end.checked_sub(reader.position()) {
        let wanted = missing.min(buffer.len() as u64) as usize;
        let len = read_some(&mut file, &mut buffer[..wanted])
            .map_err(|source| WalFault::ReadSegment { path: path(), source: source.into() })?;
        if len == 0 {
            return Err(WalFault::SegmentTooShort { path: path(), end: reader.position(), needed: end });
        }
        reader.push(&buffer[..len]).map_err(|source| WalFault::Damaged { path: path(), source })?;
    }
    Ok(())
}

/// What all segments of a log have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    segment_size: SegmentSize,
    /// In bytes; not 0.
    page_size: u64,
}

/// The layout, as the first segment tells it that tells it at all. Whether that is true shows when segments are
/// read.
fn layout_of(directory: &Path) -> Result<Layout, WalFault> {
    let mut paths = segments_in(directory)
        .map_err(|source| WalFault::OpenDirectory { path: directory.into(), source: source.into() })?;
    paths.sort_unstable();
    let layouts = paths.iter().filter_map(|path| {
        let mut header = [0; LONG_HEADER_LEN];
        File::open(path).and_then(|mut file| file.read_exact(&mut header)).ok()?;
        Layout::of_header(&header)
    });
    layouts.into_iter().next().ok_or_else(|| WalFault::NoSegment(directory.into()))
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

impl Layout {
    /// Reads the first header of a segment, wherever the machine that wrote it has put the two sizes.
    fn of_header(header: &[u8; LONG_HEADER_LEN]) -> Option<Self> {
        let bytes = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let sizes = [32, 28].into_iter().flat_map(|at| {
            let [segment, page] = [bytes(at), bytes(at + 4)];
            [
                (u32::from_le_bytes(segment), u32::from_le_bytes(page)),
                (u32::from_be_bytes(segment), u32::from_be_bytes(page)),
            ]
        });
        sizes.into_iter().find_map(|(segment, page)| {
            let segment_size = SegmentSize::new(segment.into()).ok()?;
            page.is_power_of_two().then_some(Self { segment_size, page_size: page.into() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_of_any_machine_tell_their_size() {
        let expected = Layout { segment_size: SegmentSize::new(16 << 20).unwrap(), page_size: 8192 };
        for (at, little) in [(32, true), (28, true), (32, false), (28, false)] {
            let mut header = [0xA5; LONG_HEADER_LEN];
            for (at, number) in [(at, 16_u32 << 20), (at + 4, 8192)] {
                let bytes = if little { number.to_le_bytes() } else { number.to_be_bytes() };
                header[at..at + 4].copy_from_slice(&bytes);
            }
            assert_eq!(Layout::of_header(&header), Some(expected), "{at} {little}");
        }
        assert_eq!(Layout::of_header(&[0; LONG_HEADER_LEN]), None);
        assert_eq!(Layout::of_header(&[0xFF; LONG_HEADER_LEN]), None);
    }
}

//! The directory of a receiver's archive, with files of any name: nothing goes that may be somebody's, and who looks
//! twice finds the same end.
//!
//! If the first byte is odd, the server is on timeline 2, which left the first one in its third segment. On each line
//! of the rest there is a file:
//!
//! ```text
//! w NAME LENGTH    the first bytes of the segment of that name, as a server writes it
//! g NAME LENGTH    the same compressed by gzip; `4` for LZ4, `s` for Zstandard
//! z NAME LENGTH    zeros
//! t NAME TEXT      this text
//! d NAME           a directory
//! l NAME TARGET    a link
//! ```

#![no_main]

#[path = "../../tests/support/log_writer.rs"]
mod log_writer;
#[path = "../support/scratch.rs"]
mod scratch;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use log_writer::{LogKind, LogWriter};
use pgsiphon::compress::{CompressionSpec, Encoder, Method};
use pgsiphon::receive::{Cluster, RefusedArchive, SegmentArchive, WalArchive};
use pgsiphon::storage::{Access, StorageError, SyncPolicy};
use pgsiphon::types::{SegmentSize, SystemId, TimelineId, WalFileName};
use pgsiphon::wal::TimelineHistory;

const MIB: usize = 1 << 20;

/// The first segment of the logs that are made, and how many follow it.
const FIRST: usize = 1;
const SEGMENTS: usize = 4;

/// More files than this make no difference.
const MOST_FILES: usize = 6;

fuzz_target!(|input: &[u8]| {
    let Some((&kind, lines)) = input.split_first() else { return };
    let place = scratch::emptied("archive-names");
    for line in lines.split(|&byte| byte == b'\n').take(MOST_FILES) {
        make(&place, line);
    }
    let before = content(&place);
    let found = resume(&place, kind & 1 == 1);
    let after = content(&place);
    match &found {
        Err(error) if is_refusal(error) => assert_eq!(before, after, "{error}"),
        _ => check_kept(&before, &after),
    }
    if let Ok(end) = found {
        assert_eq!(resume(&place, kind & 1 == 1).unwrap(), end);
        check_kept(&before, &content(&place));
    }
    scratch::remove(&place);
});

/// Makes the file of a line, where there can be one of that name.
fn make(place: &Path, line: &[u8]) {
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let [kind, name, rest] = [(); 3].map(|()| words.next().unwrap_or_default());
    if name.is_empty() || name.iter().any(|byte| matches!(byte, 0 | b'/')) || matches!(name, b"." | b"..") {
        return;
    }
    let path = place.join(OsStr::from_bytes(name));
    let length = std::str::from_utf8(rest).ok().and_then(|text| text.parse().ok()).unwrap_or(MIB);
    let length = length.min(MIB + 8192);
    // A name may be too long, or be there.
    _ = match kind {
        b"w" => fs::write(path, segment(name, length)),
        b"g" => fs::write(path, compressed(Method::Gzip, &segment(name, length))),
        b"4" => fs::write(path, compressed(Method::Lz4, &segment(name, length))),
        b"s" => fs::write(path, compressed(Method::Zstd, &segment(name, length))),
        b"z" => fs::write(path, vec![0; length]),
        b"t" => fs::write(path, rest),
        b"d" => fs::create_dir(path),
        b"l" => std::os::unix::fs::symlink(OsStr::from_bytes(rest), path),
        _ => Ok(()),
    };
}

/// The first bytes of a segment of one of the two timelines; zeros for another.
fn segment(name: &[u8], length: usize) -> Vec<u8> {
    static LOGS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let logs = LOGS.get_or_init(|| [1, 2].map(log));
    let size = SegmentSize::new(MIB as u64).unwrap();
    let digits = name.get(..24).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default();
    let content = WalFileName::parse(digits, size).ok().and_then(|name| {
        let log = logs.get(name.timeline().as_u32() as usize - 1)?;
        let index = usize::try_from(name.segment().as_u64()).ok()?.checked_sub(FIRST)?;
        log.chunks(MIB).nth(index)
    });
    let mut content = content.unwrap_or_default().to_vec();
    content.resize(length, 0);
    content
}

fn log(timeline: u32) -> Vec<u8> {
    let kind = LogKind { timeline, ..LogKind::with_segments_of(MIB as u64) };
    LogWriter::new((FIRST * MIB) as u64, kind).filled(SEGMENTS * MIB)
}

fn compressed(method: Method, content: &[u8]) -> Vec<u8> {
    let (mut encoder, mut output) = (Encoder::new(&CompressionSpec::of(method)).unwrap(), Vec::new());
    encoder.push(content, &mut output).unwrap();
    encoder.finish(&mut output).unwrap();
    output
}

/// Where the archive ends: timeline and position.
fn resume(place: &Path, is_on_second: bool) -> Result<Option<(u32, u64)>, StorageError> {
    let history = if is_on_second {
        TimelineHistory::parse(TimelineId::new(2).unwrap(), b"1\t0/380000\tno reason\n").unwrap()
    } else {
        TimelineHistory::of_first()
    };
    let cluster = Cluster {
        system_id: SystemId::new(LogKind::with_segments_of(MIB as u64).system_identifier),
        segment_size: SegmentSize::new(MIB as u64).unwrap(),
        access: Access::Owner,
        history: &history,
    };
    let mut archive = SegmentArchive::open(place, None, SyncPolicy::Never, Arc::new(()))?;
    let end = archive.resume(&cluster)?;
    Ok(end.map(|end| (end.timeline.as_u32(), end.position.value().as_u64())))
}

fn is_refusal(error: &StorageError) -> bool {
    matches!(error, StorageError::Other(source) if source.is::<RefusedArchive>())
}

type Content = BTreeMap<OsString, Vec<u8>>;

/// What is in each file; of a directory or link that it is one.
fn content(place: &Path) -> Content {
    let entries = fs::read_dir(place).unwrap().map(Result::unwrap);
    let read = |entry: fs::DirEntry| {
        let kind = entry.file_type().unwrap();
        let content =
            if kind.is_file() { fs::read(entry.path()).unwrap() } else { format!("{kind:?}").into() };
        (entry.file_name(), content)
    };
    entries.map(read).collect()
}

/// What the name of a file promises.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Promise {
    /// It stays as it is: a compressed segment, a history, or something that is no business of an archive.
    Stays,
    /// What is in it stays, here or in another file of the same segment.
    Segment,
    /// It may go.
    Temporary,
}

fn check_kept(before: &Content, after: &Content) {
    for (name, content) in before {
        match promise(name.as_bytes()) {
            Promise::Stays => assert_eq!(after.get(name), Some(content), "{name:?}"),
            Promise::Segment => {
                let segment = &name.as_bytes()[..24];
                let is_of_it = |other: &[u8]| other.starts_with(segment) && is_segment(other);
                assert!(after.keys().any(|other| is_of_it(other.as_bytes())), "{name:?} went");
            }
            Promise::Temporary => {}
        }
    }
}

fn promise(name: &[u8]) -> Promise {
    match name.strip_suffix(b".tmp") {
        Some(b"next_segment") => Promise::Temporary,
        // A copy of a segment under way is somebody else's.
        Some(target) if is_history(target) || (is_segment(target) && target.len() > 24) => Promise::Temporary,
        None if is_segment(name) && (name.len() == 24 || name.ends_with(b".partial")) => Promise::Segment,
        _ => Promise::Stays,
    }
}

/// Whether this is the name of a file that has a segment, or a part of one.
fn is_segment(name: &[u8]) -> bool {
    let forms: [&[u8]; 8] =
        [b"", b".partial", b".gz", b".gz.partial", b".lz4", b".lz4.partial", b".zst", b".zst.partial"];
    begins_with_digits(name, 24) && forms.contains(&&name[24..])
}

fn is_history(name: &[u8]) -> bool {
    begins_with_digits(name, 8) && &name[8..] == b".history"
}

fn begins_with_digits(name: &[u8], count: usize) -> bool {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    name.get(..count).is_some_and(|digits| digits.iter().all(is_digit))
}

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

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
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
use rustix::fs::SeekFrom;
use rustix::io::Errno;

const MIB: usize = 1 << 20;

/// The first segment of the logs that are made, and how many follow it.
const FIRST: usize = 1;
const SEGMENTS: usize = 4;

/// So many bytes of each of their segments are records; a switch to the next segment follows.
const USED: usize = 48 << 10;

/// Compressed files that are kept for the next inputs.
const MOST_COMPRESSED: usize = 200;

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
        b"w" => write(&path, used_part(name, length), length),
        b"g" => fs::write(path, compressed(Method::Gzip, name, length)),
        b"4" => fs::write(path, compressed(Method::Lz4, name, length)),
        b"s" => fs::write(path, compressed(Method::Zstd, name, length)),
        b"z" => write(&path, &[], length),
        b"t" => fs::write(path, rest),
        b"d" => fs::create_dir(path),
        b"l" => std::os::unix::fs::symlink(OsStr::from_bytes(rest), path),
        _ => Ok(()),
    };
}

/// A file of that length that begins with these bytes and has zeros behind them, which take no memory.
fn write(path: &Path, begin: &[u8], length: usize) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(begin)?;
    file.set_len(length as u64)
}

/// What comes before the zeros in so many bytes of a segment of one of the two timelines; nothing for another.
fn used_part(name: &[u8], length: usize) -> &'static [u8] {
    static LOGS: OnceLock<[Vec<Vec<u8>>; 2]> = OnceLock::new();
    let logs = LOGS.get_or_init(|| [1, 2].map(used_parts));
    let size = SegmentSize::new(MIB as u64).unwrap();
    let digits = name.get(..24).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default();
    let used = WalFileName::parse(digits, size).ok().and_then(|name| {
        let log = logs.get(name.timeline().as_u32() as usize - 1)?;
        log.get(usize::try_from(name.segment().as_u64()).ok()?.checked_sub(FIRST)?)
    });
    let used = used.map(Vec::as_slice).unwrap_or_default();
    &used[..used.len().min(length)]
}

/// What there is in each segment of the log of a timeline.
fn used_parts(timeline: u32) -> Vec<Vec<u8>> {
    let kind = LogKind { timeline, ..LogKind::with_segments_of(MIB as u64) };
    let mut log = LogWriter::new((FIRST * MIB) as u64, kind);
    let mut body = 0;
    let mut ends = Vec::new();
    for segment in 0..SEGMENTS {
        while log.bytes().len() < segment * MIB + USED {
            body = (body * 7 + 31) % 20_011;
            log.record(body);
        }
        let switch = log.switch() as usize - FIRST * MIB;
        ends.push(log.bytes().len().min((switch + 64).next_multiple_of(64)));
    }
    let parts = ends.iter().enumerate();
    parts.map(|(segment, &end)| log.bytes()[segment * MIB..end].to_vec()).collect()
}

fn compressed(method: Method, name: &[u8], length: usize) -> Vec<u8> {
    type Known = HashMap<(Method, &'static [u8], usize), Vec<u8>>;
    thread_local! {
        static KNOWN: RefCell<Known> = RefCell::default();
    }
    let begin = used_part(name, length);
    KNOWN.with_borrow_mut(|known| {
        if known.len() >= MOST_COMPRESSED {
            known.clear();
        }
        let content = || {
            let mut content = begin.to_vec();
            content.resize(length, 0);
            compress(method, &content)
        };
        known.entry((method, begin, length)).or_insert_with(content).clone()
    })
}

fn compress(method: Method, content: &[u8]) -> Vec<u8> {
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

/// The length and the bytes before the zeros at the end, by name.
type Content = BTreeMap<OsString, (u64, Vec<u8>)>;

/// What is in each file; of a directory or link that it is one.
fn content(place: &Path) -> Content {
    let entries = fs::read_dir(place).unwrap().map(Result::unwrap);
    let read = |entry: fs::DirEntry| {
        let kind = entry.file_type().unwrap();
        let content =
            if kind.is_file() { file_content(&entry.path()) } else { (0, format!("{kind:?}").into()) };
        (entry.file_name(), content)
    };
    entries.map(read).collect()
}

/// Reads a file only as far as something was written to it.
fn file_content(path: &Path) -> (u64, Vec<u8>) {
    let file = File::open(path).unwrap();
    let (mut end, mut bytes) = (0, Vec::new());
    loop {
        match rustix::fs::seek(&file, SeekFrom::Data(end)) {
            Ok(begin) => end = rustix::fs::seek(&file, SeekFrom::Hole(begin)).unwrap(),
            Err(Errno::NXIO) => break,
            Err(error) => panic!("{error}"),
        }
    }
    rustix::fs::seek(&file, SeekFrom::Start(0)).unwrap();
    (&file).take(end).read_to_end(&mut bytes).unwrap();
    let zeros = bytes.rchunks(4096).take_while(|chunk| **chunk == [0; 4096][..chunk.len()]);
    let kept = bytes.len() - zeros.map(<[u8]>::len).sum::<usize>();
    let kept = bytes[..kept].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(kept);
    (file.metadata().unwrap().len(), bytes)
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

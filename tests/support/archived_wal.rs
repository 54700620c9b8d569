//! What a WAL receiver has left in its directory, judged by what the server has.
//!
//! Compressed files are decompressed by the tools of the system, so that nothing of the receiver judges itself.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::base_backup::{file_names, is_segment_name};

/// A file in the directory of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchivedFile {
    /// A segment under its final name, with the suffix of its compression.
    Complete {
        segment: String,
        suffix: String,
    },
    /// A segment that is being received.
    Partial {
        segment: String,
        suffix: String,
    },
    History,
    /// What is being made.
    Temporary,
    Other,
}

impl ArchivedFile {
    /// What a file of that name is.
    pub fn named(name: &str) -> Self {
        let (segment, suffix) = name.split_at(name.len().min(24));
        if is_segment_name(segment) {
            let (suffix, is_partial) = match suffix.strip_suffix(".partial") {
                Some(suffix) => (suffix, true),
                None => (suffix, false),
            };
            if ["", ".gz", ".lz4", ".zst"].contains(&suffix) {
                let (segment, suffix) = (segment.to_owned(), suffix.to_owned());
                return if is_partial {
                    Self::Partial { segment, suffix }
                } else {
                    Self::Complete { segment, suffix }
                };
            }
        }
        match name.rsplit_once('.') {
            Some((_, "tmp")) => Self::Temporary,
            Some((timeline, "history")) if timeline.len() == 8 => Self::History,
            _ => Self::Other,
        }
    }
}

/// The directory of a receiver, and that of the server whose WAL it receives and which keeps all of it.
#[derive(Debug)]
pub struct ArchivedWal {
    directory: PathBuf,
    pg_wal: PathBuf,
    segment_size: u64,
    /// Complete segments that were right and are the same files still.
    checked: HashSet<(String, u64, u64, i64, i64)>,
    /// The name of the segment that has to be the first.
    first: Option<String>,
}

/// What [`ArchivedWal::check`] has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The names of the complete segments, each once.
    pub complete: Vec<String>,
    /// The position up to which WAL can be recovered from the directory.
    pub recoverable: u64,
    /// How many partial files there are.
    pub partial: usize,
    /// The sizes of those that are not compressed.
    pub raw_partial_sizes: Vec<u64>,
    /// How many temporary files there are.
    pub temporary: usize,
}

impl ArchivedWal {
    pub fn new(directory: &Path, data_directory: &Path, segment_size: u64) -> Self {
        let pg_wal = data_directory.join("pg_wal");
        Self { directory: directory.to_owned(), pg_wal, segment_size, checked: HashSet::new(), first: None }
    }

    /// Checks what holds at every instant, whatever has happened: each final name is that of a whole segment which is
    /// the server's, from the first segment on none is missing, and there are no other files.
    ///
    /// Segments of one timeline are expected.
    #[track_caller]
    pub fn check(&mut self) -> Found {
        let mut complete = BTreeSet::new();
        let mut partials: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut raw_partial_sizes = Vec::new();
        let mut temporary = 0;
        for name in file_names(&self.directory) {
            match ArchivedFile::named(&name) {
                ArchivedFile::Complete { segment, .. } => {
                    self.check_complete(&name, &segment);
                    complete.insert(segment);
                }
                ArchivedFile::Partial { segment, suffix } => {
                    if suffix.is_empty() {
                        raw_partial_sizes.push(fs::metadata(self.directory.join(&name)).unwrap().len());
                    }
                    partials.entry(segment).or_default().push(name);
                }
                ArchivedFile::History => {}
                ArchivedFile::Temporary => temporary += 1,
                ArchivedFile::Other => panic!("what is {name}?"),
            }
        }
        let complete: Vec<String> = complete.into_iter().collect();
        self.assert_contiguous(&complete);
        let next = match complete.last() {
            Some(last) => self.number(last) + 1,
            None => partials.keys().map(|segment| self.number(segment)).min().unwrap_or(0),
        };
        let running = partials.iter().find(|(segment, _)| self.number(segment) == next);
        let came = running.map_or(0, |(segment, names)| {
            names.iter().map(|name| self.sound_length(name, segment)).max().unwrap_or(0)
        });
        let partial = partials.values().map(Vec::len).sum();
        let recoverable = next * self.segment_size + came;
        Found { complete, recoverable, partial, raw_partial_sizes, temporary }
    }

    /// A complete segment as it would be recovered.
    pub fn content(&self, name: &str) -> Vec<u8> {
        decompressed(&self.directory.join(name))
    }

    /// How many bytes of a partial file are those that the server has in that segment.
    pub fn sound_length(&self, name: &str, segment: &str) -> u64 {
        let ours = decompressed(&self.directory.join(name));
        let servers = fs::read(self.pg_wal.join(segment)).unwrap();
        first_difference(&ours, &servers).unwrap_or(ours.len()) as u64
    }

    #[track_caller]
    fn check_complete(&mut self, name: &str, segment: &str) {
        let path = self.directory.join(name);
        let identity = |metadata: &Metadata| {
            (name.to_owned(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
        };
        let identity = identity(&fs::metadata(&path).unwrap());
        if self.checked.contains(&identity) {
            return;
        }
        let (content, is_whole) = decompress(&path);
        assert!(is_whole, "{name} cannot be decompressed");
        assert_eq!(content.len() as u64, self.segment_size, "the length of {name}");
        let servers = fs::read(self.pg_wal.join(segment))
            .unwrap_or_else(|error| panic!("the server does not have {segment}: {error}"));
        assert_eq!(
            first_difference(&content, &servers),
            None,
            "the first byte of {name} that is not the server's"
        );
        self.checked.insert(identity);
    }

    #[track_caller]
    fn assert_contiguous(&mut self, complete: &[String]) {
        let Some(first) = complete.first() else { return };
        assert_eq!(self.first.get_or_insert(first.clone()), first, "the first segment");
        for pair in complete.windows(2) {
            assert_eq!(self.number(&pair[0]) + 1, self.number(&pair[1]), "{pair:?} are not neighbours");
        }
    }

    fn number(&self, segment: &str) -> u64 {
        segment_number(segment, self.segment_size)
    }
}

/// The first byte that is another one, as far as both have bytes.
fn first_difference(ours: &[u8], servers: &[u8]) -> Option<usize> {
    const PIECE: usize = 8192;
    let pieces = ours.chunks(PIECE).zip(servers.chunks(PIECE));
    let of_bytes = |ours: &[u8], servers: &[u8]| ours.iter().zip(servers).position(|(a, b)| a != b);
    pieces.enumerate().find_map(|(index, (ours, servers))| {
        if ours == servers { None } else { of_bytes(ours, servers).map(|at| index * PIECE + at) }
    })
}

/// The number of the segment of that name.
pub fn segment_number(segment: &str, segment_size: u64) -> u64 {
    let [high, low] = [&segment[8..16], &segment[16..24]].map(|part| u64::from_str_radix(part, 16).unwrap());
    high * ((1 << 32) / segment_size) + low
}

/// The position that a text such as `0/3000060` says.
pub fn position(text: &str) -> u64 {
    let (high, low) = text.split_once('/').unwrap_or_else(|| panic!("not a position: {text:?}"));
    let [high, low] = [high, low].map(|part| u64::from_str_radix(part, 16).unwrap());
    high << 32 | low
}

/// A position as the server writes it.
pub fn position_text(position: u64) -> String {
    format!("{:X}/{:X}", position >> 32, position & 0xFFFF_FFFF)
}

/// Everything that can be got out of a file.
fn decompressed(path: &Path) -> Vec<u8> {
    decompress(path).0
}

/// What is in a file, and whether all of it was.
fn decompress(path: &Path) -> (Vec<u8>, bool) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let suffix = name.strip_suffix(".partial").unwrap_or(name).get(24..).unwrap_or_default();
    let program = match suffix {
        ".gz" => "/usr/bin/gzip",
        ".lz4" => "/usr/bin/lz4",
        ".zst" => "/usr/bin/zstd",
        _ => return (fs::read(path).unwrap(), true),
    };
    let output = Command::new(program)
        .args(["-d", "-c", "-q"])
        .stdin(fs::File::open(path).unwrap())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    (output.stdout, output.status.success())
}

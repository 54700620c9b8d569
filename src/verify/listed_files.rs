//! The files that a manifest lists, to be found by their paths.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::ffi::OsStr;
use std::hash::BuildHasher;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::manifest::{Checksum, ChecksumAlgorithm, FileEntry};

/// The files, in the order of the manifest.
///
/// Each takes 24 bytes in one vector, the bytes of its path and checksum in another, and some 30 in the index:
/// about 80 bytes for a file of a database.
#[derive(Debug)]
pub(super) struct ListedFiles {
    files: Vec<Record>,
    /// For each file, its path and right after it its checksum.
    bytes: Vec<u8>,
    /// From the hash of a path to its file; where two paths share one, the second has the next number.
    index: HashMap<u64, usize>,
    hash: RandomState,
}

#[derive(Debug)]
struct Record {
    size: u64,
    path_start: usize,
    path_len: u32,
    algorithm: ChecksumAlgorithm,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unseen,
    /// There is such a file, and as far as it was looked at it is as listed.
    Found,
    /// There is such a file, and it is not what is listed.
    Bad,
}

/// A file by its place in the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileNumber(usize);

/// The manifest lists a file that it has listed before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedTwice(pub(super) PathBuf);

/// A file as it is listed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListedFile<'l> {
    files: &'l ListedFiles,
    record: &'l Record,
}

impl ListedFiles {
    pub(super) fn new() -> Self {
        let (files, bytes, index) = (Vec::new(), Vec::new(), HashMap::new());
        Self { files, bytes, index, hash: RandomState::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Adds a file.
    pub(super) fn add(&mut self, file: &FileEntry) -> Result<(), ListedTwice> {
        let mut key = self.hash.hash_one(&file.path[..]);
        loop {
            match self.index.entry(key) {
                Entry::Vacant(vacant) => {
                    vacant.insert(self.files.len());
                    break;
                }
                Entry::Occupied(other) => {
                    let other = &self.files[*other.get()];
                    if self.bytes[other.path_start..][..other.path_len as usize] == file.path {
                        return Err(ListedTwice(display_path(&file.path)));
                    }
                    key = key.wrapping_add(1);
                }
            }
        }
        let path_start = self.bytes.len();
        self.bytes.extend_from_slice(&file.path);
        self.bytes.extend_from_slice(file.checksum.as_bytes());
        self.files.push(Record {
            size: file.size,
            path_start,
            path_len: file.path.len() as u32,
            algorithm: file.checksum.algorithm(),
            state: State::Unseen,
        });
        Ok(())
    }

    /// The file of that path.
    pub(super) fn find(&self, path: &[u8]) -> Option<FileNumber> {
        let mut key = self.hash.hash_one(path);
        loop {
            let number = FileNumber(*self.index.get(&key)?);
            if self.get(number).path() == path {
                return Some(number);
            }
            key = key.wrapping_add(1);
        }
    }

    pub(super) fn get(&self, number: FileNumber) -> ListedFile<'_> {
        ListedFile { files: self, record: &self.files[number.0] }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ListedFile<'_>> {
        self.files.iter().map(|record| ListedFile { files: self, record })
    }

    /// There is such a file; if it is not what is listed, its contents do not matter.
    pub(super) fn mark_found(&mut self, number: FileNumber, as_listed: bool) {
        self.files[number.0].state = if as_listed { State::Found } else { State::Bad };
    }
}

impl<'l> ListedFile<'l> {
    pub(super) fn path(&self) -> &'l [u8] {
        &self.files.bytes[self.record.path_start..][..self.record.path_len as usize]
    }

    pub(super) fn display_path(&self) -> PathBuf {
        display_path(self.path())
    }

    pub(super) fn size(&self) -> u64 {
        self.record.size
    }

    pub(super) fn checksum(&self) -> Checksum {
        let bytes = &self.files.bytes[self.record.path_start + self.record.path_len as usize..];
        let algorithm = self.record.algorithm;
        Checksum::from_bytes(algorithm, &bytes[..algorithm.checksum_len()]).unwrap_or(Checksum::NONE)
    }

    /// Whether there is such a file.
    pub(super) fn was_found(&self) -> bool {
        self.record.state != State::Unseen
    }

    /// Whether its contents are to be compared: it was found as listed, and has a checksum.
    pub(super) fn has_contents_to_compare(&self) -> bool {
        self.record.state == State::Found && self.record.algorithm != ChecksumAlgorithm::None
    }
}

fn display_path(path: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(path)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Checksummer;

    fn entry(path: &str, algorithm: ChecksumAlgorithm) -> FileEntry {
        let checksum = Checksummer::new(algorithm).finish();
        FileEntry { path: path.into(), size: path.len() as u64, checksum }
    }

    #[test]
    fn files_are_found_by_their_paths() {
        let algorithms = [ChecksumAlgorithm::None, ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Sha512];
        let mut files = ListedFiles::new();
        let entries: Vec<_> = (0..3000).map(|n| entry(&format!("base/{n}"), algorithms[n % 3])).collect();
        for entry in &entries {
            files.add(entry).unwrap();
        }
        for entry in &entries {
            let file = files.get(files.find(&entry.path).unwrap());
            assert_eq!(
                (file.path(), file.size(), file.checksum()),
                (&entry.path[..], entry.size, entry.checksum)
            );
        }
        assert!(files.find(b"base/3000").is_none() && files.find(b"base/").is_none());
        assert!(files.iter().map(|file| file.path()).eq(entries.iter().map(|entry| &entry.path[..])));
    }

    #[test]
    fn bb_233_a_file_that_is_listed_twice() {
        let mut files = ListedFiles::new();
        files.add(&entry("a", ChecksumAlgorithm::Crc32c)).unwrap();
        let twice = files.add(&entry("a", ChecksumAlgorithm::None));
        assert_eq!(twice, Err(ListedTwice("a".into())));
    }

    #[test]
    fn paths_of_the_same_hash_are_told_apart() {
        let mut files = ListedFiles::new();
        files.add(&entry("a", ChecksumAlgorithm::None)).unwrap();
        // The hash of "b", taken by "a".
        files.index.insert(files.hash.hash_one(&b"b"[..]), 0);
        assert!(files.find(b"b").is_none());
        files.add(&entry("b", ChecksumAlgorithm::None)).unwrap();
        assert_eq!(files.find(b"b"), Some(FileNumber(1)));
        assert!(files.add(&entry("b", ChecksumAlgorithm::None)).is_err());
    }

    #[test]
    fn memory_for_a_file_is_what_the_documentation_says() {
        assert_eq!(size_of::<Record>(), 24);
    }
}

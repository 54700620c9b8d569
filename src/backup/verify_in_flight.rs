//! Compares a backup with its manifest while both arrive.
//!
//! In: the pieces of all archives ([`ReceivedFiles`]), then the files that the manifest lists
//! ([`Comparison`]). Out: the first difference, by the name of the file, or how much was compared. The files
//! are compared as the server sent them; what the client adds or changes afterwards is not seen here, and
//! neither is what becomes of them on the disk.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::nameless_files::NamelessFiles;
use crate::manifest::{Checksum, ChecksumAlgorithm, Checksummer, FileEntry};
use crate::tar::{EntryKind, Piece};

/// What manifests do not list although servers send it: the WAL of `-X fetch`. Its own records carry
/// checksums; what else is below here is compared where it is listed.
const UNLISTED_DIRECTORY: &[u8] = b"pg_wal/";

/// What is no file of the server.
const MANIFEST: &str = "backup_manifest";

/// The most bytes that are kept, which is enough for about a million files. The files after them are compared all
/// together, so that no server can make this take more; which of them differs is then not known.
const MOST_KEPT: usize = 64 << 20;

/// What may be kept besides of files of the WAL directory, which come last: a manifest lists some of them and most not,
/// so they cannot be compared as one. It is enough for terabytes of WAL.
const ROOM_FOR_WAL: usize = 8 << 20;

/// The regular files that arrived, with their sizes and checksums.
///
/// Each takes 32 bytes in one vector and the bytes of its path and checksum in another, about 70 bytes
/// for a file of a database: whole checksums, because a truncated one would promise less than the manifest
/// does, and whole paths, because the one file that is too many must be named. A hash stands in for the
/// path when they are sorted and looked up, so that this need not walk over all paths; it is keyed at
/// random, so that a server cannot choose paths that share one.
#[derive(Debug)]
pub struct ReceivedFiles {
    /// Whether there will be a manifest to compare them with.
    wanted: bool,
    algorithm: ChecksumAlgorithm,
    /// What the paths in the archive at hand are below, empty or with a slash at the end.
    directory: Vec<u8>,
    /// The file at hand, whose path is in `bytes` already.
    at_hand: Option<(ReceivedFile, Checksummer)>,
    files: Vec<ReceivedFile>,
    /// For each file, its path and right after it its checksum.
    bytes: Vec<u8>,
    /// The files after those, but for those that manifests do not list.
    nameless: NamelessFiles,
    /// How many those are.
    unlisted_wal_files: u64,
    most_kept: usize,
    hash: RandomState,
}

#[derive(Debug)]
struct ReceivedFile {
    path_hash: u64,
    size: u64,
    /// Where in the bytes of all files its path begins.
    path_start: usize,
    path_len: u32,
    listed: bool,
}

/// How a backup differs from its manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Difference {
    /// The manifest lists a file that did not arrive.
    #[error("\"{0}\" is present in the manifest but was not received")]
    NotReceived(String),
    /// A file arrived that the manifest does not list.
    #[error("\"{0}\" was received but is not present in the manifest")]
    NotListed(String),
    /// A file arrived twice.
    #[error("\"{0}\" was received more than once")]
    ReceivedTwice(String),
    /// The manifest lists a file twice.
    #[error("duplicate path name in backup manifest: \"{0}\"")]
    ListedTwice(String),
    /// The manifest lists what has its own name, and would give way to it.
    #[error("\"{MANIFEST}\" is present in the manifest itself")]
    ListsItself,
    /// A file does not have the size in the manifest.
    #[error("\"{path}\" has size {received} as received but size {listed} in the manifest")]
    Size {
        /// The file.
        path: String,
        /// The number of bytes that arrived.
        received: u64,
        /// The number of bytes that the manifest says.
        listed: u64,
    },
    /// A file does not have the checksum in the manifest.
    #[error("checksum mismatch for file \"{0}\"")]
    Checksum(String),
    /// The manifest has a checksum of another kind than was asked for.
    #[error("file \"{path}\" has a {listed} checksum in the manifest where {computed} was expected")]
    Algorithm {
        /// The file.
        path: String,
        /// The kind that was computed on arrival.
        computed: ChecksumAlgorithm,
        /// The kind in the manifest.
        listed: ChecksumAlgorithm,
    },
    /// The files differ after so many, which are all that could be kept one by one.
    #[error("of the files after the first {0} at least one is not as the manifest describes it")]
    Nameless(usize),
}

/// How much of a backup was compared with its manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// The files that the manifest lists; all of them arrived with the size that it says.
    pub files: u64,
    /// How many of them have a checksum in the manifest; all of these are right.
    pub with_checksum: u64,
    /// The files below `pg_wal` that arrived and are not listed, so that nothing is known of them.
    pub unlisted_wal_files: u64,
}

impl ReceivedFiles {
    /// Nothing has arrived, and the checksums are to be of this kind.
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        Self {
            wanted: true,
            algorithm,
            directory: Vec::new(),
            at_hand: None,
            files: Vec::new(),
            bytes: Vec::new(),
            nameless: NamelessFiles::new(),
            unlisted_wal_files: 0,
            most_kept: MOST_KEPT,
            hash: RandomState::new(),
        }
    }

    /// Nothing is kept, because there will be no manifest.
    pub fn unwanted() -> Self {
        Self { wanted: false, ..Self::new(ChecksumAlgorithm::None) }
    }

    /// Whether what arrives is kept to be compared.
    pub fn are_wanted(&self) -> bool {
        self.wanted
    }

    /// Begins an archive: that of the tablespace with this object ID, or the main one.
    pub fn begin_archive(&mut self, tablespace: Option<u32>) {
        self.at_hand = None;
        self.directory = tablespace.map_or_else(Vec::new, |oid| format!("pg_tblspc/{oid}/").into_bytes());
    }

    /// Takes in the next piece of the archive.
    pub fn observe(&mut self, piece: &Piece<'_>) {
        match piece {
            Piece::Entry(entry) if entry.kind == EntryKind::File && self.wanted => {
                self.begin_file(entry.path.as_bytes(), entry.size);
            }
            Piece::Data(data) => {
                if let Some((_, checksummer)) = &mut self.at_hand {
                    checksummer.update(data);
                }
            }
            Piece::EntryEnd => self.end_file(),
            Piece::Entry(_) | Piece::Padding(_) | Piece::End(_) => {}
        }
    }

    /// Turns to the manifest, once all archives are complete.
    pub fn compare(self) -> Result<Comparison, Difference> {
        let Self { algorithm, mut files, bytes, nameless, unlisted_wal_files, hash, .. } = self;
        files.sort_unstable_by_key(|file| file.path_hash);
        let compared = Compared { unlisted_wal_files, ..Compared::default() };
        let comparison = Comparison { algorithm, files, bytes, nameless, hash, compared };
        for same_hash in comparison.files.chunk_by(|a, b| a.path_hash == b.path_hash) {
            for (at, file) in same_hash.iter().enumerate() {
                let path = comparison.path(file);
                if same_hash[..at].iter().any(|other| comparison.path(other) == path) {
                    return Err(Difference::ReceivedTwice(lossy(path)));
                }
            }
        }
        Ok(comparison)
    }

    fn begin_file(&mut self, path: &[u8], size: u64) {
        let path_start = self.bytes.len();
        self.bytes.extend_from_slice(&self.directory);
        self.bytes.extend_from_slice(path);
        let path = &self.bytes[path_start..];
        let file = ReceivedFile {
            path_hash: self.hash.hash_one(path),
            size,
            path_start,
            path_len: path.len() as u32,
            listed: false,
        };
        self.at_hand = Some((file, Checksummer::new(self.algorithm)));
    }

    fn end_file(&mut self) {
        let Some((file, checksummer)) = self.at_hand.take() else { return };
        let checksum = checksummer.finish();
        let path = &self.bytes[file.path_start..];
        let room = self.most_kept + if path.starts_with(UNLISTED_DIRECTORY) { ROOM_FOR_WAL } else { 0 };
        if self.files.len() * size_of::<ReceivedFile>() + self.bytes.len() <= room {
            self.bytes.extend_from_slice(checksum.as_bytes());
            self.files.push(file);
            return;
        }
        if path.starts_with(UNLISTED_DIRECTORY) {
            self.unlisted_wal_files += 1;
        } else {
            self.nameless.add(path, file.size, checksum.as_bytes());
        }
        self.bytes.truncate(file.path_start);
    }
}

/// The files that arrived, being compared with those that the manifest lists.
#[derive(Debug)]
pub struct Comparison {
    algorithm: ChecksumAlgorithm,
    /// By `path_hash`; no two have the same path.
    files: Vec<ReceivedFile>,
    bytes: Vec<u8>,
    nameless: NamelessFiles,
    hash: RandomState,
    compared: Compared,
}

impl Comparison {
    /// Compares with the next file that the manifest lists.
    pub fn check(&mut self, listed: &FileEntry) -> Result<(), Difference> {
        let path = || lossy(&listed.path);
        let has_checksum = listed.checksum != Checksum::NONE;
        if listed.path == MANIFEST.as_bytes() {
            return Err(Difference::ListsItself);
        }
        if let Some(at) = self.find(&listed.path) {
            let file = &mut self.files[at];
            if std::mem::replace(&mut file.listed, true) {
                return Err(Difference::ListedTwice(path()));
            }
            if file.size != listed.size {
                return Err(Difference::Size { path: path(), received: file.size, listed: listed.size });
            }
            self.check_algorithm(listed)?;
            if has_checksum && self.checksum(&self.files[at]) != listed.checksum.as_bytes() {
                return Err(Difference::Checksum(path()));
            }
        } else {
            self.check_algorithm(listed)?;
            if !self.nameless.take(&listed.path, listed.size, listed.checksum.as_bytes()) {
                return Err(Difference::NotReceived(path()));
            }
        }
        self.compared.files += 1;
        self.compared.with_checksum += u64::from(has_checksum);
        Ok(())
    }

    fn check_algorithm(&self, listed: &FileEntry) -> Result<(), Difference> {
        let (computed, algorithm) = (self.algorithm, listed.checksum.algorithm());
        if listed.checksum == Checksum::NONE || computed == algorithm {
            return Ok(());
        }
        Err(Difference::Algorithm { path: lossy(&listed.path), computed, listed: algorithm })
    }

    /// Says that the manifest has ended, and so which files it should have listed.
    pub fn finish(mut self) -> Result<Compared, Difference> {
        let mut surplus: Option<&ReceivedFile> = None;
        for file in self.files.iter().filter(|file| !file.listed) {
            if self.path(file).starts_with(UNLISTED_DIRECTORY) {
                self.compared.unlisted_wal_files += 1;
            } else if surplus.is_none_or(|first| file.path_start < first.path_start) {
                surplus = Some(file);
            }
        }
        match surplus {
            Some(file) => Err(Difference::NotListed(lossy(self.path(file)))),
            None if self.nameless.are_the_same() => Ok(self.compared),
            None => Err(Difference::Nameless(self.files.len())),
        }
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        let path_hash = self.hash.hash_one(path);
        let first = self.files.partition_point(|file| file.path_hash < path_hash);
        let same_hash = self.files[first..].iter().take_while(|file| file.path_hash == path_hash);
        same_hash.enumerate().find(|(_, file)| self.path(file) == path).map(|(nth, _)| first + nth)
    }

    fn path(&self, file: &ReceivedFile) -> &[u8] {
        &self.bytes[file.path_start..][..file.path_len as usize]
    }

    fn checksum(&self, file: &ReceivedFile) -> &[u8] {
        &self.bytes[file.path_start + file.path_len as usize..][..self.algorithm.checksum_len()]
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{MemberHeader, TarSplitter};

    /// An archive that arrived: its tablespace, and the files in it.
    type Archive = (Option<u32>, &'static [(&'static str, &'static str)]);

    const ARCHIVES: [Archive; 2] = [
        (Some(16384), &[("PG_18_1/5/16385", "data")]),
        (None, &[("backup_label", "label"), ("pg_wal/1", "log"), ("pg_wal/1.done", ""), ("base/1", "data")]),
    ];

    fn received(algorithm: ChecksumAlgorithm, archives: &[Archive]) -> ReceivedFiles {
        received_with(MOST_KEPT, algorithm, archives)
    }

    fn received_with(most_kept: usize, algorithm: ChecksumAlgorithm, archives: &[Archive]) -> ReceivedFiles {
        let mut files = ReceivedFiles { most_kept, ..ReceivedFiles::new(algorithm) };
        for (tablespace, members) in archives {
            files.begin_archive(*tablespace);
            let mut splitter = TarSplitter::new();
            for (path, data) in *members {
                let size = data.len() as u64;
                let header =
                    MemberHeader { path: path.as_bytes(), mode: 0, uid: 0, gid: 0, size, modified_at: 0 };
                let mut bytes = header.to_block().unwrap().to_vec();
                bytes.extend_from_slice(data.as_bytes());
                bytes.resize(bytes.len().next_multiple_of(512), 0);
                for mut chunk in bytes.chunks(3) {
                    while let Some(piece) = splitter.next_piece(&mut chunk).unwrap() {
                        files.observe(&piece);
                    }
                }
            }
        }
        files
    }

    fn entry(path: &str, data: &str, algorithm: ChecksumAlgorithm) -> FileEntry {
        let mut checksummer = Checksummer::new(algorithm);
        checksummer.update(data.as_bytes());
        FileEntry { path: path.into(), size: data.len() as u64, checksum: checksummer.finish() }
    }

    fn listed(algorithm: ChecksumAlgorithm) -> Vec<FileEntry> {
        vec![
            entry("pg_tblspc/16384/PG_18_1/5/16385", "data", algorithm),
            entry("backup_label", "label", algorithm),
            entry("pg_wal/1.done", "", algorithm),
            entry("base/1", "data", algorithm),
        ]
    }

    fn compare(files: ReceivedFiles, listed: &[FileEntry]) -> Result<Compared, Difference> {
        let mut comparison = files.compare()?;
        listed.iter().try_for_each(|entry| comparison.check(entry))?;
        comparison.finish()
    }

    /// What comes of a manifest that differs from what arrived.
    fn difference(change: impl FnOnce(&mut Vec<FileEntry>)) -> Difference {
        let mut listed = listed(ChecksumAlgorithm::Sha256);
        change(&mut listed);
        compare(received(ChecksumAlgorithm::Sha256, &ARCHIVES), &listed).unwrap_err()
    }

    #[test]
    fn bb_206_a_backup_as_listed_in_any_order() {
        for algorithm in [
            ChecksumAlgorithm::Crc32c,
            ChecksumAlgorithm::Sha224,
            ChecksumAlgorithm::Sha256,
            ChecksumAlgorithm::Sha384,
            ChecksumAlgorithm::Sha512,
        ] {
            let expected = Compared { files: 4, with_checksum: 4, unlisted_wal_files: 1 };
            let mut listed = listed(algorithm);
            assert_eq!(compare(received(algorithm, &ARCHIVES), &listed), Ok(expected), "{algorithm}");
            listed.reverse();
            assert_eq!(compare(received(algorithm, &ARCHIVES), &listed), Ok(expected), "{algorithm}");
        }
    }

    #[test]
    fn bb_207_without_checksums_sizes_are_compared() {
        for computed in [ChecksumAlgorithm::None, ChecksumAlgorithm::Crc32c] {
            let mut listed = listed(ChecksumAlgorithm::None);
            let expected = Compared { files: 4, with_checksum: 0, unlisted_wal_files: 1 };
            assert_eq!(compare(received(computed, &ARCHIVES), &listed), Ok(expected));
            listed[3].size = 3;
            assert!(compare(received(computed, &ARCHIVES), &listed).is_err());
        }
    }

    #[test]
    fn bb_222_bb_226_files_on_one_side_only() {
        assert_eq!(
            difference(|listed| listed.push(entry("base/2", "", ChecksumAlgorithm::Sha256))).to_string(),
            "\"base/2\" is present in the manifest but was not received"
        );
        let missing = difference(|listed| listed.push(entry("pg_wal/2", "", ChecksumAlgorithm::Sha256)));
        assert_eq!(missing, Difference::NotReceived("pg_wal/2".to_owned()));
        assert_eq!(
            difference(|listed| listed.retain(|file| file.path == b"base/1")).to_string(),
            "\"pg_tblspc/16384/PG_18_1/5/16385\" was received but is not present in the manifest"
        );
    }

    #[test]
    fn bb_223_another_size() {
        assert_eq!(
            difference(|listed| listed[1].size = 6).to_string(),
            "\"backup_label\" has size 5 as received but size 6 in the manifest"
        );
    }

    #[test]
    fn bb_227_another_checksum() {
        let changed = |path, data| {
            difference(|listed| {
                let other = entry(path, data, ChecksumAlgorithm::Sha256);
                listed
                    .iter_mut()
                    .filter(|file| file.path == other.path)
                    .for_each(|file| *file = other.clone());
            })
            .to_string()
        };
        assert_eq!(changed("base/1", "dat4"), "checksum mismatch for file \"base/1\"");
        let mut other_end = entry("base/1", "data", ChecksumAlgorithm::Sha256);
        let mut bytes = other_end.checksum.as_bytes().to_vec();
        bytes[31] ^= 1;
        other_end.checksum = Checksum::from_bytes(ChecksumAlgorithm::Sha256, &bytes).unwrap();
        assert_eq!(
            difference(|listed| listed[3] = other_end),
            Difference::Checksum("base/1".to_owned()),
            "all of the checksum counts"
        );
    }

    #[test]
    fn bb_233_files_that_come_twice() {
        assert_eq!(
            difference(|listed| listed.push(listed[1].clone())).to_string(),
            "duplicate path name in backup manifest: \"backup_label\""
        );
        let twice: [Archive; 2] = [(None, &[("base/1", "data")]), (None, &[("base/1", "data")])];
        assert_eq!(
            compare(received(ChecksumAlgorithm::Crc32c, &twice), &[]).unwrap_err().to_string(),
            "\"base/1\" was received more than once"
        );
    }

    #[test]
    fn a_checksum_of_another_kind_is_no_proof() {
        assert_eq!(
            difference(|listed| listed[3] = entry("base/1", "data", ChecksumAlgorithm::Crc32c)).to_string(),
            "file \"base/1\" has a CRC32C checksum in the manifest where SHA256 was expected"
        );
        let unchecked = received(ChecksumAlgorithm::None, &ARCHIVES);
        assert!(matches!(
            compare(unchecked, &listed(ChecksumAlgorithm::Crc32c)),
            Err(Difference::Algorithm { .. })
        ));
    }

    type Change = fn(&mut Vec<FileEntry>);

    /// However few files are kept one by one, the same backups are taken and the same are refused.
    #[test]
    fn bb_222_to_227_files_that_are_too_many_are_compared_together() {
        let algorithm = ChecksumAlgorithm::Sha256;
        let changes: [Change; 6] = [
            |listed| drop(listed.remove(0)),
            |listed| drop(listed.remove(3)),
            |listed| listed.push(listed[1].clone()),
            |listed| listed[1].size += 1,
            |listed| listed[3] = entry("base/1", "dat4", ChecksumAlgorithm::Sha256),
            |listed| listed[3] = entry("base/2", "data", ChecksumAlgorithm::Sha256),
        ];
        for most_kept in [0, 60, 200, MOST_KEPT] {
            let outcome = |change: Change| {
                let mut listed = listed(algorithm);
                change(&mut listed);
                compare(received_with(most_kept, algorithm, &ARCHIVES), &listed)
            };
            let compared = Compared { files: 4, with_checksum: 4, unlisted_wal_files: 1 };
            assert_eq!(outcome(|_| ()), Ok(compared), "{most_kept}");
            for (number, change) in changes.into_iter().enumerate() {
                assert!(outcome(change).is_err(), "{most_kept} {number}");
            }
        }
        let one =
            compare(received_with(0, algorithm, &ARCHIVES), &listed(algorithm)[..1]).unwrap_err().to_string();
        assert_eq!(one, "of the files after the first 2 at least one is not as the manifest describes it");
    }

    #[test]
    fn memory_for_a_file_is_what_the_documentation_says() {
        assert_eq!(size_of::<ReceivedFile>(), 32);
    }
}

//! Segments as members of `pg_wal.tar`, to be unpacked into a `pg_wal` directory.
//!
//! ```text
//! 000000010000000000000002                       all of its size, zeros where no bytes came
//! archive_status/000000010000000000000002.done   empty, for each complete segment and history file
//! 00000002.history
//! 1024 zero bytes
//! ```
//!
//! The size of a segment is known before its bytes, so the file is written once from front to end.
//! It is created with its first member.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::archive::{Closing, OpenSegment, WalArchive};
use super::archive_file::ArchiveFile;
use crate::compress::CompressionSpec;
use crate::protocol::TimelineHistoryFile;
use crate::storage::{Access, Directory, Durable, StorageError, SyncPolicy};
use crate::tar::{END_OF_ARCHIVE, MemberHeader, padding_len};
use crate::types::{Lsn, SegmentSize, TimelineId, WalFileName};

const FILE_NAME: &str = "pg_wal.tar";
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// A tar file beside those of a base backup (BB-199).
#[derive(Debug)]
pub struct TarArchive {
    directory: Arc<Directory>,
    segment_size: SegmentSize,
    access: Access,
    policy: SyncPolicy,
    compression: Option<CompressionSpec>,
    file: Option<ArchiveFile>,
    /// The names of the history files in it.
    histories: Vec<String>,
}

impl TarArchive {
    /// An archive that will be `pg_wal.tar` in the directory. `access` is for the file itself; its
    /// members are the owner's alone.
    pub fn new(
        directory: Arc<Directory>,
        segment_size: SegmentSize,
        access: Access,
        policy: SyncPolicy,
    ) -> Self {
        Self { directory, segment_size, access, policy, compression: None, file: None, histories: Vec::new() }
    }

    /// Compresses the file as a whole (BB-152).
    pub fn with_compression(mut self, compression: Option<CompressionSpec>) -> Self {
        self.compression = compression;
        self
    }

    fn file(&mut self) -> Result<&mut ArchiveFile, StorageError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => ArchiveFile::create(&self.directory, FILE_NAME, self.access, self.compression)?,
        };
        Ok(self.file.insert(file))
    }
}

impl WalArchive for TarArchive {
    fn open_segment(
        &mut self,
        segment: WalFileName,
        _from: Lsn,
    ) -> Result<Box<dyn OpenSegment + '_>, StorageError> {
        let (policy, remaining) = (self.policy, self.segment_size.as_u64());
        let file = self.file()?;
        append_header(file, &segment.to_string(), remaining)?;
        Ok(Box::new(SegmentMember { file, policy, segment, remaining }))
    }

    fn has_history(&mut self, timeline: TimelineId) -> Result<bool, StorageError> {
        Ok(self.histories.contains(&timeline.history_file_name()))
    }

    fn store_history(&mut self, history: &TimelineHistoryFile) -> Result<(), StorageError> {
        let policy = self.policy;
        let file = self.file()?;
        let size = history.content.len() as u64;
        append_header(file, &history.name, size)?;
        file.append(&history.content)?;
        file.append(&ZEROS[..padding_len(size)])?;
        append_done(file, &history.name)?;
        file.sync(policy, ())?;
        self.histories.push(history.name.clone());
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StorageError> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        file.append(&END_OF_ARCHIVE)?;
        file.finish(self.policy)
    }
}

/// The member that is being written, whose header is there already.
struct SegmentMember<'a> {
    file: &'a mut ArchiveFile,
    policy: SyncPolicy,
    segment: WalFileName,
    /// The bytes that its header promises and that did not come yet.
    remaining: u64,
}

impl SegmentMember<'_> {
    fn pad(&mut self) -> Result<(), StorageError> {
        while self.remaining > 0 {
            let length = self.remaining.min(ZEROS.len() as u64);
            self.append(&ZEROS[..length as usize])?;
        }
        Ok(())
    }
}

impl OpenSegment for SegmentMember<'_> {
    fn append(&mut self, data: &[u8]) -> Result<(), StorageError> {
        let Some(remaining) = self.remaining.checked_sub(data.len() as u64) else {
            let source = io::Error::from(io::ErrorKind::FileTooLarge).into();
            return Err(StorageError::WriteFile { path: self.file.path().to_owned(), source });
        };
        self.file.append(data)?;
        self.file.begin_writeback(self.policy);
        self.remaining = remaining;
        Ok(())
    }

    fn sync(&mut self, reached: Lsn) -> Result<Durable<Lsn>, StorageError> {
        self.file.sync(self.policy, reached)
    }

    fn complete(mut self: Box<Self>, end: Lsn) -> Result<Durable<Lsn>, StorageError> {
        self.pad()?;
        append_done(self.file, &self.segment.to_string())?;
        self.sync(end)
    }

    fn close_incomplete(
        mut self: Box<Self>,
        reached: Lsn,
        _closing: Closing,
    ) -> Result<Durable<Lsn>, StorageError> {
        self.pad()?;
        self.sync(reached)
    }
}

fn append_done(file: &mut ArchiveFile, name: &str) -> Result<(), StorageError> {
    append_header(file, &format!("archive_status/{name}.done"), 0)
}

/// Begins a member of that many bytes as it is made now.
fn append_header(file: &mut ArchiveFile, name: &str, size: u64) -> Result<(), StorageError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let path = name.as_bytes();
    let header = MemberHeader { path, mode: 0o600, uid: 0, gid: 0, size, modified_at: now.as_secs() };
    match header.to_block() {
        Ok(block) => file.append(&block),
        Err(error) => {
            let source = io::Error::new(io::ErrorKind::InvalidInput, error).into();
            Err(StorageError::WriteFile { path: file.path().to_owned(), source })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use bytes::Bytes;

    use super::*;
    use crate::types::SegmentNumber;

    const MIB: u64 = 1 << 20;

    fn segment(number: u64) -> WalFileName {
        let size = SegmentSize::new(MIB).unwrap();
        WalFileName::new(TimelineId::FIRST, SegmentNumber::new(number), size)
    }

    fn archive(root: &Path, policy: SyncPolicy, access: Access) -> TarArchive {
        TarArchive::new(Directory::open(root).unwrap(), SegmentSize::new(MIB).unwrap(), access, policy)
    }

    /// Name, content and mode of each member; the owner has the numbers and names that
    /// `pg_basebackup` gives it.
    fn members(tar: &Path) -> Vec<(String, Vec<u8>, u32)> {
        let mut archive = ::tar::Archive::new(std::fs::File::open(tar).unwrap());
        let member = |entry: io::Result<::tar::Entry<'_, _>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.username().unwrap(), Some("postgres"));
            assert_eq!(header.groupname().unwrap(), Some("postgres"));
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            (name, content, entry.header().mode().unwrap())
        };
        archive.entries().unwrap().map(member).collect()
    }

    #[test]
    fn bb_199_members_have_no_prefix_and_their_full_size() {
        for (policy, access, mode) in
            [(SyncPolicy::Durable, Access::Owner, 0o600), (SyncPolicy::Never, Access::Group, 0o640)]
        {
            let root = tempfile::tempdir().unwrap();
            let mut archive = archive(root.path(), policy, access);
            let timeline = TimelineId::new(2).unwrap();
            let content = Bytes::from_static(b"1\t0/200003\tend\n");
            let history = TimelineHistoryFile { name: timeline.history_file_name(), content };

            let mut first = archive.open_segment(segment(1), Lsn::new(MIB)).unwrap();
            first.append(&vec![1; 1 << 20]).unwrap();
            assert!(first.append(&[1]).is_err());
            assert_eq!(first.complete(Lsn::new(2 * MIB)).unwrap().value(), Lsn::new(2 * MIB));
            let mut second = archive.open_segment(segment(2), Lsn::new(2 * MIB)).unwrap();
            second.append(b"wal").unwrap();
            second.close_incomplete(Lsn::new(2 * MIB + 3), Closing::EndOfStream).unwrap();
            assert!(!archive.has_history(timeline).unwrap());
            archive.store_history(&history).unwrap();
            assert!(archive.has_history(timeline).unwrap());
            archive.finish().unwrap();

            let tar = root.path().join("pg_wal.tar");
            let mut last = vec![0; 1 << 20];
            last[..3].copy_from_slice(b"wal");
            let expected = [
                ("000000010000000000000001", vec![1; 1 << 20]),
                ("archive_status/000000010000000000000001.done", Vec::new()),
                ("000000010000000000000002", last),
                ("00000002.history", b"1\t0/200003\tend\n".to_vec()),
                ("archive_status/00000002.history.done", Vec::new()),
            ]
            .map(|(name, content)| (name.to_owned(), content, 0o600));
            assert_eq!(members(&tar), expected);
            let bytes = std::fs::read(&tar).unwrap();
            assert_eq!(bytes.len() as u64, 2 * MIB + 5 * 512 + 512 + 1024);
            assert!(bytes[bytes.len() - 1024..].iter().all(|&byte| byte == 0));
            assert_eq!(tar.metadata().unwrap().permissions().mode() & 0o7777, mode);
        }
    }

    #[test]
    fn bb_200_nothing_is_created_before_the_first_member() {
        let root = tempfile::tempdir().unwrap();
        let mut archive = archive(root.path(), SyncPolicy::Durable, Access::Owner);
        archive.finish().unwrap();
        assert!(!root.path().join("pg_wal.tar").exists());
    }
}

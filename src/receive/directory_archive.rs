//! Segments as files of a data directory, ready for a server to start on.
//!
//! ```text
//! pg_wal/000000010000000000000002                       all of its size from the beginning
//! pg_wal/00000002.history
//! pg_wal/archive_status/000000010000000000000002.done   for each complete segment and history file
//! ```
//!
//! No file that exists is ever written to.

use std::sync::Arc;

use super::archive::{Closing, OpenSegment, WalArchive};
use crate::protocol::TimelineHistoryFile;
use crate::storage::{Access, Directory, Durable, OutputFile, StorageError, SyncPolicy, replace_durably};
use crate::types::{Lsn, SegmentSize, TimelineId, WalFileName};

/// The `pg_wal` directory of a data directory that is being made (BB-197).
#[derive(Debug)]
pub struct DirectoryArchive {
    pg_wal: Arc<Directory>,
    archive_status: Arc<Directory>,
    segment_size: SegmentSize,
    access: Access,
    policy: SyncPolicy,
}

impl DirectoryArchive {
    /// Creates `pg_wal` and what a server expects in it, as far as it does not exist, in the data
    /// directory (BB-180). Servers from version 17 on also expect a directory for WAL summaries.
    pub fn create(
        data_directory: &Directory,
        segment_size: SegmentSize,
        wal_summaries: bool,
        access: Access,
        policy: SyncPolicy,
    ) -> Result<Self, StorageError> {
        let pg_wal = data_directory.subdirectory("pg_wal", access, policy)?;
        let archive_status = pg_wal.subdirectory("archive_status", access, policy)?;
        if wal_summaries {
            pg_wal.subdirectory("summaries", access, policy)?;
        }
        Ok(Self { pg_wal, archive_status, segment_size, access, policy })
    }

    /// Says that there is no need to archive the file: the source of the backup does (BB-202).
    fn mark_done(&self, name: &str) -> Result<(), StorageError> {
        let mut mark =
            OutputFile::create_or_empty(&self.archive_status, &format!("{name}.done"), self.access)?;
        mark.sync_content(self.policy)?;
        mark.close()
    }
}

impl WalArchive for DirectoryArchive {
    fn open_segment(
        &mut self,
        segment: WalFileName,
        _from: Lsn,
    ) -> Result<Box<dyn OpenSegment + '_>, StorageError> {
        let mut file = OutputFile::create_new(&self.pg_wal, &segment.to_string(), self.access)?;
        file.allocate(self.segment_size.as_u64())?;
        Ok(Box::new(SegmentFile { archive: self, segment, file }))
    }

    fn has_history(&mut self, timeline: TimelineId) -> Result<bool, StorageError> {
        self.pg_wal.contains(&timeline.history_file_name())
    }

    fn store_history(&mut self, file: &TimelineHistoryFile) -> Result<(), StorageError> {
        replace_durably(&self.pg_wal, &file.name, &file.content, self.access, self.policy)?;
        self.mark_done(&file.name)
    }

    fn finish(&mut self) -> Result<(), StorageError> {
        self.archive_status.sync(self.policy)?;
        self.pg_wal.sync(self.policy)
    }
}

/// A segment that is being written, under its final name: until the backup is complete nobody reads
/// the directory.
struct SegmentFile<'a> {
    archive: &'a DirectoryArchive,
    segment: WalFileName,
    file: OutputFile,
}

impl OpenSegment for SegmentFile<'_> {
    fn append(&mut self, data: &[u8]) -> Result<(), StorageError> {
        self.file.append(data)?;
        self.file.begin_writeback(self.archive.policy);
        Ok(())
    }

    fn sync(&mut self, reached: Lsn) -> Result<Durable<Lsn>, StorageError> {
        self.file.sync(self.archive.policy, reached)
    }

    fn complete(self: Box<Self>, end: Lsn) -> Result<Durable<Lsn>, StorageError> {
        let Self { archive, segment, mut file } = *self;
        let durable = file.sync(archive.policy, end)?;
        file.close()?;
        archive.mark_done(&segment.to_string())?;
        Ok(durable)
    }

    fn close_incomplete(
        mut self: Box<Self>,
        reached: Lsn,
        _closing: Closing,
    ) -> Result<Durable<Lsn>, StorageError> {
        let durable = self.sync(reached)?;
        self.file.close()?;
        Ok(durable)
    }
}

#[cfg(test)]
mod tests {
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

    fn archive(root: &Path, policy: SyncPolicy, access: Access) -> DirectoryArchive {
        let size = SegmentSize::new(MIB).unwrap();
        let root = Directory::open(root).unwrap();
        DirectoryArchive::create(&root, size, true, access, policy).unwrap()
    }

    /// Every file and directory below the root with its size (0 for directories) and permissions.
    fn listing(root: &Path) -> Vec<(String, u64, u32)> {
        let mut found = Vec::new();
        let mut pending = vec![root.to_owned()];
        while let Some(directory) = pending.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let metadata = path.metadata().unwrap();
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                let size = if metadata.is_dir() { 0 } else { metadata.len() };
                found.push((name, size, metadata.permissions().mode() & 0o7777));
                if metadata.is_dir() {
                    pending.push(path);
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn bb_197_bb_202_segments_are_full_size_and_only_complete_ones_are_marked() {
        for (policy, access, directory, file) in [
            (SyncPolicy::Durable, Access::Owner, 0o700, 0o600),
            (SyncPolicy::Never, Access::Group, 0o750, 0o640),
        ] {
            let root = tempfile::tempdir().unwrap();
            let mut archive = archive(root.path(), policy, access);

            let mut first = archive.open_segment(segment(1), Lsn::new(MIB)).unwrap();
            first.append(&vec![1; 1 << 19]).unwrap();
            assert_eq!(first.sync(Lsn::new(MIB + MIB / 2)).unwrap().value(), Lsn::new(MIB + MIB / 2));
            first.append(&vec![2; 1 << 19]).unwrap();
            assert_eq!(first.complete(Lsn::new(2 * MIB)).unwrap().value(), Lsn::new(2 * MIB));

            let mut second = archive.open_segment(segment(2), Lsn::new(2 * MIB)).unwrap();
            second.append(b"wal").unwrap();
            let reached = Lsn::new(2 * MIB + 3);
            assert_eq!(second.close_incomplete(reached, Closing::EndOfStream).unwrap().value(), reached);
            archive.finish().unwrap();

            let expected = [
                ("pg_wal", 0, directory),
                ("pg_wal/000000010000000000000001", MIB, file),
                ("pg_wal/000000010000000000000002", MIB, file),
                ("pg_wal/archive_status", 0, directory),
                ("pg_wal/archive_status/000000010000000000000001.done", 0, file),
                ("pg_wal/summaries", 0, directory),
            ]
            .map(|(name, size, mode)| (name.to_owned(), size, mode));
            assert_eq!(listing(root.path()), expected);
            let content = std::fs::read(root.path().join("pg_wal/000000010000000000000002")).unwrap();
            assert_eq!(&content[..3], b"wal");
            assert!(content[3..].iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn bb_198_a_history_file_is_stored_and_marked() {
        let root = tempfile::tempdir().unwrap();
        let mut archive = archive(root.path(), SyncPolicy::Durable, Access::Owner);
        let timeline = TimelineId::new(2).unwrap();
        assert!(!archive.has_history(timeline).unwrap());
        let content = Bytes::from_static(b"1\t0/3000000\tno recovery target specified\n");
        let file = TimelineHistoryFile { name: timeline.history_file_name(), content: content.clone() };
        archive.store_history(&file).unwrap();
        assert!(archive.has_history(timeline).unwrap());
        let pg_wal = root.path().join("pg_wal");
        assert_eq!(std::fs::read(pg_wal.join("00000002.history")).unwrap(), content);
        assert!(pg_wal.join("archive_status/00000002.history.done").exists());
        assert!(!pg_wal.join("00000002.history.tmp").exists());
    }

    #[test]
    fn rw_165_a_segment_that_is_there_is_not_written_to() {
        let root = tempfile::tempdir().unwrap();
        let mut archive = archive(root.path(), SyncPolicy::Never, Access::Owner);
        let path = root.path().join("pg_wal/000000010000000000000001");
        std::fs::write(&path, "precious").unwrap();
        let error = archive.open_segment(segment(1), Lsn::new(MIB)).err().unwrap();
        assert_eq!(error.to_string(), format!("could not create file \"{}\"", path.display()));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}

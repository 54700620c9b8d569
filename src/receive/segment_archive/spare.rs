//! The file of the next segment, made on a thread of its own while the one before is written (OP-15).

use std::sync::Arc;
use std::thread::JoinHandle;

use super::identity::Origin;
use crate::storage::{Directory, OutputFile, StorageError, SyncPolicy};

/// A file of the size of a segment without anything in it, under a name that means nothing in an archive.
#[derive(Debug, Default)]
pub(super) struct Spare {
    thread: Option<JoinHandle<Result<(), StorageError>>>,
}

impl Spare {
    /// What the file is called until it is wanted.
    pub(super) const NAME: &str = "next_segment.tmp";

    /// Begins to make the file, unless that was begun already. What goes wrong is found out when it is wanted.
    pub(super) fn prepare(&mut self, directory: &Arc<Directory>, origin: Origin, policy: SyncPolicy) {
        if self.thread.is_some() {
            return;
        }
        let directory = Arc::clone(directory);
        let make = move || make(&directory, origin, policy);
        self.thread = std::thread::Builder::new().name("wal-allocator".to_owned()).spawn(make).ok();
    }

    /// Waits for the file if it was begun. Whether there is one.
    pub(super) fn wait(&mut self) -> bool {
        self.thread.take().is_some_and(|thread| matches!(thread.join(), Ok(Ok(()))))
    }

    /// Removes the file, if there is one.
    pub(super) fn discard(&mut self, directory: &Directory) -> Result<(), StorageError> {
        self.wait();
        directory.remove_file(Self::NAME)
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.wait();
    }
}

fn make(directory: &Arc<Directory>, origin: Origin, policy: SyncPolicy) -> Result<(), StorageError> {
    let made = OutputFile::create_or_empty(directory, Spare::NAME, origin.access).and_then(|mut file| {
        file.allocate(origin.segment_size.as_u64())?;
        file.sync_content(policy)?;
        file.close()
    });
    made.inspect_err(|_| {
        // On a full disk its space is wanted elsewhere; the failure that is reported matters more.
        let _ = directory.remove_file(Spare::NAME);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Access;
    use crate::types::{SegmentSize, SystemId};

    #[test]
    fn rw_143_a_spare_file_has_its_size_or_is_not_there() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let path = root.path().join(Spare::NAME);
        let segment_size = SegmentSize::new(1 << 20).unwrap();
        let origin = Origin { system_id: SystemId::new(1), segment_size, access: Access::Owner };
        let mut spare = Spare::default();
        assert!(!spare.wait());
        spare.prepare(&directory, origin, SyncPolicy::Durable);
        assert!(spare.wait());
        assert_eq!(path.metadata().unwrap().len(), 1 << 20);
        assert!(!spare.wait());
        spare.discard(&directory).unwrap();
        assert!(!path.exists());

        std::fs::create_dir(&path).unwrap();
        spare.prepare(&directory, origin, SyncPolicy::Durable);
        assert!(!spare.wait());
    }
}

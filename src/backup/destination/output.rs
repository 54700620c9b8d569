use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::storage::{
    Access, BackgroundSync, ClaimedDirectory, Directory, OutputFile, StorageError, SyncPolicy,
    publish_durably_or_not,
};

const MANIFEST: &str = "backup_manifest";
const UNPUBLISHED_MANIFEST: &str = "backup_manifest.tmp";

/// The directory of a backup: the file that is being written in or below it, those that are being synced, and
/// the manifest.
///
/// The manifest has a temporary name until the backup is complete, so that a backup that failed never has one
/// (BB-213, BB-214).
#[derive(Debug)]
pub(super) struct Output {
    claimed: ClaimedDirectory,
    access: Access,
    policy: SyncPolicy,
    background: BackgroundSync,
    writing: Writing,
}

/// What bytes are written to.
#[derive(Debug)]
enum Writing {
    Nothing,
    /// A member without a file, whose bytes mean nothing.
    Skipped,
    File(OutputFile),
    Manifest(OutputFile),
    /// The manifest is complete and lies there under its temporary name.
    Unpublished,
}

impl Output {
    /// Takes the directory, which must be missing or empty.
    pub(super) fn claim(path: &Path, access: Access, policy: SyncPolicy) -> Result<Self, StorageError> {
        let background = BackgroundSync::start(policy)?;
        let claimed = ClaimedDirectory::claim(path, access, policy)?;
        Ok(Self { claimed, access, policy, background, writing: Writing::Nothing })
    }

    pub(super) fn directory(&self) -> &Arc<Directory> {
        self.claimed.directory()
    }

    pub(super) fn access(&self) -> Access {
        self.access
    }

    /// The next bytes belong to this file, or to none.
    pub(super) fn begin(&mut self, file: Option<OutputFile>) {
        self.writing = file.map_or(Writing::Skipped, Writing::File);
    }

    pub(super) fn begin_manifest(&mut self) -> Result<(), StorageError> {
        let file = OutputFile::create_new(self.directory(), UNPUBLISHED_MANIFEST, self.access)?;
        self.writing = Writing::Manifest(file);
        Ok(())
    }

    pub(super) fn write(&mut self, pieces: &[Bytes]) -> Result<(), StorageError> {
        match &mut self.writing {
            Writing::Nothing | Writing::Unpublished => Err(StorageError::OutOfOrder),
            Writing::Skipped => Ok(()),
            Writing::Manifest(file) => file.append_pieces(pieces),
            Writing::File(file) => {
                file.append_pieces(pieces)?;
                file.begin_writeback(self.policy);
                Ok(())
            }
        }
    }

    /// The file at hand is complete.
    pub(super) fn end(&mut self) -> Result<(), StorageError> {
        match std::mem::replace(&mut self.writing, Writing::Nothing) {
            Writing::Skipped => Ok(()),
            Writing::File(file) => self.background.sync(file),
            Writing::Nothing | Writing::Manifest(_) | Writing::Unpublished => Err(StorageError::OutOfOrder),
        }
    }

    /// Syncs the contents of all files, the manifest's among them. The names of files below the directory are
    /// left to whoever made them.
    pub(super) fn sync(&mut self) -> Result<(), StorageError> {
        self.background.finish()?;
        if let Writing::Manifest(mut file) = std::mem::replace(&mut self.writing, Writing::Nothing) {
            file.sync_content(self.policy)?;
            file.close()?;
            self.writing = Writing::Unpublished;
        }
        self.claimed.sync(self.policy)
    }

    /// Gives the manifest, if there is one, its name, which it only keeps if that is durable.
    pub(super) fn publish(&self) -> Result<(), StorageError> {
        match &self.writing {
            Writing::Unpublished => {
                publish_durably_or_not(self.directory(), UNPUBLISHED_MANIFEST, MANIFEST, self.policy)
            }
            _ => Ok(()),
        }
    }

    /// Closes all files, those that are being synced too, and gives back the directory. A file that is removed while
    /// it is open stays under another name on file systems such as NFS, and keeps its directory from going.
    pub(super) fn abandon(self) -> ClaimedDirectory {
        let Self { claimed, background, writing, .. } = self;
        drop((background, writing));
        claimed
    }

    /// The path of the file at hand.
    pub(super) fn current(&self) -> Option<&Path> {
        match &self.writing {
            Writing::File(file) => Some(file.path()),
            _ => None,
        }
    }
}

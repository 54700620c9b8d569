use std::sync::Arc;

use bytes::Bytes;

use crate::storage::{Access, Directory, OutputFile, StorageError, SyncPolicy, publish_durably};

const NAME: &str = "backup_manifest";
const TEMPORARY_NAME: &str = "backup_manifest.tmp";

/// The manifest beside a backup: under a temporary name until the backup is complete, so that a backup that
/// failed never has one (BB-213, BB-214).
#[derive(Debug)]
pub(super) struct ManifestFile {
    directory: Arc<Directory>,
    file: OutputFile,
}

impl ManifestFile {
    pub(super) fn create(directory: &Arc<Directory>, access: Access) -> Result<Self, StorageError> {
        let file = OutputFile::create_new(directory, TEMPORARY_NAME, access)?;
        Ok(Self { directory: Arc::clone(directory), file })
    }

    pub(super) fn append(&mut self, pieces: &[Bytes]) -> Result<(), StorageError> {
        self.file.append_pieces(pieces)
    }

    pub(super) fn sync(&mut self, policy: SyncPolicy) -> Result<(), StorageError> {
        self.file.sync_content(policy)
    }

    pub(super) fn publish(&self, policy: SyncPolicy) -> Result<(), StorageError> {
        publish_durably(&self.directory, TEMPORARY_NAME, NAME, policy)
    }
}

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::manifest_file::ManifestFile;
use super::{Destination, Form, Preparation, Traces};
use crate::backup::cleanup::{CleanUpPolicy, undo};
use crate::backup::location::ArchiveLocation;
use crate::backup::observer::{DirectoryRole, Observer};
use crate::protocol::ArchiveName;
use crate::receive::{TarArchive, WalArchive};
use crate::storage::{Access, BackgroundSync, ClaimedDirectory, OutputFile, StorageError, SyncPolicy};

/// A directory with one tar file for each archive, `pg_wal.tar`, and the manifest (BB-139).
#[derive(Debug)]
pub struct TarFilesDestination {
    path: PathBuf,
    sync_policy: SyncPolicy,
    clean_up: CleanUpPolicy,
    claimed: Option<Claimed>,
}

#[derive(Debug)]
struct Claimed {
    directory: ClaimedDirectory,
    access: Access,
    background: BackgroundSync,
    writing: Writing,
}

#[derive(Debug)]
enum Writing {
    Nothing,
    Archive(OutputFile),
    Manifest(ManifestFile),
}

impl TarFilesDestination {
    /// A backup into the directory `path`, which must be missing or empty.
    pub fn new(path: impl Into<PathBuf>, sync_policy: SyncPolicy, clean_up: CleanUpPolicy) -> Self {
        Self { path: path.into(), sync_policy, clean_up, claimed: None }
    }

    fn claimed(&mut self) -> Result<&mut Claimed, StorageError> {
        self.claimed.as_mut().ok_or(StorageError::OutOfOrder)
    }
}

impl Destination for TarFilesDestination {
    fn form(&self) -> Form {
        Form::Archives
    }

    fn claim(&mut self, access: Access) -> Result<(), StorageError> {
        let background = BackgroundSync::start(self.sync_policy)?;
        self.claimed = Some(Claimed {
            directory: ClaimedDirectory::claim(&self.path, access)?,
            access,
            background,
            writing: Writing::Nothing,
        });
        Ok(())
    }

    fn wal_archive(&mut self, preparation: &Preparation<'_>) -> Result<Box<dyn WalArchive>, StorageError> {
        let policy = self.sync_policy;
        let claimed = self.claimed()?;
        let directory = Arc::clone(claimed.directory.directory());
        Ok(Box::new(TarArchive::new(directory, preparation.segment_size, claimed.access, policy)))
    }

    fn begin_archive(&mut self, name: &ArchiveName, _: &ArchiveLocation) -> Result<(), StorageError> {
        let claimed = self.claimed()?;
        let directory = claimed.directory.directory();
        let file = OutputFile::create_new(directory, name.as_str(), claimed.access)?;
        claimed.writing = Writing::Archive(file);
        Ok(())
    }

    fn write(&mut self, pieces: &[Bytes]) -> Result<(), StorageError> {
        let policy = self.sync_policy;
        match &mut self.claimed()?.writing {
            Writing::Nothing => Err(StorageError::OutOfOrder),
            Writing::Manifest(manifest) => manifest.append(pieces),
            Writing::Archive(file) => {
                file.append_pieces(pieces)?;
                file.begin_writeback(policy);
                Ok(())
            }
        }
    }

    fn end_archive(&mut self) -> Result<(), StorageError> {
        let claimed = self.claimed()?;
        match std::mem::replace(&mut claimed.writing, Writing::Nothing) {
            Writing::Archive(file) => claimed.background.sync(file),
            Writing::Nothing | Writing::Manifest(_) => Err(StorageError::OutOfOrder),
        }
    }

    fn begin_manifest(&mut self) -> Result<(), StorageError> {
        let claimed = self.claimed()?;
        let manifest = ManifestFile::create(claimed.directory.directory(), claimed.access)?;
        claimed.writing = Writing::Manifest(manifest);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        let policy = self.sync_policy;
        let claimed = self.claimed()?;
        claimed.background.finish()?;
        if let Writing::Manifest(manifest) = &mut claimed.writing {
            manifest.sync(policy)?;
        }
        claimed.directory.sync(policy)
    }

    fn publish(&mut self) -> Result<(), StorageError> {
        let policy = self.sync_policy;
        let claimed = self.claimed()?;
        match &claimed.writing {
            Writing::Manifest(manifest) => manifest.publish(policy),
            Writing::Nothing | Writing::Archive(_) => Ok(()),
        }
    }

    fn abandon(&mut self, traces: Traces, observer: &dyn Observer) {
        if let Some(claimed) = self.claimed.take()
            && traces == Traces::Remove
        {
            undo(&claimed.directory, DirectoryRole::Data, self.clean_up, observer);
        }
    }

    fn current(&self) -> Option<PathBuf> {
        match &self.claimed.as_ref()?.writing {
            Writing::Archive(file) => Some(Path::to_owned(file.path())),
            Writing::Nothing | Writing::Manifest(_) => None,
        }
    }
}

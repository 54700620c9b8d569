use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::output::Output;
use super::{Destination, Form, Preparation, Traces};
use crate::backup::cleanup::{CleanUpPolicy, undo};
use crate::backup::location::ArchiveLocation;
use crate::backup::observer::{DirectoryRole, Observer};
use crate::compress::Method;
use crate::protocol::ArchiveName;
use crate::receive::{TarArchive, WalArchive};
use crate::storage::{Access, Directory, OutputFile, StorageError, SyncPolicy};

/// A directory with one tar file for each archive, `pg_wal.tar`, and the manifest (BB-139).
///
/// The archives come compressed where that is wanted; of the WAL this takes care itself.
#[derive(Debug)]
pub struct TarFilesDestination {
    path: PathBuf,
    sync_policy: SyncPolicy,
    clean_up: CleanUpPolicy,
    output: Option<Output>,
}

impl TarFilesDestination {
    /// A backup into the directory `path`, which must be missing or empty.
    pub fn new(path: impl Into<PathBuf>, sync_policy: SyncPolicy, clean_up: CleanUpPolicy) -> Self {
        Self { path: path.into(), sync_policy, clean_up, output: None }
    }

    fn output(&mut self) -> Result<&mut Output, StorageError> {
        self.output.as_mut().ok_or(StorageError::OutOfOrder)
    }
}

impl Destination for TarFilesDestination {
    fn form(&self) -> Form {
        Form::Archives
    }

    fn claim(&mut self, access: Access) -> Result<(), StorageError> {
        self.output = Some(Output::claim(&self.path, access, self.sync_policy)?);
        Ok(())
    }

    fn directory_of(&self, _: &ArchiveLocation) -> Option<&Directory> {
        Some(self.output.as_ref()?.directory())
    }

    fn wal_archive(&mut self, preparation: &Preparation<'_>) -> Result<Box<dyn WalArchive>, StorageError> {
        let policy = self.sync_policy.for_single_files();
        let output = self.output()?;
        let directory = Arc::clone(output.directory());
        let archive = TarArchive::new(directory, preparation.segment_size, output.access(), policy);
        // The other methods never were for WAL, and what unpacks backups does not expect them there (BB-152).
        let compression = preparation.compression.filter(|spec| spec.method == Method::Gzip);
        Ok(Box::new(archive.with_compression(compression)))
    }

    fn begin_archive(&mut self, name: &ArchiveName, _: &ArchiveLocation) -> Result<(), StorageError> {
        let output = self.output()?;
        let file = OutputFile::create_new(output.directory(), name.as_str(), output.access())?;
        output.begin(Some(file));
        Ok(())
    }

    fn write(&mut self, pieces: &[Bytes]) -> Result<(), StorageError> {
        self.output()?.write(pieces)
    }

    fn end_archive(&mut self) -> Result<(), StorageError> {
        self.output()?.end()
    }

    fn begin_manifest(&mut self) -> Result<(), StorageError> {
        self.output()?.begin_manifest()
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.output()?.sync()
    }

    fn publish(&mut self) -> Result<(), StorageError> {
        self.output()?.publish()
    }

    fn abandon(&mut self, traces: Traces, observer: &dyn Observer) {
        if let Some(output) = self.output.take()
            && traces == Traces::Remove
        {
            undo(&output.abandon(), DirectoryRole::Data, self.clean_up, observer);
        }
    }

    fn current(&self) -> Option<PathBuf> {
        self.output.as_ref()?.current().map(Path::to_owned)
    }
}

//! Where a backup comes to rest.
//!
//! A [`Destination`] gets what the server sends, in order: archives as they are, or the members in them. The
//! directory and the tar files of `pg_basebackup` are implementations; an embedder writes another.

mod directory;
mod none;
mod output;
mod tar_files;
mod tar_stream;

use std::path::PathBuf;

use bytes::Bytes;
pub use directory::DirectoryDestination;
pub use none::NoDestination;
pub use tar_files::TarFilesDestination;
pub use tar_stream::TarStreamDestination;

use super::location::ArchiveLocation;
use super::observer::Observer;
use crate::compress::CompressionSpec;
use crate::protocol::ArchiveName;
use crate::receive::WalArchive;
use crate::storage::{Access, Directory, StorageError};
use crate::tar::Entry;
use crate::types::SegmentSize;

/// What a destination wants to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The bytes of each archive: [`Destination::write`] between `begin_archive` and `end_archive`.
    Archives,
    /// The same, of the main archive alone, with the manifest as its last member but for the recovery settings.
    /// Clusters with tablespaces of their own do not fit (BB-144, BB-156).
    SingleArchive,
    /// The members in each archive: [`Destination::write`] between `begin_member` and `end_member`.
    Members,
}

/// What a destination must know of the server before it gets anything.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Preparation<'a> {
    /// Where each archive that will come has its contents, the main data directory included.
    pub locations: &'a [ArchiveLocation],
    /// Who may read what is created.
    pub access: Access,
    /// The size of the server's WAL segments.
    pub segment_size: SegmentSize,
    /// Whether the server's data directory has one for WAL summaries.
    pub wal_summaries: bool,
    /// How the destination's archives are compressed here, so that WAL in an archive of its own can be too.
    pub compression: Option<CompressionSpec>,
}

/// Takes a backup.
///
/// All methods run on the thread of the backup, one at a time and in the order of this list, and may block;
/// the server waits meanwhile. An error ends the backup: then only `abandon` follows.
pub trait Destination: Send {
    /// What this destination wants to get.
    fn form(&self) -> Form;

    /// Takes the place for the backup, before the server is asked for anything that costs it something.
    fn claim(&mut self, _access: Access) -> Result<(), StorageError> {
        Ok(())
    }

    /// Makes ready for archives at these locations.
    fn prepare(&mut self, _preparation: &Preparation<'_>) -> Result<(), StorageError> {
        Ok(())
    }

    /// The directory that the contents of an archive go to, so that it can be seen whether there is room for them; none
    /// where that is not known. Called after [`prepare`](Self::prepare).
    fn directory_of(&self, _location: &ArchiveLocation) -> Option<&Directory> {
        None
    }

    /// The directory that WAL goes to, as [`directory_of`](Self::directory_of) has those of the archives.
    fn wal_directory(&self) -> Option<&Directory> {
        self.directory_of(&ArchiveLocation::Main)
    }

    /// Gives a place for the WAL that is received beside the backup, on a thread of its own.
    /// Without one, backups with [`WalMethod::Stream`](super::WalMethod::Stream) are refused.
    fn wal_archive(&mut self, _preparation: &Preparation<'_>) -> Result<Box<dyn WalArchive>, StorageError> {
        Err(StorageError::NoPlaceForWal)
    }

    /// An archive begins.
    fn begin_archive(
        &mut self,
        _name: &ArchiveName,
        _location: &ArchiveLocation,
    ) -> Result<(), StorageError> {
        Ok(())
    }

    /// A member begins; only in the form of members.
    fn begin_member(&mut self, _entry: &Entry) -> Result<(), StorageError> {
        Ok(())
    }

    /// The next bytes of the archive, the member or the manifest at hand, in pieces as they were received.
    ///
    /// A piece that is kept for longer keeps the whole receive buffer around it alive: keep a copy instead.
    fn write(&mut self, pieces: &[Bytes]) -> Result<(), StorageError>;

    /// The member is complete.
    fn end_member(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// The archive is complete.
    fn end_archive(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// The manifest begins; all archives have come.
    fn begin_manifest(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// The manifest is complete.
    fn end_manifest(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Makes everything durable. The backup is complete and verified, and so is its WAL.
    fn sync(&mut self) -> Result<(), StorageError>;

    /// Makes the backup known as complete, durably.
    fn publish(&mut self) -> Result<(), StorageError>;

    /// Takes away what was written, or keeps it, and tells the observer which.
    fn abandon(&mut self, traces: Traces, observer: &dyn Observer);

    /// The file that is being written, for progress reports.
    fn current(&self) -> Option<PathBuf> {
        None
    }
}

/// What shall become of a backup that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traces {
    /// It is worth nothing.
    Remove,
    /// It holds data that exists nowhere else in a better state: the server found corrupt pages (BB-248).
    Keep,
}

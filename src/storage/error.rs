//! What can go wrong with files and directories, in the words of PostgreSQL's programs.

use std::path::PathBuf;

use crate::types::OsError;

/// A failed operation on a file or directory. The message names the operation and the path; the
/// reason is the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A file could not be created, or opened for writing.
    #[error("could not create file \"{}\"", .path.display())]
    CreateFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A file could not be opened for reading.
    #[error("could not open file \"{}\"", .path.display())]
    OpenFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A file could not be read.
    #[error("could not read file \"{}\"", .path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A file could not be removed.
    #[error("could not remove file \"{}\"", .path.display())]
    RemoveFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// Bytes, or the space for them, could not be put into a file.
    #[error("could not write to file \"{}\"", .path.display())]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// The reason; a write that took nothing counts as a full disk (BB-138).
        source: OsError,
    },
    /// A file or directory could not be synced. What was written since the last good sync is lost
    /// for good: a later sync that seems to work proves nothing (I-11).
    #[error("could not fsync file \"{}\"", .path.display())]
    Sync {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A file system could not be synced (BB-261); as final as a failed sync of a file.
    #[error("could not synchronize file system for file \"{}\"", .path.display())]
    SyncFileSystem {
        /// The directory on it.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A file could not be closed: what was written to it and not synced may be lost.
    #[error("could not close file \"{}\"", .path.display())]
    CloseFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A file could not get its final name.
    #[error("could not rename file \"{}\" to \"{}\"", .from.display(), .to.display())]
    Rename {
        /// The name it has.
        from: PathBuf,
        /// The name it should get.
        to: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A directory could not be created.
    #[error("could not create directory \"{}\"", .path.display())]
    CreateDirectory {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A directory that should be empty is not (BB-238).
    #[error("directory \"{}\" exists but is not empty", .path.display())]
    DirectoryNotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// What should be a directory cannot be read as one (BB-239).
    #[error("could not access directory \"{}\"", .path.display())]
    AccessDirectory {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A symbolic link could not be created (BB-133).
    #[error("could not create symbolic link from \"{}\" to \"{}\"", .path.display(), .target.display())]
    CreateSymlink {
        /// The link.
        path: PathBuf,
        /// Where it should lead.
        target: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A link would lead out of the directory that everything is unpacked in (BB-133).
    #[error("link target has unsafe path name: \"{}\"", .target.display())]
    UnsafeLink {
        /// The link.
        path: PathBuf,
        /// Where it would lead.
        target: PathBuf,
    },
    /// A thread could not be started.
    #[error("could not start a thread")]
    Thread {
        /// The reason.
        source: OsError,
    },
    /// Bytes could not be put away in the directory for temporary files, or read from there again.
    #[error("could not use a temporary file in \"{}\"", .path.display())]
    Spool {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A destination has no place for the write-ahead log that is received beside a backup.
    #[error("this destination takes no write-ahead log")]
    NoPlaceForWal,
    /// A destination or archive of another program failed, for a reason of its own.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
    /// The methods of a destination were called in another order than they promise.
    #[error("the parts of a backup came out of order")]
    OutOfOrder,
    /// A directory could not be opened.
    #[error("could not open directory \"{}\"", .path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// The names in a directory could not be read.
    #[error("could not read directory \"{}\"", .path.display())]
    ReadDirectory {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// Whether a file exists could not be found out.
    #[error("could not stat file \"{}\"", .path.display())]
    Stat {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// The permissions of a file or directory could not be set.
    #[error("could not set permissions on \"{}\"", .path.display())]
    SetPermissions {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
}

impl StorageError {
    pub(crate) fn thread(error: std::io::Error) -> Self {
        Self::Thread { source: error.into() }
    }

    /// Whether the same may succeed later without anybody looking after it: yes where space or
    /// permissions were missing, never after a failed sync, nor where something is in the way.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Sync { .. } | Self::SyncFileSystem { .. } | Self::DirectoryNotEmpty { .. })
    }
}

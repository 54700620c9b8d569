use std::path::PathBuf;

use super::wal_ranges::WalFault;
use crate::types::{OsError, TimelineId};

/// A difference between a backup and its manifest, in the words of `pg_verifybackup`. The reason, where there is
/// one, is the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A file that the manifest does not list (BB-222).
    #[error("\"{}\" is present on disk but not in the manifest", .0.display())]
    NotListed(PathBuf),
    /// A listed file that is not there (BB-226).
    #[error("\"{}\" is present in the manifest but not on disk", .0.display())]
    Missing(PathBuf),
    /// A file of another size (BB-223).
    #[error("\"{}\" has size {found} on disk but size {listed} in the manifest", .path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// The bytes that it has.
        found: u64,
        /// The bytes that the manifest says.
        listed: u64,
    },
    /// Something that is neither (BB-223).
    #[error("\"{}\" is not a regular file or directory", .0.display())]
    NotAFile(PathBuf),
    /// Something that cannot be looked at; what is below it is not missed (BB-224).
    #[error("could not stat file or directory \"{}\"", .path.display())]
    Stat {
        /// The file or directory, relative to the backup.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A directory that cannot be read, likewise (BB-224).
    #[error("could not open directory \"{}\"", .path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A file that cannot be opened (BB-227).
    #[error("could not open file \"{}\"", .path.display())]
    OpenFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A file that cannot be read (BB-227).
    #[error("could not read file \"{}\"", .path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// A file that changed its size while it was read (BB-227).
    #[error("file \"{}\" should contain {listed} bytes, but read {read}", .path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// The bytes that the manifest says.
        listed: u64,
        /// The bytes that were there.
        read: u64,
    },
    /// A file whose contents are other ones (BB-227).
    #[error("checksum mismatch for file \"{}\"", .0.display())]
    Checksum(PathBuf),
    /// Something beside the archives that is no file (BB-231).
    #[error("file \"{}\" is not a regular file", .0.display())]
    NotAnArchive(PathBuf),
    /// A file beside the archives that is none of this backup (BB-231).
    #[error("file \"{}\" is not expected in a tar format backup", .0.display())]
    UnexpectedFile(PathBuf),
    /// A file in an archive that the manifest does not list (BB-231).
    #[error(
        "file \"{}\" is present in archive \"{}\" but not in the manifest",
        .path.display(), .archive.display()
    )]
    MemberNotListed {
        /// The file.
        path: PathBuf,
        /// The archive.
        archive: PathBuf,
    },
    /// A file in an archive of another size (BB-231).
    #[error(
        "file \"{}\" has size {found} in archive \"{}\" but size {listed} in the manifest",
        .path.display(), .archive.display()
    )]
    MemberSize {
        /// The file.
        path: PathBuf,
        /// The archive.
        archive: PathBuf,
        /// The bytes that it has.
        found: u64,
        /// The bytes that the manifest says.
        listed: u64,
    },
    /// A file in an archive whose contents are other ones (BB-231).
    #[error("checksum mismatch for file \"{}\" in archive \"{}\"", .path.display(), .archive.display())]
    MemberChecksum {
        /// The file.
        path: PathBuf,
        /// The archive.
        archive: PathBuf,
    },
    /// WAL without which the backup cannot be used is missing or damaged (BB-229).
    #[error("WAL parsing failed for timeline {timeline}")]
    Wal {
        /// The timeline.
        timeline: TimelineId,
        /// What is wrong where.
        fault: Box<WalFault>,
    },
}

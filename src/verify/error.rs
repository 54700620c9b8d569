use std::path::PathBuf;

use super::control_file::ControlFileFault;
use crate::compress::CompressError;
use crate::manifest::ManifestError;
use crate::tar::TarError;
use crate::types::OsError;

/// Nothing more can be said about a backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The manifest cannot be opened (BB-219).
    #[error("could not open file \"{}\"", .path.display())]
    OpenManifest {
        /// The manifest.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// The manifest cannot be read (BB-219).
    #[error("could not read file \"{}\"", .path.display())]
    ReadManifest {
        /// The manifest.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// The manifest is none, and nothing that it says counts (BB-232, BB-233).
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest lists a file twice (BB-233).
    #[error("duplicate path name in backup manifest: \"{}\"", .0.display())]
    ListedTwice(PathBuf),
    /// The directory of the backup cannot be read (BB-220).
    #[error("could not open directory \"{}\"", .path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// The WAL of a backup in tar format is in an archive, which is not looked into for it (BB-220).
    #[error("pg_waldump cannot read tar files")]
    WalInArchives,
    /// The control file is not that of the cluster that the manifest speaks of, or damaged (BB-225).
    #[error(transparent)]
    ControlFile(#[from] ControlFileFault),
    /// An archive is damaged, and so nothing is known of what should follow in it (BB-231).
    #[error("archive \"{}\" is damaged", .archive.display())]
    Tar {
        /// The archive.
        archive: PathBuf,
        /// What is wrong with it.
        source: TarError,
    },
    /// A compressed archive is damaged, or compressed in a way that this build does not know, likewise.
    #[error("archive \"{}\" cannot be decompressed", .archive.display())]
    Decompress {
        /// The archive.
        archive: PathBuf,
        /// The reason.
        source: CompressError,
    },
    /// An archive cannot be read, likewise.
    #[error("could not read file \"{}\"", .archive.display())]
    ReadArchive {
        /// The archive.
        archive: PathBuf,
        /// The reason.
        source: OsError,
    },
}

impl VerifyError {
    /// What to do about it.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::WalInArchives => Some("You must use -n/--no-parse-wal when verifying a tar-format backup."),
            _ => None,
        }
    }
}

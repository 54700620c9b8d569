use std::path::PathBuf;

use super::fetched_wal::FetchedWalError;
use super::location::InvalidLocation;
use super::recovery_conf::InvalidRecovery;
use super::verify_in_flight::Difference;
use crate::client::ClientError;
use crate::compress::{CompressError, InvalidCompression};
use crate::connection::{ConnectError, ConnectionError, sqlstate};
use crate::manifest::ManifestError;
use crate::protocol::{ResultSetError, UnsupportedServer};
use crate::receive::ReceiveError;
use crate::storage::StorageError;
use crate::tar::TarError;
use crate::types::{Lsn, OsError, SystemId, TimelineId};

/// A base backup failed; nothing that was written may be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The server could not be connected to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The second connection, for WAL, could not be made although the first one could.
    #[error(transparent)]
    ConnectReceiver(ConnectError),
    /// The server refused a command, or the connection broke.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server is too old for this client, or too new.
    #[error(transparent)]
    UnsupportedServer(#[from] UnsupportedServer),
    /// An incremental backup is wanted of a server before 17 (BB-058).
    #[error("server does not support incremental backup")]
    IncrementalUnsupported,
    /// A target is wanted of a server before 15 (BB-056).
    #[error("backup targets are not supported by this server version")]
    TargetsUnsupported,
    /// Compression is wanted of a server before 15 (BB-057).
    #[error("server does not support server-side compression")]
    ServerCompressionUnsupported,
    /// Recovery settings would have to be put into a backup that does not come here (BB-050).
    #[error("recovery configuration cannot be written when a backup target is used")]
    RecoveryWithTarget,
    /// The recovery settings are none that the server's version could follow.
    #[error(transparent)]
    RecoverySettings(#[from] InvalidRecovery),
    /// The manifest that an incremental backup refers to could not be opened.
    #[error("could not open file \"{}\"", .path.display())]
    OpenReferenceManifest {
        /// The manifest.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// The manifest that an incremental backup refers to could not be read.
    #[error("could not read file \"{}\"", .path.display())]
    ReadReferenceManifest {
        /// The manifest.
        path: PathBuf,
        /// The reason.
        source: OsError,
    },
    /// The server takes the manifest that an incremental backup refers to, but it is none that this client
    /// can vouch for.
    #[error("could not use backup manifest \"{}\"", .path.display())]
    UnsoundReferenceManifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// Something could not be stored.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What the server sent is no tar archive.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// An archive is of a kind that cannot be read (BB-105).
    #[error("cannot parse archive \"{0}\"")]
    UnknownArchive(String),
    /// An archive that has to be changed on the way is compressed in a way that the server was not asked for, so that
    /// nobody said how to compress it again.
    #[error("server sent archive \"{0}\" in another compression than it was asked for")]
    UnaskedCompression(String),
    /// An archive could not be compressed or decompressed.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// A compression that this client would have to do itself, and cannot.
    #[error(transparent)]
    Compression(#[from] InvalidCompression),
    /// Members were asked to be compressed.
    #[error("only tar mode backups can be compressed")]
    CompressedMembers,
    /// The manifest cannot become a member of an archive that passes through compressed (BB-150).
    #[error("cannot inject manifest into a compressed tar file")]
    ManifestIntoCompressed,
    /// A single archive was wanted of a cluster that has several (BB-144).
    #[error("can only write single tablespace to stdout, database has {0}")]
    SeveralTablespaces(usize),
    /// The server sends data although it should put the backup elsewhere.
    #[error("server sent data of a backup that it should keep")]
    UnexpectedData,
    /// The WAL that the server should have put into the backup is not there, or damaged (BB-177).
    #[error(transparent)]
    FetchedWal(#[from] FetchedWalError),
    /// A tablespace has a place that it cannot have.
    #[error(transparent)]
    Location(#[from] InvalidLocation),
    /// What the server sent is no manifest, or one that was damaged on the way.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file did not arrive as the manifest describes it.
    #[error("backup verification failed")]
    Verification(#[from] Difference),
    /// The manifest is one of another cluster.
    #[error("manifest system identifier is {manifest}, but the server has {server}")]
    ForeignManifest {
        /// The identifier in the manifest.
        manifest: SystemId,
        /// The identifier of the server.
        server: SystemId,
    },
    /// The manifest does not speak of the WAL that this backup needs.
    #[error(
        "manifest describes WAL from {manifest_start} to {manifest_end}, but the backup needs {start} to {end}"
    )]
    ForeignWalRange {
        /// The start in the manifest.
        manifest_start: Lsn,
        /// The end in the manifest.
        manifest_end: Lsn,
        /// The start of the backup.
        start: Lsn,
        /// Its end.
        end: Lsn,
    },
    /// The manifest speaks of another timeline than that of this backup.
    #[error("manifest describes WAL of timeline {manifest}, but the backup needs timeline {backup}")]
    ForeignTimeline {
        /// The timeline in the manifest.
        manifest: TimelineId,
        /// The one of the backup.
        backup: TimelineId,
    },
    /// The manifest does not say which WAL the backup needs, as every manifest does.
    #[error("manifest does not say which WAL the backup needs")]
    NoWalRange,
    /// A manifest was asked for and none came.
    #[error("server sent no backup manifest")]
    NoManifest,
    /// An archive came that was not announced, or a second time.
    #[error("server sent an archive that is not part of the backup: \"{0}\"")]
    UnexpectedArchive(String),
    /// The main data directory did not come.
    #[error("server sent no archive of the main data directory")]
    NoMainArchive,
    /// A tablespace that was announced did not come.
    #[error("server sent no archive of the tablespace \"{}\"", .0.display())]
    NoTablespaceArchive(PathBuf),
    /// Receiving WAL failed while the backup was still coming (BB-193).
    #[error("background process terminated unexpectedly")]
    ReceiverDied(#[source] ReceiveError),
    /// Receiving WAL failed after the backup had come (BB-194).
    #[error("receiving write-ahead log failed")]
    Receiver(#[source] ReceiveError),
    /// WAL could not be asked for by a slot, because the server did not name its process.
    #[error("server did not send the process id of the connection")]
    NoBackendPid,
    /// A thread could not be started.
    #[error("could not start a thread")]
    Thread(#[source] OsError),
    /// A thread ended without a word: the destination or an observer panicked.
    #[error("the thread of the backup ended unexpectedly")]
    ThreadDied,
    /// The caller cancelled.
    #[error("backup was cancelled")]
    Cancelled,
}

impl BackupError {
    /// Whether another backup may go better without anybody looking after it: a connection broke or could not be
    /// made, the server was silent, not ready or too busy, or a standby was promoted.
    ///
    /// Not among them is what says that something is wrong with the disk here, or with what the server sends: a backup
    /// that differs from its manifest, or damaged WAL, is not to be made good by luck.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(error) | Self::ConnectReceiver(error) => error.is_retryable(),
            Self::Client(error) => error.is_retryable() || is_promotion(error),
            Self::ReceiverDied(error) | Self::Receiver(error) => match error {
                ReceiveError::Client(error) => error.is_retryable(),
                ReceiveError::Connect(error) => error.is_retryable(),
                ReceiveError::Silent(_) | ReceiveError::Terminated => true,
                _ => false,
            },
            _ => false,
        }
    }

    /// What else there is to say, for a line of its own.
    pub fn detail(&self) -> Option<&'static str> {
        match self {
            Self::UnknownArchive(_) => Some("Only tar archives can be parsed."),
            Self::Client(ClientError::Answer(ResultSetError::SegmentSize(_))) => {
                Some("The WAL segment size must be a power of two between 1 MB and 1 GB.")
            }
            _ => None,
        }
    }

    /// What a person can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Connect(error) | Self::ConnectReceiver(error) => error.hint(),
            Self::ManifestIntoCompressed => Some(
                "Use client-side compression, send the output to a directory rather than standard output, \
                 or use --no-manifest."
                    .to_owned(),
            ),
            Self::RecoverySettings(error) => error.hint().map(str::to_owned),
            Self::Client(ClientError::InitiateBackup(ConnectionError::Silent(_))) => Some(
                "The server says nothing while it writes a checkpoint: use --checkpoint=fast, or a longer \
                 --receive-timeout."
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// Whether the files that came are worth keeping: the server found corrupt pages and there may be no
    /// better copy of the others (BB-248).
    pub fn leaves_something_worth_keeping(&self) -> bool {
        matches!(self, Self::Client(ClientError::ChecksumError(_)))
    }
}

/// Whether the server broke the backup off because it is a standby no more.
fn is_promotion(error: &ClientError) -> bool {
    let is_under_way = matches!(
        error,
        ClientError::CopyStream(_) | ClientError::BackupFailed(_) | ClientError::FinalReceive(_)
    );
    is_under_way
        && error
            .server_message()
            .is_some_and(|message| message.sqlstate() == sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_may_go_better_the_next_time() {
        let lost = || ClientError::CopyData(ConnectionError::Closed);
        let silent = || ConnectionError::Silent(Duration::from_secs(1));
        let in_the_way = StorageError::DirectoryNotEmpty { path: "d".into() };
        let full = StorageError::WriteFile { path: "f".into(), source: std::io::Error::other("full").into() };
        for (error, is_retryable) in [
            (lost().into(), true),
            (ClientError::InitiateBackup(silent()).into(), true),
            (BackupError::ReceiverDied(lost().into()), true),
            (BackupError::Receiver(ReceiveError::Silent(Duration::ZERO)), true),
            (BackupError::Receiver(ReceiveError::Terminated), true),
            (BackupError::Receiver(ReceiveError::TimelineNotPresent(TimelineId::FIRST)), false),
            (in_the_way.into(), false),
            (full.into(), false),
            (BackupError::NoManifest, false),
            (BackupError::UnexpectedArchive("x".to_owned()), false),
            (ClientError::UnexpectedPayload.into(), false),
            (BackupError::Cancelled, false),
        ] {
            assert_eq!(error.is_retryable(), is_retryable, "{error:?}");
        }
    }
}

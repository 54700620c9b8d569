use crate::connection::{ConnectionError, ServerMessage};
use crate::protocol::{ArchiveMessageError, EndPoint, ResultSetError, UnsupportedServer, WalMessageError};

/// A replication command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A small command was refused or its connection failed.
    #[error("could not send replication command \"{command}\"")]
    Command {
        /// The command's text, or its name alone where the C programs name only that (BB-185).
        command: String,
        /// Why.
        source: ConnectionError,
    },
    /// The answer to a command is not what the protocol promises.
    #[error(transparent)]
    Answer(#[from] ResultSetError),
    /// The server is too old for the command, or newer than any that is known.
    #[error(transparent)]
    UnsupportedServer(#[from] UnsupportedServer),
    /// The server stores dates in a way that this client does not read (BB-067).
    #[error("{0}")]
    IntegerDatetimes(&'static str),
    /// The server refused a manifest, or lost the connection over it.
    #[error("could not upload manifest")]
    UploadManifest(#[source] ConnectionError),
    /// The answer to `UPLOAD_MANIFEST` is another than the protocol promises; libpq's name for it.
    #[error("could not upload manifest: unexpected status {0}")]
    UploadStatus(&'static str),
    /// A part of a manifest could not be sent.
    #[error("could not send COPY data")]
    SendCopyData(#[source] ConnectionError),
    /// The end of a manifest could not be sent.
    #[error("could not send end-of-COPY")]
    SendCopyEnd(#[source] ConnectionError),
    /// The server answered twice to a manifest.
    #[error("unexpected extra result while sending manifest")]
    SurplusUploadResult,
    /// `BASE_BACKUP` was refused, or failed before its first result.
    #[error("could not initiate base backup")]
    InitiateBackup(#[source] ConnectionError),
    /// The list of tablespaces did not come.
    #[error("could not get backup header")]
    BackupHeader(#[source] ConnectionError),
    /// An archive, or the manifest, was not announced (BB-111).
    #[error("could not get COPY data stream")]
    CopyStream(#[source] ConnectionError),
    /// The server went on without sending an archive, or the manifest.
    #[error("could not get COPY data stream: the server did not send one")]
    NoCopy,
    /// The connection was lost inside the archive stream.
    #[error("could not read COPY data")]
    CopyData(#[source] ConnectionError),
    /// The server ended the archive stream with an error.
    #[error("backup failed")]
    BackupFailed(#[source] ConnectionError),
    /// The server found corrupt pages while it sent the backup (BB-095), which is complete otherwise and ends
    /// here.
    #[error("checksum error occurred")]
    ChecksumError(EndPoint),
    /// The command ended with an error after all data had come.
    #[error("final receive failed")]
    FinalReceive(#[source] ConnectionError),
    /// The archive stream contradicts the protocol.
    #[error(transparent)]
    Archive(#[from] ArchiveMessageError),
    /// Data came before any archive.
    #[error("unexpected payload data")]
    UnexpectedPayload,
    /// An archive came after the manifest.
    #[error("archives must precede manifest")]
    ArchiveAfterManifest,
    /// A second manifest came.
    #[error("server sent more than one backup manifest")]
    SecondManifest,
    /// A message of the WAL stream contradicts the protocol.
    #[error(transparent)]
    WalMessage(#[from] WalMessageError),
    /// The connection was lost inside the WAL stream.
    #[error("could not receive data from WAL stream")]
    WalStream(#[source] ConnectionError),
    /// A status could not be sent.
    #[error("could not send feedback packet")]
    Feedback(#[source] ConnectionError),
    /// The WAL stream ended with an error, or not as the protocol says.
    #[error("unexpected termination of replication stream")]
    Termination(#[source] ConnectionError),
}

impl ClientError {
    /// The server's report, where one is the cause.
    pub fn server_message(&self) -> Option<&ServerMessage> {
        self.connection_error().and_then(ConnectionError::server_message)
    }

    fn connection_error(&self) -> Option<&ConnectionError> {
        match self {
            Self::Command { source, .. }
            | Self::UploadManifest(source)
            | Self::SendCopyData(source)
            | Self::SendCopyEnd(source)
            | Self::InitiateBackup(source)
            | Self::BackupHeader(source)
            | Self::CopyStream(source)
            | Self::CopyData(source)
            | Self::BackupFailed(source)
            | Self::FinalReceive(source)
            | Self::WalStream(source)
            | Self::Feedback(source)
            | Self::Termination(source) => Some(source),
            _ => None,
        }
    }

    /// Whether the same may succeed later over a new connection.
    pub fn is_retryable(&self) -> bool {
        self.connection_error().is_some_and(ConnectionError::is_retryable)
    }
}

use bytes::Bytes;

use super::error::ClientError;
use crate::connection::{ConnectionError, CopyItem, Reply, Session, sqlstate};
use crate::protocol::{ArchiveMessage, ArchiveName, EndPoint, ResultSet, StartPoint, Tablespace};

/// What a backup stream delivers, in order: for each archive its start and its data, then the manifest, if
/// one was asked for, and its data. Progress may come at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackupEvent {
    /// An archive starts; the one before it, if any, is complete.
    Archive {
        /// Its file name.
        name: ArchiveName,
        /// Where the server has the tablespace; empty for the main data directory.
        tablespace_path: Bytes,
    },
    /// The next bytes of the archive or of the manifest.
    Data(Bytes),
    /// The last archive is complete; the manifest follows.
    Manifest,
    /// So many bytes of the cluster were processed so far.
    Progress(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    BeforeArchives,
    InArchive,
    InManifest,
    Ended,
}

/// A base backup under way; it borrows the client until it is finished.
#[derive(Debug)]
pub struct BackupStream<'a> {
    session: &'a mut Session,
    start: StartPoint,
    tablespaces: Vec<Tablespace>,
    position: Position,
}

impl<'a> BackupStream<'a> {
    pub(super) async fn start(session: &'a mut Session, command: &str) -> Result<Self, ClientError> {
        session.start_command(command).await.map_err(ClientError::InitiateBackup)?;
        let start = rows(session).await.map_err(ClientError::InitiateBackup)?;
        let tablespaces = rows(session).await.map_err(ClientError::BackupHeader)?.tablespaces()?;
        match session.reply().await.map_err(ClientError::CopyStream)? {
            Reply::CopyOut => {}
            _ => return Err(ClientError::CopyStream(ConnectionError::NotIdle)),
        }
        let start = StartPoint::try_from(&start)?;
        Ok(Self { session, start, tablespaces, position: Position::BeforeArchives })
    }

    /// Where recovery of this backup starts.
    pub fn start_point(&self) -> StartPoint {
        self.start
    }

    /// The tablespaces, the main data directory among them.
    pub fn tablespaces(&self) -> &[Tablespace] {
        &self.tablespaces
    }

    /// The next event, waiting for it if need be; none at the end of the stream.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<BackupEvent>, ClientError> {
        if self.position == Position::Ended {
            return Ok(None);
        }
        let item = self.session.copy_item().await.map_err(copy_error)?;
        self.event(item)
    }

    /// The next event if it is already here, without waiting. An end of the stream is left to
    /// [`BackupStream::next`], which reports it again.
    pub fn buffered(&mut self) -> Result<Option<BackupEvent>, ClientError> {
        if self.position == Position::Ended {
            return Ok(None);
        }
        match self.session.buffered_copy_item().map_err(copy_error)? {
            Some(item) => self.event(item),
            None => Ok(None),
        }
    }

    fn event(&mut self, item: CopyItem) -> Result<Option<BackupEvent>, ClientError> {
        let payload = match item {
            CopyItem::Data(payload) => payload,
            CopyItem::Done | CopyItem::Complete => {
                self.position = Position::Ended;
                return Ok(None);
            }
        };
        let event = match ArchiveMessage::parse(payload)? {
            ArchiveMessage::NewArchive { .. } if self.position == Position::InManifest => {
                return Err(ClientError::ArchiveAfterManifest);
            }
            ArchiveMessage::NewArchive { name, tablespace_path } => {
                self.position = Position::InArchive;
                BackupEvent::Archive { name, tablespace_path }
            }
            ArchiveMessage::Manifest if self.position == Position::InManifest => {
                return Err(ClientError::SecondManifest);
            }
            ArchiveMessage::Manifest => {
                self.position = Position::InManifest;
                BackupEvent::Manifest
            }
            ArchiveMessage::Data(_) if self.position == Position::BeforeArchives => {
                return Err(ClientError::UnexpectedPayload);
            }
            ArchiveMessage::Data(data) => BackupEvent::Data(data),
            ArchiveMessage::Progress(bytes) => BackupEvent::Progress(bytes),
        };
        Ok(Some(event))
    }

    /// Reads the end position and the completion of the command, which is when the server says whether all
    /// pages were sound.
    ///
    /// # Cancel safety
    /// A dropped future leaves a client that can only be closed.
    pub async fn finish(self) -> Result<EndPoint, ClientError> {
        let end = rows(self.session).await.map_err(ClientError::BackupFailed)?.end_point()?;
        loop {
            match self.session.reply().await.map_err(|error| final_error(error, end))? {
                Reply::Ready => return Ok(end),
                Reply::Complete | Reply::Rows(_) => {}
                Reply::CopyOut | Reply::CopyIn | Reply::CopyBoth => {
                    return Err(ClientError::FinalReceive(ConnectionError::NotIdle));
                }
            }
        }
    }
}

async fn rows(session: &mut Session) -> Result<ResultSet, ConnectionError> {
    loop {
        match session.reply().await? {
            Reply::Rows(rows) => return Ok(rows),
            Reply::Complete => {}
            Reply::CopyOut | Reply::CopyIn | Reply::CopyBoth => return Err(ConnectionError::NotIdle),
            Reply::Ready => return Ok(ResultSet::default()),
        }
    }
}

/// The server's own error ends the stream (BB-098); anything else is a broken connection (BB-099).
fn copy_error(error: ConnectionError) -> ClientError {
    match error {
        ConnectionError::Server(_) => ClientError::BackupFailed(error),
        _ => ClientError::CopyData(error),
    }
}

fn final_error(error: ConnectionError, end: EndPoint) -> ClientError {
    match error.server_message() {
        Some(message) if message.sqlstate() == sqlstate::DATA_CORRUPTED => ClientError::ChecksumError(end),
        _ => ClientError::FinalReceive(error),
    }
}

use bytes::Bytes;

use super::error::ClientError;
use crate::connection::{ConnectionError, CopyItem, Reply, Session, sqlstate};
use crate::protocol::{
    ArchiveMessage, ArchiveName, BaseBackup, EndPoint, ManifestRequest, ResultSet, ServerFeatures,
    StartPoint, Tablespace,
};

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

/// Where in the stream the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The next COPY has to be announced.
    BetweenCopies,
    Copying,
    Ended,
}

/// How archives and manifest come.
#[derive(Debug)]
enum Transport {
    /// In one COPY whose messages say what they are (servers from 15 on).
    Tagged(Part),
    /// In a COPY for each archive, in the order of the tablespaces, and one for the manifest (BB-108, BB-109).
    Separate {
        /// How many archives have begun.
        begun: usize,
        /// Whether the manifest is still to come.
        manifest: bool,
    },
}

/// What the data of a tagged COPY belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Nothing,
    Archive,
    Manifest,
}

/// A base backup under way; it borrows the client until it is finished.
#[derive(Debug)]
pub struct BackupStream<'a> {
    session: &'a mut Session,
    start: StartPoint,
    tablespaces: Vec<Tablespace>,
    transport: Transport,
    phase: Phase,
}

impl<'a> BackupStream<'a> {
    pub(super) async fn start(
        session: &'a mut Session,
        options: &BaseBackup,
        features: ServerFeatures,
    ) -> Result<Self, ClientError> {
        session.start_command(&options.command(features)).await.map_err(ClientError::InitiateBackup)?;
        let start = rows(session).await.map_err(ClientError::InitiateBackup)?;
        let tablespaces = rows(session).await.map_err(ClientError::BackupHeader)?.tablespaces()?;
        let start = StartPoint::try_from(&start)?;
        let transport = if features.tagged_stream {
            Transport::Tagged(Part::Nothing)
        } else {
            let manifest = features.manifest && options.manifest != ManifestRequest::No;
            Transport::Separate { begun: 0, manifest }
        };
        Ok(Self { session, start, tablespaces, transport, phase: Phase::BetweenCopies })
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
        loop {
            let event = match self.phase {
                Phase::Ended => return Ok(None),
                Phase::BetweenCopies => self.begin_copy().await?,
                Phase::Copying => {
                    let item = self.session.copy_item().await.map_err(|error| self.copy_error(error))?;
                    self.event(item)?
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// The next event if it is already here, without waiting. The start of a COPY and the end of the stream are
    /// left to [`BackupStream::next`].
    pub fn buffered(&mut self) -> Result<Option<BackupEvent>, ClientError> {
        if self.phase != Phase::Copying {
            return Ok(None);
        }
        match self.session.buffered_copy_item().map_err(|error| self.copy_error(error))? {
            Some(item) => self.event(item),
            None => Ok(None),
        }
    }

    async fn begin_copy(&mut self) -> Result<Option<BackupEvent>, ClientError> {
        match self.session.reply().await.map_err(ClientError::CopyStream)? {
            Reply::CopyOut => self.phase = Phase::Copying,
            _ => return Err(ClientError::NoCopy),
        }
        let Transport::Separate { begun, manifest } = &mut self.transport else { return Ok(None) };
        if let Some(tablespace) = self.tablespaces.get(*begun) {
            *begun += 1;
            return archive_of(tablespace).map(Some);
        }
        *manifest = false;
        Ok(Some(BackupEvent::Manifest))
    }

    fn event(&mut self, item: CopyItem) -> Result<Option<BackupEvent>, ClientError> {
        match (item, &mut self.transport) {
            (CopyItem::Done | CopyItem::Complete, _) => {
                self.phase = if self.copy_follows() { Phase::BetweenCopies } else { Phase::Ended };
                Ok(None)
            }
            (CopyItem::Data(data), Transport::Separate { .. }) => Ok(Some(BackupEvent::Data(data))),
            (CopyItem::Data(payload), Transport::Tagged(part)) => {
                part.event(ArchiveMessage::parse(payload)?).map(Some)
            }
        }
    }

    /// Whether there is another COPY after this one.
    fn copy_follows(&self) -> bool {
        match self.transport {
            Transport::Tagged(_) => false,
            Transport::Separate { begun, manifest } => begun < self.tablespaces.len() || manifest,
        }
    }

    /// The server's own error ends the stream. It is named after what would have come next (BB-098): where that is
    /// another COPY, this one did not come (BB-111). Anything else is a broken connection (BB-099).
    fn copy_error(&self, error: ConnectionError) -> ClientError {
        match error {
            ConnectionError::Server(_) if self.copy_follows() => ClientError::CopyStream(error),
            ConnectionError::Server(_) => ClientError::BackupFailed(error),
            _ => ClientError::CopyData(error),
        }
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

/// The archive that comes in a COPY of its own.
fn archive_of(tablespace: &Tablespace) -> Result<BackupEvent, ClientError> {
    let (name, tablespace_path) = match tablespace.oid {
        None => ("base.tar".to_owned(), Bytes::new()),
        Some(oid) => (format!("{oid}.tar"), tablespace.location.clone()),
    };
    Ok(BackupEvent::Archive { name: ArchiveName::new(name.as_bytes())?, tablespace_path })
}

impl Part {
    fn event(&mut self, message: ArchiveMessage) -> Result<BackupEvent, ClientError> {
        match (message, *self) {
            (ArchiveMessage::NewArchive { .. }, Self::Manifest) => Err(ClientError::ArchiveAfterManifest),
            (ArchiveMessage::NewArchive { name, tablespace_path }, _) => {
                *self = Self::Archive;
                Ok(BackupEvent::Archive { name, tablespace_path })
            }
            (ArchiveMessage::Manifest, Self::Manifest) => Err(ClientError::SecondManifest),
            (ArchiveMessage::Manifest, _) => {
                *self = Self::Manifest;
                Ok(BackupEvent::Manifest)
            }
            (ArchiveMessage::Data(_), Self::Nothing) => Err(ClientError::UnexpectedPayload),
            (ArchiveMessage::Data(data), _) => Ok(BackupEvent::Data(data)),
            (ArchiveMessage::Progress(bytes), _) => Ok(BackupEvent::Progress(bytes)),
        }
    }
}

fn final_error(error: ConnectionError, end: EndPoint) -> ClientError {
    match error.server_message() {
        Some(message) if message.sqlstate() == sqlstate::DATA_CORRUPTED => ClientError::ChecksumError(end),
        _ => ClientError::FinalReceive(error),
    }
}

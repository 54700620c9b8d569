use std::time::Duration;

use super::base_backup::BackupStream;
use super::error::ClientError;
use super::physical_stream::StartReplication;
use super::upload_manifest::ManifestUpload;
use crate::connection::{ConnectError, ConnectionError, Notice, NoticeHandler, Place, Session, connect};
use crate::conninfo::{Config, Host};
use crate::protocol::{
    self, BaseBackup, CreateSlot, PhysicalStart, ResultSet, ServerFeatures, SlotState, SystemIdentity,
    TimelineHistoryFile,
};
use crate::types::{SegmentSize, ServerVersion, TimelineId};

/// A session in physical replication mode.
#[derive(Debug)]
pub struct ReplicationClient {
    session: Session,
}

impl ReplicationClient {
    /// Connects; notices of the server go to the log.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection that was being made.
    pub async fn connect(config: &Config) -> Result<Self, ConnectError> {
        let log = |notice: &Notice| tracing::warn!(%notice, "notice");
        Self::connect_with(config, std::sync::Arc::new(log)).await
    }

    /// Connects and passes every notice of the server to `notices`.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection that was being made.
    pub async fn connect_with(config: &Config, notices: NoticeHandler) -> Result<Self, ConnectError> {
        Ok(Self { session: connect(config, notices).await? })
    }

    #[cfg(fuzzing)]
    pub(super) fn of(session: Session) -> Self {
        Self { session }
    }

    /// From now on a server that is silent for so long while this client waits for it counts as dead
    /// ([`ConnectionError::Silent`](crate::connection::ConnectionError::Silent)); none waits for ever. What the caller
    /// takes for itself between two messages does not count.
    ///
    /// A server says nothing while it writes the checkpoint of a backup and while it waits for WAL to be archived, and
    /// little in a WAL stream, where [`receive`](crate::receive) asks it for answers.
    pub fn set_receive_timeout(&mut self, timeout: Option<Duration>) {
        self.session.set_receive_timeout(timeout);
    }

    /// Checks that the server stores dates as integers, as every server since version 10 does (BB-067).
    pub fn require_integer_datetimes(&self) -> Result<(), ClientError> {
        match self.session.parameter("integer_datetimes") {
            Some("on") => Ok(()),
            Some(_) => {
                Err(ClientError::IntegerDatetimes("\"integer_datetimes\" compile flag does not match server"))
            }
            None => Err(ClientError::IntegerDatetimes(
                "could not determine server setting for \"integer_datetimes\"",
            )),
        }
    }

    /// The server's version.
    pub fn server_version(&self) -> &ServerVersion {
        self.session.server_version()
    }

    /// What the server understands.
    pub fn features(&self) -> ServerFeatures {
        ServerFeatures::of(self.server_version())
    }

    /// The one of the configured hosts that this is connected to.
    pub fn host(&self) -> &Host {
        self.session.host()
    }

    /// The address or socket that this is connected to.
    pub fn place(&self) -> &Place {
        self.session.place()
    }

    /// The process id of the backend that serves this connection.
    pub fn backend_pid(&self) -> Option<u32> {
        self.session.backend_pid()
    }

    /// `IDENTIFY_SYSTEM`.
    ///
    /// # Cancel safety
    /// Like every command here: a dropped future leaves a client that can only be closed.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, ClientError> {
        Ok(SystemIdentity::try_from(&self.query(protocol::identify_system()).await?)?)
    }

    /// `SHOW wal_segment_size`.
    ///
    /// # Cancel safety
    /// As for [`ReplicationClient::identify_system`].
    pub async fn wal_segment_size(&mut self) -> Result<SegmentSize, ClientError> {
        Ok(self.query(protocol::show("wal_segment_size")).await?.wal_segment_size()?)
    }

    /// `SHOW data_directory_mode`: the permission bits of the server's data directory; 0700 for servers that
    /// do not tell (BB-073).
    ///
    /// # Cancel safety
    /// As for [`ReplicationClient::identify_system`].
    pub async fn data_directory_mode(&mut self) -> Result<u32, ClientError> {
        if !self.features().data_directory_mode {
            return Ok(0o700);
        }
        Ok(self.query(protocol::show("data_directory_mode")).await?.data_directory_mode()?)
    }

    /// `TIMELINE_HISTORY`.
    ///
    /// # Cancel safety
    /// As for [`ReplicationClient::identify_system`].
    pub async fn timeline_history(
        &mut self,
        timeline: TimelineId,
    ) -> Result<TimelineHistoryFile, ClientError> {
        let command = protocol::timeline_history(timeline);
        let refused = |source| ClientError::Command { command: "TIMELINE_HISTORY".to_owned(), source };
        let result = self.session.query(&command).await.map_err(refused)?;
        Ok(TimelineHistoryFile::from_result(&result, timeline)?)
    }

    /// `CREATE_REPLICATION_SLOT … PHYSICAL`.
    ///
    /// # Cancel safety
    /// As for [`ReplicationClient::identify_system`]; the slot may have been created.
    pub async fn create_physical_slot(&mut self, slot: &CreateSlot) -> Result<(), ClientError> {
        let command = slot.command(self.features());
        Ok(self.query(command).await?.created_slot(&slot.name)?)
    }

    /// `READ_REPLICATION_SLOT`: what kind of slot that is and from where on it keeps WAL; none if there is no such slot.
    /// Servers before 15 do not know the command ([`ServerFeatures::read_replication_slot`]), and no server tells of a
    /// logical slot (RW-087).
    ///
    /// # Cancel safety
    /// As for [`ReplicationClient::identify_system`].
    pub async fn read_replication_slot(&mut self, name: &str) -> Result<Option<SlotState>, ClientError> {
        let refused = |source| ClientError::Command { command: "READ_REPLICATION_SLOT".to_owned(), source };
        let result = self.session.query(&protocol::read_slot(name)).await.map_err(refused)?;
        Ok(result.slot_state(name)?)
    }

    /// `DROP_REPLICATION_SLOT`: fails at once if the slot is in use.
    ///
    /// # Cancel safety
    /// As for [`ReplicationClient::identify_system`]; the slot may have been dropped.
    pub async fn drop_replication_slot(&mut self, name: &str) -> Result<(), ClientError> {
        Ok(self.query(protocol::drop_slot(name)).await?.dropped_slot(name)?)
    }

    /// `UPLOAD_MANIFEST`: makes the server ready to take the manifest that an incremental backup refers to
    /// (servers from 17 on; BB-112). The next `BASE_BACKUP` with INCREMENTAL uses it.
    ///
    /// # Cancel safety
    /// As for [`ReplicationClient::identify_system`].
    pub async fn upload_manifest(&mut self) -> Result<ManifestUpload<'_>, ClientError> {
        ManifestUpload::begin(&mut self.session).await
    }

    /// `BASE_BACKUP`: returns when the checkpoint is done and the list of tablespaces has come.
    ///
    /// # Cancel safety
    /// As for [`ReplicationClient::identify_system`]; the server notices when the client is dropped.
    pub async fn base_backup(&mut self, options: &BaseBackup) -> Result<BackupStream<'_>, ClientError> {
        let features = ServerFeatures::supported(self.server_version())?;
        BackupStream::start(&mut self.session, options, features).await
    }

    /// `START_REPLICATION … PHYSICAL`.
    ///
    /// # Cancel safety
    /// As for [`ReplicationClient::identify_system`].
    pub async fn start_physical(
        &mut self,
        start: &PhysicalStart,
    ) -> Result<StartReplication<'_>, ClientError> {
        StartReplication::begin(&mut self.session, &start.command()).await
    }

    /// Ends the command under way, also one whose future was dropped, so that another one can follow.
    ///
    /// # Cancel safety
    /// It can be called again.
    pub(crate) async fn end_command(&mut self) -> Result<(), ConnectionError> {
        self.session.end_command().await
    }

    /// Takes leave of the server.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection without leave-taking.
    pub async fn close(self) {
        self.session.close().await;
    }

    async fn query(&mut self, command: String) -> Result<ResultSet, ClientError> {
        self.session.query(&command).await.map_err(|source| ClientError::Command { command, source })
    }
}

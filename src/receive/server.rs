//! What a server says of itself before it is asked for WAL.

use std::time::Duration;

use super::error::ReceiveError;
use super::patience::within;
use super::segment_writer::KnownCluster;
use crate::client::ReplicationClient;
use crate::protocol::{ServerFeatures, SystemIdentity, TimelineHistoryFile, UnsupportedServer};
use crate::storage::Access;
use crate::types::{SegmentSize, TimelineId};
use crate::wal::TimelineHistory;

/// What a server is.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) identity: SystemIdentity,
    pub(super) segment_size: SegmentSize,
    pub(super) access: Access,
}

/// How a server came to its timeline.
#[derive(Clone, Debug)]
pub(super) struct ServerHistory {
    pub(super) timelines: TimelineHistory,
    /// The file that says so; the first timeline has none.
    pub(super) file: Option<TimelineHistoryFile>,
}

impl Server {
    /// Asks the server, in the order in which PostgreSQL's program asks (RW-056 … RW-068). `slot` is for a message.
    pub(super) async fn identify(
        client: &mut ReplicationClient,
        slot: Option<&str>,
        limit: Option<Duration>,
    ) -> Result<Self, ReceiveError> {
        client.require_integer_datetimes()?;
        ServerFeatures::supported(client.server_version())
            .map_err(|UnsupportedServer(version)| ReceiveError::UnsupportedServer(version))?;
        let access = Access::of_data_directory(within(limit, client.data_directory_mode()).await?);
        let identity = within(limit, client.identify_system()).await?;
        if identity.dbname.is_some() {
            return Err(ReceiveError::DatabaseSpecific { slot: slot.map(str::to_owned) });
        }
        let segment_size = within(limit, client.wal_segment_size()).await?;
        Ok(Self { identity, segment_size, access })
    }

    /// Asks for the way to its timeline.
    pub(super) async fn history(
        &self,
        client: &mut ReplicationClient,
        limit: Option<Duration>,
    ) -> Result<ServerHistory, ReceiveError> {
        let timeline = self.identity.timeline;
        if timeline == TimelineId::FIRST {
            return Ok(ServerHistory { timelines: TimelineHistory::of_first(), file: None });
        }
        let file = within(limit, client.timeline_history(timeline)).await?;
        let timelines = TimelineHistory::parse(timeline, &file.content)?;
        Ok(ServerHistory { timelines, file: Some(file) })
    }

    /// The cluster, for an archive.
    pub(super) fn cluster(&self, history: &ServerHistory) -> KnownCluster {
        KnownCluster {
            system_id: self.identity.system_id,
            segment_size: self.segment_size,
            access: self.access,
            history: history.timelines.clone(),
        }
    }
}

//! Where to start: what the server is, and what the archive, the slot and the server say (section 2 of the
//! receiver's behaviours).

use super::disk_thread::DiskThread;
use super::error::ReceiveError;
use super::observer::Observer;
use super::options::RunOptions;
use super::segment_writer::KnownCluster;
use super::stream::StreamStart;
use crate::client::ReplicationClient;
use crate::conninfo::Config;
use crate::protocol::{SystemIdentity, TimelineHistoryFile};
use crate::storage::Access;
use crate::types::{SegmentSize, TimelineId};
use crate::wal::TimelineHistory;

/// What a server says of itself.
pub(super) struct Server {
    pub(super) identity: SystemIdentity,
    pub(super) segment_size: SegmentSize,
    pub(super) access: Access,
    /// The way to its timeline.
    pub(super) history: TimelineHistory,
    /// The file that says so; the first timeline has none.
    pub(super) history_file: Option<TimelineHistoryFile>,
}

impl Server {
    /// Asks the server, in the order in which PostgreSQL's program asks (RW-056 … RW-068).
    pub(super) async fn identify(client: &mut ReplicationClient) -> Result<Self, ReceiveError> {
        client.require_integer_datetimes()?;
        let access = Access::of_data_directory(client.data_directory_mode().await?);
        let identity = client.identify_system().await?;
        let segment_size = client.wal_segment_size().await?;
        let history_file = match identity.timeline {
            TimelineId::FIRST => None,
            timeline => Some(client.timeline_history(timeline).await?),
        };
        let history = match &history_file {
            None => TimelineHistory::of_first(),
            Some(file) => TimelineHistory::parse(identity.timeline, &file.content)?,
        };
        Ok(Self { identity, segment_size, access, history, history_file })
    }

    fn cluster(&self) -> KnownCluster {
        KnownCluster {
            system_id: self.identity.system_id,
            segment_size: self.segment_size,
            access: self.access,
            history: self.history.clone(),
        }
    }
}

/// Where to start: where the archive ends; failing that where the slot begins; failing that where the server is.
pub(super) async fn find(
    client: &mut ReplicationClient,
    server: &Server,
    disk: &mut DiskThread,
    config: &Config,
    options: &RunOptions,
    observer: &dyn Observer,
) -> Result<StreamStart, ReceiveError> {
    let _ = (client, config, options, observer);
    let end = disk.resume(server.cluster()).await?;
    if let Some(file) = &server.history_file
        && !disk.has_history(server.identity.timeline).await?
    {
        disk.store_history(file.clone()).await?;
    }
    if let Some(end) = end {
        return Ok(end.into());
    }
    let (position, timeline) = (server.identity.xlog_position, server.identity.timeline);
    Ok(StreamStart::at_segment(position, server.segment_size, timeline))
}

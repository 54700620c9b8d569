//! How much WAL is missing in the archive: the first segment that a server still has.
//!
//! In come the server and a position that it has removed; out comes a position, or nothing where it cannot be found
//! out. The server is asked for WAL at the starts of segments, without a slot, and what comes of it is thrown away.

use std::sync::Arc;
use std::time::Duration;

use super::error::ReceiveError;
use super::server::{Server, ServerHistory};
use crate::client::{ClientError, ReplicationClient, StartReplication};
use crate::connection::{Notice, sqlstate};
use crate::conninfo::{Config, Host};
use crate::protocol::PhysicalStart;
use crate::types::{Lsn, SegmentNumber};

/// How long the search may take.
pub(super) const SEARCH: Duration = Duration::from_secs(15);

/// How long the end of a question may take; without it the next one goes over a new connection.
const GOODBYE: Duration = Duration::from_secs(1);

/// Halving so often finds the segment among more than any server has.
const MOST_QUESTIONS: usize = 24;

/// The first position after `removed` that the server still has: the start of a segment.
pub(super) async fn first_kept(config: &Config, host: &Host, removed: Lsn) -> Option<Lsn> {
    let config = config.for_host(host);
    let mut client = connect(&config).await.ok()?;
    let server = Server::identify(&mut client, None, None).await.ok()?;
    let history = server.history(&mut client, None).await.ok()?;
    let size = server.segment_size;
    let mut questions = Questions { config: &config, history: &history, client: Some(client) };
    // Everything up to `missing` is removed, and `kept` is there.
    let mut missing = removed.segment_number(size).as_u64();
    let mut kept = server.identity.xlog_position.as_u64().checked_sub(1)? / size.as_u64();
    for _ in 0..MOST_QUESTIONS {
        if kept <= missing + 1 {
            break;
        }
        let middle = missing + (kept - missing) / 2;
        if questions.has(SegmentNumber::new(middle).start(size)).await? {
            kept = middle;
        } else {
            missing = middle;
        }
    }
    (kept == missing + 1).then(|| SegmentNumber::new(kept).start(size))
}

async fn connect(config: &Config) -> Result<ReplicationClient, ReceiveError> {
    let log = |notice: &Notice| tracing::debug!(%notice, "notice");
    Ok(ReplicationClient::connect_with(config, Arc::new(log)).await?)
}

struct Questions<'a> {
    config: &'a Config,
    history: &'a ServerHistory,
    /// The connection of the question before, where that ended well.
    client: Option<ReplicationClient>,
}

impl Questions<'_> {
    /// Whether the server sends WAL from there on; nothing if it says something else.
    async fn has(&mut self, position: Lsn) -> Option<bool> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => connect(self.config).await.ok()?,
        };
        let timeline = self.history.timelines.timeline_at(position);
        let request = PhysicalStart { slot: None, lsn: position, timeline };
        let mut stream = match client.start_physical(&request).await {
            Ok(StartReplication::Streaming(stream)) => stream,
            Ok(StartReplication::NothingOnTimeline(_)) => return None,
            Err(error) => return is_removed(&error).then_some(false),
        };
        match stream.next().await {
            Ok(_) => {
                let ended = tokio::time::timeout(GOODBYE, stream.finish()).await;
                self.client = matches!(ended, Ok(Ok(_))).then_some(client);
                Some(true)
            }
            Err(error) => is_removed(&error).then_some(false),
        }
    }
}

/// Whether a server that was asked for WAL says that it has removed it (RW-104).
pub(super) fn is_removed(error: &ClientError) -> bool {
    let is_of_stream = match error {
        ClientError::Command { command, .. } => command == "START_REPLICATION",
        ClientError::Termination(_) => true,
        _ => false,
    };
    is_of_stream
        && error.server_message().is_some_and(|message| message.sqlstate() == sqlstate::UNDEFINED_FILE)
}

/// Whether a server says that a slot has lost the WAL that it promised to keep (RW-093). Before version 18 none does.
pub(super) fn is_lost_slot(error: &ClientError) -> bool {
    matches!(error, ClientError::Command { command, .. } if command == "START_REPLICATION")
        && error.server_message().is_some_and(|message| {
            message.sqlstate() == sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE
                && message.message().starts_with("can no longer access replication slot")
        })
}

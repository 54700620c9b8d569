//! Where to start: what the archive, the slot and the server say (section 2 of the receiver's behaviours).

use std::time::Duration;

use super::disk::Disk;
use super::error::ReceiveError;
use super::observer::Observer;
use super::options::RunOptions;
use super::patience::within;
use super::server::{Server, ServerHistory};
use super::slot;
use super::stream::StreamStart;
use crate::client::{ClientError, ReplicationClient};
use crate::conninfo::Config;
use crate::protocol::TimelineHistoryFile;
use crate::types::{Lsn, TimelineId};
use crate::wal::TimelineHistory;

/// The most timelines whose history files are asked for besides those that are streamed: no cluster was promoted so
/// often, but one may say so.
const MOST_HISTORIES: usize = 100;

/// Who is asked.
pub(super) struct StartSearch<'a> {
    pub(super) client: &'a mut ReplicationClient,
    pub(super) server: &'a Server,
    pub(super) history: &'a ServerHistory,
    pub(super) disk: &'a mut Disk,
    pub(super) config: &'a Config,
    pub(super) options: &'a RunOptions,
    pub(super) observer: &'a dyn Observer,
    pub(super) reached: Option<Reached>,
}

/// How far an earlier stream of the run came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    pub(super) timeline: TimelineId,
    pub(super) position: Lsn,
    /// Whether the archive got any WAL of the run.
    pub(super) has_wal: bool,
}

impl StartSearch<'_> {
    /// Where the archive ends; failing that where this run has come to; failing that where the slot begins; failing
    /// that where the server is. No WAL that was promised is skipped (I-9).
    pub(super) async fn find(mut self) -> Result<StreamStart, ReceiveError> {
        let end = self.disk.resume(self.server.cluster(self.history)).await?;
        self.keep_histories().await?;
        if let Some(end) = end {
            return Ok(end.into());
        }
        let (timeline, position) = match self.binding_position() {
            Some(reached) => (reached.timeline, reached.position),
            None => match self.start_of_slot().await? {
                Some((position, timeline)) => (timeline, position),
                None => (self.server.identity.timeline, self.server.identity.xlog_position),
            },
        };
        if timeline > self.server.identity.timeline {
            return Err(ReceiveError::TimelineNotPresent(timeline));
        }
        Ok(StreamStart::at_segment(position, self.server.segment_size, timeline))
    }

    /// Where this run must go on. A position that nothing came from may be given up, where the server has left it for
    /// another history.
    fn binding_position(&self) -> Option<Reached> {
        let history = &self.history.timelines;
        self.reached.filter(|reached| {
            let start = reached.position.segment_start(self.server.segment_size);
            let left = history.switch_point(reached.timeline);
            reached.has_wal
                || reached.timeline == history.timeline()
                || left.is_some_and(|left| start <= left)
        })
    }

    async fn start_of_slot(&mut self) -> Result<Option<(Lsn, TimelineId)>, ReceiveError> {
        let Some(name) = &self.options.slot else { return Ok(None) };
        let limit = self.limit();
        slot::start(self.client, &self.history.timelines, self.config, name, limit, self.observer).await
    }

    /// Keeps the history files of the server's timeline and of those before it (OP-20).
    async fn keep_histories(&mut self) -> Result<(), ReceiveError> {
        let timeline = self.server.identity.timeline;
        if let Some(file) = &self.history.file
            && !self.disk.has_history(timeline).await?
        {
            self.disk.store_history(file.clone()).await?;
        }
        let ancestors = self.history.timelines.entries().iter().rev().map(|entry| entry.timeline);
        let with_file = ancestors.filter(|&timeline| timeline != TimelineId::FIRST);
        for timeline in with_file.take(MOST_HISTORIES) {
            if !self.disk.has_history(timeline).await?
                && let Some(file) = self.ancestor(timeline).await?
            {
                self.disk.store_history(file).await?;
            }
        }
        Ok(())
    }

    /// The history file of a timeline that may never be streamed, if the server has it.
    async fn ancestor(&mut self, timeline: TimelineId) -> Result<Option<TimelineHistoryFile>, ReceiveError> {
        match within(self.limit(), self.client.timeline_history(timeline)).await {
            Ok(file) if TimelineHistory::parse(timeline, &file.content).is_ok() => Ok(Some(file)),
            Err(ReceiveError::Client(error)) if !is_answer(&error) => Err(error.into()),
            Err(error @ ReceiveError::Silent(_)) => Err(error),
            Ok(_) | Err(_) => {
                tracing::debug!(%timeline, "the server has no history of an earlier timeline");
                Ok(None)
            }
        }
    }

    fn limit(&self) -> Option<Duration> {
        self.options.receive_timeout
    }
}

/// Whether the server has answered, although with something else: the session goes on.
fn is_answer(error: &ClientError) -> bool {
    error.server_message().is_some() || matches!(error, ClientError::Answer(_))
}

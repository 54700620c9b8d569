//! Why receiving ended before its end.

use super::disk::DiskError;
use super::refused_archive::RefusedArchive;
use crate::client::ClientError;
use crate::connection::ConnectError;
use crate::storage::StorageError;
use crate::types::{Lsn, SegmentSize, ServerVersion, SystemId, TimelineId};
use crate::wal::{DiscontinuityError, TimelineHistoryError, WalError};

/// The receiver could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The connection failed, or the server refused something.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The archive failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The server skipped or repeated WAL.
    #[error(transparent)]
    Discontinuity(#[from] DiscontinuityError),
    /// The server sent WAL that is damaged or belongs elsewhere.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// What came reaches far enough, but its records do not.
    #[error("write-ahead log has records up to {reached} only, but is needed up to {wanted}")]
    RecordsMissing {
        /// Where the last sound record ends.
        reached: Lsn,
        /// Where one had to end.
        wanted: Lsn,
    },
    /// The server belongs to another cluster (BB-182).
    #[error("system identifier does not match between base backup and streaming connection")]
    ForeignSystem {
        /// The cluster that was asked for.
        expected: SystemId,
        /// The one that answered.
        found: SystemId,
    },
    /// The server has not reached the timeline (BB-182).
    #[error("starting timeline {0} is not present in the server")]
    TimelineNotPresent(TimelineId),
    /// The timeline that should follow does not (RW-180).
    #[error("server reported unexpected next timeline {next}, following timeline {current}")]
    UnexpectedNextTimeline {
        /// The timeline that has ended.
        current: TimelineId,
        /// The one that should follow.
        next: TimelineId,
    },
    /// The timelines leave a gap between them (RW-180).
    #[error(
        "server stopped streaming timeline {current} at {reached}, but reported next timeline {next} to \
         begin at {start}"
    )]
    GapBeforeNextTimeline {
        /// The timeline that has ended.
        current: TimelineId,
        /// The end of what came of it.
        reached: Lsn,
        /// The timeline that follows.
        next: TimelineId,
        /// Where it begins.
        start: Lsn,
    },
    /// The server says of the next timeline that it began elsewhere than the history of that timeline says.
    #[error(
        "server reported timeline {next} to begin at {start}, but in its history timeline {current} {}",
        .switch_point.map_or_else(|| "does not occur".to_owned(), |at| format!("is left at {at}"))
    )]
    ForkPoint {
        /// The timeline that has ended.
        current: TimelineId,
        /// The timeline that follows.
        next: TimelineId,
        /// Where it begins as the server says.
        start: Lsn,
        /// Where the other was left, if it is in the history at all.
        switch_point: Option<Lsn>,
    },
    /// The server ended the stream, and the timeline goes on (BB-192).
    #[error("replication stream was terminated before stop point")]
    Terminated,
    /// No connection could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server is too old to stream from (RW-063).
    #[error(
        "incompatible server version {0}; client does not support streaming from server versions older than 10"
    )]
    UnsupportedServer(ServerVersion),
    /// The connection is bound to a database, so it is none for physical replication (RW-062).
    #[error(
        "replication connection{} is unexpectedly database specific",
        .slot.as_ref().map(|slot| format!(" using slot \"{slot}\"")).unwrap_or_default()
    )]
    DatabaseSpecific {
        /// The slot to stream from.
        slot: Option<String>,
    },
    /// The server that answers now belongs to another cluster than the one before (OP-01).
    #[error("server is of a different database system than before: identifier {found}, was {expected}")]
    OtherSystem {
        /// The cluster before.
        expected: SystemId,
        /// The cluster now.
        found: SystemId,
    },
    /// The server that answers now has segments of another size than the one before (OP-05).
    #[error("server has WAL segments of {} bytes, but had some of {} bytes before", .found.as_u64(), .expected.as_u64())]
    SegmentSizeChanged {
        /// The size before.
        expected: SegmentSize,
        /// The size now.
        found: SegmentSize,
    },
    /// What the server sends is not what the archive has for the same position: both call it the same WAL, and one
    /// of them is wrong (OP-17).
    #[error(
        "WAL that the server sends for {at} on timeline {timeline} differs from what was received before"
    )]
    Diverged {
        /// The first byte that differs.
        at: Lsn,
        /// The timeline.
        timeline: TimelineId,
    },
    /// The history of the server's timeline cannot be read.
    #[error(transparent)]
    History(#[from] TimelineHistoryError),
    /// The slot is not there, or not one to stream from (RW-085, RW-087).
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The server has removed WAL that the archive needs next. It is lost, unless another server has it.
    #[error(
        "WAL is missing in the archive from {from} {} on timeline {timeline}: the server has removed it",
        .to.map_or_else(|| "on".to_owned(), |to| format!("to {to}"))
    )]
    Gap {
        /// The first position that is missing.
        from: Lsn,
        /// The first one that the server still has, if it could be found out.
        to: Option<Lsn>,
        /// The timeline.
        timeline: TimelineId,
        /// What the server said.
        source: Box<ClientError>,
    },
    /// The server does not stream from the slot any more, because that has lost what it promised to keep (RW-093).
    #[error(transparent)]
    SlotInvalidated(Box<ClientError>),
    /// Nothing came from the server for so long, although it was asked (OP-25).
    #[error("no message from the server for {} seconds", .0.as_secs())]
    Silent(std::time::Duration),
    /// The caller cancelled.
    #[error("receiving was cancelled")]
    Cancelled,
}

/// A replication slot that cannot be streamed from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// There is none of that name (RW-085).
    #[error("replication slot \"{0}\" does not exist")]
    Missing(String),
    /// It is for another kind of replication (RW-087).
    #[error("expected a physical replication slot, got type \"{0}\" instead")]
    NotPhysical(String),
    /// It has lost the WAL that it promised to keep, and the archive has none that would go on from there (RW-094).
    #[error("replication slot \"{0}\" was invalidated: the WAL that it reserved is removed")]
    Invalidated(String),
}

impl ReceiveError {
    /// Whether it is how the server ended a stream, and not how a stream broke off.
    pub(super) fn is_end_of_stream(&self) -> bool {
        matches!(self, Self::Terminated | Self::Client(ClientError::Termination(_)))
    }

    /// Whether it is the server that is wrong, so that another one may do.
    pub(super) fn is_of_this_server(&self) -> bool {
        match self.refused_archive() {
            Some(refusal) => is_of_the_moment(refusal),
            None => self.is_gap() || matches!(self, Self::TimelineNotPresent(_)),
        }
    }

    /// Whether another attempt may go better without anybody doing something here first. That a server refuses is
    /// not for ever (RW-210).
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Disk(DiskError::Storage(error)) => match self.refused_archive() {
                Some(refusal) => is_of_the_moment(refusal),
                None => error.is_retryable(),
            },
            Self::Disk(_)
            | Self::ForeignSystem { .. }
            | Self::SegmentSizeChanged { .. }
            | Self::UnsupportedServer(_)
            | Self::Gap { .. }
            | Self::Slot(SlotError::Invalidated(_))
            | Self::SlotInvalidated(_)
            | Self::OtherSystem { .. }
            | Self::DatabaseSpecific { .. }
            | Self::Cancelled => false,
            _ => true,
        }
    }

    /// Whether the archive lacks WAL that the server does not have any more.
    pub fn is_gap(&self) -> bool {
        matches!(self, Self::Gap { .. } | Self::SlotInvalidated(_) | Self::Slot(SlotError::Invalidated(_)))
    }

    /// Why the archive must not get this server's WAL, if that is it.
    pub fn refused_archive(&self) -> Option<&RefusedArchive> {
        match self {
            Self::Disk(DiskError::Storage(StorageError::Other(error))) => error.downcast_ref(),
            _ => None,
        }
    }

    /// Whether the same may succeed later over a new connection.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Client(error) => error.is_retryable(),
            Self::Connect(error) => error.is_retryable(),
            Self::Disk(DiskError::Storage(error)) => error.is_retryable(),
            Self::Silent(_)
            | Self::Discontinuity(_)
            | Self::Wal(_)
            | Self::RecordsMissing { .. }
            | Self::GapBeforeNextTimeline { .. }
            | Self::ForkPoint { .. }
            | Self::Terminated => true,
            _ => false,
        }
    }
}

/// Whether the archive may be taken by another server, or by this one later.
fn is_of_the_moment(refusal: &RefusedArchive) -> bool {
    matches!(
        refusal,
        RefusedArchive::NewerTimeline(_)
            | RefusedArchive::OffHistory { .. }
            | RefusedArchive::OtherHistory { .. }
    )
}

//! Why receiving ended before its end.

use super::disk_thread::DiskError;
use crate::client::ClientError;
use crate::types::{Lsn, SystemId, TimelineId};
use crate::wal::{DiscontinuityError, WalError};

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
    /// The server ended the stream, and the timeline goes on (BB-192).
    #[error("replication stream was terminated before stop point")]
    Terminated,
    /// The caller cancelled.
    #[error("receiving was cancelled")]
    Cancelled,
}

impl ReceiveError {
    /// Whether the same may succeed later over a new connection.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Client(error) => error.is_retryable(),
            Self::Disk(DiskError::Storage(error)) => error.is_retryable(),
            Self::Discontinuity(_)
            | Self::Wal(_)
            | Self::RecordsMissing { .. }
            | Self::GapBeforeNextTimeline { .. }
            | Self::Terminated => true,
            _ => false,
        }
    }
}

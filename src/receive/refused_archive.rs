use crate::types::{Lsn, SegmentSize, SystemId, TimelineId};

/// An archive that must not get this server's WAL, as the source of a
/// [`StorageError::Other`](crate::storage::StorageError::Other).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedArchive {
    /// It has WAL of another cluster (OP-01).
    #[error(
        "WAL in directory \"{directory}\" is from a different database system: \
         identifier {found} in file \"{file}\", {expected} of the server"
    )]
    ForeignSystem {
        /// The directory.
        directory: String,
        /// The file that says so.
        file: String,
        /// The cluster of the file.
        found: SystemId,
        /// The cluster of the server.
        expected: SystemId,
    },
    /// It has segments of another size (OP-05).
    #[error(
        "WAL segments in directory \"{directory}\" have {found} bytes according to file \"{file}\", \
         those of the server have {}", .expected.as_u64()
    )]
    SegmentSize {
        /// The directory.
        directory: String,
        /// The file that says so.
        file: String,
        /// Its size of segments.
        found: u64,
        /// The server's.
        expected: SegmentSize,
    },
    /// It has a newer timeline than the server (RW-098).
    #[error("starting timeline {0} is not present in the server")]
    NewerTimeline(TimelineId),
    /// Nothing in it lies on the server's history, so nothing says where to go on.
    #[error(
        "WAL in directory \"{directory}\" ends on timeline {timeline}, which is not in this server's history"
    )]
    OffHistory {
        /// The directory.
        directory: String,
        /// The timeline of its last segment.
        timeline: TimelineId,
    },
    /// It has another timeline of the same number: two servers were promoted to it.
    #[error(
        "file \"{file}\" in directory \"{directory}\" is of another timeline than this server's: \
         it left timeline {} at {}, the server's left timeline {} at {}",
        .found.0, .found.1, .expected.0, .expected.1
    )]
    OtherHistory {
        /// The history file.
        file: String,
        /// The directory.
        directory: String,
        /// The timeline before it and where that was left, according to the file.
        found: (TimelineId, Lsn),
        /// The same, according to the server.
        expected: (TimelineId, Lsn),
    },
    /// Another receiver works in it (I-13).
    #[error("directory \"{0}\" is in use by another WAL receiver")]
    Locked(String),
}

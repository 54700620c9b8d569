//! What the receiver tells while it runs.

use std::time::Duration;

use super::error::ReceiveError;
use crate::connection::Notice;
use crate::types::{Lsn, SegmentSize, TimelineId, WalFileName};

/// Hears what happens. Methods are called on the receiver's threads and should return soon.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn observe(&self, event: &Event<'_>);
}

/// Hears nothing.
impl Observer for () {
    fn observe(&self, _: &Event<'_>) {}
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The server is asked for WAL from here on over a new connection (RW-049).
    Starting {
        /// Where.
        position: Lsn,
        /// On which timeline.
        timeline: TimelineId,
    },
    /// A segment is complete and durable under its final name (RW-050).
    SegmentFinished {
        /// The position after its last byte.
        end: Lsn,
        /// The timeline it is kept under.
        timeline: TimelineId,
    },
    /// An incomplete segment was closed in good order and keeps the name it has (RW-054).
    SegmentIncomplete {
        /// The name of the file.
        file: &'a str,
    },
    /// The timeline that was received has ended (RW-051).
    TimelineSwitched {
        /// The one that follows.
        timeline: TimelineId,
        /// The end of what came of the old one.
        position: Lsn,
    },
    /// Receiving goes on; told about once a second while something changes.
    Progress {
        /// The timeline that is received.
        timeline: TimelineId,
        /// The end of what came.
        received: Lsn,
        /// The end of what is durable.
        flushed: Lsn,
    },
    /// The end position was reached (RW-052).
    Stopped {
        /// The end of what was received.
        position: Lsn,
        /// On which timeline.
        timeline: TimelineId,
    },
    /// The caller cancelled, and the receiver ends in good order (RW-053).
    Cancelled,
    /// An attempt has failed.
    Failed(&'a ReceiveError),
    /// There will be another attempt after this time (RW-055).
    Disconnected {
        /// The pause.
        retry_in: Duration,
    },
    /// The server had something to say.
    Notice(&'a Notice),
    /// Something is odd, but nothing that was promised is in danger.
    Warning(&'a Warning),
}

/// Something odd.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A raw segment of a wrong size (RW-076).
    #[error("segment file \"{file}\" has incorrect size {size}, skipping")]
    SegmentFileSize {
        /// The file.
        file: String,
        /// Its bytes.
        size: u64,
    },
    /// A compressed segment that holds something else than a segment (RW-077, RW-078).
    #[error("compressed segment file \"{file}\" has incorrect uncompressed size {size}, skipping")]
    UncompressedSize {
        /// The file.
        file: String,
        /// The bytes it holds.
        size: u64,
    },
    /// A compressed segment that cannot be decompressed (OP-34).
    #[error("could not decompress segment file \"{file}\", skipping: {reason}")]
    Undecodable {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// A partial segment of a size that it cannot have; what is sound of it is used (OP-11).
    #[error(
        "partial segment file \"{file}\" has {size} bytes, should be 0 or {expected}; using what is valid of it"
    )]
    PartialSize {
        /// The file.
        file: String,
        /// Its bytes.
        size: u64,
        /// The size of segments.
        expected: u64,
    },
    /// Segments are missing between others (OP-04).
    #[error("WAL segments from {first} to {last} are missing in the directory")]
    MissingSegments {
        /// The first that is missing.
        first: WalFileName,
        /// The last that is missing in a row.
        last: WalFileName,
    },
    /// The archive has WAL after the position at which the server's history left its timeline; it is kept, beside
    /// what follows now.
    #[error(
        "timeline {timeline} goes on in the directory up to {local_end}, but the server left it at {switch_point}; \
         both branches are kept"
    )]
    OtherBranch {
        /// The timeline.
        timeline: TimelineId,
        /// The end of it in the archive.
        local_end: Lsn,
        /// Where the server left it.
        switch_point: Lsn,
    },
    /// The archive has WAL of a timeline that the server never was on, and it is newer than what the server's history
    /// goes on with; it is kept.
    #[error(
        "timeline {timeline}, which the directory has up to {local_end}, is not in this server's history"
    )]
    UnknownBranch {
        /// The timeline.
        timeline: TimelineId,
        /// The end of it in the archive.
        local_end: Lsn,
    },
    /// It could not be found out whether a slot has lost the WAL that it promised to keep (OP-03).
    #[error(
        "could not find out whether replication slot \"{slot}\" still has the WAL that it reserved: {reason}"
    )]
    SlotUnknown {
        /// The slot.
        slot: String,
        /// Why.
        reason: String,
    },
    /// Another receiver cannot be kept away (I-13).
    #[error("could not lock directory \"{directory}\": {reason}")]
    Unlocked {
        /// The directory.
        directory: String,
        /// Why.
        reason: String,
    },
    /// A segment that could not be compressed stays as it is.
    #[error("could not compress segment file \"{file}\": {reason}")]
    Uncompressed {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// The server's version is newer than any that was tried (OP-28).
    #[error("server version {0} is newer than any that this program was tested with")]
    NewerServer(String),
}

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
        found: crate::types::SystemId,
        /// The cluster of the server.
        expected: crate::types::SystemId,
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

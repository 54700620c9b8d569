//! What the receiver tells while it runs.

use std::time::Duration;

use super::error::ReceiveError;
use crate::connection::Notice;
use crate::types::{Lsn, TimelineId, WalFileName};

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

//! Where segments come to rest.
//!
//! All methods run on the thread of the disk and may block. A segment gets its bytes in order from
//! its first one, is open alone, and ends by one of the two methods that consume it; one that is
//! dropped instead is as if the process had been killed.

use crate::protocol::TimelineHistoryFile;
use crate::storage::{Durable, StorageError};
use crate::types::{Lsn, TimelineId, WalFileName};

/// A place that keeps segments and timeline history files.
pub trait WalArchive: Send {
    /// Opens a segment for its first byte.
    fn open_segment(&mut self, segment: WalFileName) -> Result<Box<dyn OpenSegment + '_>, StorageError>;

    /// Whether the history file of the timeline is there already.
    fn has_history(&mut self, timeline: TimelineId) -> Result<bool, StorageError>;

    /// Keeps a history file. It is durable when this returns, so that no segment of its timeline can
    /// be complete before it (I-10).
    fn store_history(&mut self, file: &TimelineHistoryFile) -> Result<(), StorageError>;

    /// Ends the archive: nothing is written after this.
    fn finish(&mut self) -> Result<(), StorageError>;
}

/// A segment that takes bytes.
pub trait OpenSegment {
    /// Writes the next bytes of the segment; they are the kernel's when this returns (I-2), except for those that an
    /// archive compresses, which it may hold until [`sync`](Self::sync).
    fn append(&mut self, data: &[u8]) -> Result<(), StorageError>;

    /// Makes durable what was appended, which ends at `reached`.
    fn sync(&mut self, reached: Lsn) -> Result<Durable<Lsn>, StorageError>;

    /// Ends a segment that got all its bytes, the last of them before `end`.
    fn complete(self: Box<Self>, end: Lsn) -> Result<Durable<Lsn>, StorageError>;

    /// Ends a segment whose remaining bytes will not come; those that came end at `reached`.
    fn close_incomplete(self: Box<Self>, reached: Lsn) -> Result<Durable<Lsn>, StorageError>;
}

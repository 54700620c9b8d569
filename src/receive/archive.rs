//! Where segments come to rest.
//!
//! All methods may block. They run on threads made for that, one at a time, and not always on the same one. A segment gets its bytes in order, is open alone, and
//! ends by one of the two methods that consume it; one that is dropped instead is as if the process had been
//! killed. After an error the archive may be asked to [`resume`](WalArchive::resume), and for nothing else.

use bytes::Bytes;

use crate::protocol::TimelineHistoryFile;
use crate::storage::{Access, Durable, StorageError};
use crate::types::{Lsn, SegmentSize, SystemId, TimelineId, WalFileName};
use crate::wal::{RecordReader, TimelineHistory};

/// A place that keeps segments and timeline history files.
pub trait WalArchive: Send {
    /// Gets ready for WAL of this cluster and says where the archive ends, so that receiving can go on there; nothing
    /// if there is no WAL in it yet.
    ///
    /// It is asked before the first segment is opened, and again after each loss of the connection. An archive that
    /// cannot tell where it ends begins anew each time, as this default does.
    ///
    /// # Errors
    /// An archive with WAL of another cluster, or none on the server's history, says so as [`StorageError::Other`]
    /// with a [`RefusedArchive`](super::RefusedArchive).
    fn resume(&mut self, _cluster: &Cluster<'_>) -> Result<Option<ArchiveEnd>, StorageError> {
        Ok(None)
    }

    /// Opens a segment for its bytes from `from` on: its start, or where [`resume`](WalArchive::resume) said that the
    /// archive ends.
    fn open_segment(
        &mut self,
        segment: WalFileName,
        from: Lsn,
    ) -> Result<Box<dyn OpenSegment + '_>, StorageError>;

    /// Whether the history file of the timeline is there already.
    fn has_history(&mut self, timeline: TimelineId) -> Result<bool, StorageError>;

    /// Keeps a history file. It is durable when this returns, so that no segment of its timeline can
    /// be complete before it (I-10).
    fn store_history(&mut self, file: &TimelineHistoryFile) -> Result<(), StorageError>;

    /// Ends the archive: nothing is written after this.
    fn finish(&mut self) -> Result<(), StorageError>;
}

/// A segment that takes bytes.
pub trait OpenSegment: Send {
    /// Writes the next bytes of the segment; they are the kernel's when this returns (I-2), except for those that an
    /// archive compresses, which it may hold until [`sync`](Self::sync).
    fn append(&mut self, data: &[u8]) -> Result<(), StorageError>;

    /// Makes durable what was appended, which ends at `reached`.
    fn sync(&mut self, reached: Lsn) -> Result<Durable<Lsn>, StorageError>;

    /// The same as [`append`](Self::append) and then [`sync`](Self::sync), for an archive that has a shorter way for what
    /// a commit waits for: the next bytes of the segment, which end at `reached`, and all before them are durable when
    /// this returns. Until then the server hears nothing of them. The last bytes of a segment never come this way.
    fn append_and_sync(&mut self, data: &[u8], reached: Lsn) -> Result<Durable<Lsn>, StorageError> {
        self.append(data)?;
        self.sync(reached)
    }

    /// Ends a segment that got all its bytes, the last of them before `end`.
    fn complete(self: Box<Self>, end: Lsn) -> Result<Durable<Lsn>, StorageError>;

    /// Ends a segment whose remaining bytes will not come; those that came end at `reached`.
    fn close_incomplete(
        self: Box<Self>,
        reached: Lsn,
        closing: Closing,
    ) -> Result<Durable<Lsn>, StorageError>;
}

/// Why a segment gets no more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The stream has ended: it was enough, or the server said so.
    EndOfStream,
    /// The stream broke off.
    Interrupted,
}

/// What an archive learns of the server before it gets WAL.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    /// The cluster.
    pub system_id: SystemId,
    /// The size of its segments.
    pub segment_size: SegmentSize,
    /// Who may read what is written: those who may read the server's data directory.
    pub access: Access,
    /// The way to the server's timeline; of a server on the first timeline one without entries.
    pub history: &'a TimelineHistory,
}

/// Where an archive ends, as far as it lies on the server's history.
#[derive(Clone, Debug)]
pub struct ArchiveEnd {
    /// The timeline to go on with.
    pub timeline: TimelineId,
    /// The position to go on at; everything before it is durable. Not always the start of a segment.
    pub position: Durable<Lsn>,
    /// Has read the segment that holds the position from its start up to the position.
    pub records: RecordReader,
    /// The last bytes before the position, in its segment: what the server sends for them must be the same. None at
    /// the start of a segment.
    pub overlap: Bytes,
}

//! A directory of segments that outlives the receiver: `pg_receivewal`'s.
//!
//! ```text
//! 000000010000000000000002           complete
//! 000000010000000000000003.gz        complete, compressed
//! 000000010000000000000004.partial   being written: nothing, or the size of a segment
//! 00000002.history
//! ```

#[allow(dead_code, reason = "the archive begins to use it")]
mod compressor;

use std::path::Path;
use std::sync::Arc;

use super::archive::{ArchiveEnd, Cluster, OpenSegment, WalArchive};
use super::observer::Observer;
use crate::compress::CompressionSpec;
use crate::protocol::TimelineHistoryFile;
use crate::storage::{Directory, StorageError, SyncPolicy};
use crate::types::{Lsn, TimelineId, WalFileName};

/// Segments in a directory, each complete one under its own name.
pub struct SegmentArchive {}

impl SegmentArchive {
    /// Opens the directory, which must exist, and keeps other receivers away from it as long as it lives (I-13).
    pub fn open(
        directory: &Path,
        compression: Option<CompressionSpec>,
        policy: SyncPolicy,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, StorageError> {
        let _ = (compression, policy, observer);
        Directory::open(directory)?;
        Ok(Self {})
    }
}

impl WalArchive for SegmentArchive {
    fn resume(&mut self, _cluster: &Cluster<'_>) -> Result<Option<ArchiveEnd>, StorageError> {
        Err(StorageError::OutOfOrder)
    }

    fn open_segment(
        &mut self,
        _segment: WalFileName,
        _from: Lsn,
    ) -> Result<Box<dyn OpenSegment + '_>, StorageError> {
        Err(StorageError::OutOfOrder)
    }

    fn has_history(&mut self, _timeline: TimelineId) -> Result<bool, StorageError> {
        Err(StorageError::OutOfOrder)
    }

    fn store_history(&mut self, _file: &TimelineHistoryFile) -> Result<(), StorageError> {
        Err(StorageError::OutOfOrder)
    }

    fn finish(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

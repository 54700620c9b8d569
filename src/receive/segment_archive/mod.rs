//! A directory of segments that outlives the receiver: `pg_receivewal`'s.
//!
//! ```text
//! 000000010000000000000002           complete
//! 000000010000000000000003.gz        complete, compressed
//! 000000010000000000000004.partial   being written: nothing, or the size of a segment
//! 00000002.history
//! ```
//!
//! In come segments in order, and questions where to go on; out come files. At every instant, also if the process is
//! killed, each complete segment is there under its name, raw or compressed, and only complete ones are; what was
//! durable of another one stays so. Nothing is written before it is known that the archive is of the same cluster, and
//! no file of a final name is ever written to.
//!
//! A segment is received as it is and compressed when it is complete, beside the receiving; the last one becomes a
//! compressed partial when the receiver ends, and raw again when it begins.

mod compressor;
mod content;
mod error;
mod holes;
mod identity;
mod leftovers;
mod listing;
mod names;
mod partial;
mod resume;
mod running;
mod scan;
mod spare;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::compressor::{Compressor, compress_partial};
use self::identity::{Origin, refused};
use self::names::{FileName, Form};
use self::running::RunningSegment;
use self::spare::Spare;
use super::archive::{ArchiveEnd, Cluster, OpenSegment, WalArchive};
use super::observer::{Event, Observer, Warning};
use super::refused_archive::RefusedArchive;
use crate::compress::{CompressionSpec, Method};
use crate::protocol::TimelineHistoryFile;
use crate::storage::{Directory, DirectoryLock, StorageError, SyncPolicy, replace_durably};
use crate::types::{Lsn, TimelineId, WalFileName, WithCauses};

/// How long the end of a run may wait for complete segments to be compressed, and how long it may take for the partial
/// ones. What is not compressed by then stays as it is. Usually it takes a tenth of a second, but people who look for a
/// compressed segment after the end of a run should find it on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_FOR_PARTIALS: Duration = Duration::from_secs(10);

/// Segments in a directory, each complete one under its own name.
pub struct SegmentArchive {
    // First come those with threads that work in the directory: they are waited for before the lock is given back.
    compressor: Option<Compressor>,
    spare: Spare,
    directory: Arc<Directory>,
    compression: Option<CompressionSpec>,
    policy: SyncPolicy,
    observer: Arc<dyn Observer>,
    /// What the observer has been warned of.
    warned: Vec<Warning>,
    /// Where the WAL comes from, once that is known.
    origin: Option<Origin>,
    /// Whether what earlier processes left in the directory has been put in order.
    is_cleared: bool,
    /// Up to where this process has made the segment durable that it has written to last.
    durable_end: Option<(WalFileName, Lsn)>,
    /// Segments that may stay partial, with the end of what they hold.
    partials: Vec<(WalFileName, u64)>,
    _lock: Option<DirectoryLock>,
}

impl SegmentArchive {
    /// Opens the directory, which must exist, and keeps other receivers away from it as long as it lives (I-13).
    pub fn open(
        directory: &Path,
        compression: Option<CompressionSpec>,
        policy: SyncPolicy,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, StorageError> {
        let directory = Directory::open(directory)?;
        let lock = take_lock(&directory, &*observer)?;
        Ok(Self {
            compressor: None,
            spare: Spare::default(),
            directory,
            compression,
            policy: policy.for_single_files(),
            observer,
            warned: Vec::new(),
            origin: None,
            is_cleared: false,
            durable_end: None,
            partials: Vec::new(),
            _lock: lock,
        })
    }

    /// Goes to the directory that is at the path now, if the one that was opened is not there any more.
    fn follow_path(&mut self) -> Result<(), StorageError> {
        if self.directory.is_at_its_path()? {
            return Ok(());
        }
        let replacement =
            Self::open(self.directory.path(), self.compression, self.policy, Arc::clone(&self.observer))?;
        let warned = std::mem::take(&mut self.warned);
        *self = Self { warned, ..replacement };
        Ok(())
    }

    fn origin(&self) -> Result<Origin, StorageError> {
        self.origin.ok_or(StorageError::OutOfOrder)
    }

    /// Warns of what was not warned of before.
    fn warn(&mut self, warning: Warning) {
        if !self.warned.contains(&warning) {
            self.observer.observe(&Event::Warning(&warning));
            self.warned.push(warning);
        }
    }

    /// Remembers that the segment may stay partial, with bytes up to `length`.
    fn keep_partial(&mut self, segment: WalFileName, length: u64) {
        match self.partials.iter_mut().find(|(kept, _)| *kept == segment) {
            Some((_, known)) => *known = length.max(*known),
            None => self.partials.push((segment, length)),
        }
    }

    fn forget_partial(&mut self, segment: WalFileName) {
        self.partials.retain(|(kept, _)| *kept != segment);
    }

    fn prepare_spare(&mut self) {
        if let Some(origin) = self.origin {
            self.spare.prepare(&self.directory, origin, self.policy);
        }
    }

    /// Leaves the mark that a complete segment is to be compressed, before it has its name. One that cannot be
    /// compressed stays as it is.
    fn announce_compression(&mut self, segment: WalFileName) {
        if let Some(Err(error)) = self.compressor.as_ref().map(|compressor| compressor.mark(segment)) {
            self.warn_of_uncompressed(&FileName::of(segment, Form::RAW), &error);
        }
    }

    /// An earlier process was to compress the segment.
    fn take_up_compression(&mut self, segment: WalFileName) {
        self.announce_compression(segment);
        let taken_up = self.compressor.as_mut().map(|compressor| compressor.enqueue_left_over(segment));
        if let Some(Err(error)) = taken_up {
            self.warn_of_uncompressed(&FileName::of(segment, Form::RAW), &error);
        }
    }

    fn begin_compression(&mut self, segment: WalFileName) {
        if let Some(Err(error)) = self.compressor.as_mut().map(|compressor| compressor.enqueue(segment)) {
            self.warn_of_uncompressed(&FileName::of(segment, Form::RAW), &error);
        }
    }

    fn warn_of_uncompressed(&mut self, file: &FileName, error: &StorageError) {
        let reason = WithCauses(error).to_string();
        self.warn(Warning::Uncompressed { file: file.to_string(), reason });
    }

    fn compress_partials(&mut self) {
        let (Some(spec), Some(origin)) = (self.compression, self.origin) else { return };
        let deadline = Instant::now() + PATIENCE_FOR_PARTIALS;
        for (segment, length) in std::mem::take(&mut self.partials) {
            if length == 0 {
                continue;
            }
            let (directory, policy) = (&self.directory, self.policy);
            let compressed =
                compress_partial(directory, segment, length, spec, origin.access, policy, deadline);
            if let Err(error) = compressed {
                self.warn_of_uncompressed(&FileName::of(segment, Form::RAW_PARTIAL), &error);
            }
        }
    }
}

impl WalArchive for SegmentArchive {
    fn resume(&mut self, cluster: &Cluster<'_>) -> Result<Option<ArchiveEnd>, StorageError> {
        self.follow_path()?;
        self.find_end(cluster)
    }

    fn open_segment(
        &mut self,
        segment: WalFileName,
        from: Lsn,
    ) -> Result<Box<dyn OpenSegment + '_>, StorageError> {
        Ok(Box::new(RunningSegment::open(self, segment, from)?))
    }

    fn has_history(&mut self, timeline: TimelineId) -> Result<bool, StorageError> {
        let plain = timeline.history_file_name();
        let compressed = Method::ALL.map(|method| format!("{plain}{}", method.suffix()));
        for name in std::iter::once(plain).chain(compressed) {
            if self.directory.contains(&name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn store_history(&mut self, file: &TimelineHistoryFile) -> Result<(), StorageError> {
        let access = self.origin()?.access;
        replace_durably(&self.directory, &file.name, &file.content, access, self.policy)
    }

    fn finish(&mut self) -> Result<(), StorageError> {
        if self.is_cleared {
            self.spare.discard(&self.directory)?;
        }
        let compressor = self.compressor.take();
        let compressed = compressor.map(|mut compressor| compressor.finish_within(PATIENCE));
        self.compress_partials();
        compressed.unwrap_or(Ok(()))
    }
}

fn take_lock(directory: &Directory, observer: &dyn Observer) -> Result<Option<DirectoryLock>, StorageError> {
    let name = directory.path().display().to_string();
    match DirectoryLock::take(directory) {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => Err(refused(RefusedArchive::Locked(name))),
        Err(error) => {
            let warning = Warning::Unlocked { directory: name, reason: error.to_string() };
            observer.observe(&Event::Warning(&warning));
            Ok(None)
        }
    }
}

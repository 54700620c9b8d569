//! Compresses segments beside the receiving.
//!
//! In come the names of raw segments that are complete and durable under their final names; out come files such as
//! `X.gz` in their place. It happens on a thread of its own, so that it never holds up the network, and the disk only
//! while too much waits for it. What cannot be compressed stays raw and is told of; it never ends the receiving.
//!
//! [`compress_partial`] and [`decode`] do for the running segment, on the caller's thread, what is to be done at the end
//! of a run and at its start.

mod compression;
mod decode;
mod line;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::compression::{Compression, is_refused};
pub(super) use self::decode::{Decoded, decode};
pub(super) use self::line::KeptNames;
use self::line::{Ended, Line, Turn};
use crate::compress::{CompressionSpec, Encoder};
use crate::receive::observer::{Event, Observer, Warning};
use crate::storage::{Access, Directory, StorageError, SyncPolicy};
use crate::types::{WalFileName, WithCauses};

/// Compresses complete segments of one directory, in the order in which they come.
///
/// Dropping it leaves everything as a kill would, but without half a file: what is not compressed stays raw and marked.
pub(super) struct Compressor {
    compression: Arc<Compression>,
    observer: Arc<dyn Observer>,
    line: Arc<Line>,
    thread: Option<JoinHandle<()>>,
}

impl Compressor {
    /// Starts the thread.
    ///
    /// # Errors
    /// A compression that this build cannot do, and a thread that cannot be started.
    pub(super) fn start(
        directory: Arc<Directory>,
        spec: CompressionSpec,
        access: Access,
        policy: SyncPolicy,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, StorageError> {
        Encoder::new(&spec).map_err(|error| StorageError::Other(Box::new(error)))?;
        let compression = Arc::new(Compression { directory, spec, access, policy });
        let line = Arc::new(Line::default());
        let worker = Worker {
            compression: Arc::clone(&compression),
            observer: Arc::clone(&observer),
            line: Arc::clone(&line),
        };
        let thread = std::thread::Builder::new()
            .name("wal-compressor".to_owned())
            .spawn(move || worker.work())
            .map_err(StorageError::thread)?;
        Ok(Self { compression, observer, line, thread: Some(thread) })
    }

    /// Before the raw segment gets its final name: leaves the mark (`X.gz.tmp`, empty) by which a later run knows that
    /// it is to be compressed. The sync of the directory that makes the final name durable is the mark's too.
    pub(super) fn mark(&self, segment: WalFileName) -> Result<(), StorageError> {
        self.compression.mark(segment)
    }

    /// The raw segment has its final name: compresses it when its turn comes. Waits only while too much is in line.
    pub(super) fn enqueue(&mut self, segment: WalFileName) -> Result<(), StorageError> {
        self.line.enter(segment).map_err(ended)
    }

    /// An earlier run has left the raw segment and a mark, or a compressed file beside it: compresses it when nothing
    /// else is in line. Never waits.
    pub(super) fn enqueue_left_over(&mut self, segment: WalFileName) -> Result<(), StorageError> {
        self.line.enter_last(segment).map_err(ended)
    }

    /// Waits until nothing takes the place of anything, and keeps it so until the result is dropped: whoever looks for
    /// the end of the archive meanwhile finds every segment where it was listed.
    pub(super) fn keep_names(&self) -> KeptNames {
        self.line.keep_names()
    }

    /// Waits for all that is in line, but only so long; what is not compressed by then stays raw, without a mark.
    pub(super) fn finish_within(&mut self, patience: Duration) -> Result<(), StorageError> {
        // A time that is too far away for the clock is no limit.
        let deadline = Instant::now().checked_add(patience);
        if !self.line.wait_until_done(deadline).map_err(ended)? {
            self.abandon();
        }
        Ok(())
    }

    /// Leaves raw what is not compressed, and takes the marks away. Nothing is compressed after this.
    fn abandon(&mut self) {
        let mut left = self.line.close();
        self.join();
        // The thread has put back what it had at hand.
        left.extend(self.line.close());
        for segment in left {
            // A mark that stays does no harm: a later run compresses the segment.
            let _ = self.compression.unmark(segment);
            warn(&*self.observer, segment, "it was given up".to_owned());
        }
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic over there was told of by whoever waited for it.
            let _ = thread.join();
        }
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        self.line.close();
        self.join();
    }
}

/// `X.partial`, of which `length` bytes came, becomes `X.gz.partial` (named by the method), durably; the raw one goes
/// then. On an error it stays, and `deadline` makes one of what takes longer.
pub(super) fn compress_partial(
    directory: &Arc<Directory>,
    segment: WalFileName,
    length: u64,
    spec: CompressionSpec,
    access: Access,
    policy: SyncPolicy,
    deadline: Instant,
) -> Result<(), StorageError> {
    let directory = Arc::clone(directory);
    let given_up = || Instant::now() >= deadline;
    Compression { directory, spec, access, policy }.compress_partial(segment, length, &given_up)
}

/// What the thread owns.
struct Worker {
    compression: Arc<Compression>,
    observer: Arc<dyn Observer>,
    line: Arc<Line>,
}

impl Worker {
    fn work(&self) {
        while let Some(turn) = self.line.next() {
            self.compress(turn);
        }
    }

    fn compress(&self, turn: Turn) {
        let (given_up, may_change) = (|| self.line.is_closed(), || self.line.change_names());
        let Err(error) = self.compression.compress(turn.segment, &given_up, may_change) else {
            return self.line.succeeded();
        };
        if self.line.is_closed() {
            return self.line.failed(turn.segment);
        }
        if !turn.has_failed {
            warn(&*self.observer, turn.segment, WithCauses(&error).to_string());
        }
        // After a failed sync no other one on the same names proves anything before the next start.
        if error.is_retryable() && !is_refused(&error) {
            self.line.failed(turn.segment);
        }
    }
}

impl Drop for Worker {
    /// Also when the thread panics: nobody waits for it then.
    fn drop(&mut self) {
        self.line.end();
    }
}

fn warn(observer: &dyn Observer, segment: WalFileName, reason: String) {
    observer.observe(&Event::Warning(&Warning::Uncompressed { file: segment.to_string(), reason }));
}

fn ended(ended: Ended) -> StorageError {
    StorageError::Other(Box::new(ended))
}

#[cfg(all(test, feature = "gzip", feature = "lz4", feature = "zstd"))]
mod tests;

//! What the thread of the disk does: takes commands in order and drives the archive.
//!
//! In come commands; out come positions through a channel that keeps the latest. A segment is open only
//! from its first piece to its end, so an order never meets an open one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

use super::archive::{ArchiveEnd, Closing, Cluster, WalArchive};
use super::batch::{Batch, Piece};
use super::disk_progress::DiskProgress;
use crate::protocol::TimelineHistoryFile;
use crate::storage::{Access, Durable, StorageError};
use crate::types::{Lsn, SegmentSize, SystemId, TimelineId};
use crate::wal::TimelineHistory;

/// What the thread is asked to do, in order.
#[derive(Debug)]
pub(super) enum Command {
    Write(Batch),
    Order(Order),
}

/// Something that is answered.
#[derive(Debug)]
pub(super) enum Order {
    /// Where does the archive end for WAL of this cluster?
    Resume(KnownCluster, oneshot::Sender<Option<ArchiveEnd>>),
    /// A stream begins at this position.
    Begin(Durable<Lsn>, oneshot::Sender<()>),
    /// The stream has ended, and the open segment with it.
    Close(oneshot::Sender<Durable<Lsn>>),
    HasHistory(TimelineId, oneshot::Sender<bool>),
    StoreHistory(TimelineHistoryFile, oneshot::Sender<()>),
    /// Nothing more will come to the archive.
    Finish(oneshot::Sender<()>),
}

/// [`Cluster`] on its way to the thread.
#[derive(Clone, Debug)]
pub(super) struct KnownCluster {
    pub(super) system_id: SystemId,
    pub(super) segment_size: SegmentSize,
    pub(super) access: Access,
    pub(super) history: TimelineHistory,
}

impl KnownCluster {
    fn as_cluster(&self) -> Cluster<'_> {
        let Self { system_id, segment_size, access, ref history } = *self;
        Cluster { system_id, segment_size, access, history }
    }
}

/// What the thread owns.
pub(super) struct Writer {
    archive: Box<dyn WalArchive>,
    steps: Steps,
    reached: Reached,
}

impl Writer {
    pub(super) fn new(
        archive: Box<dyn WalArchive>,
        inbox: mpsc::Receiver<Command>,
        publish: watch::Sender<DiskProgress>,
        abandoned: Arc<AtomicBool>,
    ) -> Self {
        let progress = *publish.borrow();
        Self {
            archive,
            steps: Steps { inbox, pieces: VecDeque::new(), next: None, abandoned },
            reached: Reached { progress, publish },
        }
    }

    /// Works until nobody can send commands any more, or the first error. Gives back the archive.
    pub(super) fn run(mut self) -> (Box<dyn WalArchive>, Result<(), StorageError>) {
        let outcome = self.work();
        (self.archive, outcome)
    }

    fn work(&mut self) -> Result<(), StorageError> {
        while let Some(step) = self.steps.next() {
            match step {
                Step::Piece(piece) => self.write_segment(piece)?,
                Step::BatchEnd { .. } => self.reached.publish(),
                Step::Order(order) => self.obey(order)?,
            }
        }
        Ok(())
    }

    /// Takes pieces from the first one of a segment on for as long as they belong to it.
    fn write_segment(&mut self, first: Piece) -> Result<(), StorageError> {
        let name = first.segment;
        let mut segment = self.archive.open_segment(name, first.start)?;
        let mut step = Some(Step::Piece(first));
        loop {
            match step {
                Some(Step::Piece(piece)) if piece.segment == name => {
                    segment.append(piece.data.as_ref())?;
                    self.reached.wrote(piece.end);
                    if piece.completes {
                        self.reached.synced(segment.complete(piece.end)?);
                        return Ok(());
                    }
                }
                Some(Step::BatchEnd { sync }) => {
                    if sync && self.reached.progress.flushed.value() < self.reached.progress.written {
                        self.reached.synced(segment.sync(self.reached.progress.written)?);
                    } else {
                        self.reached.publish();
                    }
                }
                None if self.steps.abandoned() => return Ok(()),
                other => {
                    let closing = match other {
                        Some(Step::Order(Order::Close(_)) | Step::Piece(_)) => Closing::EndOfStream,
                        _ => Closing::Interrupted,
                    };
                    self.reached.synced(segment.close_incomplete(self.reached.progress.written, closing)?);
                    self.steps.put_back(other);
                    return Ok(());
                }
            }
            step = self.steps.next();
        }
    }

    /// Does what no segment may be open for. Nobody hears the answer where the asking task was dropped.
    fn obey(&mut self, order: Order) -> Result<(), StorageError> {
        match order {
            Order::Resume(cluster, answer) => {
                let _ = answer.send(self.archive.resume(&cluster.as_cluster())?);
            }
            Order::Begin(start, done) => {
                self.reached.begin(start);
                let _ = done.send(());
            }
            Order::Close(closed) => {
                let _ = closed.send(self.reached.progress.flushed);
            }
            Order::HasHistory(timeline, answer) => {
                let _ = answer.send(self.archive.has_history(timeline)?);
            }
            Order::StoreHistory(file, done) => {
                self.archive.store_history(&file)?;
                let _ = done.send(());
            }
            Order::Finish(done) => {
                self.archive.finish()?;
                let _ = done.send(());
            }
        }
        Ok(())
    }
}

/// One thing to do.
enum Step {
    Piece(Piece),
    BatchEnd { sync: bool },
    Order(Order),
}

/// The commands, taken apart.
struct Steps {
    inbox: mpsc::Receiver<Command>,
    /// What is left of the batch at hand.
    pieces: VecDeque<Piece>,
    /// What comes after the pieces.
    next: Option<Step>,
    abandoned: Arc<AtomicBool>,
}

impl Steps {
    /// Waits for the next step; nothing after the last one, or once the work is to be left undone.
    fn next(&mut self) -> Option<Step> {
        if self.abandoned() {
            return None;
        }
        if let Some(piece) = self.pieces.pop_front() {
            return Some(Step::Piece(piece));
        }
        if let Some(step) = self.next.take() {
            return Some(step);
        }
        match self.inbox.blocking_recv()? {
            Command::Order(order) => Some(Step::Order(order)),
            Command::Write(batch) => {
                self.pieces = batch.pieces.into();
                self.next = Some(Step::BatchEnd { sync: batch.sync });
                self.next()
            }
        }
    }

    /// Makes the step that was taken last the next one again.
    fn put_back(&mut self, step: Option<Step>) {
        match step {
            Some(Step::Piece(piece)) => self.pieces.push_front(piece),
            other => self.next = other,
        }
    }

    fn abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }
}

/// The positions, and who is told of them.
struct Reached {
    progress: DiskProgress,
    publish: watch::Sender<DiskProgress>,
}

impl Reached {
    /// How much is written before it is told in the middle of a batch: often enough that reading goes
    /// on before a large batch is done.
    const STEP: u64 = 256 << 10;

    fn begin(&mut self, start: Durable<Lsn>) {
        self.progress = DiskProgress { written: start.value(), flushed: start };
        self.publish();
    }

    fn wrote(&mut self, end: Lsn) {
        self.progress.written = end;
        if end.checked_sub(self.publish.borrow().written).is_none_or(|news| news >= Self::STEP) {
            self.publish();
        }
    }

    fn synced(&mut self, position: Durable<Lsn>) {
        self.progress.flushed = position;
        self.publish();
    }

    fn publish(&self) {
        self.publish.send_replace(self.progress);
    }
}

//! What the disk does: takes commands in order and drives the archive.
//!
//! In come commands; out come positions through a channel that keeps the latest. A segment is open only
//! from its first piece to its end, so an order never meets an open one.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::archive::{ArchiveEnd, Closing, Cluster, WalArchive};
use super::batch::{Batch, Piece};
use super::command_queue::CommandReceiver;
use super::disk_progress::DiskProgress;
use super::progress_channel::ProgressSender;
use crate::protocol::TimelineHistoryFile;
use crate::storage::{Access, Durable, StorageError};
use crate::types::{Lsn, SegmentSize, SystemId, TimelineId};
use crate::wal::TimelineHistory;

/// What the disk is asked to do, in order.
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

/// [`Cluster`] on its way to the disk.
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

/// What the disk has.
pub(super) struct Writer {
    archive: Box<dyn WalArchive>,
    steps: Steps,
    reached: Reached,
}

impl Writer {
    pub(super) fn new(
        archive: Box<dyn WalArchive>,
        beginning: DiskProgress,
        inbox: CommandReceiver,
        publish: ProgressSender,
    ) -> Self {
        let steps = Steps { inbox, commands: VecDeque::new(), pieces: VecDeque::new(), next: None };
        Self { archive, steps, reached: Reached { progress: beginning, publish } }
    }

    /// Works until nobody can send commands any more, or the first error. Gives back the archive. The future blocks
    /// when it is polled, and waits for nothing but commands.
    pub(super) async fn run(mut self) -> (Box<dyn WalArchive>, Result<(), StorageError>) {
        let outcome = self.work().await;
        (self.archive, outcome)
    }

    async fn work(&mut self) -> Result<(), StorageError> {
        while let Some(step) = self.steps.next().await {
            match step {
                Step::Piece(piece) => self.write_segment(piece).await?,
                Step::BatchEnd { .. } => {}
                Step::Order(order) => self.obey(order)?,
            }
        }
        Ok(())
    }

    /// Takes pieces from the first one of a segment on for as long as they belong to it.
    async fn write_segment(&mut self, first: Piece) -> Result<(), StorageError> {
        let name = first.segment;
        let mut segment = self.archive.open_segment(name, first.start)?;
        let mut step = Some(Step::Piece(first));
        loop {
            match step {
                Some(Step::Piece(piece))
                    if piece.segment == name && self.steps.is_sync_next() && !piece.completes =>
                {
                    let flushed = segment.append_and_sync(piece.data.as_ref(), piece.end)?;
                    self.reached.wrote_and_synced(flushed);
                }
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
            step = self.steps.next().await;
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
    inbox: CommandReceiver,
    /// What was taken and not begun.
    commands: VecDeque<Command>,
    /// What is left of the batch at hand.
    pieces: VecDeque<Piece>,
    /// What comes after the pieces.
    next: Option<Step>,
}

impl Steps {
    /// Waits for the next step; nothing after the last one, or once the work is to be left undone.
    async fn next(&mut self) -> Option<Step> {
        loop {
            if self.abandoned() {
                return None;
            }
            if let Some(piece) = self.pieces.pop_front() {
                return Some(Step::Piece(piece));
            }
            if let Some(step) = self.next.take() {
                return Some(step);
            }
            if self.commands.is_empty() {
                self.inbox.take_all(&mut self.commands).await?;
            }
            match self.commands.pop_front()? {
                Command::Order(order) => return Some(Step::Order(order)),
                Command::Write(batch) => {
                    self.pieces = batch.pieces.into();
                    self.next = Some(Step::BatchEnd { sync: batch.sync });
                }
            }
        }
    }

    /// Whether the piece that was taken last is the last one before a sync.
    fn is_sync_next(&self) -> bool {
        self.pieces.is_empty() && matches!(self.next, Some(Step::BatchEnd { sync: true }))
    }

    /// Makes the step that was taken last the next one again.
    fn put_back(&mut self, step: Option<Step>) {
        match step {
            Some(Step::Piece(piece)) => self.pieces.push_front(piece),
            other => self.next = other,
        }
    }

    fn abandoned(&self) -> bool {
        self.inbox.is_abandoned()
    }
}

/// The positions, and who is told of them.
struct Reached {
    progress: DiskProgress,
    publish: ProgressSender,
}

impl Reached {
    fn begin(&mut self, start: Durable<Lsn>) {
        self.progress = DiskProgress { written: start.value(), flushed: start };
        self.publish.publish(self.progress);
    }

    fn wrote(&mut self, end: Lsn) {
        self.progress.written = end;
        self.publish.publish(self.progress);
    }

    fn wrote_and_synced(&mut self, position: Durable<Lsn>) {
        self.progress = DiskProgress { written: position.value(), flushed: position };
        self.publish.publish(self.progress);
    }

    fn synced(&mut self, position: Durable<Lsn>) {
        self.progress.flushed = position;
        self.publish.publish(self.progress);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;

    use super::super::archive::OpenSegment;
    use super::super::command_queue::command_queue;
    use super::super::progress_channel::{ProgressReceiver, progress_channel};
    use super::*;
    use crate::types::{SegmentNumber, WalFileName};
    use crate::wal::SegmentCutter;

    const MIB: u64 = 1 << 20;

    /// Checks before each thing it does that nothing was told of it yet, and nothing of what was not done.
    struct Suspicious {
        told: ProgressReceiver,
        done: Arc<Mutex<Done>>,
    }

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Done {
        appended: u64,
        durable: u64,
        appends: u32,
        syncs: u32,
    }

    impl Suspicious {
        fn before_anything(&self) -> std::sync::MutexGuard<'_, Done> {
            let (told, done) = (self.told.latest(), self.done.lock().unwrap());
            assert!(told.written.as_u64() <= done.appended, "I-2: {told:?}, {done:?}");
            assert!(told.flushed.value().as_u64() <= done.durable, "I-1: {told:?}, {done:?}");
            done
        }

        fn sync(&self, reached: Lsn) -> Durable<Lsn> {
            let mut done = self.before_anything();
            done.syncs += 1;
            done.durable = done.appended;
            assert_eq!(done.durable, reached.as_u64());
            Durable::nothing_before(reached)
        }
    }

    impl WalArchive for Suspicious {
        fn open_segment(
            &mut self,
            _: WalFileName,
            from: Lsn,
        ) -> Result<Box<dyn OpenSegment + '_>, StorageError> {
            assert_eq!(self.before_anything().appended, from.as_u64());
            Ok(Box::new(&*self))
        }
        fn has_history(&mut self, _: TimelineId) -> Result<bool, StorageError> {
            Ok(false)
        }
        fn store_history(&mut self, _: &TimelineHistoryFile) -> Result<(), StorageError> {
            Ok(())
        }
        fn finish(&mut self) -> Result<(), StorageError> {
            drop(self.before_anything());
            Ok(())
        }
    }

    impl OpenSegment for &Suspicious {
        fn append(&mut self, data: &[u8]) -> Result<(), StorageError> {
            let mut done = self.before_anything();
            done.appends += 1;
            done.appended += data.len() as u64;
            Ok(())
        }
        fn sync(&mut self, reached: Lsn) -> Result<Durable<Lsn>, StorageError> {
            Ok((*self).sync(reached))
        }
        fn complete(self: Box<Self>, end: Lsn) -> Result<Durable<Lsn>, StorageError> {
            Ok((*self).sync(end))
        }
        fn close_incomplete(self: Box<Self>, reached: Lsn, _: Closing) -> Result<Durable<Lsn>, StorageError> {
            Ok((*self).sync(reached))
        }
    }

    /// Writes the batches, each given by the lengths of its messages, which all wait when the thread looks.
    fn write(batches: &[&[usize]]) -> (DiskProgress, Done) {
        let size = SegmentSize::new(MIB).unwrap();
        let start = SegmentNumber::new(1).start(size);
        let beginning = DiskProgress { written: start, flushed: Durable::nothing_before(start) };
        let (sender, inbox) = command_queue();
        let (publish, told) = progress_channel(beginning);
        let mut cutter = SegmentCutter::new(TimelineId::FIRST, start, size);
        for lengths in batches {
            let mut batch = Batch { sync: true, ..Batch::default() };
            for &length in *lengths {
                let run = Bytes::from(vec![7; length]);
                cutter.push(cutter.position(), run).unwrap().for_each(|cut| batch.push(cut));
            }
            sender.write(batch);
        }
        let (answer, _) = oneshot::channel();
        sender.order(Order::Finish(answer));
        drop(sender);
        let done = Done { appended: start.as_u64(), durable: start.as_u64(), appends: 0, syncs: 0 };
        let done = Arc::new(Mutex::new(done));
        let latest = told.clone();
        let archive = Box::new(Suspicious { told, done: Arc::clone(&done) });
        let work = pin!(Writer::new(archive, beginning, inbox, publish).run());
        let Poll::Ready((archive, outcome)) = work.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("it waits for more");
        };
        drop(archive);
        outcome.unwrap();
        (latest.latest(), Arc::into_inner(done).unwrap().into_inner().unwrap())
    }

    #[test]
    fn i_001_i_002_rw_135_first_written_then_synced_and_only_then_told() {
        let (told, done) = write(&[&[100, 200_000], &[500_000, 700_000], &[3_000_000, 1]]);
        assert_eq!((told.written.as_u64(), told.flushed.value().as_u64()), (done.appended, done.durable));
        assert_eq!(done.appended, MIB + 4_400_101);
    }

    #[test]
    fn rw_218_whatever_waits_is_one_group_with_one_sync() {
        let commits: Vec<&[usize]> = vec![&[400]; 100];
        let (told, done) = write(&commits);
        assert_eq!(told.flushed.value().as_u64(), MIB + 40_000);
        // The second sync is that of closing the segment.
        assert_eq!((done.appends, done.syncs), (1, 2));
    }
}

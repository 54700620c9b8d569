//! The writing and syncing of segments, as the task on the network sees it.
//!
//! In come batches and orders, whose bytes the sender bounds by the progress it sees; out come the positions the disk
//! has reached. The first error ends the disk's work, and nothing is called durable after it.
//!
//! The work has a thread of its own, so that the network does not wait for the disk. A commit that waits for a
//! synchronous receiver would wait for two threads to wake up then, besides the disk. So where the network has a thread
//! for itself, and something can answer the server meanwhile, that does what is quickly done.

use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::archive::{ArchiveEnd, WalArchive};
use super::batch::Batch;
use super::command_queue::{CommandSender, command_queue};
use super::disk_progress::DiskProgress;
use super::progress_channel::{ProgressReceiver, Wake, progress_channel};
use super::segment_writer::{KnownCluster, Order, Writer};
use super::shared_work::SharedWork;
use crate::protocol::TimelineHistoryFile;
use crate::storage::{Durable, StorageError};
use crate::types::{Lsn, OsError, TimelineId};
use crate::wal::Cut;

/// Why nothing more is written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The archive refused something.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The thread could not be started.
    #[error("could not start the thread that writes WAL")]
    Start(#[source] OsError),
    /// The thread ended without saying why: the archive panicked.
    #[error("the thread that writes WAL ended unexpectedly")]
    Died,
}

/// What the work leaves: the archive, and why it ended.
type Ended = (Box<dyn WalArchive>, Result<(), StorageError>);

/// The side of the disk's work that the network task holds.
///
/// Dropping it makes the disk leave its work undone, and waits for what its thread is doing at the moment.
pub(super) struct Disk {
    /// What was received and not yet handed over.
    waiting: Batch,
    commands: CommandSender,
    progress: ProgressReceiver,
    outcome: Option<oneshot::Receiver<Ended>>,
    /// The archive, once the work has ended.
    archive: Option<Box<dyn WalArchive>>,
    work: SharedWork,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// What takes not much longer to write than the disk takes to sync it. More than that is better written while the
    /// next is received.
    const QUICKLY_DONE: u64 = 256 << 10;

    /// Starts the thread.
    pub(super) fn spawn(archive: Box<dyn WalArchive>) -> Result<Self, DiskError> {
        let beginning = DiskProgress { written: Lsn::ZERO, flushed: Durable::nothing_before(Lsn::ZERO) };
        let (commands, inbox) = command_queue();
        let (publish, progress) = progress_channel(beginning);
        let (tell, outcome) = oneshot::channel();
        let writer = Writer::new(archive, beginning, inbox, publish);
        let work = SharedWork::new(async move {
            // Nobody listens where the other side was dropped.
            let _ = tell.send(writer.run().await);
        });
        let for_thread = work.clone();
        let thread = std::thread::Builder::new()
            .name("wal-writer".to_owned())
            .spawn(move || for_thread.run_parked())
            .map_err(|error| DiskError::Start(error.into()))?;
        Ok(Self {
            waiting: Batch::default(),
            commands,
            progress,
            outcome: Some(outcome),
            archive: None,
            work,
            thread: Some(thread),
        })
    }

    /// How far the disk has come.
    pub(super) fn progress(&self) -> DiskProgress {
        self.progress.latest()
    }

    /// Says what [`progress_changed`](Self::progress_changed) is to wait for, and how far the disk has come by now.
    pub(super) fn wake_at(&self, wake: Wake) -> DiskProgress {
        self.progress.wake_at(wake)
    }

    /// Waits until the disk has come as far as was said, or failed. Cancel safe.
    pub(super) async fn progress_changed(&mut self) -> Result<DiskProgress, DiskError> {
        match self.progress.changed().await {
            Some(progress) => Ok(progress),
            None => Err(self.failure().await),
        }
    }

    /// Takes bytes that follow those before. They wait until they are handed over.
    pub(super) fn push(&mut self, cut: Cut) {
        self.waiting.push(cut);
    }

    /// Wants everything up to here to be durable.
    pub(super) fn request_sync(&mut self) {
        self.waiting.sync = true;
    }

    /// Hands over what waits to the disk's thread.
    pub(super) fn hand_over(&mut self) {
        if self.queue() {
            self.wake();
        }
    }

    /// Whether a sync is wanted, and everything that is not durable yet is written and synced quickly.
    pub(super) fn is_quickly_synced(&self) -> bool {
        self.waiting.sync && self.is_little()
    }

    /// Whether what waits is little, with all that is on its way to the disk already.
    pub(super) fn is_little(&self) -> bool {
        let flushed = self.progress.latest().flushed.value();
        let length = self.waiting.end().and_then(|end| end.checked_sub(flushed));
        length.is_some_and(|length| length <= Self::QUICKLY_DONE)
    }

    /// Writes and syncs what waits on the calling thread, which may block. Gives whether everything is durable now; if
    /// not, the disk's thread is at it, or the disk has failed.
    pub(super) fn sync_here(&mut self) -> bool {
        let end = self.waiting.end();
        self.progress.look_later();
        self.queue();
        if !self.work.try_go_on() {
            self.wake();
        }
        end.is_none_or(|end| self.progress.latest().flushed.value() >= end)
    }

    /// Whether nothing waits to be handed over.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Hands over what waits, but wakes nobody. Gives whether anything waited.
    fn queue(&mut self) -> bool {
        let waits = !self.waiting.is_empty();
        if waits {
            self.commands.write(std::mem::take(&mut self.waiting));
        }
        waits
    }

    /// Where the archive ends, as far as it goes on with WAL of this cluster.
    pub(super) async fn resume(&mut self, cluster: KnownCluster) -> Result<Option<ArchiveEnd>, DiskError> {
        self.order(|answer| Order::Resume(cluster, answer)).await
    }

    /// Announces a stream; progress begins at its start.
    pub(super) async fn begin(&mut self, start: Durable<Lsn>) -> Result<(), DiskError> {
        self.order(|done| Order::Begin(start, done)).await
    }

    /// Ends the stream and gives what of it is durable: all that came.
    pub(super) async fn close_segment(&mut self) -> Result<Durable<Lsn>, DiskError> {
        self.order(Order::Close).await
    }

    /// Whether the archive has the history file of the timeline.
    pub(super) async fn has_history(&mut self, timeline: TimelineId) -> Result<bool, DiskError> {
        self.order(|answer| Order::HasHistory(timeline, answer)).await
    }

    /// Stores a history file; it is durable when this returns.
    pub(super) async fn store_history(&mut self, file: TimelineHistoryFile) -> Result<(), DiskError> {
        self.order(|done| Order::StoreHistory(file, done)).await
    }

    /// Ends the archive and the work: everything that came is written and synced.
    pub(super) async fn finish(mut self) -> Result<(), DiskError> {
        self.order(Order::Finish).await?;
        self.release().await.1
    }

    /// Ends the work, after everything that came is written, and gives back the archive, unless that panicked.
    pub(super) async fn release(mut self) -> (Option<Box<dyn WalArchive>>, Result<(), DiskError>) {
        self.queue();
        let outcome = self.outcome().await;
        if let Some(thread) = self.thread.take() {
            // It has told its outcome, or panicked: there is nothing left to wait for.
            let _ = thread.join();
        }
        (self.archive.take(), outcome)
    }

    async fn order<T>(&mut self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, DiskError> {
        let (answer, answered) = oneshot::channel();
        self.queue();
        self.commands.order(order(answer));
        self.wake();
        match answered.await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.failure().await),
        }
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Why the work has ended.
    async fn failure(&mut self) -> DiskError {
        self.outcome().await.err().unwrap_or(DiskError::Died)
    }

    /// Takes nothing more and waits for the end of the work. Gives an error once. Cancel safe: the disk tells why its
    /// work ended a moment after its progress has.
    async fn outcome(&mut self) -> Result<(), DiskError> {
        self.commands.close();
        self.wake();
        let Some(outcome) = &mut self.outcome else {
            return if self.archive.is_some() { Ok(()) } else { Err(DiskError::Died) };
        };
        let ended = outcome.await;
        self.outcome = None;
        let (archive, outcome) = ended.map_err(|_| DiskError::Died)?;
        self.archive = Some(archive);
        Ok(outcome?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.commands.abandon();
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panic over there has been told already, or nobody is left who could be told.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;

    use super::super::archive::{Closing, OpenSegment};
    use super::*;
    use crate::types::{SegmentNumber, SegmentSize, WalFileName};
    use crate::wal::SegmentCutter;

    const MIB: u64 = 1 << 20;

    /// Writes down what happens to it, and fails where it is told to.
    #[derive(Default)]
    struct Recorder {
        events: Arc<Mutex<Vec<String>>>,
        fail_at: Option<&'static str>,
    }

    impl Recorder {
        fn record(&self, event: String) -> Result<(), StorageError> {
            let fails = self.fail_at.is_some_and(|prefix| event.starts_with(prefix));
            assert!(!event.starts_with("panic"));
            self.events.lock().unwrap().push(event);
            let source = std::io::Error::from_raw_os_error(5).into();
            if fails { Err(StorageError::Sync { path: "f".into(), source }) } else { Ok(()) }
        }
    }

    impl WalArchive for Recorder {
        fn open_segment(
            &mut self,
            segment: WalFileName,
            _: Lsn,
        ) -> Result<Box<dyn OpenSegment + '_>, StorageError> {
            self.record(format!("open {}", segment.segment().as_u64()))?;
            Ok(Box::new(&*self))
        }
        fn has_history(&mut self, timeline: TimelineId) -> Result<bool, StorageError> {
            self.record(format!("has history {timeline}")).map(|()| false)
        }
        fn store_history(&mut self, file: &TimelineHistoryFile) -> Result<(), StorageError> {
            self.record(format!("store {}", file.name))
        }
        fn finish(&mut self) -> Result<(), StorageError> {
            self.record("finish".to_owned())
        }
    }

    impl OpenSegment for &Recorder {
        fn append(&mut self, data: &[u8]) -> Result<(), StorageError> {
            self.record(format!("append {}", data.len()))
        }
        fn sync(&mut self, reached: Lsn) -> Result<Durable<Lsn>, StorageError> {
            self.record(format!("sync {reached}")).map(|()| Durable::nothing_before(reached))
        }
        fn complete(self: Box<Self>, end: Lsn) -> Result<Durable<Lsn>, StorageError> {
            self.record(format!("complete {end}")).map(|()| Durable::nothing_before(end))
        }
        fn close_incomplete(self: Box<Self>, reached: Lsn, _: Closing) -> Result<Durable<Lsn>, StorageError> {
            self.record(format!("close {reached}")).map(|()| Durable::nothing_before(reached))
        }
    }

    fn cutter(first: u64) -> SegmentCutter {
        let size = SegmentSize::new(MIB).unwrap();
        SegmentCutter::new(TimelineId::FIRST, SegmentNumber::new(first).start(size), size)
    }

    fn push(disk: &mut Disk, cutter: &mut SegmentCutter, length: usize, sync: bool) {
        let run = Bytes::from(vec![7; length]);
        cutter.push(cutter.position(), run).unwrap().for_each(|cut| disk.push(cut));
        if sync {
            disk.request_sync();
        }
        disk.queue();
        disk.wake();
    }

    async fn flushed(disk: &mut Disk, position: Lsn) {
        while disk.progress().flushed.value() < position {
            disk.progress_changed().await.unwrap();
        }
    }

    fn nothing_before(start: Lsn) -> Durable<Lsn> {
        Durable::nothing_before(start)
    }

    fn start(fail_at: Option<&'static str>) -> (Disk, Arc<Mutex<Vec<String>>>) {
        let recorder = Recorder { fail_at, ..Recorder::default() };
        let events = Arc::clone(&recorder.events);
        (Disk::spawn(Box::new(recorder)).unwrap(), events)
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn rw_181_segments_streams_and_histories_are_done_in_order() {
        let (mut disk, events) = start(None);
        run(async {
            let mut cutter = cutter(1);
            assert!(!disk.has_history(TimelineId::FIRST).await.unwrap());
            disk.begin(nothing_before(cutter.position())).await.unwrap();
            push(&mut disk, &mut cutter, 1 << 20, true);
            push(&mut disk, &mut cutter, 100_000, true);
            flushed(&mut disk, cutter.position()).await;
            push(&mut disk, &mut cutter, 50_000, false);
            assert_eq!(disk.close_segment().await.unwrap().value(), cutter.position());
            assert_eq!(disk.progress().written, cutter.position());
            let file = TimelineHistoryFile { name: "00000002.history".to_owned(), content: Bytes::new() };
            disk.store_history(file).await.unwrap();
            disk.begin(nothing_before(Lsn::new(2 * MIB))).await.unwrap();
            assert_eq!(disk.progress().flushed.value(), Lsn::new(2 * MIB));
            disk.finish().await.unwrap();
        });
        let expected = [
            "has history 1",
            "open 1",
            "append 1048576",
            "complete 0/200000",
            "open 2",
            "append 100000",
            "sync 0/2186A0",
            "append 50000",
            "close 0/2249F0",
            "store 00000002.history",
            "finish",
        ];
        assert_eq!(*events.lock().unwrap(), expected);
    }

    #[test]
    fn an_open_segment_is_closed_at_the_end_whoever_forgot_it() {
        let (mut disk, events) = start(None);
        run(async {
            let mut cutter = cutter(1);
            disk.begin(nothing_before(cutter.position())).await.unwrap();
            push(&mut disk, &mut cutter, 10, false);
            disk.finish().await.unwrap();
        });
        assert_eq!(*events.lock().unwrap(), ["open 1", "append 10", "close 0/10000A", "finish"]);
    }

    #[test]
    fn rw_159_the_first_error_ends_it_and_nothing_after_it_is_durable() {
        for fail_at in ["open", "append", "sync", "complete", "close", "finish", "store", "has"] {
            let (mut disk, events) = start(Some(fail_at));
            let error = run(async {
                let mut cutter = cutter(1);
                disk.has_history(TimelineId::FIRST).await?;
                let file = TimelineHistoryFile { name: "00000002.history".to_owned(), content: Bytes::new() };
                disk.store_history(file).await?;
                disk.begin(nothing_before(cutter.position())).await?;
                push(&mut disk, &mut cutter, 100, true);
                push(&mut disk, &mut cutter, 2 << 20, false);
                disk.close_segment().await?;
                disk.finish().await
            });
            assert!(matches!(error, Err(DiskError::Storage(StorageError::Sync { .. }))), "{fail_at}");
            assert!(events.lock().unwrap().last().unwrap().starts_with(fail_at));
        }
    }

    #[test]
    fn rw_159_progress_stops_before_the_failure_and_tells_of_it() {
        let (mut disk, _) = start(Some("sync"));
        run(async {
            let mut cutter = cutter(1);
            let begin = cutter.position();
            disk.begin(nothing_before(begin)).await.unwrap();
            push(&mut disk, &mut cutter, 100, true);
            let error = loop {
                match disk.progress_changed().await {
                    Ok(progress) => assert_eq!(progress.flushed.value(), begin),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.to_string(), "could not fsync file \"f\"");
            assert!(matches!(disk.close_segment().await, Err(DiskError::Died)));
        });
    }

    #[test]
    fn rw_158_a_failure_is_not_forgotten_where_something_else_happens_before_it_is_told() {
        let (mut disk, _) = start(Some("append"));
        run(async {
            let mut cutter = cutter(1);
            disk.begin(nothing_before(cutter.position())).await.unwrap();
            let (tell, outcome) = oneshot::channel();
            let told = disk.outcome.replace(outcome).unwrap();
            push(&mut disk, &mut cutter, 100, true);
            let ended = told.await;
            tokio::select! {
                biased;
                outcome = disk.progress_changed() => panic!("{outcome:?}"),
                () = std::future::ready(()) => {}
            }
            assert!(tell.send(ended.unwrap()).is_ok());
            assert_eq!(disk.progress_changed().await.unwrap_err().to_string(), "could not fsync file \"f\"");
        });
    }

    #[test]
    fn a_panic_over_there_is_an_error_here() {
        let mut disk = Disk::spawn(Box::new(Panicking)).unwrap();
        assert!(matches!(run(disk.has_history(TimelineId::FIRST)), Err(DiskError::Died)));
    }

    struct Panicking;

    impl WalArchive for Panicking {
        fn open_segment(
            &mut self,
            _: WalFileName,
            _: Lsn,
        ) -> Result<Box<dyn OpenSegment + '_>, StorageError> {
            panic!("as asked for")
        }
        fn has_history(&mut self, _: TimelineId) -> Result<bool, StorageError> {
            panic!("as asked for")
        }
        fn store_history(&mut self, _: &TimelineHistoryFile) -> Result<(), StorageError> {
            panic!("as asked for")
        }
        fn finish(&mut self) -> Result<(), StorageError> {
            panic!("as asked for")
        }
    }

    #[test]
    fn dropping_it_leaves_the_rest_undone_and_waits_for_the_thread() {
        let (mut disk, events) = start(None);
        run(async {
            disk.begin(nothing_before(Lsn::new(MIB))).await.unwrap();
            push(&mut disk, &mut cutter(1), 10, false);
        });
        drop(disk);
        let events = events.lock().unwrap();
        assert!(!events.iter().any(|event| event.starts_with("close") || event == "finish"), "{events:?}");
    }
}

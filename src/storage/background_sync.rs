//! Syncs files while others are still being written.
//!
//! Complete files come in; on threads of its own their way to the disk begins at once, and they are synced when
//! all have come. The wait between the two is what makes many small files cheap: a file system that commits its
//! journal, or writes a directory, for the first of them has then done it for the others too. Each file stays
//! open meanwhile, because a failed write is only sure to be reported to those who have the file open. Then it is
//! closed, and where nothing is synced at once: no error of that is passed over.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Resource, getrlimit};

use super::durable::OutputFile;
use super::error::StorageError;
use super::sync_policy::SyncPolicy;

/// Each waits for the disk most of the time; more of them gain nothing on one disk.
const THREADS: usize = 4;

/// The most files that are open at a time.
const MOST_OPEN: usize = 16 << 10;

/// The part of the descriptors that the process may have which files may take: 1 in so many. Each may keep the directory
/// open that it lies in, and nobody else.
const SHARE_OF_DESCRIPTORS: u64 = 4;

/// Files that are handed to a thread at a time, so that it is woken less often.
const MOST_IN_BATCH: usize = 64;

/// Batches that wait for a thread.
const WAITING_BATCHES: usize = 4;

/// Batches whose files are open besides those that wait for the end: in line, being gathered, and one that each thread
/// syncs.
const BATCHES: usize = WAITING_BATCHES + 1 + THREADS;

/// A file of this size in bytes has so much to wait for that it is synced as soon as it is complete.
const LARGE: u64 = 4 << 20;

/// Takes files that are complete and syncs them on threads of its own, so that little is left to wait for at
/// the end. The first failure is final and is reported by the next call.
#[derive(Debug)]
pub struct BackgroundSync {
    /// Complete files that no thread has yet.
    batch: Vec<OutputFile>,
    batch_size: usize,
    queue: Option<SyncSender<Vec<OutputFile>>>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What the threads work on.
#[derive(Debug)]
struct Shared {
    policy: SyncPolicy,
    batches: Mutex<Receiver<Vec<OutputFile>>>,
    /// Files on their way to the disk, the oldest first.
    open: Mutex<VecDeque<OutputFile>>,
    most_open: usize,
    /// Nobody wants the files any more.
    abandoned: AtomicBool,
    failure: Mutex<Option<StorageError>>,
}

impl BackgroundSync {
    /// Starts the threads; none where nothing is to be synced.
    pub fn start(policy: SyncPolicy) -> Result<Self, StorageError> {
        let (most_open, batch_size) = shares(most_open());
        let (queue, batches) = sync_channel(WAITING_BATCHES);
        let shared = Arc::new(Shared {
            policy,
            batches: Mutex::new(batches),
            open: Mutex::default(),
            most_open,
            abandoned: AtomicBool::new(false),
            failure: Mutex::default(),
        });
        let threads = if policy.syncs_each() { THREADS } else { 0 };
        let start_thread = |_| {
            let shared = Arc::clone(&shared);
            let builder = std::thread::Builder::new().name("sync".to_owned());
            builder.spawn(move || shared.work()).map_err(StorageError::thread)
        };
        let threads = (0..threads).map(start_thread).collect::<Result<Vec<_>, _>>()?;
        let queue = policy.syncs_each().then_some(queue);
        Ok(Self { batch: Vec::new(), batch_size, queue, threads, shared })
    }

    /// Takes a complete file. Waits while too many are in line.
    pub fn sync(&mut self, file: OutputFile) -> Result<(), StorageError> {
        self.check()?;
        if self.queue.is_none() {
            return file.close();
        }
        let is_large = file.length() >= LARGE;
        self.batch.push(file);
        if is_large || self.batch.len() >= self.batch_size {
            self.hand_over();
        }
        Ok(())
    }

    /// Waits until every file is synced; no further file may come.
    pub fn finish(&mut self) -> Result<(), StorageError> {
        self.hand_over();
        self.join();
        self.check()
    }

    fn hand_over(&mut self) {
        if let Some(queue) = &self.queue {
            // The receiver lives as long as the sender does.
            let _ = queue.send(std::mem::take(&mut self.batch));
        }
    }

    fn check(&self) -> Result<(), StorageError> {
        match locked(&self.shared.failure).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn join(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// How many of so many open files may wait for the end, and how many are handed over at a time.
fn shares(most_open: usize) -> (usize, usize) {
    let batch_size = (most_open / 4 / BATCHES).clamp(1, MOST_IN_BATCH);
    (most_open.saturating_sub(BATCHES * batch_size), batch_size)
}

/// A user can have allowed the process very few descriptors.
fn most_open() -> usize {
    let share = getrlimit(Resource::Nofile).current.map(|descriptors| descriptors / SHARE_OF_DESCRIPTORS);
    share.and_then(|share| usize::try_from(share).ok()).map_or(MOST_OPEN, |share| share.min(MOST_OPEN))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// One thread: takes batch after batch until the queue is closed and empty, then what is still open.
    fn work(&self) {
        while let Some(batch) = self.next_batch() {
            self.begin(batch);
            let surplus = locked(&self.open).len().saturating_sub(self.most_open);
            self.sync_oldest(surplus);
        }
        while self.sync_oldest(MOST_IN_BATCH) > 0 {}
    }

    fn next_batch(&self) -> Option<Vec<OutputFile>> {
        locked(&self.batches).recv().ok()
    }

    fn begin(&self, batch: Vec<OutputFile>) {
        let (large, mut small): (Vec<_>, Vec<_>) = batch.into_iter().partition(|file| file.length() >= LARGE);
        for file in &mut small {
            file.finish_writeback(self.policy);
        }
        locked(&self.open).extend(small);
        for file in large {
            self.sync(file);
        }
    }

    /// Syncs at most so many of the open files; says how many.
    fn sync_oldest(&self, count: usize) -> usize {
        let oldest: Vec<OutputFile> = {
            let mut open = locked(&self.open);
            let count = count.min(open.len());
            open.drain(..count).collect()
        };
        oldest.into_iter().map(|file| self.sync(file)).count()
    }

    fn sync(&self, mut file: OutputFile) {
        if self.abandoned.load(Ordering::Relaxed) {
            return;
        }
        let synced = file.sync_content(self.policy).and_then(|()| file.close());
        if let Err(error) = synced {
            locked(&self.failure).get_or_insert(error);
        }
    }
}

impl Drop for BackgroundSync {
    /// Leaves unsynced what [`finish`](Self::finish) was not asked to wait for: the backup is abandoned.
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Relaxed);
        self.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Access, Directory};

    #[test]
    fn every_file_is_taken_and_all_are_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        for policy in [SyncPolicy::Durable, SyncPolicy::Never] {
            let mut sync = BackgroundSync::start(policy).unwrap();
            for number in 0..500 {
                let name = format!("{policy:?}{number}");
                let mut file = OutputFile::create_new(&directory, &name, Access::Owner).unwrap();
                file.append(b"x").unwrap();
                sync.sync(file).unwrap();
            }
            sync.finish().unwrap();
        }
    }

    #[test]
    fn no_more_files_are_open_than_may_be() {
        for most_open in [BATCHES, 16, 64, 256, 1000, MOST_OPEN] {
            let (waiting, batch_size) = shares(most_open);
            assert!(batch_size >= 1 && waiting + BATCHES * batch_size <= most_open, "{most_open}");
        }
    }

    #[test]
    fn bb_260_a_failed_sync_is_reported() {
        let mut sync = BackgroundSync::start(SyncPolicy::Durable).unwrap();
        sync.sync(OutputFile::over("/dev/full")).unwrap();
        let error = sync.finish().unwrap_err();
        assert_eq!(error.to_string(), "could not fsync file \"/dev/full\"");
    }

    #[test]
    fn what_is_in_line_when_the_work_is_abandoned_is_not_synced() {
        for (given_up, fails) in [(true, false), (false, true)] {
            let mut sync = BackgroundSync::start(SyncPolicy::Durable).unwrap();
            sync.shared.abandoned.store(given_up, Ordering::Relaxed);
            sync.sync(OutputFile::over("/dev/full")).unwrap();
            assert_eq!(sync.finish().is_err(), fails);
        }
    }
}

//! Syncs files while others are still being written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Resource, getrlimit};

use super::durable::OutputFile;
use super::error::StorageError;
use super::sync_policy::SyncPolicy;

/// Each waits for the disk most of the time; more of them gain nothing on one disk.
const THREADS: usize = 4;

/// Complete files that wait in line keep a descriptor each, and perhaps one of their directory.
const MOST_WAITING: usize = 192;

/// The part of the descriptors that the process may have which may wait in line: 1 in so many.
const SHARE_OF_DESCRIPTORS: u64 = 8;

/// Takes files that are complete and syncs them on threads of its own, so that little is left to wait for at
/// the end. The first failure is final and is reported by the next call.
///
/// Dropping it without [`finish`](Self::finish) waits for the files at hand alone: what is still in line belongs
/// to work that was given up.
#[derive(Debug)]
pub struct BackgroundSync {
    queue: Option<SyncSender<OutputFile>>,
    threads: Vec<JoinHandle<()>>,
    failure: Arc<Mutex<Option<StorageError>>>,
    abandoned: Arc<AtomicBool>,
}

impl BackgroundSync {
    /// Starts the threads; none where nothing is to be synced.
    pub fn start(policy: SyncPolicy) -> Result<Self, StorageError> {
        let failure = Arc::new(Mutex::new(None));
        let abandoned = Arc::new(AtomicBool::new(false));
        if policy == SyncPolicy::Never {
            return Ok(Self { queue: None, threads: Vec::new(), failure, abandoned });
        }
        let (queue, files) = sync_channel(most_waiting());
        let files = Arc::new(Mutex::new(files));
        let threads = (0..THREADS)
            .map(|_| {
                let (files, failure) = (Arc::clone(&files), Arc::clone(&failure));
                let abandoned = Arc::clone(&abandoned);
                let work = move || sync_files(policy, &files, &failure, &abandoned);
                std::thread::Builder::new().name("sync".to_owned()).spawn(work).map_err(StorageError::thread)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { queue: Some(queue), threads, failure, abandoned })
    }

    /// Takes a complete file. Waits while too many are in line.
    pub fn sync(&mut self, file: OutputFile) -> Result<(), StorageError> {
        self.check()?;
        if let Some(queue) = &self.queue {
            // The receivers live as long as the sender does.
            let _ = queue.send(file);
        }
        Ok(())
    }

    /// Waits until every file is synced; no further file may come.
    pub fn finish(&mut self) -> Result<(), StorageError> {
        self.join();
        self.check()
    }

    fn check(&self) -> Result<(), StorageError> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
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

/// How many files may wait in line; a user can have allowed the process very few descriptors.
fn most_waiting() -> usize {
    let share = getrlimit(Resource::Nofile).current.map(|descriptors| descriptors / SHARE_OF_DESCRIPTORS);
    share.and_then(|share| usize::try_from(share).ok()).map_or(MOST_WAITING, |share| share.min(MOST_WAITING))
}

/// One thread: takes file after file until the queue is closed and empty. What comes once the work was abandoned
/// is not synced.
fn sync_files(
    policy: SyncPolicy,
    files: &Mutex<Receiver<OutputFile>>,
    failure: &Mutex<Option<StorageError>>,
    abandoned: &AtomicBool,
) {
    loop {
        let next = files.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut file) = next else { return };
        if abandoned.load(Ordering::Relaxed) {
            continue;
        }
        if let Err(error) = file.sync_content(policy) {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}

impl Drop for BackgroundSync {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
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
    fn bb_260_a_failed_sync_is_reported() {
        let mut sync = BackgroundSync::start(SyncPolicy::Durable).unwrap();
        sync.sync(OutputFile::over("/dev/full")).unwrap();
        let error = sync.finish().unwrap_err();
        assert_eq!(error.to_string(), "could not fsync file \"/dev/full\"");
    }

    #[test]
    fn what_is_in_line_when_the_work_is_abandoned_is_not_synced() {
        for (given_up, fails) in [(true, false), (false, true)] {
            let (queue, files) = sync_channel(1);
            queue.send(OutputFile::over("/dev/full")).unwrap();
            drop(queue);
            let (failure, abandoned) = (Mutex::new(None), AtomicBool::new(given_up));
            sync_files(SyncPolicy::Durable, &Mutex::new(files), &failure, &abandoned);
            assert_eq!(failure.into_inner().unwrap().is_some(), fails);
        }
    }
}

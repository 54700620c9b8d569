//! Threads that deflate blocks.
//!
//! In: blocks. Out: for each block a promise of its deflated bytes, to be kept in any order. The owner bounds how
//! many promises are open. Threads end with their owner.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::block::{Block, Deflater};
use crate::compress::error::CompressError;

/// Threads that deflate blocks at one level.
#[derive(Debug)]
pub(super) struct Workers {
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// As many threads as the system gives, and not more than wanted; none when it gives none. So many jobs as
    /// `open` can be given before one is done.
    pub(super) fn start(wanted: usize, open: usize, level: Option<u32>) -> Option<Self> {
        let (jobs, queue) = sync_channel(open);
        let queue = Arc::new(Mutex::new(queue));
        let start = |_| {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name("gzip".to_owned()).spawn(move || work(&queue, level))
        };
        let threads: Vec<_> = (0..wanted).map(start).map_while(Result::ok).collect();
        (!threads.is_empty()).then_some(Self { jobs: Some(jobs), threads })
    }

    /// How many threads there are.
    pub(super) fn count(&self) -> usize {
        self.threads.len()
    }

    /// Has a block deflated.
    pub(super) fn deflate(&self, block: Block) -> Result<Promise, CompressError> {
        let (result, promise) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or_else(thread_ended)?;
        jobs.send(Job { block, result }).map_err(|_| thread_ended())?;
        Ok(Promise(promise))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Without a sender the threads end when they have emptied the queue.
        self.jobs = None;
        for thread in self.threads.drain(..) {
            _ = thread.join();
        }
    }
}

/// A block that somebody deflates.
#[derive(Debug)]
pub(super) struct Promise(Receiver<Result<Block, CompressError>>);

impl Promise {
    /// Waits for the deflated block.
    pub(super) fn wait(self) -> Result<Block, CompressError> {
        self.0.recv().map_err(|_| thread_ended())?
    }
}

struct Job {
    block: Block,
    result: SyncSender<Result<Block, CompressError>>,
}

fn work(queue: &Mutex<Receiver<Job>>, level: Option<u32>) {
    let mut deflater = Deflater::new(level);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { mut block, result }) = job else { return };
        // Nobody waits for the result when the stream was given up.
        _ = result.send(deflater.deflate(&mut block).map(|()| block));
    }
}

fn thread_ended() -> CompressError {
    CompressError::codec(&"a thread ended before its work was done")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Block {
        Block { data: vec![7; 100_000], ..Block::default() }
    }

    #[test]
    fn threads_have_ended_when_their_owner_is_gone() {
        let workers = Workers::start(3, 20, Some(9)).unwrap();
        let promises: Vec<_> = (0..20).map(|_| workers.deflate(block()).unwrap()).collect();
        drop(workers);
        for promise in promises {
            assert!(promise.0.try_recv().unwrap().is_ok());
        }
    }

    #[test]
    fn a_thread_that_is_gone_is_an_error() {
        let (result, promise) = sync_channel(1);
        drop(result);
        let error = Promise(promise).wait().unwrap_err();
        assert_eq!(error.to_string(), "could not compress data: a thread ended before its work was done");

        let (jobs, queue) = sync_channel(1);
        drop(queue);
        let workers = Workers { jobs: Some(jobs), threads: Vec::new() };
        assert!(workers.deflate(block()).is_err());
    }

    #[test]
    fn promises_that_nobody_wants_any_more_stop_nothing() {
        let workers = Workers::start(1, 2, None).unwrap();
        drop(workers.deflate(block()).unwrap());
        assert!(workers.deflate(block()).unwrap().wait().is_ok());
    }
}

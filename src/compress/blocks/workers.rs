//! Threads that compress blocks.
//!
//! In: blocks. Out: for each block a promise to have it back compressed, to be kept in any order. The owner bounds how
//! many promises are open. Threads end with their owner.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::{Block, Packer};
use crate::compress::error::CompressError;

/// Threads that compress blocks the same way.
pub(super) struct Workers<P: Packer> {
    jobs: Option<SyncSender<Job<P>>>,
    threads: Vec<JoinHandle<()>>,
}

impl<P: Packer> Workers<P> {
    /// As many threads as the system gives, and not more than wanted; none when it gives none. So many jobs as
    /// `open` can be given before one is done.
    pub(super) fn start(wanted: usize, open: usize, packer: &P) -> Option<Self> {
        let (jobs, queue) = sync_channel(open);
        let queue = Arc::new(Mutex::new(queue));
        let start = |_| {
            let (queue, packer) = (Arc::clone(&queue), packer.clone());
            thread::Builder::new().name("compress".to_owned()).spawn(move || work(&queue, packer))
        };
        let threads: Vec<_> = (0..wanted).map(start).map_while(Result::ok).collect();
        (!threads.is_empty()).then_some(Self { jobs: Some(jobs), threads })
    }

    /// How many threads there are.
    pub(super) fn count(&self) -> usize {
        self.threads.len()
    }

    /// Has a block compressed.
    pub(super) fn pack(&self, block: Block<P::Note>) -> Result<Promise<P>, CompressError> {
        let (result, promise) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or_else(thread_ended)?;
        jobs.send(Job { block, result }).map_err(|_| thread_ended())?;
        Ok(Promise(promise))
    }
}

impl<P: Packer> Drop for Workers<P> {
    fn drop(&mut self) {
        // Without a sender the threads end when they have emptied the queue.
        self.jobs = None;
        for thread in self.threads.drain(..) {
            _ = thread.join();
        }
    }
}

type Outcome<P> = Result<Block<<P as Packer>::Note>, CompressError>;

/// A block that somebody compresses.
pub(super) struct Promise<P: Packer>(Receiver<Outcome<P>>);

impl<P: Packer> Promise<P> {
    /// Waits for the compressed block.
    pub(super) fn wait(self) -> Outcome<P> {
        self.0.recv().map_err(|_| thread_ended())?
    }
}

struct Job<P: Packer> {
    block: Block<P::Note>,
    result: SyncSender<Outcome<P>>,
}

fn work<P: Packer>(queue: &Mutex<Receiver<Job<P>>>, mut packer: P) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { mut block, result }) = job else { return };
        // Nobody waits for the result when the stream was given up.
        _ = result.send(packer.pack(&mut block).map(|()| block));
    }
}

fn thread_ended() -> CompressError {
    CompressError::codec(&"a thread ended before its work was done")
}

#[cfg(test)]
mod tests {
    use super::super::tests::Reverse;
    use super::*;

    fn block() -> Block<usize> {
        Block { data: vec![7; 100_000], ..Block::default() }
    }

    #[test]
    fn threads_have_ended_when_their_owner_is_gone() {
        let workers = Workers::start(3, 20, &Reverse).unwrap();
        let promises: Vec<_> = (0..20).map(|_| workers.pack(block()).unwrap()).collect();
        drop(workers);
        for promise in promises {
            assert!(promise.0.try_recv().unwrap().is_ok());
        }
    }

    #[test]
    fn a_thread_that_is_gone_is_an_error() {
        let (result, promise) = sync_channel(1);
        drop(result);
        let Err(error) = Promise::<Reverse>(promise).wait() else { panic!("a block") };
        assert_eq!(error.to_string(), "could not compress data: a thread ended before its work was done");

        let (jobs, queue) = sync_channel(1);
        drop(queue);
        let workers = Workers::<Reverse> { jobs: Some(jobs), threads: Vec::new() };
        assert!(workers.pack(block()).is_err());
    }

    #[test]
    fn promises_that_nobody_wants_any_more_stop_nothing() {
        let workers = Workers::start(1, 2, &Reverse).unwrap();
        drop(workers.pack(block()).unwrap());
        assert!(workers.pack(block()).unwrap().wait().is_ok());
    }
}

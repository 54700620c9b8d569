//! Cuts the input into blocks, has them compressed, and gives the results in order.

use std::collections::VecDeque;
use std::thread;

use super::workers::{Promise, Workers};
use super::{Block, Packer};
use crate::compress::error::CompressError;

/// More threads than these would compress faster than servers send, and take more memory than is promised.
const MOST_THREADS: usize = 8;

/// Holds at most two blocks for each thread, and the one that is being filled. The first block is compressed here if it
/// is the last: short streams need no threads.
pub(in crate::compress) struct Pipeline<P: Packer> {
    /// For blocks that are compressed here, and to make others of.
    packer: P,
    threads: usize,
    workers: Option<Workers<P>>,
    /// Blocks that are being compressed, oldest first; `promises.len() < 2 * threads`.
    promises: VecDeque<Promise<P>>,
    /// Has what is not yet a whole block.
    filling: Option<Block<P::Note>>,
    /// Blocks that are done with.
    spare: Vec<Block<P::Note>>,
}

impl<P: Packer> Pipeline<P> {
    /// With as many threads as the method makes use of.
    pub(in crate::compress) fn new(packer: P) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = packer.threads(processors).clamp(1, MOST_THREADS);
        Self::with_threads(packer, threads)
    }

    /// With so many threads; one is the caller's own.
    pub(in crate::compress) fn with_threads(packer: P, threads: usize) -> Self {
        Self { packer, threads, workers: None, promises: VecDeque::new(), filling: None, spare: Vec::new() }
    }

    /// Takes in the next bytes, and shows the blocks that are ready by now.
    pub(in crate::compress) fn push(
        &mut self,
        mut input: &[u8],
        ready: &mut impl FnMut(&Block<P::Note>),
    ) -> Result<(), CompressError> {
        let length = self.packer.length();
        while !input.is_empty() {
            // A block is compressed when it is known that it is not the last.
            if self.filling().data.len() == length {
                self.compress(ready)?;
            }
            let data = &mut self.filling().data;
            if data.is_empty() {
                data.reserve_exact(length);
            }
            let (taken, rest) = input.split_at(input.len().min(length - data.len()));
            data.extend_from_slice(taken);
            input = rest;
        }
        Ok(())
    }

    /// Makes a block of what has come, however little it is, and shows all blocks.
    pub(in crate::compress) fn flush(
        &mut self,
        ready: &mut impl FnMut(&Block<P::Note>),
    ) -> Result<(), CompressError> {
        if !self.filling().data.is_empty() {
            self.compress(ready)?;
        }
        while self.show_oldest(ready)? {}
        Ok(())
    }

    /// Shows all blocks; the last one may be empty.
    pub(in crate::compress) fn finish(
        mut self,
        ready: &mut impl FnMut(&Block<P::Note>),
    ) -> Result<(), CompressError> {
        let mut last = self.filling.take().unwrap_or_default();
        last.is_last = true;
        self.packer.pack(&mut last)?;
        while self.show_oldest(ready)? {}
        ready(&last);
        Ok(())
    }

    /// Has the block compressed as it is, and begins another.
    fn compress(&mut self, ready: &mut impl FnMut(&Block<P::Note>)) -> Result<(), CompressError> {
        let mut block = self.filling.take().unwrap_or_default();
        self.start_workers();
        let Some(workers) = &self.workers else {
            self.packer.pack(&mut block)?;
            ready(&block);
            self.spare.push(block.clear());
            return Ok(());
        };
        self.promises.push_back(workers.pack(block)?);
        while self.promises.len() >= 2 * self.threads {
            self.show_oldest(ready)?;
        }
        Ok(())
    }

    fn start_workers(&mut self) {
        if self.threads > 1 && self.workers.is_none() {
            self.workers = Workers::start(self.threads, 2 * self.threads, &self.packer);
            self.threads = self.workers.as_ref().map_or(1, Workers::count);
        }
    }

    /// Waits for the block that was given away first; false when there is none.
    fn show_oldest(&mut self, ready: &mut impl FnMut(&Block<P::Note>)) -> Result<bool, CompressError> {
        let Some(promise) = self.promises.pop_front() else { return Ok(false) };
        let block = promise.wait()?;
        ready(&block);
        self.spare.push(block.clear());
        Ok(true)
    }

    fn filling(&mut self) -> &mut Block<P::Note> {
        self.filling.get_or_insert_with(|| self.spare.pop().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Reverse;
    use super::*;

    #[test]
    fn blocks_come_in_order_whatever_the_threads_and_chunks() {
        for length in [0, 1, Reverse.length(), Reverse.length() + 1, 50 * Reverse.length() + 7] {
            let data: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let expected: Vec<Vec<u8>> =
                data.chunks(Reverse.length()).map(|block| block.iter().rev().copied().collect()).collect();
            for (threads, chunk) in [(1, 7), (2, length.max(1)), (3, 1001), (16, 100)] {
                let mut pipeline = Pipeline::with_threads(Reverse, threads);
                let (mut blocks, mut last) = (Vec::new(), Vec::new());
                let mut ready = |block: &Block<usize>| {
                    assert_eq!(block.note, block.data.len());
                    blocks.push(block.packed.clone());
                    last.push(block.is_last);
                };
                for chunk in data.chunks(chunk) {
                    pipeline.push(chunk, &mut ready).unwrap();
                    assert!(pipeline.promises.len() < 2 * threads.max(1));
                    assert!(pipeline.spare.len() <= 2 * threads);
                }
                pipeline.finish(&mut ready).unwrap();
                assert_eq!(last.pop(), Some(true));
                assert!(!last.contains(&true));
                assert!(
                    blocks == expected || data.is_empty() && blocks == [Vec::<u8>::new()],
                    "{length}, {threads}"
                );
            }
        }
    }

    #[test]
    fn what_was_flushed_is_there() {
        let mut pipeline = Pipeline::with_threads(Reverse, 2);
        let mut shown = Vec::new();
        for number in 1..=5 {
            pipeline.push(&[number; 1500], &mut |block| shown.extend_from_slice(&block.packed)).unwrap();
            pipeline.flush(&mut |block| shown.extend_from_slice(&block.packed)).unwrap();
            assert_eq!(shown.len(), usize::from(number) * 1500);
        }
    }
}

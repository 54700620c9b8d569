//! Cuts the input into blocks, has them deflated, and puts the results together.

use std::collections::VecDeque;
use std::mem;
use std::thread;

use crc32fast::Hasher;

use super::BLOCK;
use super::block::{Block, Deflater};
use super::workers::{Promise, Workers};
use crate::compress::encoder::EncodeStream;
use crate::compress::error::CompressError;

/// More threads than these would deflate faster than any server sends.
const MOST_THREADS: usize = 16;

/// Makes one gzip member.
///
/// Holds at most two blocks for each thread, and the one that is being filled.
#[derive(Debug)]
pub(in crate::compress) struct GzipEncoder {
    level: Option<u32>,
    threads: usize,
    /// Started when the first block is full: short streams need none.
    workers: Option<Workers>,
    /// Blocks that are being deflated, oldest first; `promises.len() < 2 * threads`.
    promises: VecDeque<Promise>,
    /// For blocks that are deflated here.
    deflater: Deflater,
    /// Has what is not yet a whole block, at most [`BLOCK`] bytes.
    block: Option<Block>,
    /// Blocks that are done with.
    spare: Vec<Block>,
    header_is_written: bool,
    checksum: Hasher,
    /// Length of the input in blocks that are done, modulo 2³².
    length: u32,
}

impl GzipEncoder {
    /// For a level between 1 and 9 or the default one, with a thread for each processor.
    pub(in crate::compress) fn new(level: Option<u32>) -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads(level, processors.min(MOST_THREADS))
    }

    /// With so many threads; one is the caller's own.
    fn with_threads(level: Option<u32>, threads: usize) -> Self {
        Self {
            level,
            threads,
            workers: None,
            promises: VecDeque::new(),
            deflater: Deflater::new(level),
            block: None,
            spare: Vec::new(),
            header_is_written: false,
            checksum: Hasher::new(),
            length: 0,
        }
    }

    /// Has the block deflated as it is, and begins another.
    fn deflate_block(&mut self, output: &mut Vec<u8>) -> Result<(), CompressError> {
        let mut block = self.block.take().unwrap_or_default();
        self.start_workers();
        let Some(workers) = &self.workers else {
            self.deflater.deflate(&mut block)?;
            self.write_block(block, output);
            return Ok(());
        };
        self.promises.push_back(workers.deflate(block)?);
        while self.promises.len() >= 2 * self.threads {
            self.write_oldest_block(output)?;
        }
        Ok(())
    }

    fn start_workers(&mut self) {
        if self.threads > 1 && self.workers.is_none() {
            self.workers = Workers::start(self.threads, 2 * self.threads, self.level);
            self.threads = self.workers.as_ref().map_or(1, Workers::count);
        }
    }

    /// Waits for the block that was given away first; false when there is none.
    fn write_oldest_block(&mut self, output: &mut Vec<u8>) -> Result<bool, CompressError> {
        let Some(promise) = self.promises.pop_front() else { return Ok(false) };
        self.write_block(promise.wait()?, output);
        Ok(true)
    }

    fn write_block(&mut self, block: Block, output: &mut Vec<u8>) {
        if !mem::replace(&mut self.header_is_written, true) {
            output.extend_from_slice(&header(self.level));
        }
        output.extend_from_slice(&block.deflated);
        self.checksum.combine(&block.checksum);
        self.length = self.length.wrapping_add(block.data.len() as u32);
        self.spare.push(block.clear());
    }

    /// The block that is being filled.
    fn block(&mut self) -> &mut Block {
        self.block.get_or_insert_with(|| self.spare.pop().unwrap_or_default())
    }
}

impl EncodeStream for GzipEncoder {
    fn push(&mut self, mut input: &[u8], output: &mut Vec<u8>) -> Result<(), CompressError> {
        while !input.is_empty() {
            // A block is deflated when it is known that it is not the last.
            if self.block().data.len() == BLOCK {
                self.deflate_block(output)?;
            }
            let data = &mut self.block().data;
            if data.is_empty() {
                data.reserve_exact(BLOCK);
            }
            let (taken, rest) = input.split_at(input.len().min(BLOCK - data.len()));
            data.extend_from_slice(taken);
            input = rest;
        }
        Ok(())
    }

    fn flush(&mut self, output: &mut Vec<u8>) -> Result<(), CompressError> {
        // Each block but the last ends at a whole byte, and can be inflated up to there.
        if !self.block().data.is_empty() {
            self.deflate_block(output)?;
        }
        while self.write_oldest_block(output)? {}
        Ok(())
    }

    fn finish(mut self: Box<Self>, output: &mut Vec<u8>) -> Result<(), CompressError> {
        let mut last = self.block.take().unwrap_or_default();
        last.is_last = true;
        self.deflater.deflate(&mut last)?;
        while self.write_oldest_block(output)? {}
        self.write_block(last, output);
        output.extend_from_slice(&self.checksum.finalize().to_le_bytes());
        output.extend_from_slice(&self.length.to_le_bytes());
        Ok(())
    }
}

/// No name, no time, no comment; made on Unix.
fn header(level: Option<u32>) -> [u8; 10] {
    let extra_flags = match level {
        Some(9) => 2,
        Some(1) => 4,
        _ => 0,
    };
    [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra_flags, 3]
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::bufread::GzDecoder;

    use super::*;

    fn sample(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * i / 1000 % 251) as u8).collect()
    }

    fn encode(mut encoder: GzipEncoder, data: &[u8], chunk: usize) -> Vec<u8> {
        let mut output = Vec::new();
        for chunk in data.chunks(chunk) {
            encoder.push(chunk, &mut output).unwrap();
        }
        Box::new(encoder).finish(&mut output).unwrap();
        output
    }

    #[test]
    fn bb_153_there_is_one_member_whatever_the_length() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 7 * BLOCK + 1000] {
            let data = sample(length);
            let encoded = encode(GzipEncoder::with_threads(None, 3), &data, usize::MAX);
            let mut one_member = GzDecoder::new(&encoded[..]);
            let mut decoded = Vec::new();
            one_member.read_to_end(&mut decoded).unwrap();
            assert!(decoded == data, "{length}");
            assert!(one_member.into_inner().is_empty(), "{length}");
        }
    }

    #[test]
    fn bb_153_the_bytes_depend_on_neither_threads_nor_chunks() {
        let data = sample(5 * BLOCK + 12_345);
        for level in [None].into_iter().chain((1..=9).map(Some)) {
            let expected = encode(GzipEncoder::with_threads(level, 1), &data, usize::MAX);
            for (threads, chunk) in [(1, 1000), (2, usize::MAX), (2, 100_000), (7, BLOCK)] {
                let encoded = encode(GzipEncoder::with_threads(level, threads), &data, chunk);
                assert!(encoded == expected, "level {level:?}, {threads} threads, chunks of {chunk}");
            }
        }
    }

    #[test]
    fn bb_153_the_header_is_that_of_zlib_and_the_length_wraps() {
        for (level, extra_flags) in [(Some(1), 4), (None, 0), (Some(6), 0), (Some(9), 2)] {
            let mut encoder = GzipEncoder::with_threads(level, 1);
            encoder.length = u32::MAX;
            let member = encode(encoder, b"abc", 1);
            assert_eq!(member[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra_flags, 3]);
            assert_eq!(member[member.len() - 4..], [2, 0, 0, 0]);
        }
    }

    #[test]
    fn blocks_that_wait_are_bounded() {
        let mut encoder = GzipEncoder::with_threads(Some(1), 3);
        let mut output = Vec::new();
        for _ in 0..40 {
            encoder.push(&sample(BLOCK), &mut output).unwrap();
            assert!(encoder.promises.len() < 6 && encoder.spare.len() <= 6);
        }
        assert!(!output.is_empty());
    }
}

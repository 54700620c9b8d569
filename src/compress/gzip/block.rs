//! One block of the input, deflated.

use bytes::Bytes;
use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};
use sirocco::Format;
use sirocco::deflate::{Encoder, Flush, Level, TABLES_LEN};

use super::BLOCK;
use crate::compress::error::CompressError;

/// zlib's.
const DEFAULT_LEVEL: u32 = 6;

/// Takes a fourth of the time.
const FAST_LEVEL: u32 = 2;

/// The part of a block that tells what the default level gains.
const SAMPLE: usize = 16 << 10;

/// The part of its input that the default level must gain over the fast one to be worth its time: 1 in so many.
const LEAST_GAIN: usize = 256;

/// Deflated bytes are gathered in pieces of this size.
const PIECE: usize = 64 << 10;

/// What a sync flush ends with: the lengths of a stored block of nothing.
const SYNC_MARKER: &[u8] = &[0, 0, 0xff, 0xff];

/// A block of the input.
#[derive(Clone, Debug)]
pub(super) struct Block {
    data: Bytes,
    is_last: bool,
}

impl Block {
    /// The last one of a stream ends it.
    pub(super) fn new(data: Bytes, is_last: bool) -> Self {
        Self { data, is_last }
    }

    fn sample(&self) -> &[u8] {
        let start = self.data.len().saturating_sub(SAMPLE) / 2;
        &self.data[start..self.data.len().min(start + SAMPLE)]
    }
}

/// A deflated block.
#[derive(Debug)]
pub(super) struct Deflated {
    /// Raw deflate; ends on a byte.
    pub(super) bytes: Vec<u8>,
    /// Of the block before it was deflated.
    pub(super) checksum: Hasher,
    /// Of the block before it was deflated.
    pub(super) length: u32,
}

/// Deflates blocks, one after the other and each by itself.
#[derive(Debug)]
pub(super) struct Deflater {
    level: Option<u32>,
    /// What the encoder works in.
    tables: Vec<u16>,
    piece: Vec<u8>,
    inflater: Decompress,
    inflated: Vec<u8>,
}

impl Deflater {
    /// For a level between 1 and 9, or the default one, which is left where it gains next to nothing: in bytes that
    /// hardly shrink, and in those of which nothing is left anyway.
    pub(super) fn new(level: Option<u32>) -> Self {
        let (tables, piece) = (vec![0; TABLES_LEN], vec![0; PIECE]);
        Self { level, tables, piece, inflater: Decompress::new(false), inflated: Vec::new() }
    }

    /// Deflates a block; the same block gives the same bytes.
    pub(super) fn deflate(&mut self, block: &Block) -> Result<Deflated, CompressError> {
        let level = self.level.unwrap_or_else(|| self.level_for(block.sample()));
        let flush = if block.is_last { Flush::Finish } else { Flush::Sync };
        let bytes = self.encode(&block.data, level, flush);
        self.check(&bytes, block)?;
        let mut checksum = Hasher::new();
        checksum.update(&block.data);
        Ok(Deflated { bytes, checksum, length: block.data.len() as u32 })
    }

    fn level_for(&mut self, sample: &[u8]) -> u32 {
        let mut length_at = |level| self.encode(sample, level, Flush::Finish).len();
        let gain = length_at(FAST_LEVEL).saturating_sub(length_at(DEFAULT_LEVEL));
        if gain > sample.len() / LEAST_GAIN { DEFAULT_LEVEL } else { FAST_LEVEL }
    }

    fn encode(&mut self, data: &[u8], level: u32, flush: Flush) -> Vec<u8> {
        let level = Level::new(level as u8);
        let mut encoder = Encoder::with_tables(Format::Deflate, level, &mut self.tables[..]);
        let mut output = Vec::new();
        loop {
            let progress = encoder.compress(data, &mut self.piece, flush);
            output.extend_from_slice(progress.output);
            if !progress.full {
                return output;
            }
        }
    }

    /// Inflates what was deflated, with code that has nothing in common with what deflated it: of a backup that
    /// cannot be read somebody would hear on the day that it is needed.
    fn check(&mut self, deflated: &[u8], block: &Block) -> Result<(), CompressError> {
        self.inflater.reset(false);
        self.inflated.clear();
        self.inflated.reserve_exact(BLOCK + 1);
        let status = self
            .inflater
            .decompress_vec(deflated, &mut self.inflated, FlushDecompress::Sync)
            .map_err(|error| CompressError::codec(&error))?;
        let is_sound = (status == Status::StreamEnd) == block.is_last
            && (block.is_last || deflated.ends_with(SYNC_MARKER))
            && self.inflater.total_in() == deflated.len() as u64
            && self.inflated == block.data;
        if is_sound {
            Ok(())
        } else {
            Err(CompressError::codec(&"deflated data does not inflate to what it was"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_inflate_to_the_block_is_an_error() {
        let mut deflater = Deflater::new(Some(6));
        for is_last in [false, true] {
            let block = |data: &[u8]| Block::new(Bytes::copy_from_slice(data), is_last);
            let (abc, abd) = (block(b"abcabcabcabc"), block(b"abcabcabcabd"));
            let bytes = deflater.deflate(&abc).unwrap().bytes;
            assert!(deflater.check(&bytes, &abc).is_ok());
            assert!(deflater.check(&bytes, &abd).is_err());
            assert!(deflater.check(&bytes, &Block::new(abc.data.clone(), !is_last)).is_err());
            assert!(deflater.check(&bytes[..bytes.len() - 1], &abc).is_err());
            assert!(deflater.check(&[&bytes[..], b"x"].concat(), &abc).is_err());
            assert!(deflater.check(&[0xff; 9], &abc).is_err());
        }
    }

    #[test]
    fn the_default_level_is_left_where_it_gains_nothing() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u32
        };
        let noise: Vec<u8> = (0..BLOCK).map(|_| random() as u8).collect();
        let words: Vec<u8> = (0..BLOCK).flat_map(|_| format!("{} ", random() % 300).into_bytes()).collect();
        let text = words[..BLOCK].to_vec();
        for (data, level) in [(noise, FAST_LEVEL), (vec![0; BLOCK], FAST_LEVEL), (text, DEFAULT_LEVEL)] {
            let block = Block::new(data.into(), true);
            let at = |level| Deflater::new(level).deflate(&block).unwrap().bytes;
            assert!(at(None) == at(Some(level)));
        }
    }
}

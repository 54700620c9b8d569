//! Deflates blocks of the input.

use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};
use sirocco::Format;
use sirocco::deflate::{Encoder, Flush, Level, TABLES_LEN};

use crate::compress::blocks::{Block, Packer};
use crate::compress::error::CompressError;

/// The length of a block.
pub(super) const BLOCK: usize = 512 << 10;

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

    fn level_for(&mut self, data: &[u8]) -> u32 {
        let start = data.len().saturating_sub(SAMPLE) / 2;
        let sample = &data[start..data.len().min(start + SAMPLE)];
        let mut length_at = |level| {
            let mut output = Vec::new();
            self.encode(sample, level, Flush::Finish, &mut output);
            output.len()
        };
        let gain = length_at(FAST_LEVEL).saturating_sub(length_at(DEFAULT_LEVEL));
        if gain > sample.len() / LEAST_GAIN { DEFAULT_LEVEL } else { FAST_LEVEL }
    }

    fn encode(&mut self, data: &[u8], level: u32, flush: Flush, output: &mut Vec<u8>) {
        let level = Level::new(level as u8);
        let mut encoder = Encoder::with_tables(Format::Deflate, level, &mut self.tables[..]);
        loop {
            let progress = encoder.compress(data, &mut self.piece, flush);
            output.extend_from_slice(progress.output);
            if !progress.full {
                return;
            }
        }
    }

    /// Inflates what was deflated, with code that has nothing in common with what deflated it: of a backup that
    /// cannot be read somebody would hear on the day that it is needed.
    fn check(&mut self, block: &Block<Hasher>) -> Result<(), CompressError> {
        let deflated = &block.packed[..];
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

impl Clone for Deflater {
    fn clone(&self) -> Self {
        Self::new(self.level)
    }
}

impl Packer for Deflater {
    /// The checksum of the data.
    type Note = Hasher;

    fn length(&self) -> usize {
        BLOCK
    }

    /// What is packed ends on a byte.
    fn pack(&mut self, block: &mut Block<Hasher>) -> Result<(), CompressError> {
        let level = self.level.unwrap_or_else(|| self.level_for(&block.data));
        let flush = if block.is_last { Flush::Finish } else { Flush::Sync };
        self.encode(&block.data, level, flush, &mut block.packed);
        self.check(block)?;
        block.note.update(&block.data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::blocks::tests::noise;

    fn deflated(data: &[u8], is_last: bool, level: Option<u32>) -> Block<Hasher> {
        let mut block = Block { data: data.to_vec(), is_last, ..Block::default() };
        Deflater::new(level).pack(&mut block).unwrap();
        block
    }

    #[test]
    fn what_does_not_inflate_to_the_block_is_an_error() {
        let data = b"abcabcabcabc";
        for is_last in [false, true] {
            let fails = |damage: fn(&mut Block<Hasher>)| {
                let mut block = deflated(data, is_last, None);
                damage(&mut block);
                Deflater::new(None).check(&block).is_err()
            };
            assert!(!fails(|_| {}));
            assert!(fails(|block| block.data[11] = b'd'));
            assert!(fails(|block| block.data.truncate(11)));
            assert!(fails(|block| block.is_last = !block.is_last));
            assert!(fails(|block| block.packed.truncate(block.packed.len() - 1)));
            assert!(fails(|block| block.packed.push(b'x')));
            assert!(fails(|block| block.packed.fill(0xff)));
        }
    }

    #[test]
    fn the_default_level_is_left_where_it_gains_nothing() {
        let noise = noise(BLOCK);
        let words: Vec<u8> = noise.iter().flat_map(|byte| format!("{byte} ").into_bytes()).collect();
        let text = words[..BLOCK].to_vec();
        for (data, level) in [(noise, FAST_LEVEL), (vec![0; BLOCK], FAST_LEVEL), (text, DEFAULT_LEVEL)] {
            let at = |level| deflated(&data, true, level).packed;
            assert!(at(None) == at(Some(level)));
        }
    }

    #[test]
    fn one_block_leaves_nothing_behind_for_the_next() {
        let text: Vec<u8> = (0..30_000_u32).flat_map(|i| (i % 777).to_string().into_bytes()).collect();
        for level in [None, Some(1), Some(4), Some(9)] {
            let mut deflater = Deflater::new(level);
            for data in [&text[..], &noise(100_000), b"", &text] {
                let mut block = Block { data: data.to_vec(), ..Block::default() };
                deflater.pack(&mut block).unwrap();
                assert!(block.packed == deflated(data, false, level).packed);
            }
        }
    }
}

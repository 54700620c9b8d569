//! Puts compressed blocks together.

use std::mem;

use ::lz4::block::{CompressionMode, compress_bound, compress_to_buffer};

use crate::compress::blocks::{Block, Packer, Pipeline};
use crate::compress::encoder::EncodeStream;
use crate::compress::error::CompressError;

/// Magic number; version 1, blocks that are independent, no checksums, no length; blocks of 256 KiB; the second byte of
/// the xxHash of the two bytes before.
const HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x50, 0xfb];

/// The length of a block that is stored as it is has this bit.
const STORED: u32 = 1 << 31;

const END: [u8; 4] = [0; 4];

/// The lowest level at which the library searches for longer matches.
const LOWEST_HIGH_LEVEL: u32 = 2;

/// Makes one LZ4 frame.
pub(in crate::compress) struct Lz4Encoder {
    blocks: Pipeline<Lz4Packer>,
    header_is_written: bool,
}

impl Lz4Encoder {
    /// For a level between 1 and 12, or the fast compression that is the library's default.
    pub(in crate::compress) fn new(level: Option<u32>) -> Result<Self, CompressError> {
        Ok(Self { blocks: Pipeline::new(Lz4Packer::new(level)?), header_is_written: false })
    }
}

impl EncodeStream for Lz4Encoder {
    fn push(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), CompressError> {
        self.blocks.push(input, &mut |block| write_block(&mut self.header_is_written, block, output))
    }

    fn flush(&mut self, output: &mut Vec<u8>) -> Result<(), CompressError> {
        self.blocks.flush(&mut |block| write_block(&mut self.header_is_written, block, output))
    }

    fn finish(self: Box<Self>, output: &mut Vec<u8>) -> Result<(), CompressError> {
        let Self { blocks, mut header_is_written } = *self;
        blocks.finish(&mut |block| write_block(&mut header_is_written, block, output))?;
        output.extend_from_slice(&END);
        Ok(())
    }
}

fn write_block(header_is_written: &mut bool, block: &Block<()>, output: &mut Vec<u8>) {
    if !mem::replace(header_is_written, true) {
        output.extend_from_slice(&HEADER);
    }
    output.extend_from_slice(&block.packed);
}

/// Compresses blocks, with their lengths in front.
#[derive(Clone)]
struct Lz4Packer {
    mode: Option<CompressionMode>,
    room: Vec<u8>,
}

impl Lz4Packer {
    fn new(level: Option<u32>) -> Result<Self, CompressError> {
        let level = level.filter(|&level| level >= LOWEST_HIGH_LEVEL);
        let mode = level.map(|level| CompressionMode::HIGHCOMPRESSION(level.cast_signed()));
        let room = compress_bound(Self::LENGTH).map_err(|error| CompressError::codec(&error))?;
        Ok(Self { mode, room: vec![0; room] })
    }
}

impl Packer for Lz4Packer {
    type Note = ();

    const LENGTH: usize = 256 << 10;

    fn pack(&mut self, block: &mut Block<()>) -> Result<(), CompressError> {
        // A block without data would end the frame.
        if block.data.is_empty() {
            return Ok(());
        }
        let length = compress_to_buffer(&block.data, self.mode, false, &mut self.room)
            .map_err(|error| CompressError::codec(&error))?;
        let (length, bytes) = if length < block.data.len() {
            (length as u32, &self.room[..length])
        } else {
            (block.data.len() as u32 | STORED, &block.data[..])
        };
        block.packed.extend_from_slice(&length.to_le_bytes());
        block.packed.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::compress::blocks::tests::noise;

    fn encode(level: Option<u32>, data: &[u8], chunk: usize) -> Vec<u8> {
        let mut encoder = Box::new(Lz4Encoder::new(level).unwrap());
        let mut output = Vec::new();
        for chunk in data.chunks(chunk) {
            encoder.push(chunk, &mut output).unwrap();
        }
        encoder.finish(&mut output).unwrap();
        output
    }

    #[test]
    fn bb_154_the_library_reads_what_is_made_of_anything() {
        for length in [0, 1, Lz4Packer::LENGTH, Lz4Packer::LENGTH + 1, 9 * Lz4Packer::LENGTH + 5] {
            for data in [noise(length), vec![7; length]] {
                for level in [None, Some(1), Some(2), Some(3), Some(12)] {
                    let encoded = encode(level, &data, 10_000);
                    assert!(encoded.len() <= data.len() + 11 + 4 * data.len().div_ceil(Lz4Packer::LENGTH));
                    let mut decoder = ::lz4::Decoder::new(&encoded[..]).unwrap();
                    let mut content = Vec::new();
                    decoder.read_to_end(&mut content).unwrap();
                    let (rest, result) = decoder.finish();
                    result.unwrap();
                    assert!(rest.is_empty() && content == data, "{level:?}, {length}");
                }
            }
        }
    }

    #[test]
    fn bb_154_the_bytes_do_not_depend_on_the_chunks() {
        let data: Vec<u8> = (0..3_000_000_u64).map(|i| (i * i / 1000 % 251) as u8).collect();
        assert!(encode(None, &data, 1000) == encode(None, &data, usize::MAX));
    }

    #[test]
    fn bb_154_a_flush_at_the_end_of_a_block_ends_nothing() {
        let data = noise(3 * Lz4Packer::LENGTH);
        let mut encoder = Box::new(Lz4Encoder::new(None).unwrap());
        let mut output = Vec::new();
        for block in data.chunks(Lz4Packer::LENGTH) {
            encoder.push(block, &mut output).unwrap();
            encoder.flush(&mut output).unwrap();
            encoder.flush(&mut output).unwrap();
        }
        encoder.finish(&mut output).unwrap();
        assert!(output == encode(None, &data, usize::MAX));
    }
}

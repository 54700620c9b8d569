//! Puts compressed blocks together.

use ::lz4::block::{CompressionMode, compress_bound, compress_to_buffer};

use crate::compress::blocks::{Block, Packer, Pipeline};
use crate::compress::encoder::EncodeStream;
use crate::compress::error::CompressError;

/// How frames begin, and how long their blocks are.
#[derive(Clone, Copy)]
struct Form {
    /// Magic number; version 1, blocks that are independent, no checksums, no length; the size of blocks; the second
    /// byte of the xxHash of the two bytes before.
    header: [u8; 7],
    block: usize,
}

/// In what is this short the library finds matches with twice as many places to look at, in less time and as well as with
/// longer blocks; and while one thread does all, the server is not kept waiting for long.
const FAST: Form = Form { header: [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82], block: 64 << 10 };

/// Longer matches are found further back.
const HIGH: Form = Form { header: [0x04, 0x22, 0x4d, 0x18, 0x60, 0x50, 0xfb], block: 256 << 10 };

/// The length of a block that is stored as it is has this bit.
const STORED: u32 = 1 << 31;

const END: [u8; 4] = [0; 4];

/// The lowest level at which the library searches for longer matches.
const LOWEST_HIGH_LEVEL: u32 = 2;

/// Makes one LZ4 frame.
pub(in crate::compress) struct Lz4Encoder {
    blocks: Pipeline<Lz4Packer>,
    /// Taken when it is written.
    header: Option<[u8; 7]>,
}

impl Lz4Encoder {
    /// For a level between 1 and 12, or the fast compression that is the library's default.
    pub(in crate::compress) fn new(level: Option<u32>) -> Result<Self, CompressError> {
        let packer = Lz4Packer::new(level)?;
        let header = Some(packer.form.header);
        Ok(Self { blocks: Pipeline::new(packer), header })
    }
}

impl EncodeStream for Lz4Encoder {
    fn push(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), CompressError> {
        self.blocks.push(input, &mut |block| write_block(&mut self.header, block, output))
    }

    fn flush(&mut self, output: &mut Vec<u8>) -> Result<(), CompressError> {
        self.blocks.flush(&mut |block| write_block(&mut self.header, block, output))
    }

    fn finish(self: Box<Self>, output: &mut Vec<u8>) -> Result<(), CompressError> {
        let Self { blocks, mut header } = *self;
        blocks.finish(&mut |block| write_block(&mut header, block, output))?;
        output.extend_from_slice(&END);
        Ok(())
    }
}

fn write_block(header: &mut Option<[u8; 7]>, block: &Block<()>, output: &mut Vec<u8>) {
    output.extend(header.take().into_iter().flatten());
    output.extend_from_slice(&block.packed);
}

/// Compresses blocks, with their lengths in front.
#[derive(Clone)]
struct Lz4Packer {
    mode: Option<CompressionMode>,
    form: Form,
    room: Vec<u8>,
}

impl Lz4Packer {
    fn new(level: Option<u32>) -> Result<Self, CompressError> {
        let level = level.filter(|&level| level >= LOWEST_HIGH_LEVEL);
        let mode = level.map(|level| CompressionMode::HIGHCOMPRESSION(level.cast_signed()));
        let form = if mode.is_none() { FAST } else { HIGH };
        let room = compress_bound(form.block).map_err(|error| CompressError::codec(&error))?;
        Ok(Self { mode, form, room: vec![0; room] })
    }
}

impl Packer for Lz4Packer {
    type Note = ();

    fn length(&self) -> usize {
        self.form.block
    }

    /// Handing a block to another processor and back costs a third of what compressing it does at the fastest level,
    /// and one thread compresses about as fast as servers send.
    fn threads(&self, processors: usize) -> usize {
        if self.mode.is_none() { processors / 2 } else { processors }
    }

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
        encode_with(Lz4Encoder::new(level).unwrap(), data, chunk)
    }

    fn encode_with(encoder: Lz4Encoder, data: &[u8], chunk: usize) -> Vec<u8> {
        let mut encoder = Box::new(encoder);
        let mut output = Vec::new();
        for chunk in data.chunks(chunk) {
            encoder.push(chunk, &mut output).unwrap();
        }
        encoder.finish(&mut output).unwrap();
        output
    }

    #[test]
    fn bb_154_the_library_reads_what_is_made_of_anything() {
        for length in [0, 1, FAST.block, FAST.block + 1, HIGH.block, HIGH.block + 1, 9 * HIGH.block + 5] {
            for data in [noise(length), vec![7; length]] {
                for level in [None, Some(1), Some(2), Some(3), Some(12)] {
                    let encoded = encode(level, &data, 10_000);
                    assert!(encoded.len() <= data.len() + 11 + 4 * data.len().div_ceil(FAST.block));
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
        for level in [None, Some(2)] {
            assert!(encode(level, &data, 1000) == encode(level, &data, usize::MAX));
        }
    }

    #[test]
    fn bb_154_the_bytes_do_not_depend_on_the_threads() {
        let data: Vec<u8> = (0..3_000_000_u64).map(|i| (i * i / 1000 % 251) as u8).collect();
        for level in [None, Some(2)] {
            let [one, two, eight] = [1, 2, 8].map(|threads| {
                let packer = Lz4Packer::new(level).unwrap();
                let header = Some(packer.form.header);
                let encoder = Lz4Encoder { blocks: Pipeline::with_threads(packer, threads), header };
                encode_with(encoder, &data, 10_000)
            });
            assert!(one == two && two == eight);
        }
    }

    #[test]
    fn bb_154_a_flush_at_the_end_of_a_block_ends_nothing() {
        let data = noise(3 * FAST.block);
        let mut encoder = Box::new(Lz4Encoder::new(None).unwrap());
        let mut output = Vec::new();
        for block in data.chunks(FAST.block) {
            encoder.push(block, &mut output).unwrap();
            encoder.flush(&mut output).unwrap();
            encoder.flush(&mut output).unwrap();
        }
        encoder.finish(&mut output).unwrap();
        assert!(output == encode(None, &data, usize::MAX));
    }
}

//! Puts the deflated blocks together.

use std::mem;

use crc32fast::Hasher;

use super::deflater::Deflater;
use crate::compress::blocks::{Block, Pipeline};
use crate::compress::encoder::EncodeStream;
use crate::compress::error::CompressError;

/// Makes one gzip member.
pub(in crate::compress) struct GzipEncoder {
    blocks: Pipeline<Deflater>,
    member: Member,
}

/// What is known of the member so far.
struct Member {
    level: Option<u32>,
    header_is_written: bool,
    checksum: Hasher,
    /// Length of the input in blocks that are done, modulo 2³².
    length: u32,
}

impl GzipEncoder {
    /// For a level between 1 and 9 or the default one.
    pub(in crate::compress) fn new(level: Option<u32>) -> Self {
        Self { blocks: Pipeline::new(Deflater::new(level)), member: Member::new(level) }
    }
}

impl Member {
    fn new(level: Option<u32>) -> Self {
        Self { level, header_is_written: false, checksum: Hasher::new(), length: 0 }
    }

    fn write_block(&mut self, block: &Block<Hasher>, output: &mut Vec<u8>) {
        if !mem::replace(&mut self.header_is_written, true) {
            output.extend_from_slice(&header(self.level));
        }
        output.extend_from_slice(&block.packed);
        self.checksum.combine(&block.note);
        self.length = self.length.wrapping_add(block.data.len() as u32);
    }
}

impl EncodeStream for GzipEncoder {
    fn push(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), CompressError> {
        self.blocks.push(input, &mut |block| self.member.write_block(block, output))
    }

    fn flush(&mut self, output: &mut Vec<u8>) -> Result<(), CompressError> {
        // Each block but the last ends at a whole byte, and can be inflated up to there.
        self.blocks.flush(&mut |block| self.member.write_block(block, output))
    }

    fn finish(self: Box<Self>, output: &mut Vec<u8>) -> Result<(), CompressError> {
        let Self { blocks, mut member } = *self;
        blocks.finish(&mut |block| member.write_block(block, output))?;
        output.extend_from_slice(&member.checksum.finalize().to_le_bytes());
        output.extend_from_slice(&member.length.to_le_bytes());
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

    use super::super::deflater::BLOCK;
    use super::*;

    fn with_threads(level: Option<u32>, threads: usize) -> GzipEncoder {
        let blocks = Pipeline::with_threads(Deflater::new(level), threads);
        GzipEncoder { blocks, member: Member::new(level) }
    }

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
            let encoded = encode(with_threads(None, 3), &data, usize::MAX);
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
            let expected = encode(with_threads(level, 1), &data, usize::MAX);
            for (threads, chunk) in [(1, 1000), (2, usize::MAX), (2, 100_000), (7, BLOCK)] {
                let encoded = encode(with_threads(level, threads), &data, chunk);
                assert!(encoded == expected, "level {level:?}, {threads} threads, chunks of {chunk}");
            }
        }
    }

    #[test]
    fn bb_153_the_header_is_that_of_zlib_and_the_length_wraps() {
        for (level, extra_flags) in [(Some(1), 4), (None, 0), (Some(6), 0), (Some(9), 2)] {
            let mut encoder = with_threads(level, 1);
            encoder.member.length = u32::MAX;
            let member = encode(encoder, b"abc", 1);
            assert_eq!(member[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra_flags, 3]);
            assert_eq!(member[member.len() - 4..], [2, 0, 0, 0]);
        }
    }
}

//! One block of the input, deflated.

use bytes::Bytes;
use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress, Status};

use crate::compress::error::CompressError;

/// How far deflate looks back.
const WINDOW: usize = 32 << 10;

/// A block of the input, with what came in front of it.
#[derive(Clone, Debug)]
pub(super) struct Block {
    dictionary: Bytes,
    data: Bytes,
    is_last: bool,
}

impl Block {
    /// The block behind that dictionary; the last one of a stream ends it.
    pub(super) fn new(dictionary: Bytes, data: Bytes, is_last: bool) -> Self {
        Self { dictionary, data, is_last }
    }

    /// What the next block looks back at.
    pub(super) fn next_dictionary(&self) -> Bytes {
        self.data.slice(self.data.len().saturating_sub(WINDOW)..)
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
pub(super) struct Deflater(Compress);

impl Deflater {
    /// For a level between 1 and 9.
    pub(super) fn new(level: u32) -> Self {
        Self(Compress::new(Compression::new(level), false))
    }

    /// Deflates a block; the same block gives the same bytes.
    pub(super) fn deflate(&mut self, block: &Block) -> Result<Deflated, CompressError> {
        self.0.reset();
        if !block.dictionary.is_empty() {
            self.0.set_dictionary(&block.dictionary).map_err(|error| CompressError::codec(&error))?;
        }
        let mut checksum = Hasher::new();
        checksum.update(&block.data);
        let bytes = self.deflate_data(&block.data, block.is_last)?;
        Ok(Deflated { bytes, checksum, length: block.data.len() as u32 })
    }

    fn deflate_data(&mut self, data: &[u8], is_last: bool) -> Result<Vec<u8>, CompressError> {
        let flush = if is_last { FlushCompress::Finish } else { FlushCompress::Sync };
        let mut output = Vec::new();
        let mut taken = 0;
        loop {
            output.reserve(data.len() / 4 + 1024);
            let before = self.0.total_in();
            let status = self
                .0
                .compress_vec(&data[taken..], &mut output, flush)
                .map_err(|error| CompressError::codec(&error))?;
            taken += (self.0.total_in() - before) as usize;
            // A flush is complete when it leaves room behind it.
            let is_flushed = taken == data.len() && output.len() < output.capacity();
            if status == Status::StreamEnd || !is_last && is_flushed {
                return Ok(output);
            }
        }
    }
}

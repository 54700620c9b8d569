//! Streams that are cut into blocks which several threads compress, each by itself.
//!
//! In: bytes in chunks of any size. Out: the compressed blocks, in order, which depend on the input and never on the
//! chunks or the threads.

mod pipeline;
mod workers;

pub(super) use pipeline::Pipeline;

use super::error::CompressError;

/// How a block is compressed.
pub(super) trait Packer: Clone + Send + 'static {
    /// What is known of a block besides its bytes.
    type Note: Default + Send;

    /// The length of a block, always the same; the last one may be shorter.
    ///
    /// Smaller blocks mostly pack worse, larger ones need more memory and leave threads idle at the end of a stream.
    fn length(&self) -> usize;

    /// How many threads are worth having on a machine with so many processors.
    fn threads(&self, processors: usize) -> usize {
        processors
    }

    /// Compresses `data` into `packed`, which is empty; the same data gives the same bytes.
    fn pack(&mut self, block: &mut Block<Self::Note>) -> Result<(), CompressError>;
}

/// A block of the input, and what becomes of it.
#[derive(Debug, Default)]
pub(super) struct Block<N> {
    /// The input.
    pub(super) data: Vec<u8>,
    /// Whether it ends the stream.
    pub(super) is_last: bool,
    /// The data, compressed.
    pub(super) packed: Vec<u8>,
    /// What else is known of the data.
    #[cfg_attr(not(feature = "gzip"), allow(dead_code, reason = "LZ4 has nothing to note"))]
    pub(super) note: N,
}

impl<N: Default> Block<N> {
    /// A block of nothing in the memory of this one: new memory for each costs page by page.
    fn clear(mut self) -> Self {
        self.data.clear();
        self.packed.clear();
        Self { data: self.data, packed: self.packed, ..Self::default() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Bytes that nothing can be said about.
    pub(in crate::compress) fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    /// Turns the data round.
    #[derive(Clone)]
    pub(in crate::compress) struct Reverse;

    impl Packer for Reverse {
        type Note = usize;

        fn length(&self) -> usize {
            1000
        }

        fn pack(&mut self, block: &mut Block<usize>) -> Result<(), CompressError> {
            block.packed.extend(block.data.iter().rev());
            block.note += block.data.len();
            Ok(())
        }
    }

    #[test]
    fn a_cleared_block_is_as_good_as_new() {
        let mut block = Block { data: vec![1, 2], is_last: true, ..Block::default() };
        Reverse.pack(&mut block).unwrap();
        let block = block.clear();
        assert!(block.data.is_empty() && !block.is_last && block.packed.is_empty() && block.note == 0);
    }
}

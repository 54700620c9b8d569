use bytes::Bytes;

use super::error::CompressError;
use super::method::Method;

/// Decompresses one stream that comes in chunks.
#[derive(Debug)]
pub struct Decoder;

impl Decoder {
    /// The most bytes in one piece of output.
    pub const PIECE: usize = 128 << 10;

    /// A decoder at the start of a stream.
    pub fn new(method: Method) -> Result<Self, CompressError> {
        Err(CompressError::NotBuilt(method.name()))
    }

    /// The next piece, of at most [`Decoder::PIECE`] bytes; takes what it needs off the front of `input`.
    /// None when all of `input` is taken and gives nothing more.
    pub fn next_piece(&mut self, _input: &mut &[u8]) -> Result<Option<Bytes>, CompressError> {
        Ok(None)
    }

    /// Checks that the stream was whole.
    pub fn finish(self) -> Result<(), CompressError> {
        Ok(())
    }
}

use super::error::CompressError;
use super::spec::CompressionSpec;

/// Compresses one stream.
#[derive(Debug)]
pub struct Encoder;

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new(spec: &CompressionSpec) -> Result<Self, CompressError> {
        Err(CompressError::NotBuilt(spec.method.name()))
    }

    /// Takes in the next bytes and puts what they settle behind `output`.
    pub fn push(&mut self, _input: &[u8], _output: &mut Vec<u8>) -> Result<(), CompressError> {
        Ok(())
    }

    /// Puts everything that was taken in behind `output`, so that it can be decompressed without what follows.
    pub fn flush(&mut self, _output: &mut Vec<u8>) -> Result<(), CompressError> {
        Ok(())
    }

    /// Ends the stream and puts the rest behind `output`.
    pub fn finish(self, _output: &mut Vec<u8>) -> Result<(), CompressError> {
        Ok(())
    }
}

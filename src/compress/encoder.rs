//! Compression of one stream, whatever the method.

use std::fmt;

use super::error::CompressError;
#[cfg(feature = "gzip")]
use super::gzip::GzipEncoder;
#[cfg(feature = "lz4")]
use super::lz4::Lz4Encoder;
use super::method::Method;
use super::spec::CompressionSpec;
#[cfg(feature = "zstd")]
use super::zstd::ZstdEncoder;

/// Compresses one stream.
///
/// gzip uses a thread for each processor, up to 16, and zstd as many as the specification says; they end when the
/// encoder is dropped. Methods wait for them and for nothing else. After an error the stream cannot be made whole.
pub struct Encoder {
    method: Method,
    stream: Box<dyn EncodeStream>,
}

/// What each method does.
pub(super) trait EncodeStream: Send {
    /// As [`Encoder::push`].
    fn push(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), CompressError>;

    /// As [`Encoder::flush`].
    fn flush(&mut self, output: &mut Vec<u8>) -> Result<(), CompressError>;

    /// As [`Encoder::finish`].
    fn finish(self: Box<Self>, output: &mut Vec<u8>) -> Result<(), CompressError>;
}

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new(spec: &CompressionSpec) -> Result<Self, CompressError> {
        let stream: Box<dyn EncodeStream> = match spec.method {
            #[cfg(feature = "gzip")]
            Method::Gzip => Box::new(GzipEncoder::new(spec.checked_level()?.map(i32::unsigned_abs))),
            #[cfg(feature = "lz4")]
            Method::Lz4 => Box::new(Lz4Encoder::new(spec.checked_level()?.map(i32::unsigned_abs))?),
            #[cfg(feature = "zstd")]
            Method::Zstd => {
                Box::new(ZstdEncoder::new(spec.checked_level()?, spec.workers, spec.long_distance)?)
            }
            #[cfg(not(all(feature = "gzip", feature = "lz4", feature = "zstd")))]
            method => return Err(CompressError::NotBuilt(method.proper_name())),
        };
        Ok(Self { method: spec.method, stream })
    }

    /// Takes in the next bytes and puts what they settle behind `output`.
    ///
    /// That may be nothing, or more than the input: what stays inside is bounded.
    pub fn push(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), CompressError> {
        self.stream.push(input, output)
    }

    /// Puts everything that was taken in behind `output`, so that it can be decompressed without what follows. Doing
    /// this often makes the output larger.
    pub fn flush(&mut self, output: &mut Vec<u8>) -> Result<(), CompressError> {
        self.stream.flush(output)
    }

    /// Ends the stream and puts the rest behind `output`.
    pub fn finish(self, output: &mut Vec<u8>) -> Result<(), CompressError> {
        self.stream.finish(output)
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("method", &self.method).finish_non_exhaustive()
    }
}

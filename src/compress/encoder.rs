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
/// gzip and LZ4 use up to 8 threads and no more than there are processors, LZ4 at its fastest level half as many; zstd
/// as many as the specification says, and without that up to four at levels up to 9. They end when the encoder is
/// dropped. Methods wait for them and for nothing else. After an error the stream cannot be made whole, and nothing but
/// an error comes any more.
pub struct Encoder {
    method: Method,
    stream: Box<dyn EncodeStream>,
    has_failed: bool,
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
        Ok(Self { method: spec.method, stream: begin(spec)?, has_failed: false })
    }

    /// Takes in the next bytes and puts what they settle behind `output`.
    ///
    /// That may be nothing, or more than the input: what stays inside is bounded.
    pub fn push(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), CompressError> {
        self.unless_failed(|stream| stream.push(input, output))
    }

    /// Puts everything that was taken in behind `output`, so that it can be decompressed without what follows. Doing
    /// this often makes the output larger.
    pub fn flush(&mut self, output: &mut Vec<u8>) -> Result<(), CompressError> {
        self.unless_failed(|stream| stream.flush(output))
    }

    /// Ends the stream and puts the rest behind `output`.
    pub fn finish(self, output: &mut Vec<u8>) -> Result<(), CompressError> {
        if self.has_failed { Err(failed()) } else { self.stream.finish(output) }
    }

    /// What is behind a failure would look like a stream that is whole.
    fn unless_failed(
        &mut self,
        encode: impl FnOnce(&mut dyn EncodeStream) -> Result<(), CompressError>,
    ) -> Result<(), CompressError> {
        if self.has_failed {
            return Err(failed());
        }
        encode(&mut *self.stream).inspect_err(|_| self.has_failed = true)
    }
}

fn failed() -> CompressError {
    CompressError::Codec("the data before could not be compressed".to_owned())
}

fn begin(spec: &CompressionSpec) -> Result<Box<dyn EncodeStream>, CompressError> {
    match spec.method {
        #[cfg(feature = "gzip")]
        Method::Gzip => Ok(Box::new(GzipEncoder::new(spec.checked_level()?.map(i32::unsigned_abs)))),
        #[cfg(feature = "lz4")]
        Method::Lz4 => Ok(Box::new(Lz4Encoder::new(spec.checked_level()?.map(i32::unsigned_abs))?)),
        #[cfg(feature = "zstd")]
        Method::Zstd => {
            Ok(Box::new(ZstdEncoder::new(spec.checked_level()?, spec.workers, spec.long_distance)?))
        }
        #[cfg(not(all(feature = "gzip", feature = "lz4", feature = "zstd")))]
        method => Err(CompressError::NotBuilt(method.proper_name())),
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("method", &self.method).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails the first time.
    struct Failing(bool);

    impl EncodeStream for Failing {
        fn push(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<(), CompressError> {
            if std::mem::replace(&mut self.0, true) {
                Ok(())
            } else {
                Err(CompressError::Codec("once".to_owned()))
            }
        }

        fn flush(&mut self, output: &mut Vec<u8>) -> Result<(), CompressError> {
            self.push(&[], output)
        }

        fn finish(self: Box<Self>, _: &mut Vec<u8>) -> Result<(), CompressError> {
            Ok(())
        }
    }

    #[test]
    fn behind_a_failure_nothing_is_made_whole() {
        let encoder =
            || Encoder { method: Method::Gzip, stream: Box::new(Failing(false)), has_failed: false };
        let output = &mut Vec::new();
        for by_push in [true, false] {
            let mut encoder = encoder();
            let failed = if by_push { encoder.push(b"x", output) } else { encoder.flush(output) };
            failed.unwrap_err();
            encoder.push(b"y", output).unwrap_err();
            encoder.flush(output).unwrap_err();
            let error = encoder.finish(output).unwrap_err();
            assert_eq!(error.to_string(), "could not compress data: the data before could not be compressed");
        }
        encoder().finish(output).unwrap();
    }
}

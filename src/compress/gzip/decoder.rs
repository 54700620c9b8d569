//! What gzip members contain.

use flate2::{Decompress, FlushDecompress, Status};

use crate::compress::decoder::{DecodeStream, Failure, Step};
use crate::compress::error::CompressError;

/// log₂ of the largest window of deflate.
const WINDOW_BITS: u8 = 15;

/// Reads members one behind the other; checks checksum and length of each.
#[derive(Debug)]
pub(in crate::compress) struct GzipDecoder {
    inflater: Decompress,
    /// The member before is whole and the next has not begun.
    is_between: bool,
}

impl GzipDecoder {
    pub(in crate::compress) fn new() -> Self {
        Self { inflater: Decompress::new_gzip(WINDOW_BITS), is_between: false }
    }
}

impl DecodeStream for GzipDecoder {
    fn decode(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<Step, Failure> {
        if self.is_between {
            *self = Self::new();
        }
        let before = (self.inflater.total_in(), self.inflater.total_out());
        let outcome = self.inflater.decompress(input, output, FlushDecompress::None);
        *input = &input[(self.inflater.total_in() - before.0) as usize..];
        let written = (self.inflater.total_out() - before.1) as usize;
        match outcome {
            Ok(status) => {
                self.is_between = status == Status::StreamEnd;
                Ok(Step { written, is_whole: self.is_between })
            }
            Err(error) => {
                let error = CompressError::corrupt(&error.message().unwrap_or("bad data"));
                Err(Failure { written, error })
            }
        }
    }
}

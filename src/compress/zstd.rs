//! Zstandard (RFC 8878).
//!
//! In: bytes in chunks of any size. Out, one way: one frame, without a dictionary, a checksum or a length. Out, the
//! other way: what frames contain whose window is within a limit, so that nobody makes it take more memory than that.

use std::{io, thread};

use ::zstd::DEFAULT_COMPRESSION_LEVEL;
use ::zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

use super::decoder::{DecodeStream, Failure, Step};
use super::encoder::EncodeStream;
use super::error::CompressError;
use super::largest_window::LargestWindow;

/// Makes one zstd frame.
pub(super) struct ZstdEncoder {
    encoder: Encoder<'static>,
    /// Takes over if there is no thread to be had when the first bytes come; only where nobody asked for threads.
    without_threads: Option<Encoder<'static>>,
}

impl ZstdEncoder {
    /// How much room the output gets for each step.
    const ROOM: usize = 64 << 10;

    /// From here on the library would take from 90 MB to a gigabyte for its tables.
    const FIRST_LARGE_LEVEL: i32 = 19;

    /// Tables of 56 MB: beside a server, memory is worth more than what larger ones save. Long-distance matching is
    /// the way to ask for more.
    const LARGE_LEVEL_TABLES: [CParameter; 3] =
        [CParameter::WindowLog(23), CParameter::ChainLog(23), CParameter::HashLog(22)];

    /// Up to here jobs of a megabyte lose about one percent, and their threads need little memory.
    const LAST_SMALL_LEVEL: i32 = 9;

    const JOB: u32 = 1 << 20;

    /// More threads than these would compress faster than most servers send.
    const MOST_THREADS: usize = 4;

    /// With as many threads of the library as wanted; if nothing is said, up to four at low levels. With matches as far
    /// away as they can be if so wanted.
    pub(super) fn new(
        level: Option<i32>,
        workers: Option<u32>,
        long_distance: bool,
    ) -> Result<Self, CompressError> {
        let mut encoder = single_threaded(level, long_distance)?;
        if let Some(workers) = workers {
            encoder
                .set_parameter(CParameter::NbWorkers(workers))
                .map_err(|error| CompressError::Workers { workers, reason: error.to_string() })?;
        }
        let is_small = !long_distance && level.is_none_or(|level| level <= Self::LAST_SMALL_LEVEL);
        let threads = thread::available_parallelism().map_or(1, usize::from).min(Self::MOST_THREADS);
        let mut without_threads = None;
        if workers.is_none() && is_small && threads > 1 {
            without_threads = Some(single_threaded(level, long_distance)?);
            // A library without threads refuses them, and does without.
            let _ = encoder
                .set_parameter(CParameter::NbWorkers(threads as u32))
                .and_then(|()| encoder.set_parameter(CParameter::JobSize(Self::JOB)));
        }
        Ok(Self { encoder, without_threads })
    }

    /// Gives the library room until nothing is left inside.
    fn drain(
        output: &mut Vec<u8>,
        mut write: impl FnMut(&mut OutBuffer<'_, Vec<u8>>) -> io::Result<usize>,
    ) -> Result<(), CompressError> {
        loop {
            output.reserve(Self::ROOM);
            let end = output.len();
            let left = write(&mut OutBuffer::around_pos(output, end))
                .map_err(|error| CompressError::codec(&error))?;
            if left == 0 {
                return Ok(());
            }
        }
    }
}

impl EncodeStream for ZstdEncoder {
    fn push(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), CompressError> {
        let mut input = InBuffer::around(input);
        while input.pos() < input.src.len() {
            output.reserve(Self::ROOM);
            let end = output.len();
            let ran = self.encoder.run(&mut input, &mut OutBuffer::around_pos(output, end));
            // The library starts its threads before it takes in the first bytes.
            match (ran, self.without_threads.take()) {
                (Err(_), Some(encoder)) if input.pos() == 0 && output.len() == end => self.encoder = encoder,
                (ran, _) => drop(ran.map_err(|error| CompressError::codec(&error))?),
            }
        }
        Ok(())
    }

    fn flush(&mut self, output: &mut Vec<u8>) -> Result<(), CompressError> {
        if self.without_threads.is_some() {
            // Nothing has come yet.
            return Ok(());
        }
        Self::drain(output, |room| self.encoder.flush(room))
    }

    fn finish(mut self: Box<Self>, output: &mut Vec<u8>) -> Result<(), CompressError> {
        Self::drain(output, |room| self.encoder.finish(room, true))
    }
}

fn single_threaded(level: Option<i32>, long_distance: bool) -> Result<Encoder<'static>, CompressError> {
    let level = level.unwrap_or(DEFAULT_COMPRESSION_LEVEL);
    let mut encoder = Encoder::new(level).map_err(|error| CompressError::codec(&error))?;
    let mut set = |parameter| encoder.set_parameter(parameter).map_err(|error| CompressError::codec(&error));
    if long_distance {
        set(CParameter::EnableLongDistanceMatching(true))?;
    } else if level >= ZstdEncoder::FIRST_LARGE_LEVEL {
        ZstdEncoder::LARGE_LEVEL_TABLES.into_iter().try_for_each(set)?;
    }
    Ok(encoder)
}

/// Reads frames one behind the other.
pub(super) struct ZstdDecoder {
    decoder: Decoder<'static>,
    /// How much the library gets at a time, at least 1: no more than one block, because what it has decoded before an
    /// error in the same call is lost.
    most: usize,
    /// The output was full: what is left of a block comes out first, without input.
    holds_back: bool,
}

impl ZstdDecoder {
    /// Magic number and descriptor of a frame.
    const FRAME_START: usize = 5;
    const BLOCK_HEADER: usize = 3;

    pub(super) fn new(largest: LargestWindow) -> Result<Self, CompressError> {
        let mut decoder = Decoder::new().map_err(|error| CompressError::corrupt(&error))?;
        let window = DParameter::WindowLogMax(largest.log);
        decoder.set_parameter(window).map_err(|error| CompressError::codec(&error))?;
        Ok(Self { decoder, most: Self::FRAME_START, holds_back: false })
    }
}

impl DecodeStream for ZstdDecoder {
    fn decode(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<Step, Failure> {
        let most = if self.holds_back { 0 } else { self.most };
        let mut source = InBuffer::around(&input[..input.len().min(most)]);
        let room = output.len();
        let mut target = OutBuffer::around(output);
        let wanted =
            self.decoder.run(&mut source, &mut target).map_err(|error| CompressError::corrupt(&error))?;
        let written = target.pos();
        *input = &input[source.pos()..];
        self.holds_back = written == room && wanted > 0;
        // The library wants a block together with the header of the next one.
        self.most = match wanted {
            0 => Self::FRAME_START,
            wanted if wanted > Self::BLOCK_HEADER => wanted - Self::BLOCK_HEADER,
            wanted => wanted,
        };
        Ok(Step { written, is_whole: wanted == 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_thread_to_be_had_the_library_does_without() {
        // The first bytes fail, as they do where the system makes no threads: they are more than announced.
        let mut encoder = Encoder::new(3).unwrap();
        encoder.set_parameter(CParameter::NbWorkers(2)).unwrap();
        encoder.set_pledged_src_size(Some(1)).unwrap();
        let without_threads = Some(single_threaded(None, false).unwrap());
        let mut encoder = ZstdEncoder { encoder, without_threads };
        let (data, mut output) = (vec![7; 1000], Vec::new());
        encoder.flush(&mut output).unwrap();
        encoder.push(&data, &mut output).unwrap();
        encoder.push(&data, &mut output).unwrap();
        Box::new(encoder).finish(&mut output).unwrap();
        assert_eq!(::zstd::decode_all(&output[..]).unwrap(), [7; 2000]);
    }
}

//! What LZ4 frames contain.
//!
//! The library reads from something, and gives it back only at its end. So that is a buffer that can be filled through a
//! shared reference.

use std::cell::Cell;
use std::io::{self, Read};

use ::lz4::Decoder;

use crate::compress::decoder::{DecodeStream, Failure, Step};
use crate::compress::error::CompressError;

/// Reads frames one behind the other.
pub(in crate::compress) struct Lz4Decoder {
    /// The frame that is being read or has just ended; none after a failure.
    frame: Option<Decoder<Feed>>,
}

impl Lz4Decoder {
    pub(in crate::compress) fn new() -> Result<Self, CompressError> {
        let frame = Decoder::new(Feed::default()).map_err(|error| CompressError::corrupt(&error))?;
        Ok(Self { frame: Some(frame) })
    }

    fn begin_next_frame(&mut self) -> Result<(), CompressError> {
        if let Some(frame) = self.frame.take() {
            let (mut feed, _) = frame.finish();
            feed.taken = 0;
            feed.holds_back.set(false);
            self.frame = Some(Decoder::new(feed).map_err(|error| CompressError::corrupt(&error))?);
        }
        Ok(())
    }
}

impl DecodeStream for Lz4Decoder {
    fn decode(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<Step, Failure> {
        let mut written = 0;
        while written < output.len() {
            let Some(frame) = &mut self.frame else {
                return Err(CompressError::corrupt(&"no frame").into());
            };
            frame.reader().refill(input);
            let count = frame
                .read(&mut output[written..])
                .map_err(|error| Failure { written, error: CompressError::corrupt(&error) })?;
            written += count;
            if count > 0 {
                frame.reader().holds_back.set(written == output.len());
                continue;
            }
            // Without output the library has asked for more than there is, unless its frame has ended.
            let has_ended = !frame.reader().is_starved.get();
            if input.is_empty() && frame.reader().is_empty() {
                return Ok(Step { written, is_whole: has_ended });
            }
            if has_ended {
                self.begin_next_frame().map_err(|error| Failure { written, error })?;
            }
        }
        Ok(Step { written, is_whole: false })
    }
}

/// Where the library reads.
///
/// The crate asks for as many bytes as are left of a block and of the header of the next one, but at first for as many
/// as the shortest frame has. A frame to be skipped can be shorter; these bytes come one by one, so that it never takes
/// any behind the end. The header comes by itself, and only when the block before it is out, because a wrong one costs
/// everything that would come out together with it.
#[derive(Default)]
struct Feed {
    /// How much of this frame was read.
    taken: usize,
    bytes: Cell<Vec<u8>>,
    /// `position <= length == bytes.len()`
    position: Cell<usize>,
    length: Cell<usize>,
    /// There was nothing to read.
    is_starved: Cell<bool>,
    /// The next read gets nothing: output may wait that needs no more input.
    holds_back: Cell<bool>,
}

impl Feed {
    /// The most bytes that it takes in.
    const CAPACITY: usize = 32 << 10;
    /// Header and end of a frame without blocks.
    const SHORTEST_FRAME: usize = 11;
    const BLOCK_HEADER: usize = 4;

    /// Takes bytes off the front of the input if it has no others.
    fn refill(&self, input: &mut &[u8]) {
        self.is_starved.set(false);
        if self.is_empty() {
            let (taken, rest) = input.split_at(input.len().min(Self::CAPACITY));
            let mut bytes = self.bytes.take();
            bytes.clear();
            bytes.extend_from_slice(taken);
            self.bytes.set(bytes);
            self.position.set(0);
            self.length.set(taken.len());
            *input = rest;
        }
    }

    fn is_empty(&self) -> bool {
        self.position.get() == self.length.get()
    }
}

impl Read for Feed {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let holds_back = self.holds_back.take();
        self.is_starved.set(holds_back || self.is_empty());
        if holds_back {
            return Ok(0);
        }
        let position = self.position.get();
        let bytes = &self.bytes.get_mut()[position..];
        let most = match target.len() {
            _ if self.taken < Self::SHORTEST_FRAME => 1,
            wanted if wanted > Self::BLOCK_HEADER => wanted - Self::BLOCK_HEADER,
            wanted => wanted,
        };
        let count = bytes.len().min(target.len()).min(most);
        target[..count].copy_from_slice(&bytes[..count]);
        self.taken = self.taken.saturating_add(count);
        self.position.set(position + count);
        Ok(count)
    }
}

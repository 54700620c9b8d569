//! Decompression of one stream, whatever the method.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Bytes, BytesMut};

use super::error::CompressError;
#[cfg(feature = "gzip")]
use super::gzip::GzipDecoder;
use super::largest_window::LargestWindow;
#[cfg(feature = "lz4")]
use super::lz4::Lz4Decoder;
use super::method::Method;
#[cfg(feature = "zstd")]
use super::zstd::ZstdDecoder;

/// Decompresses one stream that comes in chunks.
///
/// The stream is one gzip member, one LZ4 frame or one zstd frame, or several of them one behind the other; other
/// bytes behind them are an error. Where the chunks end makes no difference. What was whole before an error comes
/// out: of LZ4 and zstd up to the last block, of gzip up to the last byte. Beside the memory of up to 16 pieces of
/// output it holds what the method needs: 32 KiB for gzip, up to 8 MiB for LZ4, and for zstd the window that the
/// stream declares, of [`LargestWindow::MOST`] unless less is allowed.
pub struct Decoder {
    method: Method,
    stream: Box<dyn DecodeStream>,
    /// The memory of the pieces that were given out last; what nobody has any more is filled again.
    pieces: VecDeque<Bytes>,
    position: Position,
    /// What went wrong behind the piece that was given out last.
    failure: Option<CompressError>,
    /// The last step filled the piece, so the method may hold output that needs no further input.
    may_hold_output: bool,
}

/// What each method does.
pub(super) trait DecodeStream: Send {
    /// Takes input off its front, as much as it likes, and fills output from its start; does one of both if it can.
    fn decode(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<Step, Failure>;
}

/// What decoding did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// How much of the output is filled.
    pub(super) written: usize,
    /// Whether a member or frame ends with the input taken so far, and all of its contents are out.
    pub(super) is_whole: bool,
}

/// Decoding cannot go on.
#[derive(Debug)]
pub(super) struct Failure {
    /// How much of the output was filled before that.
    pub(super) written: usize,
    pub(super) error: CompressError,
}

impl From<CompressError> for Failure {
    fn from(error: CompressError) -> Self {
        Self { written: 0, error }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Before the first byte, or within a member or frame.
    Within,
    /// Behind a member or frame.
    Behind,
    /// Nothing that comes can be understood.
    Lost,
}

impl Decoder {
    /// The most bytes in one piece of output.
    pub const PIECE: usize = 128 << 10;

    /// The most pieces whose memory is kept.
    const MOST_KEPT: usize = 16;

    /// A decoder at the start of a stream.
    pub fn new(method: Method) -> Result<Self, CompressError> {
        Self::with_window(method, LargestWindow::MOST)
    }

    /// The same for a stream that may declare no larger window than this; of the methods only zstd has a choice.
    pub fn with_window(method: Method, largest: LargestWindow) -> Result<Self, CompressError> {
        Ok(Self {
            method,
            stream: begin(method, largest)?,
            pieces: VecDeque::new(),
            position: Position::Within,
            failure: None,
            may_hold_output: false,
        })
    }

    /// The next piece, of at most [`Decoder::PIECE`] bytes; takes what it needs off the front of `input`.
    /// None when all of `input` is taken and gives nothing more.
    pub fn next_piece(&mut self, input: &mut &[u8]) -> Result<Option<Bytes>, CompressError> {
        let mut room = self.room();
        let filled = if self.position == Position::Lost { 0 } else { self.fill(&mut room, input) };
        let room = room.freeze();
        // Whoever gathers small pieces must not gather the memory of large ones.
        let is_small = filled < Self::PIECE / 4;
        let piece = if is_small { Bytes::copy_from_slice(&room[..filled]) } else { room.slice(..filled) };
        self.pieces.push_back(room);
        if self.pieces.len() > Self::MOST_KEPT {
            self.pieces.pop_front();
        }
        if filled > 0 {
            return Ok(Some(piece));
        }
        match self.position {
            Position::Lost => Err(self.failure.take().unwrap_or_else(lost)),
            _ => Ok(None),
        }
    }

    /// Memory for a piece.
    fn room(&mut self) -> BytesMut {
        let free = self.pieces.iter().position(Bytes::is_unique).and_then(|at| self.pieces.remove(at));
        free.and_then(|piece| piece.try_into_mut().ok()).unwrap_or_else(|| BytesMut::zeroed(Self::PIECE))
    }

    /// How much of the room is filled; less than there is in the input only if something is wrong with it.
    fn fill(&mut self, room: &mut [u8], input: &mut &[u8]) -> usize {
        let mut filled = 0;
        while filled < Self::PIECE && (!input.is_empty() || self.may_hold_output) {
            match self.step(input, &mut room[filled..]) {
                Ok(Step { written, is_whole }) => {
                    filled += written;
                    self.position = if is_whole { Position::Behind } else { Position::Within };
                    self.may_hold_output = filled == Self::PIECE && !is_whole;
                }
                Err(Failure { written, error }) => {
                    self.position = Position::Lost;
                    self.failure = Some(error);
                    return filled + written;
                }
            }
        }
        filled
    }

    fn step(&mut self, input: &mut &[u8], room: &mut [u8]) -> Result<Step, Failure> {
        let length_before = input.len();
        let step = self.stream.decode(input, room)?;
        if step.written == 0 && input.len() == length_before && !self.may_hold_output {
            return Err(CompressError::corrupt(&"no progress").into());
        }
        Ok(step)
    }

    /// Checks that the stream was whole.
    pub fn finish(self) -> Result<(), CompressError> {
        match self.position {
            Position::Behind => Ok(()),
            Position::Within => Err(CompressError::corrupt(&"unexpected end of data")),
            Position::Lost => Err(self.failure.unwrap_or_else(lost)),
        }
    }
}

#[cfg(test)]
impl Decoder {
    /// Of how many pieces the memory is kept.
    pub(super) fn kept_pieces(&self) -> usize {
        self.pieces.len()
    }
}

#[cfg_attr(not(feature = "zstd"), expect(unused_variables, reason = "the others have no choice"))]
fn begin(method: Method, largest: LargestWindow) -> Result<Box<dyn DecodeStream>, CompressError> {
    match method {
        #[cfg(feature = "gzip")]
        Method::Gzip => Ok(Box::new(GzipDecoder::new())),
        #[cfg(feature = "lz4")]
        Method::Lz4 => Ok(Box::new(Lz4Decoder::new()?)),
        #[cfg(feature = "zstd")]
        Method::Zstd => Ok(Box::new(ZstdDecoder::new(largest)?)),
        #[cfg(not(all(feature = "gzip", feature = "lz4", feature = "zstd")))]
        method => Err(CompressError::NotBuilt(method.proper_name())),
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("method", &self.method)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

fn lost() -> CompressError {
    CompressError::corrupt(&"the data before could not be decompressed")
}

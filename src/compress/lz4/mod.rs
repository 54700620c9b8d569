//! LZ4 frames.
//!
//! In: bytes in chunks of any size. Out, one way: one frame of blocks, none of which refers to another, so that several
//! threads can make them. Out, the other way: what frames of any kind contain.
//!
//! | bytes | what |
//! |---|---|
//! | 7 | magic number, flags, the size of blocks, a checksum of the latter two |
//! | 4 + any | each block: its length, with the highest bit set if it is stored as it is, and its bytes |
//! | 4 | a length of zero, which ends the frame |

mod decoder;
mod encoder;

pub(super) use decoder::Lz4Decoder;
pub(super) use encoder::Lz4Encoder;

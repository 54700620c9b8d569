//! gzip (RFC 1952) in one member, made by several threads.
//!
//! In: bytes in chunks of any size. Out, one way: one member, whose bytes depend on the input and the level and
//! never on the chunks or the threads. Out, the other way: what members contain. More than one member is never
//! written, because readers exist that stop or hang at the second.
//!
//! The input is cut into blocks. Each is deflated by itself, inflated again to see that nothing was lost, and ends on a
//! byte, so that the results only need to be put one behind the other:
//!
//! | bytes | what |
//! |---|---|
//! | 10 | header, without name and time |
//! | any | each block but the last, ended by a sync flush |
//! | any | the last block, ended by the end of the stream |
//! | 4 | CRC-32 of all input, low byte first |
//! | 4 | length of all input modulo 2³², low byte first |

mod decoder;
mod deflater;
mod encoder;

pub(super) use decoder::GzipDecoder;
pub(super) use encoder::GzipEncoder;

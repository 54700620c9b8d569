//! gzip, LZ4 and zstd, as streams.
//!
//! In: bytes in chunks of any size, and what is wanted of them ([`CompressionSpec`]). Out: one gzip member, one
//! LZ4 frame or one zstd frame, or the bytes that were compressed. Nothing here knows about tar or WAL, does
//! I/O, or holds more than the method's window, a bounded number of blocks and a bounded piece of output, whatever
//! the input expands to. A build without one of the methods reads specifications of it, to say that it cannot do it.

mod argument;
#[cfg(any(feature = "gzip", feature = "lz4"))]
mod blocks;
mod decoder;
mod encoder;
mod error;
#[cfg(feature = "gzip")]
mod gzip;
mod integer;
mod largest_window;
#[cfg(feature = "lz4")]
mod lz4;
mod method;
mod spec;
#[cfg(all(test, feature = "gzip", feature = "lz4", feature = "zstd"))]
mod tests;
#[cfg(feature = "zstd")]
mod zstd;

pub use argument::{CompressionArgument, Grammar, Location};
pub use decoder::Decoder;
pub use encoder::Encoder;
pub use error::{CompressError, InvalidCompression};
pub use largest_window::LargestWindow;
pub use method::Method;
pub use spec::CompressionSpec;

//! What goes wrong with compression.

use std::fmt::Display;

/// A compression that nobody can do as it is described (BB-028).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCompression {
    /// A method of another name than gzip, lz4, zstd and none.
    #[error("unrecognized compression algorithm: \"{0}\"")]
    UnknownMethod(String),
    /// A detail that is wrong; the text says how.
    #[error("invalid compression specification: {0}")]
    Detail(String),
}

/// Compressing or decompressing failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompressError {
    /// Bytes that are not what they should be, or end too early.
    #[error("could not decompress data: {0}")]
    Corrupt(String),
    /// The library failed, or was asked for what it does not have.
    #[error("could not compress data: {0}")]
    Codec(String),
    /// The library does not take so many threads (BB-029).
    #[error("could not set compression worker count to {workers}: {reason}")]
    Workers {
        /// How many were wanted.
        workers: u32,
        /// What the library says.
        reason: String,
    },
    /// A build without that method.
    #[error("this build does not support compression with {0}")]
    NotBuilt(&'static str),
}

impl CompressError {
    /// The library fails to compress and says why.
    #[cfg(any(feature = "gzip", feature = "lz4", feature = "zstd"))]
    pub(super) fn codec(reason: &impl Display) -> Self {
        Self::Codec(without_name(reason))
    }

    /// The library fails to decompress and says why.
    pub(super) fn corrupt(reason: &impl Display) -> Self {
        Self::Corrupt(without_name(reason))
    }
}

/// The crate for LZ4 puts a name in front of what the library says.
fn without_name(reason: &impl Display) -> String {
    let text = reason.to_string();
    text.strip_prefix("LZ4 error: ").unwrap_or(&text).to_owned()
}

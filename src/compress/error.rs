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
    /// The library failed.
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

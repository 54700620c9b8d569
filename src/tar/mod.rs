//! Tar archives as PostgreSQL servers send them.
//!
//! In: the bytes of an archive in chunks of any size. Out: its members as slices of those chunks
//! ([`TarSplitter`]), and the headers of members that the client adds ([`MemberHeader`]). A path on
//! disk is never touched, the data of a member is never copied, and nothing a server sends makes
//! this module panic or hold more than one header block.
//!
//! An archive is a row of members, each a header block, its data and zero bytes up to the next
//! multiple of [`BLOCK_SIZE`], and may end in a block of zero bytes after which nothing counts.

mod header;
mod splitter;
mod writer;

pub use header::{Entry, EntryKind, MemberPath};
pub use splitter::{Piece, TarSplitter};
pub use writer::{MemberHeader, with_new_size};

/// Everything in a tar archive is aligned to this number of bytes.
pub const BLOCK_SIZE: usize = 512;

/// The block in front of each member.
pub type HeaderBlock = [u8; BLOCK_SIZE];

/// The two zero blocks that end an archive.
pub const END_OF_ARCHIVE: [u8; 2 * BLOCK_SIZE] = [0; 2 * BLOCK_SIZE];

/// How many zero bytes follow `size` bytes of data up to the next block; always below [`BLOCK_SIZE`].
pub const fn padding_len(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK_SIZE as u64) as usize
}

/// Why bytes are no archive that this client takes, or why a member cannot be written to one.
///
/// Names are shown with replacement characters where they are not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// A header whose magic, checksum or a number in it is wrong (BB-124).
    #[error("input file does not appear to be a valid tar archive")]
    NotATarArchive,
    /// A member without a name (BB-125).
    #[error("tar member has empty name")]
    EmptyName,
    /// A name that is absolute, has a `..` in it, or cannot be that of such a member (BB-125).
    #[error("tar member has unsafe path name: \"{0}\"")]
    UnsafePath(String),
    /// A size that is negative or 2⁶³ bytes and more, or any size of something that has no data.
    #[error("tar member \"{0}\" has an invalid size")]
    InvalidSize(String),
    /// A pax header, which would change how the next member is to be read (BB-126).
    #[error("pax extensions to tar format are not supported")]
    PaxExtension,
    /// A long name of GNU tar, which would be the next member's (BB-126).
    #[error("GNU extensions to tar format are not supported")]
    GnuExtension,
    /// A header with a prefix, which to some programs is the front of the name (BB-121).
    #[error("prefixes of names in tar format are not supported: \"{0}\"")]
    NamePrefix(String),
    /// The stream ended inside a member (BB-128).
    #[error("COPY stream ended before last file was finished")]
    UnfinishedMember,
    /// A name of more than 99 bytes, or with a zero byte, for a member to be written.
    #[error("file name not possible in tar format: \"{0}\"")]
    ImpossibleName(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bb_127_padding_fills_the_block() {
        for (size, padding) in [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511), (i64::MAX as u64, 1)] {
            assert_eq!(padding_len(size), padding, "{size}");
        }
    }
}

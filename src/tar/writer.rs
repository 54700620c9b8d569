//! Headers of the members that the client adds to an archive or changes in it.
//!
//! In: what a member is. Out: its header block, laid out as PostgreSQL's own (BB-163). The data, its
//! padding ([`padding_len`](super::padding_len)) and the end of the archive are the caller's.

use std::ops::Range;

use super::header::{
    BASE_256, CHECKSUM, GID, MAGIC, MODE, MTIME, NAME, SIZE, TYPEFLAG, UID, checksum, lossy,
};
use super::{BLOCK_SIZE, HeaderBlock, TarError};

const USER_NAME: Range<usize> = 265..297;
const GROUP_NAME: Range<usize> = 297..329;
const DEVICE_MAJOR: Range<usize> = 329..337;
const DEVICE_MINOR: Range<usize> = 337..345;

/// Who owns the files, by name; an unpacker that knows the name prefers it to the number.
const OWNER: &[u8] = b"postgres";

/// A regular file that the client puts into an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberHeader<'a> {
    /// The name, at most 99 bytes.
    pub path: &'a [u8],
    /// Permission bits; only the low 12 bits count.
    pub mode: u32,
    /// The number of the owner.
    pub uid: u32,
    /// The number of the owning group.
    pub gid: u32,
    /// How many bytes of data follow.
    pub size: u64,
    /// When it was last changed, in seconds since 1970.
    pub modified_at: u64,
}

impl MemberHeader<'_> {
    /// The block to put in front of the data.
    pub fn to_block(&self) -> Result<HeaderBlock, TarError> {
        // A name that fills the field has no zero byte behind it, which some readers need.
        if self.path.is_empty() || self.path.len() >= NAME.len() || self.path.contains(&0) {
            return Err(TarError::ImpossibleName(lossy(self.path)));
        }
        let mut block = [0; BLOCK_SIZE];
        block[..self.path.len()].copy_from_slice(self.path);
        put_number(&mut block[MODE], u64::from(self.mode & 0o7777));
        put_number(&mut block[UID], u64::from(self.uid));
        put_number(&mut block[GID], u64::from(self.gid));
        block[TYPEFLAG] = b'0';
        block[MAGIC].copy_from_slice(b"ustar\x0000");
        block[USER_NAME][..OWNER.len()].copy_from_slice(OWNER);
        block[GROUP_NAME][..OWNER.len()].copy_from_slice(OWNER);
        put_number(&mut block[DEVICE_MAJOR], 0);
        put_number(&mut block[DEVICE_MINOR], 0);
        Ok(with_new_size(&block, self.size, self.modified_at))
    }
}

/// The same member with another size in bytes and time of change (seconds since 1970); name, owner and
/// mode stay.
pub fn with_new_size(block: &HeaderBlock, size: u64, modified_at: u64) -> HeaderBlock {
    let mut block = *block;
    put_number(&mut block[SIZE], size);
    put_number(&mut block[MTIME], modified_at);
    let sum = checksum(&block);
    put_number(&mut block[CHECKSUM], u64::from(sum));
    block
}

/// Fills a field with zero-padded octal digits and a blank, or where the number has too many digits, with
/// its big-endian bytes behind a marker.
fn put_number(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    if 3 * digits < 64 && number >> (3 * digits) != 0 {
        let rest = number.to_be_bytes();
        // A number from 2⁵⁶ on needs a field of more than eight bytes; the callers' 32-bit numbers fit any.
        let used = rest.len().min(digits);
        field.fill(0);
        field[0] = BASE_256;
        field[digits + 1 - used..].copy_from_slice(&rest[rest.len() - used..]);
        return;
    }
    field[digits] = b' ';
    for (place, digit) in field[..digits].iter_mut().rev().enumerate() {
        *digit = b'0' + (number >> (3 * place) & 7) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::header;

    const SIGNAL: MemberHeader<'_> = MemberHeader {
        path: b"standby.signal",
        mode: 0o100_600,
        uid: 0o4000,
        gid: 0o2000,
        size: 0,
        modified_at: 0o15_300_455_124,
    };

    #[test]
    fn bb_163_the_layout_is_that_of_postgresql() {
        let block = SIGNAL.to_block().unwrap();
        let mut expected = Vec::new();
        for (text, len) in [
            (&b"standby.signal"[..], 100),
            (b"0000600 0004000 0002000 00000000000 15300455124 0016010 0", 57),
            (b"", 100),
            (b"ustar\x0000postgres", 40),
            (b"postgres", 32),
            (b"0000000 0000000 ", 16),
            (b"", 167),
        ] {
            expected.extend_from_slice(text);
            expected.resize(expected.len() + len - text.len(), 0);
        }
        assert_eq!(block[..], expected[..]);
    }

    #[test]
    fn bb_163_numbers_that_do_not_fit_are_binary() {
        for (number, field) in [
            (0o77_777_777_777, b"77777777777 "),
            (8 << 30, b"\x80\0\0\0\0\0\0\x02\0\0\0\0"),
            (u64::MAX, b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
        ] {
            let mut written = [0; 12];
            put_number(&mut written, number);
            assert_eq!(&written, field);
        }
        let mut written = [0; 8];
        put_number(&mut written, u64::from(u32::MAX));
        assert_eq!(&written, b"\x80\0\0\0\xff\xff\xff\xff");
    }

    #[test]
    fn bb_145_long_names_are_refused() {
        assert!(MemberHeader { path: &[b'n'; 99], ..SIGNAL }.to_block().is_ok());
        for path in [&[b'n'; 100][..], b"", b"a\0b"] {
            let refused = MemberHeader { path, ..SIGNAL }.to_block();
            assert!(matches!(refused, Err(TarError::ImpossibleName(_))), "{path:?}");
        }
    }

    #[test]
    fn a_new_size_leaves_the_rest_alone() {
        let block = with_new_size(&SIGNAL.to_block().unwrap(), 9 << 30, 1);
        let entry = header::parse(&block).unwrap();
        assert_eq!((entry.path.as_bytes(), entry.mode, entry.size), (SIGNAL.path, 0o600, 9 << 30));
        assert_eq!(block[UID], *b"0004000 ");
    }

    #[test]
    fn the_tar_crate_reads_what_is_written() {
        let block = MemberHeader { size: 20 << 30, ..SIGNAL }.to_block().unwrap();
        let header = ::tar::Header::from_byte_slice(&block);
        assert_eq!(header.entry_size().unwrap(), 20 << 30);
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0o4000, 0o2000));
        assert_eq!(header.mtime().unwrap(), SIGNAL.modified_at);
        assert_eq!(header.path_bytes()[..], *SIGNAL.path);
    }
}

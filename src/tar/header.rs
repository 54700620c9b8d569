//! From a header block to the member that it announces.
//!
//! In: 512 bytes. Out: an [`Entry`] whose path stays below the directory it is unpacked in. Nothing
//! is taken from a block whose checksum or magic is wrong.

use std::fmt;
use std::ops::Range;

use super::{HeaderBlock, TarError};

// The fields of a header block that the client reads or writes (BB-121).
pub(super) const NAME: Range<usize> = 0..100;
pub(super) const MODE: Range<usize> = 100..108;
pub(super) const UID: Range<usize> = 108..116;
pub(super) const GID: Range<usize> = 116..124;
pub(super) const SIZE: Range<usize> = 124..136;
pub(super) const MTIME: Range<usize> = 136..148;
pub(super) const CHECKSUM: Range<usize> = 148..156;
pub(super) const TYPEFLAG: usize = 156;
pub(super) const LINK_NAME: Range<usize> = 157..257;
pub(super) const MAGIC: Range<usize> = 257..265;
const PREFIX: Range<usize> = 345..500;

/// The first byte of a number that is binary and big-endian.
pub(super) const BASE_256: u8 = 0x80;

/// Magic and version of POSIX, GNU and historic PostgreSQL archives (BB-124).
const MAGICS: [&[u8; 8]; 3] = [b"ustar\x0000", b"ustar  \0", b"ustar00\0"];

/// The most a mode can hold: permissions, set-user-ID, set-group-ID, sticky.
const MODE_BITS: u32 = 0o7777;

/// A member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it belongs.
    pub path: MemberPath,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, at most `0o7777`.
    pub mode: u32,
    /// The number of bytes of data that follow, below 2⁶³. It is 0 for directories, links, devices and pipes.
    pub size: u64,
}

/// What a member is (BB-126).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// The path that it names, as sent.
        target: Vec<u8>,
    },
    /// Something that a PostgreSQL server does not send, to be skipped with its data.
    Other(u8),
}

/// The path of a member, relative and without a way out.
///
/// Bytes joined by single slashes; no part is empty, `.` or `..`, and there is at least one. The
/// single exception is `.` for the directory that everything is unpacked in. It need not be UTF-8.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MemberPath(Vec<u8>);

impl MemberPath {
    /// Checks a name and brings it to one form: `./` in front, doubled slashes and the slash that
    /// ends the name of a directory or link go (BB-125, BB-127).
    fn parse(name: &[u8], kind: &EntryKind) -> Result<Self, TarError> {
        let unsafe_path = || TarError::UnsafePath(lossy(name));
        let keeps_slash = matches!(kind, EntryKind::File | EntryKind::Other(_));
        if name.is_empty() {
            return Err(TarError::EmptyName);
        }
        if name[0] == b'/' || (keeps_slash && name.ends_with(b"/")) {
            return Err(unsafe_path());
        }
        let mut path = Vec::with_capacity(name.len());
        for part in name.split(|&b| b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(unsafe_path()),
                _ => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(part);
                }
            }
        }
        if path.is_empty() {
            if *kind != EntryKind::Directory {
                return Err(unsafe_path());
            }
            path.push(b'.');
        }
        Ok(Self(path))
    }

    /// The path.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The path, with replacement characters where it is not UTF-8.
impl fmt::Display for MemberPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for MemberPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// Reads a header block that is not all zero.
///
/// What would make another program find other members or other names in the archive than this one does is
/// refused, because an archive that is kept as it came is unpacked by another program.
pub(super) fn parse(block: &HeaderBlock) -> Result<Entry, TarError> {
    let header = ::tar::Header::from_byte_slice(block);
    if header.cksum().ok() != Some(checksum(block)) || !MAGICS.iter().any(|magic| block[MAGIC] == magic[..]) {
        return Err(TarError::NotATarArchive);
    }
    let kind = match block[TYPEFLAG] {
        b'0' | b'\0' => EntryKind::File,
        b'5' => EntryKind::Directory,
        b'2' => EntryKind::Symlink { target: until_nul(&block[LINK_NAME]).to_vec() },
        b'x' | b'g' | b'X' => return Err(TarError::PaxExtension),
        b'L' | b'K' => return Err(TarError::GnuExtension),
        other => EntryKind::Other(other),
    };
    let name = until_nul(&block[NAME]);
    let path = MemberPath::parse(name, &kind)?;
    if block[PREFIX].iter().any(|&byte| byte != 0) {
        return Err(TarError::NamePrefix(lossy(name)));
    }
    let size = size(block, header).filter(|&size| size == 0 || can_have_data(block[TYPEFLAG]));
    Ok(Entry {
        path,
        kind,
        mode: header.mode().map_err(|_| TarError::NotATarArchive)? & MODE_BITS,
        size: size.ok_or_else(|| TarError::InvalidSize(lossy(name)))?,
    })
}

/// Not links, devices, directories and pipes: whatever their size says, many readers look for the next member right
/// behind them.
const fn can_have_data(typeflag: u8) -> bool {
    !matches!(typeflag, b'1'..=b'6')
}

/// The sum of all bytes of a header, those of the checksum itself counted as blanks.
pub(super) fn checksum(block: &HeaderBlock) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&b| u32::from(b)).sum::<u32>();
    sum(&block[..CHECKSUM.start]) + u32::from(b' ') * CHECKSUM.len() as u32 + sum(&block[CHECKSUM.end..])
}

/// The size, if it is a number below 2⁶³ (BB-122).
fn size(block: &HeaderBlock, header: &::tar::Header) -> Option<u64> {
    let field = &block[SIZE];
    // The library reads the last eight bytes of a binary number and trusts the first four.
    let fits = field[0] & BASE_256 == 0 || field[..4] == [BASE_256, 0, 0, 0];
    header.entry_size().ok().filter(|&size| fits && i64::try_from(size).is_ok())
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or(field)
}

pub(super) fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::tar::MemberHeader;

    fn block(change: impl FnOnce(&mut HeaderBlock)) -> HeaderBlock {
        let member =
            MemberHeader { path: b"base/1/1259", mode: 0o600, uid: 0, gid: 0, size: 8192, modified_at: 0 };
        let mut block = member.to_block().unwrap();
        change(&mut block);
        let sum = checksum(&block);
        block[CHECKSUM].copy_from_slice(format!("{sum:07o} ").as_bytes());
        block
    }

    fn with_name(name: &[u8], typeflag: u8) -> Result<MemberPath, TarError> {
        parse(&block(|block| {
            block[NAME].fill(0);
            block[..name.len()].copy_from_slice(name);
            block[SIZE].copy_from_slice(b"00000000000 ");
            block[TYPEFLAG] = typeflag;
        }))
        .map(|entry| entry.path)
    }

    fn with_size(field: &[u8; 12]) -> Result<u64, TarError> {
        parse(&block(|block| block[SIZE].copy_from_slice(field))).map(|entry| entry.size)
    }

    #[test]
    fn bb_121_the_fields_of_a_member() {
        let entry = parse(&block(|block| block[MODE].copy_from_slice(b"0100640 "))).unwrap();
        assert_eq!(entry.path.as_bytes(), b"base/1/1259");
        assert_eq!((entry.kind, entry.mode, entry.size), (EntryKind::File, 0o640, 8192));
    }

    #[test]
    fn bb_121_a_prefix_would_be_another_name() {
        for at in [345, 350, 499] {
            let parsed = parse(&block(|block| block[at] = b'x'));
            assert_eq!(parsed, Err(TarError::NamePrefix("base/1/1259".to_owned())), "{at}");
        }
    }

    #[test]
    fn bb_122_bb_126_only_files_and_what_is_skipped_have_data() {
        for typeflag in *b"\x0001234567ZS" {
            let parsed = parse(&block(|block| block[TYPEFLAG] = typeflag));
            let invalid = Err(TarError::InvalidSize("base/1/1259".to_owned()));
            let expected = if b"123456".contains(&typeflag) { invalid } else { Ok(8192) };
            assert_eq!(parsed.map(|entry| entry.size), expected, "{typeflag}");
        }
    }

    #[test]
    fn bb_122_octal_and_binary_numbers() {
        let invalid = Err(TarError::InvalidSize("base/1/1259".to_owned()));
        for (field, size) in [
            (b"00000000010 ", Ok(8)),
            (b"00000000010\0", Ok(8)),
            (b"10\0garbage!!", Ok(8)),
            (b"777777777777", Ok(0o777_777_777_777)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Ok(8 << 30)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Ok(i64::MAX as u64)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", invalid.clone()),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", invalid.clone()),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", invalid.clone()),
            (b"00000000018 ", invalid.clone()),
            (b"-0000000001 ", invalid.clone()),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", invalid.clone()),
        ] {
            assert_eq!(with_size(field), size, "{field:?}");
        }
    }

    #[test]
    fn bb_124_magic_and_checksum_are_checked() {
        for magic in MAGICS {
            assert!(parse(&block(|block| block[MAGIC].copy_from_slice(magic))).is_ok());
        }
        for magic in [b"ustar\x0001", b"\0\0\0\0\0\0\0\0", b"ustar  0"] {
            let refused = parse(&block(|block| block[MAGIC].copy_from_slice(magic)));
            assert_eq!(refused, Err(TarError::NotATarArchive), "{magic:?}");
        }
        for at in [0, 100, 148, 155 - 1, 156, 511] {
            let mut block = block(|_| ());
            block[at] = block[at].wrapping_add(1);
            assert_eq!(parse(&block), Err(TarError::NotATarArchive), "byte {at}");
        }
    }

    #[test]
    fn bb_125_names_that_lead_elsewhere_are_refused() {
        assert_eq!(with_name(b"", b'0'), Err(TarError::EmptyName));
        for name in [&b"/etc/passwd"[..], b"/", b"..", b"../x", b"a/..", b"a/../b", b"./../b"] {
            for typeflag in *b"0257" {
                let unsafe_path = TarError::UnsafePath(String::from_utf8(name.to_vec()).unwrap());
                assert_eq!(with_name(name, typeflag), Err(unsafe_path), "{name:?}");
            }
        }
        for name in [&b"."[..], b"./", b"base/"] {
            assert!(matches!(with_name(name, b'0'), Err(TarError::UnsafePath(_))), "{name:?}");
        }
        assert!(matches!(with_name(b"./", b'2'), Err(TarError::UnsafePath(_))));
    }

    #[test]
    fn bb_126_kinds_by_typeflag() {
        let kind = |typeflag: u8| {
            parse(&block(|block| {
                block[SIZE].copy_from_slice(b"00000000000 ");
                block[TYPEFLAG] = typeflag;
                block[LINK_NAME.start..LINK_NAME.start + 7].copy_from_slice(b"/mnt/ts");
            }))
            .map(|entry| entry.kind)
        };
        assert_eq!(kind(b'0'), Ok(EntryKind::File));
        assert_eq!(kind(0), Ok(EntryKind::File));
        assert_eq!(kind(b'5'), Ok(EntryKind::Directory));
        assert_eq!(kind(b'2'), Ok(EntryKind::Symlink { target: b"/mnt/ts".to_vec() }));
        assert_eq!(kind(b'1'), Ok(EntryKind::Other(b'1')));
        assert_eq!(kind(b'x'), Err(TarError::PaxExtension));
        assert_eq!(kind(b'g'), Err(TarError::PaxExtension));
        assert_eq!(kind(b'X'), Err(TarError::PaxExtension));
        assert_eq!(kind(b'L'), Err(TarError::GnuExtension));
        assert_eq!(kind(b'K'), Err(TarError::GnuExtension));
    }

    #[test]
    fn bb_127_names_are_brought_to_one_form() {
        for (name, typeflag, path) in [
            (&b"./pg_wal/archive_status/"[..], b'5', &b"pg_wal/archive_status"[..]),
            (b"pg_tblspc/16384/", b'2', b"pg_tblspc/16384"),
            (b"pg_wal", b'5', b"pg_wal"),
            (b"./", b'5', b"."),
            (b"./base//1/.//x", b'0', b"base/1/x"),
            (b"\xff\xfe/...", b'0', b"\xff\xfe/..."),
            (&[b'n'; 100], b'0', &[b'n'; 100]),
        ] {
            assert_eq!(with_name(name, typeflag).unwrap().as_bytes(), path);
        }
    }

    proptest! {
        #[test]
        fn whatever_a_header_says_its_path_stays_inside(
            name in vec(prop_oneof![Just(b'.'), Just(b'/'), Just(b'a'), any::<u8>()], 0..100),
            numbers in vec(any::<u8>(), 48),
            typeflag: u8,
        ) {
            let parsed = parse(&block(|block| {
                block[NAME].fill(0);
                block[..name.len()].copy_from_slice(&name);
                block[MODE.start..MTIME.end].copy_from_slice(&numbers);
                block[SIZE].copy_from_slice(b"00000000000 ");
                block[MODE].copy_from_slice(b"0000600 ");
                block[TYPEFLAG] = typeflag;
            }));
            if let Ok(entry) = parsed {
                let path = entry.path.as_bytes();
                let inside = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
                prop_assert!(path == b"." || path.split(|&b| b == b'/').all(inside), "{:?}", entry.path);
            }
        }

        #[test]
        fn bb_122_no_number_panics(mode: [u8; 8], size: [u8; 12]) {
            let parsed = parse(&block(|block| {
                block[MODE].copy_from_slice(&mode);
                block[SIZE].copy_from_slice(&size);
            }));
            prop_assert!(parsed.is_err() || parsed.is_ok_and(|entry| entry.size < 1 << 63));
        }
    }
}

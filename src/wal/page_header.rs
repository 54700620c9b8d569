//! The headers of WAL pages: from their bytes to what they say.
//!
//! In come the first bytes of a page; out comes what the page says of itself, or why no server has written it.
//! Where the page belongs is for the caller to know.
//!
//! The layout, the same from PostgreSQL 10 to 18, in the byte order of the server's machine:
//!
//! | offset | size | field | |
//! |---|---|---|---|
//! | 0 | 2 | `xlp_magic` | the version of the format |
//! | 2 | 2 | `xlp_info` | flags |
//! | 4 | 4 | `xlp_tli` | the timeline of the first record that begins on the page |
//! | 8 | 8 | `xlp_pageaddr` | the position of the page |
//! | 16 | 4 | `xlp_rem_len` | the bytes that are left of a record that began on an earlier page |
//! | 24 | 8 | `xlp_sysid` | the cluster; from here on only at the start of a segment |
//! | 32 | 4 | `xlp_seg_size` | the size of segments |
//! | 36 | 4 | `xlp_xlog_blcksz` | the size of pages |
//!
//! A machine that aligns 64-bit numbers to 4 bytes (32-bit x86) leaves out the 4 bytes after `xlp_rem_len`.

use std::ops::RangeInclusive;

use super::error::PageFault;
use crate::types::{Lsn, SegmentSize, SystemId, TimelineId};

/// The magic numbers of PostgreSQL 10 to 18.
const MAGICS: [u16; 9] = [0xD097, 0xD098, 0xD101, 0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118];

/// What servers of the next years may have. They are read like 18: the layout has been the same since 9.5.
const LATER_MAGICS: RangeInclusive<u16> = 0xD119..=0xD13F;

const CONTINUES_RECORD: u16 = 0x0001;
const LONG_HEADER: u16 = 0x0002;
const BACKUP_BLOCKS_REMOVABLE: u16 = 0x0004;
const OVERWRITES_RECORD: u16 = 0x0008;
const ALL_FLAGS: u16 = CONTINUES_RECORD | LONG_HEADER | BACKUP_BLOCKS_REMOVABLE | OVERWRITES_RECORD;

/// The sizes that servers can be built with.
const PAGE_SIZES: RangeInclusive<u32> = 1 << 10..=1 << 16;

/// The bytes of a header, the longest there are.
pub(super) type HeaderBytes = [u8; 40];

/// What the first page of a segment tells about all pages of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageFormat {
    order: ByteOrder,
    magic: u16,
    /// What 64-bit numbers and records are aligned to: 4 or 8, powers of two.
    alignment: u8,
    /// One of [`PAGE_SIZES`], a power of two.
    page_size: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ByteOrder {
    Little,
    Big,
}

/// What a page says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub(super) timeline: TimelineId,
    pub(super) address: Lsn,
    /// How much is left of a record that began on an earlier page, if the page continues one.
    pub(super) continued: Option<u32>,
    /// Whether the record that began on an earlier page was given up and another one stands in its place.
    pub(super) overwrites: bool,
    /// At the start of a segment only.
    pub(super) system_id: Option<SystemId>,
}

impl PageFormat {
    /// Finds out the format from the first page of a segment. What it says is not checked before
    /// [`Self::parse`] has read the same bytes.
    pub(super) fn detect(bytes: &HeaderBytes, size: SegmentSize) -> Result<Self, PageFault> {
        let little = u16::from_le_bytes([bytes[0], bytes[1]]);
        let (order, magic) = match (is_magic(little), is_magic(little.swap_bytes())) {
            (true, _) => (ByteOrder::Little, little),
            (false, true) => (ByteOrder::Big, little.swap_bytes()),
            (false, false) => return Err(PageFault::Magic(little)),
        };
        let [at_28, at_32, at_36] = [28, 32, 36].map(|offset| order.u32(bytes, offset));
        let is_size = |number| u64::from(number) == size.as_u64();
        let (alignment, page_size) = if is_size(at_28) && !is_size(at_32) { (4, at_32) } else { (8, at_36) };
        Ok(Self { order, magic, alignment, page_size })
    }

    /// The length of the header of a page, which at the start of a segment is longer.
    pub(super) fn header_length(self, starts_segment: bool) -> usize {
        match (self.alignment, starts_segment) {
            (4, false) => 20,
            (4, true) => 36,
            (_, false) => 24,
            (_, true) => 40,
        }
    }

    pub(super) fn page_size(self) -> u32 {
        self.page_size
    }

    /// The next position where a record can begin, `position` included, wherever pages begin.
    pub(super) fn aligned(self, position: Lsn) -> Lsn {
        position + (position.as_u64().wrapping_neg() & u64::from(self.alignment - 1))
    }

    pub(super) fn u32(self, bytes: &[u8], offset: usize) -> u32 {
        self.order.u32(bytes, offset)
    }

    pub(super) fn u64(self, bytes: &[u8], offset: usize) -> u64 {
        self.order.u64(bytes, offset)
    }

    /// Reads a header; `segment` is the size of segments where the page is the first of one.
    pub(super) fn parse(
        self,
        bytes: &HeaderBytes,
        segment: Option<SegmentSize>,
    ) -> Result<PageHeader, PageFault> {
        let magic = self.order.u16(bytes, 0);
        if magic != self.magic {
            return Err(PageFault::Magic(magic));
        }
        let info = self.order.u16(bytes, 2);
        if info & !ALL_FLAGS != 0 || (info & LONG_HEADER != 0) != segment.is_some() {
            return Err(PageFault::InfoBits(info));
        }
        let timeline = TimelineId::new(self.u32(bytes, 4)).ok_or(PageFault::Timeline(0))?;
        Ok(PageHeader {
            timeline,
            address: Lsn::new(self.u64(bytes, 8)),
            continued: (info & CONTINUES_RECORD != 0).then(|| self.u32(bytes, 16)),
            overwrites: info & OVERWRITES_RECORD != 0,
            system_id: segment.map(|size| self.parse_segment(bytes, size)).transpose()?,
        })
    }

    /// Reads what only the first page of a segment has.
    fn parse_segment(self, bytes: &HeaderBytes, size: SegmentSize) -> Result<SystemId, PageFault> {
        let sizes_at = self.header_length(true) - 8;
        let (segment_size, page_size) = (self.u32(bytes, sizes_at), self.u32(bytes, sizes_at + 4));
        if u64::from(segment_size) != size.as_u64() {
            return Err(PageFault::SegmentSize(segment_size));
        }
        let possible = page_size.is_power_of_two() && PAGE_SIZES.contains(&page_size);
        if !possible || page_size != self.page_size {
            return Err(PageFault::PageSize(page_size));
        }
        Ok(SystemId::new(self.u64(bytes, sizes_at - 8)))
    }
}

fn is_magic(number: u16) -> bool {
    MAGICS.contains(&number) || LATER_MAGICS.contains(&number)
}

impl ByteOrder {
    fn u16(self, bytes: &[u8], offset: usize) -> u16 {
        let number = array(bytes, offset);
        if self == Self::Little { u16::from_le_bytes(number) } else { u16::from_be_bytes(number) }
    }

    fn u32(self, bytes: &[u8], offset: usize) -> u32 {
        let number = array(bytes, offset);
        if self == Self::Little { u32::from_le_bytes(number) } else { u32::from_be_bytes(number) }
    }

    fn u64(self, bytes: &[u8], offset: usize) -> u64 {
        let number = array(bytes, offset);
        if self == Self::Little { u64::from_le_bytes(number) } else { u64::from_be_bytes(number) }
    }
}

/// The bytes of a field, whose place is one of the constants of the layout.
fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[offset + index])
}

//! What the first bytes of a segment tell about the log it belongs to, whatever is known of that log.

use super::error::PageFault;
use super::page_header::{HeaderBytes, PageFormat};
use crate::types::{Lsn, SegmentSize, SystemId, TimelineId};

/// The header of a segment's first page, read without knowing the size of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The cluster.
    pub system_id: SystemId,
    /// The size of its segments.
    pub segment_size: SegmentSize,
    /// The timeline of the first record that begins on the page.
    pub timeline: TimelineId,
    /// The position of the segment.
    pub start: Lsn,
}

impl SegmentHeader {
    /// How many bytes of a segment it takes.
    pub const LENGTH: usize = 40;

    /// Reads the first bytes of a segment.
    pub fn parse(bytes: &[u8; Self::LENGTH]) -> Result<Self, PageFault> {
        let magic = u16::from_le_bytes([bytes[0], bytes[1]]);
        let sizes = possible_sizes(bytes).into_iter().flatten();
        let mut outcomes = sizes.map(|size| Self::of_size(bytes, size));
        outcomes.find(Result::is_ok).unwrap_or(Err(PageFault::Magic(magic)))
    }

    fn of_size(bytes: &HeaderBytes, segment_size: SegmentSize) -> Result<Self, PageFault> {
        let header = PageFormat::detect(bytes, segment_size)?.parse(bytes, Some(segment_size))?;
        let Some(system_id) = header.system_id else { return Err(PageFault::InfoBits(0)) };
        Ok(Self { system_id, segment_size, timeline: header.timeline, start: header.address })
    }
}

/// What the size of segments can be, in either order of bytes and with either alignment.
fn possible_sizes(bytes: &HeaderBytes) -> [Option<SegmentSize>; 4] {
    let field = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    [
        u32::from_le_bytes(field(32)),
        u32::from_be_bytes(field(32)),
        u32::from_le_bytes(field(28)),
        u32::from_be_bytes(field(28)),
    ]
    .map(|size| SegmentSize::new(u64::from(size)).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wal::log_writer::{LogKind, LogWriter};

    #[test]
    fn rw_097_a_header_tells_the_cluster_and_the_size_of_its_segments() {
        for (segment_size, alignment, big_endian, page_size) in [
            (1 << 20, 8, false, 8192),
            (16 << 20, 8, true, 8192),
            (64 << 20, 4, false, 4096),
            (1 << 30, 4, true, 65536),
        ] {
            let kind = LogKind {
                alignment,
                big_endian,
                page_size,
                timeline: 3,
                ..LogKind::with_segments_of(segment_size)
            };
            let log = LogWriter::new(2 * segment_size, kind).filled(SegmentHeader::LENGTH);
            let header = SegmentHeader::parse(log.first_chunk().unwrap()).unwrap();
            let expected = SegmentHeader {
                system_id: SystemId::new(kind.system_identifier),
                segment_size: SegmentSize::new(segment_size).unwrap(),
                timeline: TimelineId::new(3).unwrap(),
                start: Lsn::new(2 * segment_size),
            };
            assert_eq!(header, expected);
        }
        assert!(SegmentHeader::parse(&[0; 40]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: [u8; 32], rest: [u8; 8]) {
            let mut all = [0; 40];
            all[..32].copy_from_slice(&bytes);
            all[32..].copy_from_slice(&rest);
            let _ = SegmentHeader::parse(&all);
        }
    }
}

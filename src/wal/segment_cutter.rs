//! Cuts a stream of WAL into pieces that each lie within one segment.
//!
//! In come runs of bytes with the position the server claims for them; out go pieces that follow
//! each other without gap or overlap. A run that does not begin exactly where the one before ended
//! never gets through (I-8).

use bytes::Bytes;

use crate::types::{Lsn, SegmentSize, TimelineId, WalFileName};

/// Knows where the stream stands and refuses whatever does not continue it.
///
/// Invariant: `position` is the first position plus the bytes accepted so far.
#[derive(Clone, Debug)]
pub struct SegmentCutter {
    timeline: TimelineId,
    size: SegmentSize,
    position: Lsn,
}

/// Bytes of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment they belong to.
    pub segment: WalFileName,
    /// The position of the first byte in the log.
    pub start: Lsn,
    /// The distance of the first byte from the start of the segment.
    pub offset: u64,
    /// The bytes; at least one, and never beyond the end of the segment.
    pub data: Bytes,
    /// Whether the last byte is the last of the segment.
    pub completes: bool,
}

impl Cut {
    /// The position after the last byte.
    pub fn end(&self) -> Lsn {
        self.start + self.data.len() as u64
    }
}

/// A run of WAL that does not continue the stream (RW-109, OP-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscontinuityError {
    /// At the start of a segment came something other than its first byte.
    #[error("received write-ahead log record for offset {offset} with no file open")]
    NoFileOpen {
        /// The offset within its segment that came.
        offset: u64,
    },
    /// Within a segment came another offset than the next one.
    #[error("got WAL data offset {offset:08x}, expected {expected:08x}")]
    Offset {
        /// The offset within its segment that came.
        offset: u64,
        /// The next offset within the open segment.
        expected: u64,
    },
    /// The offset fits, but it is that of another segment.
    #[error("got WAL data at {position}, expected {expected}")]
    Segment {
        /// The position that came.
        position: Lsn,
        /// The next position of the stream.
        expected: Lsn,
    },
    /// The bytes would go on after the last position that exists.
    #[error("got WAL data beyond the end of the log")]
    EndOfLog,
}

impl SegmentCutter {
    /// Starts with the byte at `position`.
    pub fn new(timeline: TimelineId, position: Lsn, size: SegmentSize) -> Self {
        Self { timeline, size, position }
    }

    /// The end of what was accepted, where the next run must begin.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// Accepts the bytes from `start` on and gives them back in pieces, in order.
    pub fn push(&mut self, start: Lsn, data: Bytes) -> Result<Cuts, DiscontinuityError> {
        self.check_continuity(start)?;
        let end = start.checked_add(data.len() as u64).ok_or(DiscontinuityError::EndOfLog)?;
        self.position = end;
        Ok(Cuts { timeline: self.timeline, size: self.size, start, data })
    }

    fn check_continuity(&self, start: Lsn) -> Result<(), DiscontinuityError> {
        if start == self.position {
            return Ok(());
        }
        let (offset, expected) = (start.segment_offset(self.size), self.position.segment_offset(self.size));
        Err(match (offset, expected) {
            (offset, expected) if offset == expected => {
                DiscontinuityError::Segment { position: start, expected: self.position }
            }
            (offset, 0) => DiscontinuityError::NoFileOpen { offset },
            (offset, expected) => DiscontinuityError::Offset { offset, expected },
        })
    }
}

/// The pieces of one run; see [`SegmentCutter::push`].
#[derive(Debug)]
pub struct Cuts {
    timeline: TimelineId,
    size: SegmentSize,
    start: Lsn,
    data: Bytes,
}

impl Iterator for Cuts {
    type Item = Cut;

    fn next(&mut self) -> Option<Cut> {
        if self.data.is_empty() {
            return None;
        }
        let (start, offset) = (self.start, self.start.segment_offset(self.size));
        let room = self.size.as_u64() - offset;
        let length = room.min(self.data.len() as u64);
        // A segment holds at most 1 GiB, so its length fits every `usize` of 32 bits or more.
        let data = self.data.split_to(length as usize);
        self.start = start + length;
        Some(Cut {
            segment: WalFileName::new(self.timeline, start.segment_number(self.size), self.size),
            start,
            offset,
            data,
            completes: length == room,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Bytes that differ from their neighbours and do not repeat at powers of two.
    static PATTERN: LazyLock<Bytes> = LazyLock::new(|| (0u8..251).cycle().take(3_000_000).collect());

    fn cutter(first: u64) -> SegmentCutter {
        let size = SegmentSize::new(MIB).unwrap();
        SegmentCutter::new(TimelineId::FIRST, Lsn::new(first * size.as_u64()), size)
    }

    #[test]
    fn rw_108_a_run_over_a_boundary_is_cut_there() {
        let mut cutter = cutter(1);
        let cuts: Vec<_> = cutter.push(Lsn::new(MIB), vec![7; 3 << 20].into()).unwrap().collect();
        let seen: Vec<_> = cuts.iter().map(|c| (c.segment.to_string(), c.data.len(), c.completes)).collect();
        let expected = ["000000010000000000000001", "000000010000000000000002", "000000010000000000000003"]
            .map(|name| (name.to_owned(), 1 << 20, true));
        assert_eq!(seen, expected);
        assert_eq!(cutter.position(), Lsn::new(4 * MIB));
    }

    #[test]
    fn rw_109_what_does_not_continue_the_stream_is_refused() {
        let at_boundary = cutter(3);
        let mut inside = cutter(3);
        assert_eq!(inside.push(Lsn::new(3 * MIB), vec![0; 0x300].into()).unwrap().count(), 1);
        let table = [
            (&at_boundary, 3 * MIB + 5, "received write-ahead log record for offset 5 with no file open"),
            (&inside, 3 * MIB + 0x200, "got WAL data offset 00000200, expected 00000300"),
            (&inside, 3 * MIB + 0x400, "got WAL data offset 00000400, expected 00000300"),
            (&inside, 4 * MIB + 0x300, "got WAL data at 0/400300, expected 0/300300"),
            (&inside, 2 * MIB + 0x300, "got WAL data at 0/200300, expected 0/300300"),
        ];
        for (cutter, start, message) in table {
            let mut after = cutter.clone();
            let error = after.push(Lsn::new(start), vec![1].into()).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(after.position(), cutter.position());
        }
    }

    #[test]
    fn the_end_of_the_log_is_no_place_to_wrap_around() {
        let mut cutter = cutter(u64::MAX / MIB);
        let start = cutter.position();
        let error = cutter.push(start, vec![0; 1 << 20].into()).unwrap_err();
        assert_eq!(error, DiscontinuityError::EndOfLog);
    }

    proptest! {
        #[test]
        fn rw_151_any_runs_give_every_byte_once_in_order(
            first in 1u64..1000,
            lengths in proptest::collection::vec(0usize..3_000_000, 0..8),
        ) {
            let mut cutter = cutter(first);
            let (mut expected_at, mut total) = (cutter.position(), 0u64);
            for length in lengths {
                let run = PATTERN.slice(..length);
                let mut rest = run.clone();
                for cut in cutter.push(cutter.position(), run).unwrap() {
                    prop_assert_eq!(cut.start, expected_at);
                    prop_assert!(!cut.data.is_empty());
                    prop_assert_eq!(cut.segment.segment().as_u64(), cut.start.as_u64() / MIB);
                    prop_assert_eq!(cut.offset, cut.start.as_u64() % MIB);
                    prop_assert!(cut.offset + cut.data.len() as u64 <= MIB);
                    prop_assert_eq!(cut.completes, cut.end().as_u64().is_multiple_of(MIB));
                    prop_assert_eq!(&rest.split_to(cut.data.len())[..], &cut.data[..]);
                    expected_at = cut.end();
                }
                prop_assert!(rest.is_empty());
                total += length as u64;
            }
            prop_assert_eq!(cutter.position(), Lsn::new(first * MIB + total));
        }
    }
}

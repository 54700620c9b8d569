//! Compares what the server sends again with what the archive has.

use bytes::{Buf, Bytes};

use super::error::ReceiveError;
use crate::types::{Lsn, TimelineId};
use crate::wal::Cut;

/// The last bytes of an archive, which the server is asked for again: where they differ, the archive and the server
/// have different WAL for the same positions, and what follows must not be joined to what is there (OP-17).
#[derive(Debug)]
pub(super) struct Overlap {
    /// What is left to compare.
    bytes: Bytes,
    /// The position of its first byte.
    start: Lsn,
    timeline: TimelineId,
}

impl Overlap {
    /// The bytes before `end`.
    pub(super) fn before(end: Lsn, bytes: Bytes, timeline: TimelineId) -> Self {
        Self { start: Lsn::new(end.as_u64().saturating_sub(bytes.len() as u64)), bytes, timeline }
    }

    /// The position from which the server is asked for WAL.
    pub(super) fn start(&self) -> Lsn {
        self.start
    }

    /// Compares what is known of the bytes and gives back the rest of them, if there is any.
    pub(super) fn strip(&mut self, mut cut: Cut) -> Result<Option<Cut>, ReceiveError> {
        let known = self.bytes.len().min(cut.data.len());
        if known == 0 {
            return Ok(Some(cut));
        }
        let differing = cut.data.iter().zip(&self.bytes).position(|(sent, kept)| sent != kept);
        if let Some(differing) = differing {
            return Err(ReceiveError::Diverged {
                at: self.start + differing as u64,
                timeline: self.timeline,
            });
        }
        self.bytes.advance(known);
        self.start = self.start + known as u64;
        cut.data.advance(known);
        (cut.start, cut.offset) = (cut.start + known as u64, cut.offset + known as u64);
        Ok((!cut.data.is_empty()).then_some(cut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SegmentSize;
    use crate::wal::SegmentCutter;

    fn received(start: u64, data: &'static [u8]) -> Cut {
        let size = SegmentSize::new(1 << 20).unwrap();
        let mut cutter = SegmentCutter::new(TimelineId::FIRST, Lsn::new(start), size);
        cutter.push(Lsn::new(start), Bytes::from_static(data)).unwrap().next().unwrap()
    }

    #[test]
    fn rw_235_what_is_known_is_compared_and_not_written_again() {
        let end = (1 << 20) + 106;
        for (lengths, rest) in
            [(&[6, 4][..], "wxyz"), (&[3, 7], "wxyz"), (&[10], "wxyz"), (&[1, 5, 2, 2], "yz")]
        {
            let mut overlap =
                Overlap::before(Lsn::new(end), Bytes::from_static(b"abcdef"), TimelineId::FIRST);
            assert_eq!(overlap.start().as_u64(), end - 6);
            let (mut at, mut kept) = (0, None);
            for length in lengths {
                let cut = received(end - 6 + at as u64, &b"abcdefwxyz"[at..at + length]);
                at += length;
                kept = overlap.strip(cut).unwrap();
            }
            let kept = kept.unwrap();
            assert_eq!(kept.data, rest.as_bytes());
            assert_eq!(kept.end().as_u64(), end + 4);
            assert_eq!(kept.offset, kept.start.as_u64() - (1 << 20));
        }
        let mut overlap = Overlap::before(Lsn::new(end), Bytes::new(), TimelineId::FIRST);
        let cut = received(end, b"new");
        assert_eq!(overlap.strip(cut.clone()).unwrap(), Some(cut));
    }

    #[test]
    fn rw_235_a_difference_is_named_by_its_position() {
        let mut overlap =
            Overlap::before(Lsn::new((1 << 20) + 4), Bytes::from_static(b"abcd"), TimelineId::FIRST);
        assert_eq!(overlap.strip(received(1 << 20, b"ab")).unwrap(), None);
        let error = overlap.strip(received((1 << 20) + 2, b"cX")).unwrap_err();
        assert!(
            matches!(error, ReceiveError::Diverged { at, .. } if at.as_u64() == (1 << 20) + 3),
            "{error}"
        );
    }
}

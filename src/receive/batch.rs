//! What the network hands to the disk in one go: pieces of segments, in order.
//!
//! A slice of the receive buffer keeps the whole buffer alive, and each piece costs a write. So small
//! pieces that follow each other are copied together, and a batch takes memory in proportion to its
//! bytes however small the messages were.

use bytes::Bytes;

use crate::types::{Lsn, WalFileName};
use crate::wal::Cut;

/// Pieces to be written, and whether to sync after the last one.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) pieces: Vec<Piece>,
    pub(super) sync: bool,
}

/// Bytes that follow those of the piece before it.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) segment: WalFileName,
    pub(super) data: PieceData,
    /// The position of the first byte.
    pub(super) start: Lsn,
    /// The position after the last byte.
    pub(super) end: Lsn,
    /// Whether the last byte is the last of the segment.
    pub(super) completes: bool,
}

#[derive(Debug)]
pub(super) enum PieceData {
    /// As it was received.
    Slice(Bytes),
    /// Copied together.
    Gathered(Vec<u8>),
}

impl Batch {
    /// Pieces shorter than this are copied. It is far below the usual length of a message while the
    /// client catches up (128 KiB), and bounds how little of a receive buffer may be WAL.
    const SMALL: usize = 16 << 10;

    /// How much is copied together at most.
    const GATHERED: usize = 64 << 10;

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && !self.sync
    }

    /// The position after the last byte, if there is any.
    pub(super) fn end(&self) -> Option<Lsn> {
        self.pieces.last().map(|piece| piece.end)
    }

    /// Adds what follows.
    pub(super) fn push(&mut self, cut: Cut) {
        let (start, end) = (cut.start, cut.end());
        let data = if cut.data.len() >= Self::SMALL {
            PieceData::Slice(cut.data)
        } else if self.gather(cut.segment, &cut.data, end, cut.completes) {
            return;
        } else {
            PieceData::Gathered(cut.data.to_vec())
        };
        self.pieces.push(Piece { segment: cut.segment, data, start, end, completes: cut.completes });
    }

    /// Adds a batch that follows: one sync, if any, is for both.
    pub(super) fn append(&mut self, mut next: Self) {
        self.sync |= next.sync;
        let joined = match next.pieces.first() {
            Some(Piece { segment, data: PieceData::Gathered(data), end, completes, .. }) => {
                self.gather(*segment, data, *end, *completes)
            }
            _ => false,
        };
        self.pieces.extend(next.pieces.drain(usize::from(joined)..));
    }

    /// Copies bytes that follow behind the last piece, if that is a copy itself and has room.
    fn gather(&mut self, segment: WalFileName, data: &[u8], end: Lsn, completes: bool) -> bool {
        if let Some(last) = self.pieces.last_mut()
            && let PieceData::Gathered(gathered) = &mut last.data
            && last.segment == segment
            && gathered.len() + data.len() <= Self::GATHERED
        {
            gathered.extend_from_slice(data);
            (last.end, last.completes) = (end, completes);
            return true;
        }
        false
    }
}

impl AsRef<[u8]> for PieceData {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Slice(data) => data,
            Self::Gathered(data) => data,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{SegmentSize, TimelineId};
    use crate::wal::SegmentCutter;

    proptest! {
        #[test]
        fn batches_keep_every_byte_and_few_pieces(
            lengths in proptest::collection::vec(prop_oneof![1usize..300, 1usize..200_000], 0..200),
            batch_length in 1usize..50,
        ) {
            let size = SegmentSize::new(1 << 20).unwrap();
            let mut cutter = SegmentCutter::new(TimelineId::FIRST, Lsn::new(size.as_u64()), size);
            let (mut batch, mut sent) = (Batch::default(), Vec::new());
            for lengths in lengths.chunks(batch_length) {
                let mut next = Batch::default();
                for length in lengths {
                    let run = Bytes::from(vec![sent.len() as u8; *length]);
                    sent.extend_from_slice(&run);
                    cutter.push(cutter.position(), run).unwrap().for_each(|cut| next.push(cut));
                }
                batch.append(next);
            }

            let (mut kept, mut small_before) = (Vec::new(), false);
            for piece in &batch.pieces {
                let data = piece.data.as_ref();
                kept.extend_from_slice(data);
                let end = Lsn::new(size.as_u64() + kept.len() as u64);
                prop_assert_eq!(piece.end, end);
                prop_assert_eq!(piece.completes, end.segment_offset(size) == 0);
                prop_assert_eq!(piece.segment.segment(), Lsn::new(end.as_u64() - 1).segment_number(size));
                let small = data.len() < Batch::GATHERED - Batch::SMALL
                    && matches!(piece.data, PieceData::Gathered(_)) && !piece.completes;
                prop_assert!(!(small && small_before), "two small pieces in a row");
                small_before = small;
            }
            prop_assert!(kept == sent);
        }
    }
}

//! Cuts the stream of bytes from the server into messages. Sans-I/O.
//!
//! A message is a type byte, a length of four bytes that counts itself, and a body. Bodies are slices of
//! the receive buffer, not copies. No length is believed beyond what the phase makes plausible.

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::receive_buffer::ReceiveBuffer;

const HEADER: usize = 5;
const LENGTH_ITSELF: usize = 4;

/// What kinds and sizes of messages are plausible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Until the server is ready for queries.
    Startup,
    /// Afterwards.
    Established,
}

/// One message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The type byte.
    pub(super) tag: u8,
    /// What follows the length.
    pub(super) body: Bytes,
}

/// The length of a message is none that its type can have here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lost synchronization with server: got message type \"{}\", length {length}", .tag.escape_ascii())]
pub struct OutOfSync {
    /// The type byte.
    pub tag: u8,
    /// The length field.
    pub length: u32,
}

/// Collects received bytes and hands out whole messages.
#[derive(Debug)]
pub(super) struct Deframer {
    buffer: ReceiveBuffer,
    /// How long the message at hand is, or the one before if that is not known.
    length: usize,
    /// What is missing of the message at hand, as far as known.
    missing: usize,
    phase: Phase,
}

impl Deframer {
    /// An empty one, before the start-up of a session.
    pub(super) fn new() -> Self {
        Self { buffer: ReceiveBuffer::default(), length: 0, missing: 0, phase: Phase::Startup }
    }

    /// Changes what is plausible from now on.
    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// The buffer to read into, with room for `room` bytes, or a good part of them and the rest of the message at hand.
    pub(super) fn buffer_with_room(&mut self, room: usize) -> &mut BytesMut {
        self.buffer.with_room(self.missing.max(room / 4), room)
    }

    /// The same for a read, which stops at the end of a message that takes up a good part of the room, and takes the next
    /// one to be as long: the beginning of a message that does not fit any more has to be moved to another buffer.
    pub(super) fn buffer_to_read(&mut self, room: usize) -> Limit<&mut BytesMut> {
        if self.length <= room / 4 {
            return self.buffer_with_room(room).limit(usize::MAX);
        }
        let wanted = if self.missing > 0 { self.missing } else { self.length.min(room) };
        self.buffer.with_room(wanted, room).limit(wanted)
    }

    /// What has come and was not handed out.
    pub(super) fn rest(&self) -> &[u8] {
        self.buffer.rest()
    }

    /// The next whole message, if one is there.
    pub(super) fn next(&mut self) -> Result<Option<Message>, OutOfSync> {
        let &[tag, a, b, c, d, ..] = self.buffer.rest() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]);
        if !self.is_plausible(tag, length) {
            return Err(OutOfSync { tag, length });
        }
        let end = HEADER - LENGTH_ITSELF + length as usize;
        self.length = end;
        self.missing = end.saturating_sub(self.buffer.rest().len());
        if self.missing > 0 {
            return Ok(None);
        }
        let mut body = self.buffer.take(end).freeze();
        body.advance(HEADER);
        Ok(Some(Message { tag, body }))
    }

    fn is_plausible(&self, tag: u8, length: u32) -> bool {
        const LEAST: u32 = LENGTH_ITSELF as u32;
        const KIB: u32 = 1 << 10;
        const MIB: u32 = 1 << 20;
        let plausible = match (self.phase, tag) {
            (Phase::Startup, b'R' | b'v') => 8..=2_000,
            (Phase::Startup, b'E' | b'N' | b'S' | b'K') => LEAST..=30_000,
            (Phase::Startup, b'Z') => LEAST..=5,
            // A server sends 32 KiB of a backup or 128 KiB of WAL at a time; a proxy may join some.
            (Phase::Established, b'd' | b'D') => LEAST..=16 * MIB,
            (Phase::Established, b'E' | b'N') => LEAST..=MIB,
            (Phase::Established, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9') => LEAST..=64 * KIB,
            _ => return false,
        };
        plausible.contains(&length)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    fn established() -> Deframer {
        let mut deframer = Deframer::new();
        deframer.enter(Phase::Established);
        deframer
    }

    fn encode(messages: &[(u8, Vec<u8>)]) -> BytesMut {
        let mut stream = BytesMut::new();
        for (tag, body) in messages {
            stream.put_u8(*tag);
            stream.put_u32(u32::try_from(body.len()).unwrap() + 4);
            stream.put_slice(body);
        }
        stream
    }

    #[test]
    fn cn_302_implausible_lengths_are_refused() {
        let refused = |phase, tag, length: u32| {
            let mut deframer = Deframer::new();
            deframer.enter(phase);
            let buffer = deframer.buffer_with_room(16);
            buffer.put_u8(tag);
            buffer.put_u32(length);
            deframer.next().unwrap_err()
        };
        let error = refused(Phase::Established, b'd', 3);
        assert_eq!(error.to_string(), "lost synchronization with server: got message type \"d\", length 3");
        refused(Phase::Established, b'd', u32::MAX);
        refused(Phase::Established, 0, 4);
        refused(Phase::Startup, b'R', 2_001);
        refused(Phase::Startup, b'R', 7);
        refused(Phase::Startup, b'v', 7);
        refused(Phase::Startup, b'v', 2_001);
        refused(Phase::Startup, b'E', 30_001);
        refused(Phase::Startup, b'd', 5);
        refused(Phase::Startup, b'H', 0x5454_502f);
    }

    #[test]
    fn no_part_of_a_large_message_has_to_be_moved() {
        const ROOM: usize = 1000;
        let messages: Vec<_> = (0..20).map(|number| (b'd', vec![number; 400])).collect();
        let stream = encode(&messages);
        let (mut rest, mut taken, mut deframer) = (&stream[..], 0, established());
        while !rest.is_empty() {
            // All that there is room for has come.
            let mut buffer = deframer.buffer_to_read(ROOM);
            let (read, left) = rest.split_at(rest.len().min(buffer.chunk_mut().len()));
            buffer.put_slice(read);
            rest = left;
            while deframer.next().unwrap().is_some() {
                taken += 1;
            }
            // Only the first read did not know.
            assert!(deframer.rest().is_empty() || taken == 2, "{taken}");
        }
        assert_eq!(taken, messages.len());
    }

    proptest! {
        #[test]
        fn cn_303_any_split_gives_the_same_messages(
            messages in prop::collection::vec((prop::sample::select(b"dNSTDC".to_vec()), prop::collection::vec(any::<u8>(), 0..200)), 0..8),
            step in 1usize..64,
        ) {
            let stream = encode(&messages);
            let mut deframer = established();
            let mut seen = Vec::new();
            for chunk in stream.chunks(step) {
                deframer.buffer_with_room(chunk.len()).put_slice(chunk);
                while let Some(message) = deframer.next().unwrap() {
                    seen.push((message.tag, message.body.to_vec()));
                }
            }
            prop_assert_eq!(seen, messages);
            prop_assert!(deframer.rest().is_empty());
        }

        #[test]
        fn any_reads_give_the_same_messages(
            lengths in prop::collection::vec(prop_oneof![0..100usize, 900..1100usize, 0..5000usize], 0..20),
            room in prop_oneof![100..2000usize],
            most in 1..3000usize,
        ) {
            let messages: Vec<_> =
                lengths.iter().enumerate().map(|(number, &length)| (b'd', vec![number as u8; length])).collect();
            let stream = encode(&messages);
            let (mut rest, mut seen, mut deframer) = (&stream[..], Vec::new(), established());
            while !rest.is_empty() {
                let mut buffer = deframer.buffer_to_read(room);
                let (read, left) = rest.split_at(rest.len().min(most).min(buffer.chunk_mut().len()));
                prop_assert!(!read.is_empty());
                buffer.put_slice(read);
                rest = left;
                while let Some(message) = deframer.next().unwrap() {
                    seen.push((message.tag, message.body.to_vec()));
                }
            }
            prop_assert_eq!(seen, messages);
        }

        #[test]
        fn any_bytes_are_cut_or_refused(bytes: Vec<u8>) {
            let mut deframer = Deframer::new();
            deframer.buffer_with_room(bytes.len()).put_slice(&bytes);
            while let Ok(Some(_)) = deframer.next() {}
        }
    }
}

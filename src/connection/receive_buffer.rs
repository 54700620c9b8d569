//! Where received bytes lie while slices of them are in use elsewhere.

use std::collections::VecDeque;
use std::mem;

use bytes::{Buf, BytesMut};

/// The most buffers that wait to be free again; further ones are left to whoever holds their last slice.
const MOST_SPENT: usize = 32;

/// Larger buffers than this are not used again: few messages need them, and they would stay.
const LARGEST_SPENT: usize = 512 << 10;

/// A buffer to read into, and those before it. One whose slices are all gone is used again: memory that is new each time
/// costs the system more, page by page, than receiving into it.
#[derive(Debug, Default)]
pub(super) struct ReceiveBuffer {
    current: BytesMut,
    /// The room that the current one was made with.
    size: usize,
    /// Full ones, of which slices may still be held; the oldest first.
    spent: VecDeque<BytesMut>,
}

impl ReceiveBuffer {
    /// What has come and was not taken.
    pub(super) fn rest(&self) -> &[u8] {
        &self.current
    }

    /// Takes the first so many bytes of the rest, which must have them.
    pub(super) fn take(&mut self, length: usize) -> BytesMut {
        self.current.split_to(length)
    }

    /// The buffer to read into, behind the rest. It has room for `least` bytes, or for `room` if more had to be made.
    pub(super) fn with_room(&mut self, least: usize, room: usize) -> &mut BytesMut {
        let missing = least > self.current.capacity() - self.current.len();
        if missing && !self.current.try_reclaim(room.max(least)) {
            self.begin_another(self.current.len() + room.max(least));
        }
        &mut self.current
    }

    fn begin_another(&mut self, size: usize) {
        let free = self.spent.iter_mut().position(|spent| spent.try_reclaim(size));
        let next = free.and_then(|at| self.spent.remove(at));
        let size_before = mem::replace(&mut self.size, size);
        let mut next = next.unwrap_or_else(|| BytesMut::with_capacity(size));
        next.extend_from_slice(&self.current);
        let mut full = mem::replace(&mut self.current, next);
        if (1..=LARGEST_SPENT).contains(&size_before) {
            full.advance(full.len());
            self.spent.push_back(full);
            if self.spent.len() > MOST_SPENT {
                self.spent.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const ROOM: usize = 1000;

    fn receive(buffer: &mut ReceiveBuffer, message: &[u8]) -> Bytes {
        for part in message.chunks(message.len().div_ceil(2)) {
            let room = buffer.with_room(part.len(), ROOM);
            assert!(room.capacity() - room.len() >= part.len());
            room.extend_from_slice(part);
        }
        let message = buffer.take(message.len()).freeze();
        assert!(buffer.rest().is_empty());
        message
    }

    #[test]
    fn memory_is_used_again_when_nobody_holds_it() {
        for (held, most_spent) in [(0, 1), (1, 2), (10, 6)] {
            let mut buffer = ReceiveBuffer::default();
            let mut messages = VecDeque::<(u8, Bytes)>::new();
            for number in 0..200 {
                messages.push_back((number, receive(&mut buffer, &[number; ROOM / 2])));
                if messages.len() > held {
                    messages.pop_front();
                }
                assert!(messages.iter().all(|(number, message)| message[..] == [*number; ROOM / 2]));
                assert!(buffer.spent.len() <= most_spent, "{held} held: {}", buffer.spent.len());
            }
        }
    }

    #[test]
    fn what_is_held_for_long_is_let_go() {
        let mut buffer = ReceiveBuffer::default();
        let messages: Vec<_> = (0..10 * MOST_SPENT).map(|_| receive(&mut buffer, &[7; ROOM])).collect();
        assert_eq!(buffer.spent.len(), MOST_SPENT);
        assert!(messages.iter().all(|message| message[..] == [7; ROOM]));
    }

    #[test]
    fn large_buffers_are_not_kept() {
        let mut buffer = ReceiveBuffer::default();
        let mut messages = VecDeque::new();
        for number in 10..30 {
            let message = vec![7; number * LARGEST_SPENT / 4];
            messages.push_back(receive(&mut buffer, &message));
            if messages.len() > 2 {
                messages.pop_front();
            }
            assert!(buffer.spent.is_empty());
        }
    }
}

//! Where received bytes lie while slices of them are in use elsewhere.

use std::collections::VecDeque;
use std::mem;

use bytes::{Buf, BytesMut};

/// The most buffers that wait to be free again; further ones are left to whoever holds their last slice.
const MOST_SPENT: usize = 32;

/// A buffer to read into, and those before it. One whose slices are all gone is used again: memory that is new each time
/// costs the system more, page by page, than receiving into it.
#[derive(Debug, Default)]
pub(super) struct ReceiveBuffer {
    current: BytesMut,
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

    /// The buffer to read into, behind the rest. It has room for `room` bytes, or a good part of that.
    pub(super) fn with_room(&mut self, room: usize) -> &mut BytesMut {
        if self.current.capacity() - self.current.len() < room / 4 {
            self.make_room(room);
        }
        &mut self.current
    }

    /// Makes room for so many bytes behind the rest.
    pub(super) fn make_room(&mut self, room: usize) {
        if self.current.capacity() - self.current.len() >= room || self.current.try_reclaim(room) {
            return;
        }
        let needed = self.current.len() + room;
        let free = self.spent.iter_mut().position(|spent| spent.try_reclaim(needed));
        let mut next =
            free.and_then(|at| self.spent.remove(at)).unwrap_or_else(|| BytesMut::with_capacity(needed));
        next.extend_from_slice(&self.current);
        let mut full = mem::replace(&mut self.current, next);
        full.advance(full.len());
        self.spent.push_back(full);
        if self.spent.len() > MOST_SPENT {
            self.spent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bytes::Bytes;

    use super::*;

    const ROOM: usize = 1000;

    /// Receives messages of `length` bytes of which the last `held` are kept; gives the memory that was used.
    fn places(length: usize, held: usize) -> HashSet<usize> {
        let mut buffer = ReceiveBuffer::default();
        let mut messages = VecDeque::<(u8, Bytes)>::new();
        let mut places = HashSet::new();
        for number in 0..200 {
            let message = vec![number; length];
            for part in message.chunks(length / 2) {
                let room = buffer.with_room(ROOM);
                assert!(room.capacity() - room.len() >= part.len());
                room.extend_from_slice(part);
            }
            places.insert(buffer.rest().as_ptr() as usize / ROOM);
            messages.push_back((number, buffer.take(length).freeze()));
            assert!(buffer.rest().is_empty());
            if messages.len() > held {
                messages.pop_front();
            }
            assert!(messages.iter().all(|(number, message)| message == &vec![*number; length]));
        }
        places
    }

    #[test]
    fn memory_is_used_again_when_nobody_holds_it() {
        for (held, most) in [(0, 2), (1, 4), (10, 14)] {
            let places = places(ROOM / 2, held).len();
            assert!(places <= 2 * most, "{held} held: {places} places");
        }
    }

    #[test]
    fn what_is_held_for_long_is_let_go() {
        let mut buffer = ReceiveBuffer::default();
        let mut messages = Vec::new();
        for _ in 0..10 * MOST_SPENT {
            buffer.with_room(ROOM).extend_from_slice(&[7; ROOM]);
            messages.push(buffer.take(ROOM));
            assert!(buffer.spent.len() <= MOST_SPENT);
        }
        assert!(messages.iter().all(|message| message[..] == [7; ROOM]));
    }
}

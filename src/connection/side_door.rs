//! A second way into a plain socket, for another thread than the one that owns the session.
//!
//! The task that owns a session holds the door shut for as long as it has bytes of its own to send, so that messages
//! never mix. Where encryption lies over the socket there is no such way.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BytesMut};
use rustix::net::{SendFlags, Shutdown};

/// What the thread holds.
#[derive(Debug)]
pub(crate) struct SideDoor {
    passage: Arc<Mutex<Passage>>,
}

/// What the session holds. Dropping it closes the door and its handle of the socket, so that no other thread keeps a
/// connection alive that is over.
#[derive(Debug)]
pub(super) struct DoorKeeper {
    passage: Arc<Mutex<Passage>>,
}

#[derive(Debug)]
struct Passage {
    /// Nothing once the door is closed for good.
    socket: Option<OwnedFd>,
    is_shut: bool,
    /// The rest of a message that the socket took in part.
    rest: BytesMut,
}

/// A door, open, to the socket that this is a handle of.
pub(super) fn side_door(socket: OwnedFd) -> (DoorKeeper, SideDoor) {
    let passage = Passage { socket: Some(socket), is_shut: false, rest: BytesMut::new() };
    let passage = Arc::new(Mutex::new(passage));
    (DoorKeeper { passage: Arc::clone(&passage) }, SideDoor { passage })
}

impl SideDoor {
    /// Sends the message if that is possible without waiting. If only a part of it is, the rest comes before anything
    /// else: next time here, or from the session. Why it is not possible is for the session to find out.
    pub(crate) fn try_send(&self, message: &[u8]) {
        let mut passage = locked(&self.passage);
        let Passage { socket: Some(socket), is_shut: false, rest } = &mut *passage else {
            return;
        };
        let send = |bytes: &[u8]| {
            rustix::net::send(&*socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or(0)
        };
        if rest.is_empty() {
            let length = send(message);
            if length > 0 {
                rest.extend_from_slice(&message[length..]);
            }
        } else {
            rest.advance(send(rest));
        }
    }

    /// Ends the connection in both directions. The session finds out by itself.
    pub(crate) fn shut_down(&self) {
        if let Some(socket) = &locked(&self.passage).socket {
            // It may have ended already.
            let _ = rustix::net::shutdown(socket, Shutdown::Both);
        }
    }
}

impl DoorKeeper {
    /// Nobody comes through until it is opened. Gives what must be sent before anything else.
    pub(super) fn shut(&self) -> BytesMut {
        let mut passage = locked(&self.passage);
        passage.is_shut = true;
        passage.rest.split()
    }

    /// Everything else is sent.
    pub(super) fn open(&self) {
        locked(&self.passage).is_shut = false;
    }
}

impl Drop for DoorKeeper {
    fn drop(&mut self) {
        locked(&self.passage).socket = None;
    }
}

fn locked(passage: &Mutex<Passage>) -> MutexGuard<'_, Passage> {
    passage.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (DoorKeeper, SideDoor, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let (keeper, door) = side_door(near.into());
        (keeper, door, far)
    }

    fn arrived(far: &mut UnixStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = far.read_to_end(&mut bytes);
        bytes
    }

    #[test]
    fn nobody_comes_through_while_the_door_is_shut() {
        let (keeper, door, mut far) = pair();
        door.try_send(b"one");
        assert!(keeper.shut().is_empty());
        door.try_send(b"two");
        keeper.open();
        door.try_send(b"three");
        drop(keeper);
        door.try_send(b"four");
        let mut bytes = Vec::new();
        // There is an end: nothing keeps the connection any more.
        assert_eq!(far.read_to_end(&mut bytes).map(|_| &bytes[..]).unwrap(), b"onethree");
        let (_keeper, door, far) = pair();
        drop(far);
        door.try_send(b"to nobody");
    }

    #[test]
    fn of_a_message_that_a_full_socket_takes_in_part_the_session_gets_the_rest() {
        let (keeper, door, mut far) = pair();
        let long = vec![7; 16 << 20];
        door.try_send(&long);
        door.try_send(b"next");
        let first = arrived(&mut far).len();
        door.try_send(b"later");
        let rest = keeper.shut();
        assert!(!rest.is_empty());
        assert_eq!(first + arrived(&mut far).len() + rest.len(), long.len());
        keeper.open();
        door.try_send(b"next");
        assert_eq!(arrived(&mut far), b"next");
    }
}

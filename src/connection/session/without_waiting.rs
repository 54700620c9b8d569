//! A COPY over a plain socket, for a thread that waits for the socket itself.
//!
//! It may go on with the rest of the session, and the other way round, after any of these: what is received and what is
//! left to be sent is kept in the same places. Readiness that a runtime remembers is only a hint to it.

use std::os::fd::BorrowedFd;

use bytes::Buf;
use postgres_protocol::message::frontend;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::{READ_ROOM, Session};
use crate::connection::error::{ConnectionError, receive_error};

impl Session {
    /// The socket to wait for, if it is a plain one.
    pub(crate) fn plain_socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.plain()
    }

    /// Sends one CopyData message as far as a plain socket takes it at once. The rest is left to be sent, and an error
    /// to be told then.
    pub(crate) fn send_copy_data_now(&mut self, payload: &[u8]) -> Result<(), ConnectionError> {
        frontend::CopyData::new(payload).map_err(|error| self.broken_send(error))?.write(&mut self.outgoing);
        self.shut_side_door();
        if let Some(socket) = self.socket.plain() {
            match send(socket, &self.outgoing, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(length) => self.outgoing.advance(length),
                Err(Errno::AGAIN | Errno::INTR) => {}
                // The socket tells it once.
                Err(error) => self.send_failure = Some(error),
            }
        }
        self.open_side_door_again();
        Ok(())
    }

    /// Receives what a plain socket has by now, at most as much as there is room for: it is read there and copied.
    pub(crate) fn receive_now(&mut self, room: &mut [u8]) -> Result<(), ConnectionError> {
        let Some(socket) = self.socket.plain() else { return Ok(()) };
        match recv(socket, &mut *room, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Err(self.broken(ConnectionError::Closed)),
            Ok((length, _)) => {
                self.deframer.buffer_with_room(READ_ROOM).extend_from_slice(&room[..length]);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(self.broken(receive_error(error.into()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::super::tests::idle;
    use super::super::{CopyItem, State};
    use super::*;

    /// A session in the middle of a COPY, and its server.
    fn copying() -> (Session, UnixStream) {
        let (mut session, far) = idle();
        session.state = State::Copying;
        (session, far)
    }

    fn message(payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(4 + payload.len()).unwrap();
        [b"d", &length.to_be_bytes()[..], payload].concat()
    }

    #[tokio::test]
    async fn what_a_full_socket_does_not_take_follows_later_and_nothing_comes_between() {
        let (mut session, mut far) = copying();
        let door = session.open_side_door().unwrap();
        let (payload, mut expected) = ([7; 1000], Vec::new());
        while !session.has_unsent() {
            session.send_copy_data_now(&payload).unwrap();
            expected.extend(message(&payload));
            assert!(expected.len() < 64 << 20, "the socket takes everything");
        }
        door.try_send(b"this would come between");
        session.send_copy_data_now(b"one more").unwrap();
        expected.extend(message(b"one more"));
        let reads = std::thread::spawn({
            let mut arrived = vec![0; expected.len()];
            move || far.read_exact(&mut arrived).map(|()| (arrived, far))
        });
        session.flush().await.unwrap();
        let (arrived, mut far) = reads.join().unwrap().unwrap();
        assert!(arrived == expected);
        door.try_send(b"open again");
        far.read_exact(&mut [0; 10]).unwrap();
    }

    #[tokio::test]
    async fn why_something_could_not_be_sent_is_told_later_or_what_the_server_said_last() {
        for words in [&b""[..], b"SFATAL\0VFATAL\0C57P01\0Mgoing home\0\0"] {
            let (mut session, mut far) = copying();
            if !words.is_empty() {
                let mut last = message(words);
                last[0] = b'E';
                far.write_all(&last).unwrap();
            }
            drop(far);
            session.send_copy_data_now(b"to nobody").unwrap();
            assert!(session.has_unsent());
            match session.flush().await.unwrap_err() {
                ConnectionError::Server(said) => assert_eq!(said.message(), "going home"),
                other => assert!(words.is_empty(), "{other:?}"),
            }
            assert!(!session.has_unsent());
        }
    }

    #[tokio::test]
    async fn either_way_of_receiving_goes_on_where_the_other_was() {
        let (mut session, mut far) = copying();
        let mut room = [0; 10];
        let mut expected = 0..;
        for number in 0..10_u8 {
            let sent = message(&[number; 12]);
            let (begin, rest) = sent.split_at(usize::from(number) + 1);
            far.write_all(begin).unwrap();
            session.receive_now(&mut room).unwrap();
            // Nothing is there, and that is no end.
            session.receive_now(&mut room).unwrap();
            assert!(session.buffered_copy_item().unwrap().is_none());
            far.write_all(rest).unwrap();
            let Ok(CopyItem::Data(data)) = session.copy_item().await else { panic!("no data") };
            assert_eq!(Some(data[0]), expected.next());
        }
        far.write_all(&message(b"the last")).unwrap();
        drop(far);
        while session.buffered_copy_item().unwrap().is_none() {
            session.receive_now(&mut room).unwrap();
        }
        assert!(matches!(session.receive_now(&mut room), Err(ConnectionError::Closed)));
    }
}

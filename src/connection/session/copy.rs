//! COPY in either direction, and in both, within a session.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{READ_ROOM, Session, State, within};
use crate::connection::error::ConnectionError;
use crate::connection::frame::Message;
use crate::connection::server_message::ServerMessage;

/// Reads without an item before the caller may look at something else: enough for an item of usual size.
const READS_AT_ONCE: usize = 16;

/// What comes next in a COPY.
#[derive(Debug)]
pub(crate) enum CopyItem {
    /// The payload of one message.
    Data(Bytes),
    /// The server has sent everything.
    Done,
    /// The server ended the command without ending the COPY, as it does when it shuts down.
    Complete,
}

/// What a socket did that reads and writes at once.
enum Exchange {
    Received(usize),
    Sent(usize),
}

impl Session {
    /// The next item of a COPY, waiting for it if need be. An error of the server ends the COPY.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn copy_item(&mut self) -> Result<CopyItem, ConnectionError> {
        loop {
            // A server may send notices and parameters for ever, of which nobody hears here.
            for _ in 0..READS_AT_ONCE {
                if let Some(item) = self.buffered_copy_item()? {
                    return Ok(item);
                }
                self.fill().await?;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The next item of a COPY if it is already here.
    pub(crate) fn buffered_copy_item(&mut self) -> Result<Option<CopyItem>, ConnectionError> {
        if self.state != State::Copying {
            return Err(ConnectionError::NotIdle);
        }
        let Some(message) = self.buffered_message()? else {
            return Ok(None);
        };
        match message.tag {
            b'd' => Ok(Some(CopyItem::Data(message.body))),
            b'c' => {
                self.state = State::Busy;
                Ok(Some(CopyItem::Done))
            }
            b'C' => {
                self.state = State::Busy;
                Ok(Some(CopyItem::Complete))
            }
            b'E' => {
                self.state = State::Busy;
                Err(ConnectionError::Server(Box::new(ServerMessage::parse_error(message.body))))
            }
            tag => Err(self.unexpected(tag)),
        }
    }

    /// Sends one CopyData message.
    ///
    /// # Cancel safety
    /// When the future is dropped, the message is sent whole with the next one.
    pub(crate) async fn send_copy_data(&mut self, payload: &[u8]) -> Result<(), ConnectionError> {
        frontend::CopyData::new(payload).map_err(|error| self.broken_send(error))?.write(&mut self.outgoing);
        self.flush().await
    }

    /// Tells the server that this side of a COPY is over.
    ///
    /// # Cancel safety
    /// When the future is dropped, the message is sent with the next one.
    pub(crate) async fn send_copy_done(&mut self) -> Result<(), ConnectionError> {
        self.shut_side_door();
        self.door = None;
        frontend::copy_done(&mut self.outgoing);
        self.flush().await
    }

    /// Sends one message of a COPY IN with these bytes. What the server says meanwhile is taken in, so that
    /// neither waits for the other for ever; an error of the server ends the COPY and the session (BB-114).
    ///
    /// # Cancel safety
    /// When the future is dropped, the message is sent whole with the next one.
    pub(crate) async fn send_copy_in(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        if self.state != State::Copying {
            return Err(ConnectionError::NotIdle);
        }
        frontend::CopyData::new(bytes).map_err(|error| self.broken_send(error))?.write(&mut self.outgoing);
        while self.outgoing.has_remaining() {
            let limit = self.receive_timeout;
            match within(limit, poll_fn(|context| self.poll_exchange(context))).await {
                Err(silent) => return Err(self.broken(silent)),
                Ok(Ok(Exchange::Received(0))) => return Err(self.broken(ConnectionError::Closed)),
                Ok(Ok(Exchange::Sent(0))) => return Err(self.broken_send(io::ErrorKind::WriteZero.into())),
                Ok(Ok(Exchange::Received(_) | Exchange::Sent(_))) => {}
                Ok(Err(error)) => return Err(self.failed_to_send(error).await),
            }
            match self.buffered_message()? {
                None => {}
                Some(Message { tag: b'E', body }) => {
                    let error = ServerMessage::parse_error(body);
                    return Err(self.broken(ConnectionError::Server(Box::new(error))));
                }
                Some(message) => return Err(self.unexpected(message.tag)),
            }
        }
        Ok(())
    }

    /// Ends a COPY IN; the answer is read with [`Session::reply`].
    ///
    /// # Cancel safety
    /// When the future is dropped, the message is sent with the next one.
    pub(crate) async fn end_copy_in(&mut self) -> Result<(), ConnectionError> {
        self.state = State::Busy;
        self.send_copy_done().await
    }

    /// Ends a COPY from this side, and drops what still comes of it.
    pub(super) async fn end_copy(&mut self) -> Result<(), ConnectionError> {
        self.send_copy_done().await?;
        while let CopyItem::Data(_) = self.copy_item().await? {}
        Ok(())
    }

    /// Receives what is there, and otherwise sends what can be sent. Such futures keep nothing from one poll to
    /// the next.
    fn poll_exchange(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Exchange>> {
        let mut buffer = self.deframer.buffer_to_read(READ_ROOM);
        if let Poll::Ready(received) = pin!(self.socket.read_buf(&mut buffer)).poll(context) {
            return Poll::Ready(received.map(Exchange::Received));
        }
        pin!(self.socket.write_buf(&mut self.outgoing)).poll(context).map_ok(Exchange::Sent)
    }
}

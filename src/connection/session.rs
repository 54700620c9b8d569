//! A session with a server: simple queries, and what COPY goes by.

mod copy;
mod without_waiting;

use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::frontend;
use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::error::{ConnectionError, receive_error, send_error};
use super::frame::{Deframer, Message, Phase};
use super::notice::{Notice, NoticeHandler};
use super::place::Place;
use super::server_message::ServerMessage;
use super::side_door::{DoorKeeper, SideDoor, side_door};
use super::socket::Socket;
use super::startup::SessionStart;
use super::tls_error::TlsError;
use crate::conninfo::Host;
use crate::protocol::ResultSet;
use crate::types::{OsError, ServerVersion};

pub(crate) use copy::CopyItem;

/// Room for a read: a walsender writes 32 KiB of a backup at a time, or 128 KiB of WAL, two of which fit with what is
/// around them.
const READ_ROOM: usize = (256 << 10) + 128;

/// The largest result is a timeline history file of a cluster with thousands of promotions. It counts what rows take
/// in memory, so that many small ones are not more than a large one.
const LARGEST_RESULT: usize = 32 << 20;

/// What a command answers next.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Rows; more may follow.
    Rows(ResultSet),
    /// A part of the command that has no rows is complete.
    Complete,
    /// The server sends data.
    CopyOut,
    /// The server waits for data.
    CopyIn,
    /// Both send data.
    CopyBoth,
    /// The command is over, the session idle again.
    Ready,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Busy,
    Copying,
    /// An error inside the protocol or the socket; nothing can follow.
    Broken,
}

/// The other side, by its name and by what that stood for.
pub(super) struct Peer {
    pub(super) host: Host,
    pub(super) place: Place,
}

/// A session that finished its start-up. One task owns it.
pub(crate) struct Session {
    socket: Socket,
    deframer: Deframer,
    /// Bytes to send; what a dropped future left unsent stays here and goes first next time.
    outgoing: BytesMut,
    /// Why nothing more can be sent, if that was found out without a task that could be told.
    send_failure: Option<Errno>,
    /// Of the way that another thread has into the COPY under way.
    door: Option<DoorKeeper>,
    state: State,
    /// How long the server may be silent while it is waited for; none waits for ever.
    receive_timeout: Option<Duration>,
    start: SessionStart,
    version: ServerVersion,
    peer: Peer,
    notices: NoticeHandler,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("state", &self.state)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(
        socket: Socket,
        mut deframer: Deframer,
        start: SessionStart,
        peer: Peer,
        notices: NoticeHandler,
    ) -> Self {
        deframer.enter(Phase::Established);
        let mut session = Self {
            socket,
            deframer,
            outgoing: BytesMut::new(),
            send_failure: None,
            door: None,
            state: State::Idle,
            receive_timeout: None,
            start,
            version: ServerVersion::parse(""),
            peer,
            notices,
        };
        session.version = ServerVersion::parse(session.parameter("server_version").unwrap_or(""));
        session
    }

    /// A parameter that clients act upon, in the latest value that the server reported.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.start.parameter(name)
    }

    /// From now on a server that is silent for so long while it is waited for counts as dead. The time in which nobody
    /// waits does not count.
    pub(crate) fn set_receive_timeout(&mut self, timeout: Option<Duration>) {
        self.receive_timeout = timeout;
    }

    /// The server's version.
    pub(crate) fn server_version(&self) -> &ServerVersion {
        &self.version
    }

    /// The one of the configured hosts that this is a session with.
    pub(crate) fn host(&self) -> &Host {
        &self.peer.host
    }

    /// The address or socket that this is a session with.
    pub(crate) fn place(&self) -> &Place {
        &self.peer.place
    }

    /// The process id of the backend that serves this session.
    pub(crate) fn backend_pid(&self) -> Option<u32> {
        self.start.backend_pid
    }

    /// Sends a command by the simple query protocol; the answers are read with [`Session::reply`].
    ///
    /// # Cancel safety
    /// A dropped future leaves the session busy; it can only be closed then.
    pub(crate) async fn start_command(&mut self, command: &str) -> Result<(), ConnectionError> {
        if self.state != State::Idle {
            return Err(ConnectionError::NotIdle);
        }
        self.state = State::Busy;
        tracing::debug!(command, "send");
        frontend::query(command, &mut self.outgoing).map_err(|error| self.broken_send(error))?;
        self.flush().await
    }

    /// The next answer to the command under way. After an error of the server the session is idle again
    /// where the server goes on.
    ///
    /// # Cancel safety
    /// Rows already received are lost when the future is dropped; the session stays busy.
    pub(crate) async fn reply(&mut self) -> Result<Reply, ConnectionError> {
        let mut rows: Option<ResultSet> = None;
        let mut size = 0;
        loop {
            let message = self.receive().await?;
            match message.tag {
                b'T' => rows = Some(ResultSet::from_row_description(message.body)?),
                b'D' => {
                    size += rows.as_ref().map_or(0, ResultSet::row_overhead) + message.body.len();
                    if size > LARGEST_RESULT {
                        return Err(self.broken(ConnectionError::ResultTooLarge(LARGEST_RESULT)));
                    }
                    match rows.as_mut() {
                        // The slice would keep the whole receive buffer alive.
                        Some(rows) => rows.push_row(Bytes::copy_from_slice(&message.body))?,
                        None => return Err(self.unexpected(message.tag)),
                    }
                }
                b'C' | b'I' => return Ok(rows.map_or(Reply::Complete, Reply::Rows)),
                b'H' => return Ok(self.copy(Reply::CopyOut)),
                b'G' => return Ok(self.copy(Reply::CopyIn)),
                b'W' => return Ok(self.copy(Reply::CopyBoth)),
                b'Z' => {
                    self.state = State::Idle;
                    return Ok(Reply::Ready);
                }
                b'E' => return Err(self.recover(message.body).await),
                tag => return Err(self.unexpected(tag)),
            }
        }
    }

    /// Runs a command that answers with one result set at most; of several the last counts (CN-317).
    ///
    /// # Cancel safety
    /// A dropped future leaves the session busy; it can only be closed then.
    pub(crate) async fn query(&mut self, command: &str) -> Result<ResultSet, ConnectionError> {
        self.start_command(command).await?;
        let mut result = ResultSet::default();
        loop {
            match self.reply().await? {
                Reply::Rows(rows) => result = rows,
                Reply::Complete => {}
                Reply::Ready => return Ok(result),
                Reply::CopyOut => return Err(self.unexpected(b'H')),
                Reply::CopyIn => return Err(self.unexpected(b'G')),
                Reply::CopyBoth => return Err(self.unexpected(b'W')),
            }
        }
    }

    /// Whether something is left to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.outgoing.has_remaining()
    }

    /// Sends what is left to be sent.
    ///
    /// # Cancel safety
    /// When the future is dropped, the rest is sent with the next message.
    pub(crate) async fn flush(&mut self) -> Result<(), ConnectionError> {
        match self.send_outgoing().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed_to_send(error).await),
        }
    }

    /// Lets another thread send whole messages of the COPY under way, where the socket is a plain one.
    pub(crate) fn open_side_door(&mut self) -> Option<SideDoor> {
        let socket = self.socket.plain()?.try_clone_to_owned().ok()?;
        let (keeper, door) = side_door(socket);
        self.door = Some(keeper);
        Some(door)
    }

    /// Ends the command under way, if there is one, and drops what still comes of it. After that the session is idle,
    /// also where a future of it was dropped.
    ///
    /// # Cancel safety
    /// A dropped future leaves the session as busy as it was.
    pub(crate) async fn end_command(&mut self) -> Result<(), ConnectionError> {
        loop {
            let ended = match self.state {
                State::Idle => return Ok(()),
                State::Broken => return Err(ConnectionError::NotIdle),
                State::Copying => self.end_copy().await,
                State::Busy => self.drop_message().await,
            };
            match ended {
                Err(error) if self.state == State::Broken => return Err(error),
                _ => {}
            }
        }
    }

    /// Drops the next message of the answer to a command, of which a part may still be to be sent. What came before was
    /// dropped too, with the future that had taken it.
    async fn drop_message(&mut self) -> Result<(), ConnectionError> {
        self.flush().await?;
        let message = self.receive().await?;
        match message.tag {
            b'T' | b'D' | b'C' | b'I' => {}
            b'H' | b'G' | b'W' => self.state = State::Copying,
            b'Z' => self.state = State::Idle,
            b'E' => return Err(self.recover(message.body).await),
            tag => return Err(self.unexpected(tag)),
        }
        Ok(())
    }

    /// Takes leave of the server and closes the socket. Failures do not matter any more.
    pub(crate) async fn close(mut self) {
        frontend::terminate(&mut self.outgoing);
        if self.flush().await.is_ok() {
            let _ = self.socket.shutdown().await;
        }
    }

    fn copy(&mut self, reply: Reply) -> Reply {
        self.state = State::Copying;
        reply
    }

    fn broken(&mut self, error: ConnectionError) -> ConnectionError {
        self.state = State::Broken;
        error
    }

    fn broken_send(&mut self, error: io::Error) -> ConnectionError {
        self.broken(ConnectionError::Send(OsError(error)))
    }

    fn unexpected(&mut self, tag: u8) -> ConnectionError {
        let while_doing = match self.state {
            State::Copying => "copying",
            _ => "waiting for a result",
        };
        self.broken(ConnectionError::UnexpectedMessage { tag, while_doing })
    }

    /// Reads on to the point where the session is ready again after an error; a fatal one ends it.
    async fn recover(&mut self, body: Bytes) -> ConnectionError {
        let error = ConnectionError::Server(Box::new(ServerMessage::parse_error(body)));
        loop {
            match self.receive().await {
                Ok(Message { tag: b'Z', .. }) => {
                    self.state = State::Idle;
                    return error;
                }
                Ok(_) => {}
                Err(_) => return error,
            }
        }
    }

    async fn receive(&mut self) -> Result<Message, ConnectionError> {
        loop {
            if let Some(message) = self.buffered_message()? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    /// The next message that is not absorbed here: notices and parameters may come at any time.
    fn buffered_message(&mut self) -> Result<Option<Message>, ConnectionError> {
        loop {
            let message = match self.deframer.next() {
                Ok(message) => message,
                Err(error) => return Err(self.broken(error.into())),
            };
            match message {
                Some(Message { tag: b'N', body }) => {
                    (self.notices)(&Notice::Server(ServerMessage::parse_notice(body)));
                }
                Some(message @ Message { tag: b'S', .. }) => {
                    self.start.report(&message).map_err(ConnectionError::Parameter)?;
                }
                message => return Ok(message),
            }
        }
    }

    async fn fill(&mut self) -> Result<(), ConnectionError> {
        let mut buffer = self.deframer.buffer_to_read(READ_ROOM);
        match within(self.receive_timeout, self.socket.read_buf(&mut buffer)).await {
            Err(silent) => Err(self.broken(silent)),
            Ok(Ok(0)) => Err(self.broken(ConnectionError::Closed)),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.broken(receive_error(error))),
        }
    }

    /// What the server said before it closed is the better error (CN-294).
    async fn failed_to_send(&mut self, error: io::Error) -> ConnectionError {
        self.outgoing.clear();
        self.last_words().await.unwrap_or_else(|| send_error(error))
    }

    async fn send_outgoing(&mut self) -> io::Result<()> {
        self.shut_side_door();
        if let Some(failure) = self.send_failure.take() {
            return Err(failure.into());
        }
        while self.outgoing.has_remaining() {
            self.socket.write_buf(&mut self.outgoing).await?;
        }
        self.socket.flush().await?;
        self.open_side_door_again();
        Ok(())
    }

    fn open_side_door_again(&self) {
        if let Some(door) = self.door.as_ref().filter(|_| self.outgoing.is_empty()) {
            door.open();
        }
    }

    /// Lets nobody else send until this one's messages are sent whole. The rest of another's goes first.
    fn shut_side_door(&mut self) {
        let Some(door) = &self.door else { return };
        let mut rest = door.shut();
        if rest.has_remaining() {
            rest.unsplit(std::mem::take(&mut self.outgoing));
            self.outgoing = rest;
        }
    }

    async fn last_words(&mut self) -> Option<ConnectionError> {
        loop {
            match self.receive().await {
                Ok(Message { tag: b'E', body }) => {
                    self.state = State::Broken;
                    return Some(ConnectionError::Server(Box::new(ServerMessage::parse_error(body))));
                }
                Ok(_) => {}
                Err(alert @ ConnectionError::Tls(TlsError::Protocol(_))) => return Some(alert),
                Err(_) => return None,
            }
        }
    }
}

/// What takes longer than the limit, where there is one, ends in [`ConnectionError::Silent`].
async fn within<T>(limit: Option<Duration>, answer: impl Future<Output = T>) -> Result<T, ConnectionError> {
    match limit {
        None => Ok(answer.await),
        Some(limit) => tokio::time::timeout(limit, answer).await.map_err(|_| ConnectionError::Silent(limit)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;
    use crate::conninfo::Port;

    /// An idle session, and its server.
    pub(super) fn idle() -> (Session, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let socket = Socket::Unix(tokio::net::UnixStream::from_std(near).unwrap());
        let host = Host { name: None, address: None, port: Port::default() };
        let peer = Peer { host, place: Place::Socket("/".into()) };
        let session = Session::new(socket, Deframer::new(), SessionStart::default(), peer, Arc::new(|_| {}));
        (session, far)
    }

    #[tokio::test]
    async fn a_command_is_ended_wherever_it_was_left() {
        const ANSWER: [&[u8]; 4] =
            [b"T\0\0\0\x06\0\0", b"D\0\0\0\x06\0\0", b"C\0\0\0\x06X\0", b"Z\0\0\0\x05I"];
        for taken in 0..ANSWER.len() {
            let (mut session, mut far) = idle();
            session.state = State::Busy;
            for (number, message) in ANSWER.iter().enumerate() {
                far.write_all(message).unwrap();
                if number < taken {
                    session.receive().await.unwrap();
                }
            }
            session.end_command().await.unwrap();
            assert_eq!(session.state, State::Idle, "{taken} messages were taken");
        }
    }
}

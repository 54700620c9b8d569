//! Feeds the start-up of a session: its messages go out to the socket, those of the server come in.
//!
//! What comes in is a connected socket; what goes out is a session that is ready, or why there is none.
//! Nothing is decided here but what a broken connection means.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect_error::AttemptError;
use super::error::ConnectionError;
use super::frame::{Deframer, Message};
use super::notice::{Notice, NoticeHandler};
use super::session::{receive_error, send_error};
use super::socket::Socket;
use super::startup::{SessionStart, Startup, StartupError, Step, startup_message};

/// Room for a read during start-up, when messages are small.
const READ_ROOM: usize = 8 << 10;

/// The start-up of one session over one socket.
pub(super) struct Handshake<'a> {
    socket: &'a mut Socket,
    deframer: &'a mut Deframer,
    startup: Startup,
    notices: &'a NoticeHandler,
}

impl<'a> Handshake<'a> {
    pub(super) fn new(
        socket: &'a mut Socket,
        deframer: &'a mut Deframer,
        startup: Startup,
        notices: &'a NoticeHandler,
    ) -> Self {
        Self { socket, deframer, startup, notices }
    }

    /// Sends the startup message and answers the server until it is ready. What it may have sent beyond
    /// stays in the deframer.
    pub(super) async fn run(mut self, parameters: &[(&str, &str)]) -> Result<SessionStart, AttemptError> {
        let mut outgoing = startup_message(parameters).map_err(refused)?;
        loop {
            self.socket.write_all(&outgoing).await.map_err(|error| AttemptError::Lost(send_error(error)))?;
            outgoing.clear();
            let message = self.receive().await?;
            match self.startup.handle(message).map_err(refused)? {
                Step::Send(bytes) => outgoing = bytes,
                Step::Notice(message) => (self.notices)(&Notice::Server(message)),
                Step::Ready(start) => return Ok(start),
            }
        }
    }

    async fn receive(&mut self) -> Result<Message, AttemptError> {
        loop {
            match self.deframer.next() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => self.fill().await?,
                Err(error) if self.startup.expects(error.tag) => {
                    return Err(AttemptError::Lost(error.into()));
                }
                Err(error) => return Err(refused(self.startup.out_of_turn(error.tag))),
            }
        }
    }

    async fn fill(&mut self) -> Result<(), AttemptError> {
        match self.socket.read_buf(self.deframer.buffer_with_room(READ_ROOM)).await {
            Ok(0) => Err(AttemptError::Lost(ConnectionError::Closed)),
            Ok(_) => Ok(()),
            Err(error) => Err(AttemptError::Lost(receive_error(error))),
        }
    }
}

fn refused(source: StartupError) -> AttemptError {
    AttemptError::Startup { source, password_file: None }
}

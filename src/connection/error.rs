use std::io;
use std::time::Duration;

use super::frame::OutOfSync;
use super::gss_error::GssError;
use super::server_message::ServerMessage;
use super::startup::StartupError;
use super::tls_error::TlsError;
use crate::protocol::ResultSetError;
use crate::types::OsError;

/// A session that was established failed, or the server refused a command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The server reports an error; the session may go on.
    #[error("{0}")]
    Server(Box<ServerMessage>),
    /// The server closed the connection without a word.
    #[error(
        "server closed the connection unexpectedly\n\
         \tThis probably means the server terminated abnormally\n\
         \tbefore or while processing the request."
    )]
    Closed,
    /// Reading from the socket failed.
    #[error("could not receive data from server")]
    Receive(#[source] OsError),
    /// Writing to the socket failed.
    #[error("could not send data to server")]
    Send(#[source] OsError),
    /// Nothing came from the server for so long while something was awaited from it.
    #[error("no message from the server for {} seconds", .0.as_secs())]
    Silent(Duration),
    /// TLS broke, or was ended without a word.
    #[error(transparent)]
    Tls(TlsError),
    /// GSSAPI encryption broke.
    #[error(transparent)]
    Gss(GssError),
    /// The stream is no stream of messages any more.
    #[error(transparent)]
    OutOfSync(#[from] OutOfSync),
    /// A message that cannot come here.
    #[error("unexpected message \"{}\" from server while {while_doing}", .tag.escape_ascii())]
    UnexpectedMessage {
        /// The type byte.
        tag: u8,
        /// What the client was waiting for.
        while_doing: &'static str,
    },
    /// A result that is not what the command promises.
    #[error(transparent)]
    Result(#[from] ResultSetError),
    /// A parameter of the session cannot be read.
    #[error(transparent)]
    Parameter(StartupError),
    /// The result of a command is larger than any that the protocol has.
    #[error("result of a replication command is larger than {0} bytes")]
    ResultTooLarge(usize),
    /// The session is in the middle of something, or broke earlier.
    #[error("the connection is not ready for a command")]
    NotIdle,
}

impl ConnectionError {
    /// The server's report, where it is one.
    pub fn server_message(&self) -> Option<&ServerMessage> {
        match self {
            Self::Server(message) => Some(message),
            _ => None,
        }
    }

    /// Whether the same command may succeed later over a new connection.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Closed | Self::Receive(_) | Self::Send(_) | Self::Silent(_) => true,
            Self::Tls(error) => error.is_retryable(),
            Self::Gss(error) => error.is_retryable(),
            Self::Server(message) => message.is_of_the_moment(),
            _ => false,
        }
    }
}

/// Reading from the server failed.
pub(super) fn receive_error(error: io::Error) -> ConnectionError {
    of_protection(error).unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ConnectionError::Closed,
        _ => ConnectionError::Receive(OsError(error)),
    })
}

/// Writing to the server failed.
pub(super) fn send_error(error: io::Error) -> ConnectionError {
    of_protection(error).unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ConnectionError::Closed,
        _ => ConnectionError::Send(OsError(error)),
    })
}

/// TLS and GSSAPI put their errors into those of the stream.
fn of_protection(error: io::Error) -> Result<ConnectionError, io::Error> {
    let error = match error.downcast() {
        Ok(error) => return Ok(ConnectionError::Tls(error)),
        Err(error) => error,
    };
    error.downcast().map(ConnectionError::Gss)
}

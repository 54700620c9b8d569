//! Why no host could be connected to, in libpq's words, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use super::error::ConnectionError;
use super::server_message::{ServerMessage, sqlstate};
use super::startup::StartupError;
use crate::conninfo::HostError;
use crate::types::{OsError, WithCauses};

/// No session could be had: every attempt that was made, in order.
#[derive(Debug)]
pub struct ConnectError {
    attempts: Vec<FailedAttempt>,
}

/// One attempt to reach one address of one host.
#[derive(Debug)]
pub struct FailedAttempt {
    /// Where to; none if the failure came before an address was known (CN-299).
    pub place: Option<Place>,
    /// What happened.
    pub cause: AttemptError,
}

/// What an attempt tried to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A TCP port.
    Tcp {
        /// The host as the user named it.
        host: String,
        /// The address that was tried, where it is not what the user named.
        address: Option<String>,
        /// The port.
        port: u16,
    },
    /// A Unix-domain socket.
    Socket(PathBuf),
}

/// What went wrong with one attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// The settings ask for something that this build does not have.
    #[error("{0}")]
    Unsupported(String),
    /// The host cannot be tried as it is written.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The name has no address.
    #[error("could not translate host name \"{name}\" to address: {reason}")]
    Resolve {
        /// The name.
        name: String,
        /// What the resolver says.
        reason: OsError,
    },
    /// `hostaddr` is no address.
    #[error("could not parse network address \"{0}\": Name or service not known")]
    Address(String),
    /// No socket could be connected.
    #[error("{reason}\n\t{question}")]
    Connect {
        /// The reason.
        reason: OsError,
        /// What to look at.
        question: &'static str,
    },
    /// A socket option was refused.
    #[error("could not set {option}")]
    SocketOption {
        /// The option.
        option: &'static str,
        /// The reason.
        source: OsError,
    },
    /// `connect_timeout` has passed.
    #[error("timeout expired")]
    Timeout,
    /// The server did not let us in, or does not speak the protocol.
    #[error("{refusal}{}", password_file.as_ref().map(|file|
        format!("\npassword retrieved from file \"{}\"", file.display())).unwrap_or_default())]
    Startup {
        /// The reason.
        refusal: StartupError,
        /// The password file that a refused password came from.
        password_file: Option<PathBuf>,
    },
    /// The connection was lost during start-up.
    #[error(transparent)]
    Lost(ConnectionError),
}

impl AttemptError {
    fn startup(&self) -> Option<&StartupError> {
        match self {
            Self::Startup { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// The server's refusal, if it is one.
    pub fn server_message(&self) -> Option<&ServerMessage> {
        match self.startup() {
            Some(StartupError::Server(message)) => Some(message),
            _ => None,
        }
    }

    fn is_retryable(&self) -> bool {
        match self {
            Self::Resolve { .. } | Self::Connect { .. } | Self::Timeout | Self::Lost(_) => true,
            _ => self.server_message().is_some_and(|message| {
                matches!(message.sqlstate(), sqlstate::CANNOT_CONNECT_NOW | sqlstate::TOO_MANY_CONNECTIONS)
            }),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        if matches!(self.startup(), Some(StartupError::PasswordMissing)) {
            return Some(
                "Set PGPASSWORD, use a password file, or leave out -w to be asked for the password.",
            );
        }
        let message = self.server_message()?;
        let is_about_pg_hba = message.field(b'R') == Some("ClientAuthentication");
        match message.sqlstate() {
            sqlstate::INVALID_AUTHORIZATION if is_about_pg_hba => Some(
                "Add a line for the database \"replication\", this user and this address to pg_hba.conf on the \
                 server, and reload its configuration. A line of type hostssl does not fit, because this \
                 version connects without TLS.",
            ),
            sqlstate::INSUFFICIENT_PRIVILEGE => {
                Some("Give the role the REPLICATION attribute: ALTER ROLE … REPLICATION.")
            }
            sqlstate::TOO_MANY_CONNECTIONS => Some(
                "Raise max_wal_senders on the server, or end other replication connections: a base backup takes \
                 one, and a second one for -X stream.",
            ),
            sqlstate::CANNOT_CONNECT_NOW => Some("Try again when the server has started."),
            _ => None,
        }
    }
}

impl ConnectError {
    pub(super) fn new(attempts: Vec<FailedAttempt>) -> Self {
        Self { attempts }
    }

    /// The attempts, in order; at least one.
    pub fn attempts(&self) -> &[FailedAttempt] {
        &self.attempts
    }

    /// Whether a server asked for a password and none was known (CN-276).
    pub fn needs_password(&self) -> bool {
        let last = self.attempts.last().and_then(|attempt| attempt.cause.startup());
        matches!(last, Some(StartupError::PasswordMissing))
    }

    /// What a person can do about the last failure, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        self.attempts.last()?.cause.hint()
    }

    /// Whether the same may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.cause.is_retryable())
    }
}

impl std::error::Error for ConnectError {}

/// One line, with its causes and continuations, for each attempt (CN-300).
impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, attempt) in self.attempts.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            if let Some(place) = &attempt.place {
                write!(f, "{place} failed: ")?;
            }
            write!(f, "{}", WithCauses(&attempt.cause))?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, address: Some(address), port } => {
                write!(f, "connection to server at \"{host}\" ({address}), port {port}")
            }
            Self::Tcp { host, address: None, port } => {
                write!(f, "connection to server at \"{host}\", port {port}")
            }
            Self::Socket(path) => write!(f, "connection to server on socket \"{}\"", path.display()),
        }
    }
}

//! Why no host could be connected to, in libpq's words, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use super::error::ConnectionError;
use super::gss_error::GssError;
use super::hint;
use super::negotiation::NegotiationError;
use super::place::Place;
use super::server_message::{ServerMessage, sqlstate};
use super::session_attributes::WrongServer;
use super::startup::StartupError;
use super::tls_error::TlsError;
use crate::conninfo::{HostError, InvalidInteger};
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
    /// Whether the connection was encrypted when it failed.
    pub is_encrypted: bool,
    /// What happened.
    pub cause: AttemptError,
}

/// What went wrong with one attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// The settings demand something that this build does not have.
    #[error("{keyword} value \"{value}\" invalid when {feature} support is not compiled in")]
    NotCompiledIn {
        /// The keyword that demands it.
        keyword: &'static str,
        /// Its value.
        value: &'static str,
        /// What is missing.
        feature: &'static str,
    },
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
    /// There is no socket to be had from the system.
    #[error("could not create socket: {0}")]
    Socket(OsError),
    /// No socket could be connected.
    #[error("{reason}\n\t{question}")]
    Connect {
        /// The reason.
        reason: OsError,
        /// What to look at.
        question: &'static str,
    },
    /// `connect_timeout` cannot be read (CN-121).
    #[error(transparent)]
    InvalidTimeout(InvalidInteger),
    /// A setting for the socket cannot be read (CN-121).
    #[error(transparent)]
    InvalidOption(InvalidInteger),
    /// A socket option was refused.
    #[error("setsockopt({option}) failed")]
    SocketOption {
        /// The option.
        option: &'static str,
        /// The reason.
        source: OsError,
    },
    /// The user that the server runs as cannot be found out.
    #[error("could not get peer credentials: {0}")]
    PeerUnknown(OsError),
    /// The user that the server runs as has no name.
    #[error("local user with ID {0} does not exist")]
    PeerHasNoName(u32),
    /// The server runs as somebody else than `requirepeer` says (CN-223).
    #[error("requirepeer specifies \"{required}\", but actual peer user name is \"{actual}\"")]
    Peer {
        /// Who it should be.
        required: String,
        /// Who it is.
        actual: String,
    },
    /// GSSAPI encryption is demanded where it does not exist (CN-140).
    #[error("GSSAPI encryption required but it is not supported over a local socket")]
    GssOverSocket,
    /// GSSAPI encryption is demanded and the user has no ticket (CN-142).
    #[error("GSSAPI encryption required but no credential cache")]
    GssWithoutCredentials,
    /// The server does not encrypt, or says so in a way that cannot be trusted.
    #[error(transparent)]
    Negotiation(#[from] NegotiationError),
    /// TLS did not come about.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// GSSAPI encryption did not come about.
    #[error(transparent)]
    Gss(#[from] GssError),
    /// The server is of another kind than the wanted one (CN-127).
    #[error(transparent)]
    WrongServer(WrongServer),
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
    /// Names the password file that a password came from, if it was refused (CN-089).
    pub(super) fn with_password_file(self, file: Option<PathBuf>) -> Self {
        match self {
            Self::Startup { refusal: StartupError::Server(message), .. }
                if message.sqlstate() == sqlstate::INVALID_PASSWORD =>
            {
                Self::Startup { refusal: StartupError::Server(message), password_file: file }
            }
            other => other,
        }
    }

    pub(super) fn startup(&self) -> Option<&StartupError> {
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
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::WrongServer(_)
            | Self::Timeout
            | Self::Lost(_)
            | Self::Startup { refusal: StartupError::Words(_), .. }
            | Self::Negotiation(NegotiationError::Lost(_)) => true,
            Self::Tls(error) => error.is_retryable(),
            Self::Gss(error) => error.is_retryable(),
            _ => self.server_message().is_some_and(ServerMessage::is_of_the_moment),
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
    pub fn hint(&self) -> Option<String> {
        hint::remedy(&self.attempts)
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

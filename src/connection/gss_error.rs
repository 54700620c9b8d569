use super::error::ConnectionError;
use crate::types::OsError;

/// GSSAPI refused, or cannot go on.
///
/// What the library says comes as text, because it is known only to the thread that called it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GssError {
    /// This build has no GSSAPI.
    #[error("GSSAPI support is not compiled in")]
    NotCompiledIn,
    /// There is only an address, from which no service can be named.
    #[error("host name must be specified")]
    HostMissing,
    /// The service is no name for the library.
    #[error("GSSAPI name import error: {0}")]
    NameImport(String),
    /// The context that shall encrypt did not come about.
    #[error("could not initiate GSSAPI security context: {0}")]
    Initiate(String),
    /// The context that shall authenticate did not come about.
    #[error("GSSAPI continuation error: {0}")]
    Continue(String),
    /// The server goes on where everything has been said.
    #[error("unexpected GSSAPI token from server after the security context was complete")]
    AlreadyComplete,
    /// No thread to wait for the KDC on.
    #[error("could not start the thread that talks to the KDC")]
    Thread(#[source] OsError),
    /// The thread ended without an answer.
    #[error("the thread that talks to the KDC ended unexpectedly")]
    ThreadDied,
    /// The server ends the exchange of tokens with these words, which nothing authenticates.
    #[error("{0}")]
    Server(String),
    /// The connection was lost during the exchange of tokens.
    #[error(transparent)]
    Lost(Box<ConnectionError>),
    /// A packet that is longer than any server sends.
    #[error("oversize GSSAPI packet sent by the server ({length} > {limit})")]
    OversizeIncoming {
        /// The length that the packet claims, in bytes without the four of the length itself.
        length: usize,
        /// The greatest length there is.
        limit: usize,
    },
    /// A packet that is longer than any server takes.
    #[error("client tried to send oversize GSSAPI packet ({length} > {limit})")]
    OversizeOutgoing {
        /// The length of the packet, in bytes without the four of the length itself.
        length: usize,
        /// The greatest length there is.
        limit: usize,
    },
    /// A packet was changed, repeated, left out, or never was one.
    #[error("GSSAPI unwrap error: {0}")]
    Unwrap(String),
    /// The library does not encrypt.
    #[error("GSSAPI wrap error: {0}")]
    Wrap(String),
    /// The server sent a packet that everybody can read.
    #[error("incoming GSSAPI message did not use confidentiality")]
    IncomingNotConfidential,
    /// The library made a packet that everybody can read; it was not sent.
    #[error("outgoing GSSAPI message would not use confidentiality")]
    OutgoingNotConfidential,
}

impl GssError {
    /// Whether the same may succeed later, without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Lost(error) => error.is_retryable(),
            Self::Thread(_) => true,
            _ => false,
        }
    }
}

impl From<ConnectionError> for GssError {
    fn from(error: ConnectionError) -> Self {
        Self::Lost(Box::new(error))
    }
}

use super::authentication::{ChannelBindingError, OauthError, ScramError};
use super::gss_error::GssError;
use super::server_message::ServerMessage;

/// Why a session did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartupError {
    /// The server refused.
    #[error("{0}")]
    Server(ServerMessage),
    /// The server refused without a message of the protocol, as it does when the system gives it no process.
    #[error("{0}")]
    Words(String),
    /// The server wants a password and none is known.
    #[error("fe_sendauth: no password supplied")]
    PasswordMissing,
    /// The server wants a kind of authentication that this client does not have.
    #[error("{0}")]
    Unsupported(String),
    /// `require_auth` does not allow what the server does.
    #[error("authentication method requirement \"{required}\" failed: {violation}")]
    MethodRefused {
        /// `require_auth` as it was given.
        required: String,
        /// What the server does.
        violation: String,
    },
    /// Channel binding cannot be had as it is demanded, or is offered where it cannot be.
    #[error(transparent)]
    ChannelBinding(#[from] ChannelBindingError),
    /// `sslcertmode` demands a client certificate and the server did not ask for one.
    #[error("server did not request an SSL certificate")]
    CertificateNotRequested,
    /// `sslcertmode` demands a client certificate and the server was content with none.
    #[error("server accepted connection without a valid SSL certificate")]
    CertificateNotSent,
    /// SCRAM failed.
    #[error(transparent)]
    Scram(#[from] ScramError),
    /// GSSAPI failed.
    #[error(transparent)]
    Gss(#[from] GssError),
    /// The server wants an OAuth token.
    #[error(transparent)]
    Oauth(#[from] OauthError),
    /// The server ended authentication before it proved itself.
    #[error("server did not complete authentication")]
    Incomplete,
    /// None of the mechanisms that the server offers is known.
    #[error("none of the server's SASL authentication mechanisms are supported")]
    NoMechanism,
    /// The server talks and talks.
    #[error("the server does not become ready: more than {0} bytes during start-up")]
    Endless(usize),
    /// A message out of turn or out of form.
    #[error("{0}")]
    Protocol(String),
}

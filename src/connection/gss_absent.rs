//! The place of GSSAPI in a build without it: nothing here can be reached.

use std::convert::Infallible;

use tokio::net::TcpStream;

pub(super) use super::absent_stream::AbsentStream as GssStream;
use super::gss_error::GssError;
use crate::conninfo::{Config, Host};

/// Whether this build has GSSAPI.
pub(super) const IS_COMPILED_IN: bool = false;

/// A context that authenticates the user to the server of a host.
#[derive(Debug)]
pub(super) struct SecurityContext(Infallible);

/// What a step of a context gives.
#[derive(Debug)]
pub(super) struct Stepped {
    /// The context, to go on with.
    pub(super) context: SecurityContext,
    /// What to send to the server; nothing if empty.
    pub(super) token: Vec<u8>,
    /// Whether both sides have proved themselves: no further token is awaited.
    pub(super) is_established: bool,
}

// The callers await the real ones.
#[allow(clippy::unused_async)]
pub(super) async fn has_credentials() -> bool {
    false
}

#[allow(clippy::unused_async)]
pub(super) async fn encrypt(
    _config: &Config,
    _host: &Host,
    _socket: TcpStream,
) -> Result<GssStream, GssError> {
    Err(GssError::NotCompiledIn)
}

impl SecurityContext {
    pub(super) fn new(_config: &Config, _host: &Host) -> Result<Self, GssError> {
        Err(GssError::NotCompiledIn)
    }

    #[allow(clippy::unused_async)]
    pub(super) async fn step(self, _token: Vec<u8>) -> Result<Stepped, GssError> {
        match self.0 {}
    }
}

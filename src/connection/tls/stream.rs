//! TLS over a socket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use openssl::error::ErrorStack;
use openssl::ssl::{self, Ssl, SslRef};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::super::channel::TlsFacts;
use super::super::tls_error::TlsError;
use super::client_flight::ClientCertificate;
use super::engine::Engine;
use super::failure;
use crate::types::OsError;

/// The largest payload of a record.
const RECORD: usize = 16 << 10;

/// How much of a write is encrypted before it goes out.
const WRITE_ROOM: usize = 8 * RECORD;

/// TLS and its socket, from the beginning of the handshake.
#[derive(Debug)]
pub(super) struct Transport {
    engine: Engine,
    socket: TcpStream,
}

/// Why a handshake stopped.
#[derive(Debug)]
pub(super) enum HandshakeFailure {
    /// Inside TLS.
    Tls(ssl::Error),
    /// Below it.
    Socket(TlsError),
}

/// A TCP connection that is encrypted.
///
/// - A read takes all records that are there, as far as the buffer has room. What ends the connection comes
///   after all data: a [`TlsError`] inside the [`io::Error`], or the plain error of a connection that was
///   reset. There is no end without an error.
/// - What was written has gone to the socket once it is flushed; a read goes on sending what is left. Between the last
///   data and the error that a read then gives, what is written is dropped: it is for the read to say what happened.
/// - One task does both, because a read may take over from a write that waits.
#[derive(Debug)]
pub(in super::super) struct TlsStream {
    transport: Transport,
    facts: TlsFacts,
    /// What ended a read that had data to deliver first.
    failure: Option<io::Error>,
}

impl TlsStream {
    pub(super) fn new(transport: Transport, facts: TlsFacts) -> Self {
        Self { transport, facts, failure: None }
    }

    /// What the handshake said.
    pub(in super::super) fn facts(&self) -> TlsFacts {
        self.facts.clone()
    }
}

impl Transport {
    pub(super) fn new(ssl: Ssl, socket: TcpStream) -> Result<Self, ErrorStack> {
        Ok(Self { engine: Engine::new(ssl)?, socket })
    }

    /// What the library knows.
    pub(super) fn ssl(&self) -> &SslRef {
        self.engine.ssl()
    }

    /// Goes on with the handshake as the client.
    pub(super) fn poll_connect(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<ClientCertificate, HandshakeFailure>> {
        loop {
            let step = self.engine.connect();
            // Where the server takes nothing any more, what it says before it closes is the better reason.
            let sent = self.poll_send(context);
            if let Some(certificate) = step.map_err(HandshakeFailure::Tls)? {
                ready!(sent).map_err(socket_failure)?;
                return Poll::Ready(Ok(certificate));
            }
            if ready!(self.poll_receive(context)).map_err(socket_failure)? == 0 {
                return Poll::Ready(Err(HandshakeFailure::Socket(TlsError::UnexpectedEof)));
            }
        }
    }

    /// Sends what is to be sent.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.engine.output().is_empty() {
            let socket = Pin::new(&mut self.socket);
            let length = ready!(socket.poll_write(context, self.engine.output()))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.engine.take_output(length);
        }
        Poll::Ready(Ok(()))
    }

    /// Receives what is there; 0 is the end.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(self.engine.input());
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut room))?;
        let length = room.filled().len();
        self.engine.put_input(length);
        Poll::Ready(Ok(length))
    }

    /// Decrypts a record, or receives more.
    fn poll_record(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let room = buffer.initialize_unfilled_to(buffer.remaining().min(RECORD));
            match self.engine.read(room) {
                Ok(Some(length)) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Ok(None) => match ready!(self.poll_receive(context)) {
                    Ok(0) => return Poll::Ready(Err(TlsError::UnexpectedEof.into())),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Err(receive_error(error))),
                },
                Err(error) => return Poll::Ready(Err(failure::of_session(&error).into())),
            }
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { transport, failure, .. } = self.get_mut();
        if let Some(failure) = failure.take() {
            return Poll::Ready(Err(failure));
        }
        // Bytes may be left from a write that was not flushed. Where they cannot be sent, the server may
        // still have said why.
        let _ = transport.poll_send(context);
        let before = buffer.filled().len();
        while buffer.remaining() > 0 {
            let step = transport.poll_record(context, buffer);
            let has_data = buffer.filled().len() > before;
            match step {
                Poll::Ready(Ok(())) => {}
                Poll::Pending if has_data => break,
                Poll::Ready(Err(error)) if has_data => {
                    *failure = Some(error);
                    break;
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { transport, failure, .. } = self.get_mut();
        if failure.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(transport.poll_send(context))?;
        let bytes = &bytes[..bytes.len().min(WRITE_ROOM)];
        transport.engine.write(bytes).map_err(|error| failure::of_session(&error))?;
        // What does not go now goes with the next call; its failure shows there too.
        let _ = transport.poll_send(context);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { transport, failure, .. } = self.get_mut();
        if failure.is_some() {
            return Poll::Ready(Ok(()));
        }
        transport.poll_send(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let transport = &mut self.get_mut().transport;
        transport.engine.close();
        ready!(transport.poll_send(context))?;
        Pin::new(&mut transport.socket).poll_shutdown(context)
    }
}

fn socket_failure(error: io::Error) -> HandshakeFailure {
    HandshakeFailure::Socket(if is_reset(&error) {
        TlsError::Reset(OsError(error))
    } else {
        TlsError::Socket(OsError(error))
    })
}

/// libpq has one text for a connection that was reset, with and without TLS.
fn receive_error(error: io::Error) -> io::Error {
    if is_reset(&error) { error } else { TlsError::Socket(OsError(error)).into() }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

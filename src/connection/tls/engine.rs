//! TLS without a socket: encrypted bytes come in and go out, and the library sits between.
//!
//! What comes in is put into [`Engine::input`], what has to go out is taken from [`Engine::output`]. The
//! library never waits: where it lacks input, the functions answer `None`.

use std::io::{self, Read, Write};

use bytes::{Buf, BytesMut};
use openssl::error::ErrorStack;
use openssl::ssl::{self, ErrorCode, Ssl, SslRef, SslStream, SslVersion};

use super::client_flight::{self, ClientCertificate};

/// Room for encrypted bytes that have come and are not decrypted yet: several of the largest records.
const INPUT_ROOM: usize = 128 << 10;

/// One side of a TLS connection.
#[derive(Debug)]
pub(super) struct Engine(SslStream<Wire>);

/// What the library takes for its socket.
#[derive(Debug)]
struct Wire {
    input: Box<[u8]>,
    /// `taken <= filled <= input.len()`; what lies between is still to be read by the library.
    taken: usize,
    filled: usize,
    output: BytesMut,
    /// Everything that has gone out, while the handshake lasts.
    handshake: Option<Vec<u8>>,
}

impl Engine {
    /// Nothing happens yet.
    pub(super) fn new(ssl: Ssl) -> Result<Self, ErrorStack> {
        let wire = Wire {
            input: vec![0; INPUT_ROOM].into_boxed_slice(),
            taken: 0,
            filled: 0,
            output: BytesMut::new(),
            handshake: Some(Vec::new()),
        };
        SslStream::new(ssl, wire).map(Self)
    }

    /// Goes on with the handshake, as the client. At its end it answers what became of the client certificate.
    pub(super) fn connect(&mut self) -> Result<Option<ClientCertificate>, ssl::Error> {
        let done = self.run(SslStream::connect)?;
        Ok(done.map(|()| {
            let sent = self.0.get_mut().handshake.take().unwrap_or_default();
            match self.ssl().version2() {
                Some(SslVersion::TLS1_3) => client_flight::of_tls_1_3(&sent),
                _ => client_flight::before_tls_1_3(&sent),
            }
        }))
    }

    /// Decrypts into a buffer that is not empty; one record at most.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, ssl::Error> {
        self.run(|stream| stream.ssl_read(buffer))
    }

    /// Encrypts all of it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ssl::Error> {
        let mut written = 0;
        while written < bytes.len() {
            written += self.0.ssl_write(&bytes[written..])?;
        }
        Ok(())
    }

    /// Says inside TLS that nothing more will come from this side.
    pub(super) fn close(&mut self) {
        // Where TLS is broken there is nothing left to say.
        let _ = self.0.shutdown();
    }

    /// Room for encrypted bytes. Only what the library has taken makes way for it.
    pub(super) fn input(&mut self) -> &mut [u8] {
        let wire = self.0.get_mut();
        if wire.taken == wire.filled {
            (wire.taken, wire.filled) = (0, 0);
        }
        &mut wire.input[wire.filled..]
    }

    /// So many bytes were put into the room.
    pub(super) fn put_input(&mut self, length: usize) {
        let wire = self.0.get_mut();
        wire.filled = wire.input.len().min(wire.filled + length);
    }

    /// Encrypted bytes that have to go out.
    pub(super) fn output(&self) -> &[u8] {
        &self.0.get_ref().output
    }

    /// So many bytes have gone out.
    pub(super) fn take_output(&mut self, length: usize) {
        self.0.get_mut().output.advance(length);
    }

    /// What the library knows.
    pub(super) fn ssl(&self) -> &SslRef {
        self.0.ssl()
    }

    fn run<T>(
        &mut self,
        mut step: impl FnMut(&mut SslStream<Wire>) -> Result<T, ssl::Error>,
    ) -> Result<Option<T>, ssl::Error> {
        loop {
            match step(&mut self.0) {
                Ok(done) => return Ok(Some(done)),
                Err(error) if error.code() == ErrorCode::WANT_READ => {
                    if self.0.get_ref().is_exhausted() {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Wire {
    fn is_exhausted(&self) -> bool {
        self.taken == self.filled
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_exhausted() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = buffer.len().min(self.filled - self.taken);
        buffer[..length].copy_from_slice(&self.input[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        if let Some(handshake) = &mut self.handshake {
            handshake.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! A byte stream over a socket, encrypted packet by packet.
//!
//! What comes in and goes out on one side are the bytes of a session. On the other side are packets, each of
//! at most [`LARGEST_PACKET`] bytes:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | length of the wrapped payload, in network order |
//! | 4 | length | the payload, wrapped with confidentiality |
//!
//! A packet's payload is handed out only when the whole packet has been checked. One that is refused stays at
//! the head of what has been received, so that nothing after it is ever looked at.

use std::ops::Deref;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::context::SecurityContext;
use crate::connection::gss_error::GssError;

/// The largest packet in bytes, with its length; servers take and send no larger ones.
const LARGEST_PACKET: usize = 16 << 10;

const LENGTH_SIZE: usize = size_of::<u32>();

/// The most bytes of a wrapped payload.
const LARGEST_TOKEN: usize = LARGEST_PACKET - LENGTH_SIZE;

/// The most bytes of a payload. What Kerberos adds to it are some 60 to 100 bytes.
const LARGEST_PAYLOAD: usize = LARGEST_TOKEN - 256;

/// Room for a read of packets, several at a time.
const READ_ROOM: usize = 8 * LARGEST_PACKET;

/// What wraps and unwraps payloads: a security context that is complete.
pub(in crate::connection) trait Protection {
    /// A payload, or what it was wrapped into.
    type Text: Deref<Target = [u8]>;

    /// Encrypts a payload.
    fn wrap(&mut self, payload: &[u8]) -> Result<Self::Text, GssError>;

    /// Checks a wrapped payload, also that it is the next one in order, and decrypts it.
    fn unwrap(&mut self, token: &[u8]) -> Result<Self::Text, GssError>;
}

/// A connection that is encrypted.
///
/// Bytes that it has taken to write it may hold back until it is flushed. While it waits for something to
/// read it sends them too.
pub(in crate::connection) struct GssStream<S = TcpStream, P: Protection = SecurityContext> {
    socket: S,
    protection: P,
    /// Packets as they came; `0 <= length < READ_ROOM + LARGEST_PACKET`.
    received: BytesMut,
    /// The payload of the last packet.
    payload: Option<P::Text>,
    /// How much of it has been read.
    read: usize,
    /// What is left to send of the last packet.
    unsent: BytesMut,
}

impl<S, P> GssStream<S, P>
where
    S: AsyncRead + AsyncWrite + Unpin,
    P: Protection,
{
    pub(super) fn new(socket: S, protection: P) -> Self {
        let (received, unsent) = (BytesMut::new(), BytesMut::new());
        Self { socket, protection, received, payload: None, read: 0, unsent }
    }

    /// Hands out bytes that are here already.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        if let Some(payload) = &self.payload {
            let rest = payload.get(self.read..).unwrap_or_default();
            let given = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..given]);
            self.read += given;
        }
    }

    /// Opens the next packet if it is here.
    fn open(&mut self) -> Result<bool, GssError> {
        let Some((length, rest)) = self.received.split_first_chunk() else { return Ok(false) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > LARGEST_TOKEN {
            return Err(GssError::OversizeIncoming { length, limit: LARGEST_TOKEN });
        }
        let Some(token) = rest.get(..length) else { return Ok(false) };
        self.payload = Some(self.protection.unwrap(token)?);
        self.read = 0;
        self.received.advance(LENGTH_SIZE + length);
        Ok(true)
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.received.reserve(READ_ROOM);
        // Such a future keeps nothing from one poll to the next.
        pin!(self.socket.read_buf(&mut self.received)).poll(context)
    }

    /// Makes a packet of some of these bytes; says of how many.
    fn seal(&mut self, bytes: &[u8]) -> Result<usize, GssError> {
        let payload = &bytes[..bytes.len().min(LARGEST_PAYLOAD)];
        let token = self.protection.wrap(payload)?;
        if token.len() > LARGEST_TOKEN {
            return Err(GssError::OversizeOutgoing { length: token.len(), limit: LARGEST_TOKEN });
        }
        self.unsent.put_u32(token.len() as u32);
        self.unsent.put_slice(&token);
        Ok(payload.len())
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent.has_remaining() {
            if ready!(pin!(self.socket.write_buf(&mut self.unsent)).poll(context))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

// What was decrypted is not shown.
impl<S: fmt::Debug, P: Protection> fmt::Debug for GssStream<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GssStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl<S, P> AsyncRead for GssStream<S, P>
where
    S: AsyncRead + AsyncWrite + Unpin,
    P: Protection<Text: Unpin> + Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Where sending fails, what the server has said before is still to be read.
        let _ = this.poll_send(context);
        let before = buffer.filled().len();
        loop {
            this.give(buffer);
            if buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let has_read = buffer.filled().len() > before;
            let opened = this.open();
            if opened.as_ref().is_ok_and(|&opened| opened) {
                continue;
            }
            if has_read {
                // A refusal comes again when its turn has come.
                return Poll::Ready(Ok(()));
            }
            opened.map_err(io::Error::other)?;
            if ready!(this.poll_receive(context))? == 0 {
                // A connection that ends inside a packet ends.
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S, P> AsyncWrite for GssStream<S, P>
where
    S: AsyncRead + AsyncWrite + Unpin,
    P: Protection<Text: Unpin> + Unpin,
{
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let sealed = this.seal(bytes).map_err(io::Error::other)?;
        // The bytes are taken, sent or not: a failure shows when there is more to send.
        let _ = this.poll_send(context);
        Poll::Ready(Ok(sealed))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// Numbers the payloads, to see them repeated or left out, and turns their bits over.
    #[derive(Debug, Default)]
    struct Numbered {
        wrapped: u8,
        unwrapped: u8,
    }

    impl Protection for Numbered {
        type Text = Vec<u8>;

        fn wrap(&mut self, payload: &[u8]) -> Result<Vec<u8>, GssError> {
            let token = [self.wrapped].into_iter().chain(payload.iter().map(|byte| !byte)).collect();
            self.wrapped = self.wrapped.wrapping_add(1);
            Ok(token)
        }

        fn unwrap(&mut self, token: &[u8]) -> Result<Vec<u8>, GssError> {
            match token {
                [number, rest @ ..] if *number == self.unwrapped => {
                    self.unwrapped = self.unwrapped.wrapping_add(1);
                    Ok(rest.iter().map(|byte| !byte).collect())
                }
                _ => Err(GssError::Unwrap("not the next one".to_owned())),
            }
        }
    }

    type Stream<S> = GssStream<S, Numbered>;

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn pair(room: usize) -> (Stream<DuplexStream>, Stream<DuplexStream>) {
        let (one, other) = duplex(room);
        (Stream::new(one, Numbered::default()), Stream::new(other, Numbered::default()))
    }

    /// What a stream hands out of these bytes of a server that then closes the connection, and why it stops.
    fn read_all(bytes: &[u8]) -> (Vec<u8>, Option<String>) {
        run(async {
            let (socket, mut server) = duplex(bytes.len() + 1);
            server.write_all(bytes).await.unwrap();
            drop(server);
            let mut stream = Stream::new(socket, Numbered::default());
            let mut out = Vec::new();
            match stream.read_to_end(&mut out).await {
                Ok(_) => (out, None),
                Err(error) => {
                    let again = stream.read_u8().await.unwrap_err().to_string();
                    assert_eq!(again, error.to_string(), "nothing comes after a refusal");
                    (out, Some(again))
                }
            }
        })
    }

    fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
        let mut protection = Numbered { wrapped: number, ..Numbered::default() };
        let token = protection.wrap(payload).unwrap();
        [&u32::try_from(token.len()).unwrap().to_be_bytes(), &token[..]].concat()
    }

    #[test]
    fn cn_204_packets_have_a_length_and_a_limit() {
        let (out, refusal) = read_all(&[packet(0, b"one"), packet(1, b""), packet(2, b"two")].concat());
        assert_eq!((&out[..], refusal), (&b"onetwo"[..], None));
        let largest = packet(0, &[7; LARGEST_TOKEN - 1]);
        assert_eq!(read_all(&largest), (vec![7; LARGEST_TOKEN - 1], None));
        for (bytes, length) in [(b"\0\0\x3f\xfd", 16381), (b"E\0\0\0", 0x4500_0000)] {
            let text = format!("oversize GSSAPI packet sent by the server ({length} > 16380)");
            assert_eq!(read_all(bytes), (Vec::new(), Some(text)));
        }
    }

    #[test]
    fn cn_204_a_packet_that_is_refused_ends_the_stream_behind_what_was_good() {
        let good = packet(0, b"good");
        let refusal = Some("GSSAPI unwrap error: not the next one".to_owned());
        for bad in [&good[..], &packet(2, b"left out"), b"\0\0\0\x08garbage!", b"\0\0\0\0"] {
            let bytes = [&good[..], bad, &packet(1, b"after")].concat();
            assert_eq!(read_all(&bytes), (b"good".to_vec(), refusal.clone()));
        }
    }

    #[test]
    fn cn_204_of_a_packet_that_is_cut_nothing_is_handed_out() {
        let bytes = [packet(0, b"good"), packet(1, b"cut")].concat();
        for end in packet(0, b"good").len()..bytes.len() {
            assert_eq!(read_all(&bytes[..end]), (b"good".to_vec(), None), "{end}");
        }
    }

    #[test]
    fn cn_204_packets_that_are_written_fit_the_limit() {
        run(async {
            let (socket, mut server) = duplex(1 << 20);
            let mut stream = Stream::new(socket, Numbered::default());
            stream.write_all(&vec![1; 40_000]).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut sent = Vec::new();
            server.read_to_end(&mut sent).await.unwrap();
            let mut lengths = Vec::new();
            while let Some((length, rest)) = sent.split_first_chunk() {
                let length = u32::from_be_bytes(*length) as usize;
                lengths.push(length);
                sent = rest[length..].to_vec();
            }
            let full = LARGEST_PAYLOAD + 1;
            assert_eq!(lengths, [full, full, 40_000 - 2 * LARGEST_PAYLOAD + 1]);
        });
    }

    #[test]
    fn cn_204_what_no_wrapping_fits_into_a_packet_is_not_sent() {
        struct Bloated;
        impl Protection for Bloated {
            type Text = Vec<u8>;
            fn wrap(&mut self, payload: &[u8]) -> Result<Vec<u8>, GssError> {
                Ok([payload, &[0; 257]].concat())
            }
            fn unwrap(&mut self, _: &[u8]) -> Result<Vec<u8>, GssError> {
                Ok(Vec::new())
            }
        }
        let (socket, _server) = duplex(1 << 20);
        let mut stream = GssStream::new(socket, Bloated);
        run(stream.write_all(&[0; LARGEST_PAYLOAD - 1])).unwrap();
        let error = run(stream.write_all(&[0; LARGEST_PAYLOAD])).unwrap_err();
        assert_eq!(error.to_string(), "client tried to send oversize GSSAPI packet (16381 > 16380)");
        let error = error.into_inner().unwrap().downcast::<GssError>().unwrap();
        assert!(matches!(*error, GssError::OversizeOutgoing { .. }));
    }

    #[test]
    fn cn_204_waiting_for_an_answer_sends_the_question() {
        // The packet does not fit the pipe, and nobody flushes.
        let (mut client, mut server) = pair(16);
        run(async {
            client.write_all(&[1; 100]).await.unwrap();
            assert!(!client.unsent.is_empty());
            let answering = async {
                let mut question = [0; 100];
                server.read_exact(&mut question).await.unwrap();
                server.write_all(&question).await.unwrap();
                server.flush().await.unwrap();
            };
            let mut answer = [0; 100];
            let (answer_read, ()) = tokio::join!(client.read_exact(&mut answer), answering);
            answer_read.unwrap();
            assert_eq!(answer, [1; 100]);
        });
    }

    #[test]
    fn cn_204_the_last_words_of_a_server_are_read_where_sending_fails() {
        let (socket, mut server) = duplex(64);
        let mut stream = Stream::new(socket, Numbered::default());
        run(async {
            server.write_all(&packet(0, b"sorry")).await.unwrap();
            drop(server);
            stream.write_all(b"question").await.unwrap();
            assert!(stream.flush().await.is_err());
            let mut words = Vec::new();
            stream.read_to_end(&mut words).await.unwrap();
            assert_eq!(words, b"sorry");
        });
    }

    #[test]
    fn cn_204_a_write_that_is_given_up_sends_each_byte_once() {
        let (mut client, mut server) = pair(8);
        run(async {
            let mut taken = 0;
            let sending = async {
                let bytes: Vec<u8> = (0..200).collect();
                while taken < bytes.len() {
                    let write = client.write(&bytes[taken..(taken + 7).min(bytes.len())]);
                    // A future that is dropped while the pipe is full has taken nothing.
                    let polled = tokio::select! {
                        biased;
                        written = write => Some(written.unwrap()),
                        () = tokio::task::yield_now() => None,
                    };
                    taken += polled.unwrap_or(0);
                }
                client.shutdown().await.unwrap();
            };
            let mut out = Vec::new();
            let (read, ()) = tokio::join!(server.read_to_end(&mut out), sending);
            read.unwrap();
            assert_eq!(out, (0..200).collect::<Vec<u8>>());
        });
    }

    proptest! {
        #[test]
        fn cn_204_bytes_come_out_as_they_went_in_however_they_are_cut(
            writes in prop::collection::vec(0..40_000_usize, 1..6),
            room in 1..5000_usize,
            read in 1..30_000_usize,
        ) {
            let (mut client, mut server) = pair(room);
            let bytes: Vec<u8> = (0..writes.iter().sum()).map(|at: usize| (at * 31 / 7) as u8).collect();
            run(async {
                let sending = async {
                    let mut rest = &bytes[..];
                    for &length in &writes {
                        let (now, later) = rest.split_at(length);
                        client.write_all(now).await.unwrap();
                        rest = later;
                    }
                    client.shutdown().await.unwrap();
                };
                let receiving = async {
                    let mut out = Vec::new();
                    let mut buffer = vec![0; read];
                    loop {
                        match server.read(&mut buffer).await.unwrap() {
                            0 => break out,
                            length => out.extend_from_slice(&buffer[..length]),
                        }
                    }
                };
                let ((), out) = tokio::join!(sending, receiving);
                assert!(out == bytes, "{} of {} bytes are right", out.len(), bytes.len());
            });
        }
    }
}

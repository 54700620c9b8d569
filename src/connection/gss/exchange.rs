//! From a socket on which the server has agreed to GSSAPI encryption to a stream that is encrypted.
//!
//! Tokens go both ways, each behind its length:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | length of the token, in network order |
//! | 4 | length | the token |
//!
//! Instead of a token the server may send an error, whose first byte `E` would make the length an impossible
//! one. Nothing beyond the last token is read: what follows belongs to the stream.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::context::SecurityContext;
use super::stream::GssStream;
use crate::connection::error::ConnectionError;
use crate::connection::error::{receive_error, send_error};
use crate::connection::gss_error::GssError;
use crate::connection::server_message::ServerMessage;
use crate::conninfo::{Config, Host};

/// The longest token in bytes. One with the groups of a Windows user outgrows the packets of the stream.
const LONGEST_TOKEN: usize = (64 << 10) - LENGTH_SIZE;

const LENGTH_SIZE: usize = size_of::<u32>();

/// The longest error of a server that is read to its end, in bytes.
const LONGEST_ERROR: usize = 30_000;

/// Makes an encrypted stream of a socket on which the server has answered `G` (CN-204).
///
/// # Cancel safety
/// When the future is dropped, so is the socket.
pub(in crate::connection) async fn encrypt(
    config: &Config,
    host: &Host,
    mut socket: TcpStream,
) -> Result<GssStream, GssError> {
    let mut context = SecurityContext::for_encryption(config, host)?;
    let mut answer = Vec::new();
    loop {
        let stepped = context.step(answer).await?;
        if !stepped.token.is_empty() {
            send_token(&mut socket, &stepped.token).await?;
        }
        if stepped.is_established {
            return Ok(GssStream::new(socket, stepped.context));
        }
        context = stepped.context;
        answer = receive_token(&mut socket).await?;
    }
}

async fn send_token(socket: &mut (impl AsyncWrite + Unpin), token: &[u8]) -> Result<(), GssError> {
    if token.len() > LONGEST_TOKEN {
        return Err(GssError::OversizeOutgoing { length: token.len(), limit: LONGEST_TOKEN });
    }
    let length = token.len() as u32;
    let packet = [&length.to_be_bytes(), token].concat();
    Ok(socket.write_all(&packet).await.map_err(send_error)?)
}

async fn receive_token(socket: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, GssError> {
    let mut length = [0; LENGTH_SIZE];
    receive_exact(socket, &mut length).await?;
    if length[0] == b'E' {
        return Err(receive_server_error(socket, length).await);
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST_TOKEN {
        return Err(GssError::OversizeIncoming { length, limit: LONGEST_TOKEN });
    }
    let mut token = vec![0; length];
    receive_exact(socket, &mut token).await?;
    Ok(token)
}

async fn receive_exact(
    socket: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
) -> Result<(), ConnectionError> {
    match socket.read_exact(buffer).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(ConnectionError::Closed),
        Err(error) => Err(receive_error(error)),
    }
}

/// An error is an `ErrorResponse`, or in the form of old servers `E`, text, NUL; what has come of it counts.
async fn receive_server_error(
    socket: &mut (impl AsyncRead + Unpin),
    beginning: [u8; LENGTH_SIZE],
) -> GssError {
    let mut message = beginning.to_vec();
    while !is_whole_error(&message) && message.len() < LONGEST_ERROR {
        match socket.read_buf(&mut message).await {
            Ok(1..) => {}
            // The server has closed the connection, as it does after an error.
            Ok(0) | Err(_) => break,
        }
    }
    GssError::Server(server_error_text(&message))
}

fn is_whole_error(message: &[u8]) -> bool {
    match error_response_length(message) {
        Some(length) => message.len() > length,
        None => message.len() > LENGTH_SIZE && message.contains(&0),
    }
}

fn server_error_text(message: &[u8]) -> String {
    if let Some(length) = error_response_length(message) {
        let body = message.get(1 + LENGTH_SIZE..message.len().min(1 + length)).unwrap_or_default();
        ServerMessage::parse_error(Bytes::copy_from_slice(body)).to_string()
    } else {
        let text = message[1..].split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text.trim_ascii_end()).into_owned()
    }
}

/// The length of an `ErrorResponse` without its first byte. Text gives no length that is possible.
fn error_response_length(message: &[u8]) -> Option<usize> {
    let length = message.get(1..)?.first_chunk()?;
    let length = u32::from_be_bytes(*length) as usize;
    (LENGTH_SIZE..=LONGEST_ERROR).contains(&length).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    /// What becomes of these bytes of a server that then closes the connection; and what is left of them.
    fn received(mut bytes: &[u8]) -> (Result<Vec<u8>, String>, usize) {
        let token = run(receive_token(&mut bytes)).map_err(|error| error.to_string());
        (token, bytes.len())
    }

    #[test]
    fn cn_204_a_token_comes_behind_its_length() {
        assert_eq!(received(b"\0\0\0\x05tokenrest"), (Ok(b"token".to_vec()), 4));
        assert_eq!(received(b"\0\0\0\0rest"), (Ok(Vec::new()), 4));
        let longest = [&b"\0\0\xff\xfc"[..], &vec![7; 65532]].concat();
        assert_eq!(received(&longest), (Ok(vec![7; 65532]), 0));
    }

    #[test]
    fn cn_204_a_token_that_is_too_long_is_not_awaited() {
        for (bytes, length) in [(b"\0\0\xff\xfd", 65533), (b"\x7f\xff\xff\xff", 0x7fff_ffff)] {
            let text = format!("oversize GSSAPI packet sent by the server ({length} > 65532)");
            assert_eq!(received(bytes), (Err(text), 0));
        }
    }

    #[test]
    fn cn_204_a_connection_that_ends_inside_a_token_is_lost() {
        for bytes in [&b""[..], b"\0", b"\0\0\0\x05", b"\0\0\0\x05toke"] {
            let text = received(bytes).0.unwrap_err();
            assert!(text.starts_with("server closed the connection unexpectedly"), "{text}");
        }
    }

    #[test]
    fn cn_204_an_error_instead_of_a_token_is_shown() {
        for (bytes, text) in [
            (&b"E\0\0\0\x12SFATAL\0Msorry\0\0"[..], "FATAL:  sorry"),
            (b"E\0\0\0\x12SFATAL\0Msorry\0", "FATAL:  sorry"),
            (b"Esorry, no\n\0", "sorry, no"),
            (b"Esorry, no", "sorry, no"),
            (b"E\xff\xff\xff\xff", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(received(bytes), (Err(text.to_owned()), 0), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn cn_204_an_error_without_an_end_is_cut() {
        let (text, left) = received(&vec![b'E'; 1 << 20]);
        let read = text.unwrap_err().len();
        assert!((LONGEST_ERROR - 1..2 * LONGEST_ERROR + (64 << 10)).contains(&read), "{read}");
        assert!(left > 0);
        assert_eq!(error_response_length(b"E\0\0\x75\x31"), None);
    }

    #[test]
    fn cn_204_a_token_goes_out_behind_its_length() {
        let mut sent = Vec::new();
        run(send_token(&mut sent, b"token")).unwrap();
        assert_eq!(sent, b"\0\0\0\x05token");
        let error = run(send_token(&mut sent, &vec![0; 65533])).unwrap_err();
        assert_eq!(error.to_string(), "client tried to send oversize GSSAPI packet (65533 > 65532)");
        assert_eq!(sent.len(), 9);
    }
}

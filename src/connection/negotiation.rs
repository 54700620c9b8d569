//! Asking a server whether it encrypts: one request, one byte in return (CN-134 … CN-137).
//!
//! Nothing of what comes in here is protected by anything. So an answer is one of three bytes and not one byte
//! more, and a text of the server is not shown.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::encryption::Encryption;
use super::error::{ConnectionError, receive_error, send_error};

const LENGTH: u32 = 8;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// `SSLRequest`
    Tls,
    /// `GSSENCRequest`
    Gss,
}

/// What the server says to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The handshake may begin.
    Willing,
    /// It does not encrypt; the connection can go on without.
    Unwilling,
}

/// The server did not answer the question.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// It does not do TLS, and plain text will not do.
    #[error("server does not support SSL, but SSL was required")]
    TlsUnavailable,
    /// It does not do GSSAPI encryption, and nothing else will do.
    #[error("server doesn't support GSSAPI encryption, but it was required")]
    GssUnavailable,
    /// It failed. Its text may be anybody's, so it is not shown (CN-159).
    #[error("server sent an error response during {0} exchange")]
    ErrorResponse(&'static str),
    /// The answer is none that there is.
    #[error("received invalid response to {protocol} negotiation: {}", .answer.escape_ascii())]
    InvalidResponse {
        /// The protocol asked for.
        protocol: &'static str,
        /// The byte.
        answer: u8,
    },
    /// More came than the answer, before anything was encrypted: somebody in the middle put it there (CN-136).
    #[error("received unencrypted data after {0} response")]
    Injection(&'static str),
    /// The connection was lost.
    #[error(transparent)]
    Lost(ConnectionError),
}

impl Request {
    pub(super) fn of(method: Encryption) -> Option<Self> {
        match method {
            Encryption::Tls => Some(Self::Tls),
            Encryption::Gss => Some(Self::Gss),
            Encryption::Plain => None,
        }
    }

    fn code(self) -> u32 {
        match self {
            Self::Tls => SSL_REQUEST,
            Self::Gss => GSSENC_REQUEST,
        }
    }

    fn assent(self) -> u8 {
        match self {
            Self::Tls => b'S',
            Self::Gss => b'G',
        }
    }

    /// The protocol in the words of messages.
    fn protocol(self) -> &'static str {
        match self {
            Self::Tls => "SSL",
            Self::Gss => "GSSAPI",
        }
    }

    /// The error that this method is not to be had, where no other will do.
    pub(super) fn unavailable(self) -> NegotiationError {
        match self {
            Self::Tls => NegotiationError::TlsUnavailable,
            Self::Gss => NegotiationError::GssUnavailable,
        }
    }
}

/// Asks, and waits for the answer.
pub(super) async fn ask<S>(socket: &mut S, request: Request) -> Result<Answer, NegotiationError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let question = (u64::from(LENGTH) << 32) | u64::from(request.code());
    let sent = socket.write_all(&question.to_be_bytes()).await;
    sent.map_err(|error| NegotiationError::Lost(send_error(error)))?;
    // Room for one byte more than there may be.
    let mut answer = [0; 2];
    let received = socket.read(&mut answer).await;
    let received = received.map_err(|error| NegotiationError::Lost(receive_error(error)))?;
    judge(request, answer.get(..received).unwrap_or_default())
}

fn judge(request: Request, answer: &[u8]) -> Result<Answer, NegotiationError> {
    let protocol = request.protocol();
    match *answer {
        [] => Err(NegotiationError::Lost(ConnectionError::Closed)),
        [b'E', ..] => Err(NegotiationError::ErrorResponse(match request {
            Request::Tls => "SSL",
            Request::Gss => "GSS encryption",
        })),
        [byte, ..] if byte != b'N' && byte != request.assent() => {
            Err(NegotiationError::InvalidResponse { protocol, answer: byte })
        }
        [_, _, ..] => Err(NegotiationError::Injection(match request {
            Request::Tls => "SSL",
            Request::Gss => "GSSAPI encryption",
        })),
        [b'N'] => Ok(Answer::Unwilling),
        [_] => Ok(Answer::Willing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_136_and_137_answers_and_what_is_made_of_them() {
        for (request, answer, expected) in [
            (Request::Tls, &b"S"[..], Ok(Answer::Willing)),
            (Request::Tls, b"N", Ok(Answer::Unwilling)),
            (Request::Tls, b"E\0", Err("server sent an error response during SSL exchange")),
            (Request::Tls, b"G", Err("received invalid response to SSL negotiation: G")),
            (Request::Tls, b"HT", Err("received invalid response to SSL negotiation: H")),
            (Request::Tls, b"SR", Err("received unencrypted data after SSL response")),
            (Request::Tls, b"NR", Err("received unencrypted data after SSL response")),
            (Request::Gss, b"G", Ok(Answer::Willing)),
            (Request::Gss, b"N", Ok(Answer::Unwilling)),
            (Request::Gss, b"S", Err("received invalid response to GSSAPI negotiation: S")),
            (Request::Gss, b"GR", Err("received unencrypted data after GSSAPI encryption response")),
            (Request::Gss, b"E", Err("server sent an error response during GSS encryption exchange")),
        ] {
            let outcome = judge(request, answer).map_err(|error| error.to_string());
            assert_eq!(outcome, expected.map_err(str::to_owned), "{}", answer.escape_ascii());
        }
        assert!(matches!(judge(Request::Tls, b""), Err(NegotiationError::Lost(ConnectionError::Closed))));
    }

    #[tokio::test]
    async fn cn_134_and_135_what_is_asked() {
        for (request, bytes) in
            [(Request::Tls, *b"\0\0\0\x08\x04\xd2\x16\x2f"), (Request::Gss, *b"\0\0\0\x08\x04\xd2\x16\x30")]
        {
            let (mut client, mut server) = tokio::io::duplex(16);
            server.write_all(b"N").await.unwrap();
            assert_eq!(ask(&mut client, request).await.unwrap(), Answer::Unwilling);
            let mut asked = [0; 8];
            server.read_exact(&mut asked).await.unwrap();
            assert_eq!(asked, bytes);
        }
    }
}

//! The client's side of authentication: messages of type `p`. Sans-I/O.
//!
//! Each is built in a buffer of its final size, which is overwritten when it is dropped: a password in it
//! leaves no copy behind.

use zeroize::Zeroizing;

use super::super::startup_error::StartupError;

/// A password, or what stands for it, and a NUL.
pub(super) fn password(password: &[u8]) -> Result<Zeroizing<Vec<u8>>, StartupError> {
    if password.contains(&0) {
        return Err(StartupError::Protocol("the password contains a NUL byte".to_owned()));
    }
    message(&[password, b"\0"])
}

/// The name of a mechanism, NUL, the length of its first message, and that message.
pub(super) fn sasl_initial(mechanism: &str, first: &[u8]) -> Result<Zeroizing<Vec<u8>>, StartupError> {
    let length = length(first.len())?;
    message(&[mechanism.as_bytes(), b"\0", &length, first])
}

/// Bytes of a mechanism, or a token of GSSAPI.
pub(super) fn plain(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, StartupError> {
    message(&[bytes])
}

fn message(parts: &[&[u8]]) -> Result<Zeroizing<Vec<u8>>, StartupError> {
    const LENGTH_ITSELF: usize = 4;
    let body: usize = parts.iter().map(|part| part.len()).sum();
    let length = length(body + LENGTH_ITSELF)?;
    let mut message = Zeroizing::new(Vec::with_capacity(1 + LENGTH_ITSELF + body));
    message.push(b'p');
    message.extend_from_slice(&length);
    for part in parts {
        message.extend_from_slice(part);
    }
    Ok(message)
}

fn length(length: usize) -> Result<[u8; 4], StartupError> {
    i32::try_from(length)
        .map(i32::to_be_bytes)
        .map_err(|_| StartupError::Protocol("an answer to the server is too long".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_221_answers_are_of_one_type() {
        assert_eq!(&password(b"\xffx").unwrap()[..], b"p\0\0\0\x07\xffx\0");
        assert_eq!(&sasl_initial("M", b"ab").unwrap()[..], b"p\0\0\0\x0cM\0\0\0\0\x02ab");
        assert_eq!(&plain(b"").unwrap()[..], b"p\0\0\0\x04");
        assert_eq!(password(b"a\0b").unwrap_err().to_string(), "the password contains a NUL byte");
    }

    #[test]
    fn a_buffer_never_grows() {
        let message = sasl_initial("MECHANISM", &[7; 300]).unwrap();
        assert_eq!(message.capacity(), message.len());
    }
}

//! Whether the server asked for a client certificate, and whether it got one, from what this side sent.
//!
//! What comes in are the bytes of this side of a handshake that has succeeded. The library's binding has no
//! callback for the server's request. What we send is better evidence than what we receive: peers put
//! several messages into one record, but this library sends each in a record of its own.

/// Types of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// The type of a handshake message with a certificate, or with none where there is none to send.
const CERTIFICATE: u8 = 11;

/// A record begins with a type, a version of two bytes, and a length of two bytes.
const RECORD: Layout = Layout { header: 5, length: 2 };

/// A handshake message begins with a type and a length of three bytes.
const MESSAGE: Layout = Layout { header: 4, length: 3 };

/// A list of certificates begins with a length of three bytes.
const LIST_HEADER: usize = 3;

/// What this side sent about its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientCertificate {
    /// Nothing; the server did not ask.
    NotRequested,
    /// The server asked, and there was none that fits.
    Missing,
    /// It was sent.
    Sent,
}

/// Looks through what was sent with TLS 1.3, which encrypts from the certificate on.
///
/// The last message of the handshake is always there, a certificate before it where the server asked, and a
/// signature between these two where the certificate was not empty.
pub(super) fn of_tls_1_3(sent: &[u8]) -> ClientCertificate {
    match records(sent).filter(|&(kind, _)| kind == APPLICATION_DATA).count() {
        0 | 1 => ClientCertificate::NotRequested,
        2 => ClientCertificate::Missing,
        _ => ClientCertificate::Sent,
    }
}

/// Looks through what was sent with an older version, where all but the last message is in the clear.
pub(super) fn before_tls_1_3(sent: &[u8]) -> ClientCertificate {
    let plain = records(sent).take_while(|&(kind, _)| kind != CHANGE_CIPHER_SPEC);
    let messages: Vec<u8> =
        plain.filter(|&(kind, _)| kind == HANDSHAKE).flat_map(|(_, payload)| payload).copied().collect();
    match pieces(&messages, MESSAGE).find(|&(kind, _)| kind == CERTIFICATE) {
        None => ClientCertificate::NotRequested,
        Some((_, body)) if body.len() <= LIST_HEADER => ClientCertificate::Missing,
        Some(_) => ClientCertificate::Sent,
    }
}

fn records(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    pieces(bytes, RECORD)
}

/// How pieces begin: the first byte of the header is the type, the last ones are the length.
#[derive(Clone, Copy)]
struct Layout {
    header: usize,
    length: usize,
}

/// The type and payload of each piece.
fn pieces(mut bytes: &[u8], layout: Layout) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (header, rest) = bytes.split_at_checked(layout.header)?;
        let (_, length) = header.split_at_checked(layout.header - layout.length)?;
        let length = length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
        let (payload, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        Some((*header.first()?, payload))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(kind: u8, version: &[u8], length: usize, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes()[4 - length..].to_vec();
        [&[kind], version, &length, payload].concat()
    }

    fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
        piece(kind, &[3, 3], 2, payload)
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        piece(kind, &[], 3, body)
    }

    #[test]
    fn cn_186_records_of_tls_1_3() {
        let hello = [record(HANDSHAKE, &message(1, b"hello")), record(CHANGE_CIPHER_SPEC, &[1])].concat();
        for (encrypted, expected) in [
            (1, ClientCertificate::NotRequested),
            (2, ClientCertificate::Missing),
            (3, ClientCertificate::Sent),
            (5, ClientCertificate::Sent),
        ] {
            let sent = [hello.clone(), record(APPLICATION_DATA, &[0; 53]).repeat(encrypted)].concat();
            assert_eq!(of_tls_1_3(&sent), expected, "{encrypted}");
        }
    }

    #[test]
    fn cn_186_messages_of_tls_1_2() {
        let around = |certificate: &[u8]| {
            let key_exchange = record(HANDSHAKE, &message(16, &[7; 65]));
            // Encrypted, so that the first byte can be anything.
            let last = record(HANDSHAKE, &message(CERTIFICATE, &[0; 40]));
            let change = record(CHANGE_CIPHER_SPEC, &[1]);
            [record(HANDSHAKE, &message(1, b"hello")), certificate.to_vec(), key_exchange, change, last]
                .concat()
        };
        let long = message(CERTIFICATE, &vec![1; 70_000]);
        let in_three_records: Vec<u8> =
            long.chunks(30_000).flat_map(|part| record(HANDSHAKE, part)).collect();
        for (certificate, expected) in [
            (vec![], ClientCertificate::NotRequested),
            (record(HANDSHAKE, &message(CERTIFICATE, &[0; 3])), ClientCertificate::Missing),
            (record(HANDSHAKE, &message(CERTIFICATE, &[0, 0, 1, 9])), ClientCertificate::Sent),
            (in_three_records, ClientCertificate::Sent),
        ] {
            assert_eq!(before_tls_1_3(&around(&certificate)), expected);
        }
    }
}

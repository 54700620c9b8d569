//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL uses it, without channel binding.
//!
//! It is written here because a server may be set to any iteration count, and the implementation in
//! `postgres-protocol` refuses more than 100,000.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::saslprep::prepare;
use crate::types::Password;

/// Beyond this a login would take minutes: a server that asks for more wants to keep us busy (CW-04).
const MOST_ITERATIONS: u32 = 10_000_000;
/// The work done at a time, some milliseconds: what servers ask for unless they are told otherwise.
const ITERATIONS_AT_A_TIME: u32 = 4_096;
const NONCE_BYTES: usize = 18;
/// `n`: the client does not support channel binding.
const GS2_HEADER: &str = "n,,";

/// The exchange failed before the server proved that it knows the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScramError {
    /// A message of the server does not have the form of the protocol.
    #[error("malformed SCRAM message ({0})")]
    Malformed(&'static str),
    /// The server did not continue our nonce.
    #[error("invalid SCRAM response (nonce mismatch)")]
    NonceMismatch,
    /// The server asks for more work than any sane setting.
    #[error("SCRAM iteration count {0} is too large (at most {MOST_ITERATIONS})")]
    TooManyIterations(u32),
    /// The server reports an error inside the exchange.
    #[error("error received from server in SCRAM exchange: {0}")]
    Server(String),
    /// The server does not know the password.
    #[error("incorrect server signature")]
    ServerSignature,
    /// The system has no random numbers.
    #[error("could not generate nonce")]
    Nonce,
}

/// The state of one exchange: first `client_first`, then `challenge`, then `client_final` until it gives a
/// message, then `verify`.
pub(in crate::connection) struct Scram {
    client_first_bare: String,
    nonce: String,
    /// The work under way; set by `challenge`.
    work: Option<Work>,
    /// What the server's last message must prove; set by `client_final`.
    server_signature: Option<Hmac<Sha256>>,
}

/// What the server's first message asks for.
struct Work {
    /// That message, as it came.
    server_first: String,
    /// Both nonces.
    nonce: String,
    salted_password: SaltedPassword,
}

impl Scram {
    /// The name of the mechanism.
    pub(in crate::connection) const MECHANISM: &'static str = "SCRAM-SHA-256";

    /// The name of the mechanism that binds the exchange to the TLS connection.
    pub(in crate::connection) const MECHANISM_WITH_CHANNEL_BINDING: &'static str = "SCRAM-SHA-256-PLUS";

    /// Starts an exchange with a fresh nonce.
    pub(in crate::connection) fn new() -> Result<Self, ScramError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| ScramError::Nonce)?;
        Ok(Self::with_nonce(BASE64.encode(nonce)))
    }

    fn with_nonce(nonce: String) -> Self {
        // The server takes the user name from the startup message.
        Self { client_first_bare: format!("n=,r={nonce}"), nonce, work: None, server_signature: None }
    }

    /// The first message.
    pub(in crate::connection) fn client_first(&self) -> String {
        format!("{GS2_HEADER}{}", self.client_first_bare)
    }

    /// Takes the server's first message.
    pub(in crate::connection) fn challenge(
        &mut self,
        server_first: &[u8],
        password: &Password,
    ) -> Result<(), ScramError> {
        let challenge = Challenge::parse(server_first)?;
        if !challenge.nonce.starts_with(&self.nonce) || challenge.nonce.len() == self.nonce.len() {
            return Err(ScramError::NonceMismatch);
        }
        self.work = Some(Work {
            server_first: challenge.text.to_owned(),
            nonce: challenge.nonce.to_owned(),
            salted_password: SaltedPassword::begin(password, &challenge.salt, challenge.iterations),
        });
        Ok(())
    }

    /// Does a part of the work that the server asked for. Gives the answer with the proof once it is done.
    pub(in crate::connection) fn client_final(&mut self) -> Option<String> {
        let work = self.work.as_mut()?;
        let salted_password = work.salted_password.advance()?;
        let client_key = hmac(&salted_password, b"Client Key");
        let stored_key = Sha256::digest(client_key);

        let without_proof = format!("c={},r={}", BASE64.encode(GS2_HEADER), work.nonce);
        let auth_message = format!("{},{},{without_proof}", self.client_first_bare, work.server_first);
        let client_signature = hmac(&stored_key, auth_message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(client_signature).map(|(a, b)| a ^ b).collect();

        let server_key = hmac(&salted_password, b"Server Key");
        self.server_signature = Some(keyed(&server_key).chain_update(auth_message));
        Some(format!("{without_proof},p={}", BASE64.encode(proof)))
    }

    /// Checks the server's last message: only one who knows the password can have made it.
    pub(in crate::connection) fn verify(self, server_final: &[u8]) -> Result<(), ScramError> {
        let text = std::str::from_utf8(server_final).map_err(|_| ScramError::Malformed("not UTF-8"))?;
        if let Some(error) = text.strip_prefix("e=") {
            return Err(ScramError::Server(error.to_owned()));
        }
        let mut attributes = Attributes(text);
        let signature: [u8; 32] = BASE64
            .decode(attributes.next('v', "attribute \"v\" expected")?)
            .ok()
            .and_then(|signature| signature.try_into().ok())
            .ok_or(ScramError::Malformed("invalid server signature"))?;
        let expected =
            self.server_signature.ok_or(ScramError::Malformed("server-final-message out of turn"))?;
        expected.verify_slice(&signature).map_err(|_| ScramError::ServerSignature)
    }
}

/// The server's first message: `r=nonce,s=salt,i=iterations`.
struct Challenge<'a> {
    text: &'a str,
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl<'a> Challenge<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let text = std::str::from_utf8(message).map_err(|_| ScramError::Malformed("not UTF-8"))?;
        let mut attributes = Attributes(text);
        let nonce = attributes.next('r', "attribute \"r\" expected")?;
        let salt = BASE64
            .decode(attributes.next('s', "attribute \"s\" expected")?)
            .map_err(|_| ScramError::Malformed("invalid salt"))?;
        let iterations: NonZeroU32 = attributes
            .next('i', "attribute \"i\" expected")?
            .parse()
            .map_err(|_| ScramError::Malformed("invalid iteration count"))?;
        if iterations.get() > MOST_ITERATIONS {
            return Err(ScramError::TooManyIterations(iterations.get()));
        }
        if !attributes.0.is_empty() {
            return Err(ScramError::Malformed("garbage at end of server-first-message"));
        }
        Ok(Self { text, nonce, salt, iterations })
    }
}

struct Attributes<'a>(&'a str);

impl<'a> Attributes<'a> {
    fn next(&mut self, name: char, expected: &'static str) -> Result<&'a str, ScramError> {
        let value = self
            .0
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='))
            .ok_or(ScramError::Malformed(expected))?;
        let (value, rest) = value.split_once(',').unwrap_or((value, ""));
        self.0 = rest;
        Ok(value)
    }
}

/// PBKDF2 with one block of output, under way.
struct SaltedPassword {
    mac: Hmac<Sha256>,
    block: [u8; 32],
    sum: [u8; 32],
    iterations_left: u32,
}

impl SaltedPassword {
    fn begin(password: &Password, salt: &[u8], iterations: NonZeroU32) -> Self {
        let mac = keyed(&prepare(password.expose()));
        let first = mac.clone().chain_update(salt).chain_update(1u32.to_be_bytes());
        let block = first.finalize().into_bytes().into();
        Self { mac, block, sum: block, iterations_left: iterations.get() - 1 }
    }

    /// Does some iterations; gives the result after the last.
    fn advance(&mut self) -> Option<[u8; 32]> {
        let iterations = self.iterations_left.min(ITERATIONS_AT_A_TIME);
        for _ in 0..iterations {
            self.block = self.mac.clone().chain_update(self.block).finalize().into_bytes().into();
            for (sum, byte) in self.sum.iter_mut().zip(self.block) {
                *sum ^= byte;
            }
        }
        self.iterations_left -= iterations;
        (self.iterations_left == 0).then_some(self.sum)
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // A key of any length is hashed into a block; no other failure exists.
    Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    keyed(key).chain_update(message).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nonce, salt and password are those of the example in RFC 7677, section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn exchange() -> (Scram, String) {
        let mut scram = Scram::with_nonce(NONCE.into());
        scram.challenge(SERVER_FIRST, &"pencil".into()).unwrap();
        let last = scram.client_final().unwrap();
        (scram, last)
    }

    #[test]
    fn cn_227_messages_have_the_form_of_the_protocol() {
        let (_, last) = exchange();
        assert_eq!(Scram::with_nonce(NONCE.into()).client_first(), "n,,n=,r=rOprNGfwEbeRWgbNEkqO");
        assert!(last.starts_with("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p="), "{last}");
    }

    #[test]
    fn salted_password_is_that_of_the_standard() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let iterations = NonZeroU32::new(4096).unwrap();
        let salted = SaltedPassword::begin(&"pencil".into(), &salt, iterations).advance().unwrap();
        let server_key = BASE64.encode(hmac(&salted, b"Server Key"));
        assert_eq!(server_key, "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
    }

    #[test]
    fn cn_230_long_work_is_done_in_parts() {
        let mut scram = Scram::with_nonce("n".into());
        scram.challenge(b"r=n1,s=AAAA,i=12288", &"x".into()).unwrap();
        assert_eq!(scram.client_final(), None);
        assert_eq!(scram.client_final(), None);
        assert!(scram.client_final().unwrap().starts_with("c=biws,r=n1,p="));
    }

    #[test]
    fn cn_231_a_foreign_nonce_is_refused() {
        let mut scram = Scram::with_nonce("mine".into());
        for answer in [&b"r=theirs,s=AAAA,i=1"[..], b"r=mine,s=AAAA,i=1"] {
            assert_eq!(scram.challenge(answer, &"x".into()), Err(ScramError::NonceMismatch));
            assert_eq!(scram.client_final(), None);
        }
    }

    #[test]
    fn cn_232_a_server_that_does_not_know_the_password_is_refused() {
        let verify = |answer: String| exchange().0.verify(answer.as_bytes());
        assert_eq!(verify(format!("v={}", BASE64.encode([7; 32]))), Err(ScramError::ServerSignature));
        for answer in ["v=".to_owned(), "v=AAAA".to_owned(), format!("v={}", BASE64.encode([7; 33]))] {
            assert_eq!(verify(answer), Err(ScramError::Malformed("invalid server signature")));
        }
    }

    #[test]
    fn cn_233_an_error_of_the_server_is_shown() {
        let (scram, _) = exchange();
        assert_eq!(scram.verify(b"e=other-error"), Err(ScramError::Server("other-error".into())));
    }

    #[test]
    fn cn_234_malformed_messages_are_named() {
        for (message, text) in [
            (&b""[..], "malformed SCRAM message (attribute \"r\" expected)"),
            (b"r=n1", "malformed SCRAM message (attribute \"s\" expected)"),
            (b"r=n1,s=*,i=1", "malformed SCRAM message (invalid salt)"),
            (b"r=n1,s=AAAA,i=0", "malformed SCRAM message (invalid iteration count)"),
            (b"r=n1,s=AAAA,i=x", "malformed SCRAM message (invalid iteration count)"),
            (b"r=n1,s=AAAA,i=1,x=y", "malformed SCRAM message (garbage at end of server-first-message)"),
        ] {
            let error = Scram::with_nonce("n".into()).challenge(message, &"x".into()).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn cn_246_endless_work_is_refused() {
        let error = Scram::with_nonce("n".into()).challenge(b"r=n1,s=AAAA,i=10000001", &"x".into());
        assert_eq!(error, Err(ScramError::TooManyIterations(10_000_001)));
    }
}

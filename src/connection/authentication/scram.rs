//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL uses it. Sans-I/O.
//!
//! It is written here because a server may be set to any iteration count, and the implementation in
//! `postgres-protocol` refuses more than 100,000.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::channel_binding::Binding;
use super::credentials::{Credentials, KeyDerivation, hmac, keyed};

/// Beyond this a login would take minutes: a server that asks for more wants to keep us busy (CW-04).
const MOST_ITERATIONS: u32 = 10_000_000;
const NONCE_BYTES: usize = 18;

/// The exchange failed before the server proved that it knows the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScramError {
    /// A message of the server does not have the form of the protocol.
    #[error("malformed SCRAM message ({0})")]
    Malformed(String),
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
    /// There is a key for the client alone, with which any server would do.
    #[error("scram_client_key needs scram_server_key or a password, by which the server is known")]
    ServerKeyMissing,
    /// The system has no random numbers.
    #[error("could not generate nonce")]
    Nonce,
}

/// A nonce that was never used before.
pub(super) fn fresh_nonce() -> Result<String, ScramError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| ScramError::Nonce)?;
    Ok(BASE64.encode(nonce))
}

/// The state of one exchange: first `client_first`, then `challenge`, then `client_final` until it gives a
/// message, then `verify`.
pub(super) struct Scram {
    binding: Binding,
    credentials: Credentials,
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
    keys: KeyDerivation,
}

impl Scram {
    pub(super) fn new(credentials: Credentials, binding: Binding, nonce: String) -> Self {
        // The server takes the user name from the startup message.
        let client_first_bare = format!("n=,r={nonce}");
        Self { binding, credentials, client_first_bare, nonce, work: None, server_signature: None }
    }

    /// Whether the exchange is tied to the TLS connection.
    pub(super) fn is_bound(&self) -> bool {
        self.binding.is_bound()
    }

    /// The first message.
    pub(super) fn client_first(&self) -> String {
        format!("{}{}", self.binding.gs2_header(), self.client_first_bare)
    }

    /// Takes the server's first message.
    pub(super) fn challenge(&mut self, server_first: &[u8]) -> Result<(), ScramError> {
        let challenge = Challenge::parse(server_first)?;
        if !challenge.nonce.starts_with(&self.nonce) || challenge.nonce.len() == self.nonce.len() {
            return Err(ScramError::NonceMismatch);
        }
        self.work = Some(Work {
            server_first: challenge.text.to_owned(),
            nonce: challenge.nonce.to_owned(),
            keys: self.credentials.derive(&challenge.salt, challenge.iterations),
        });
        Ok(())
    }

    /// Does a part of the work that the server asked for. Gives the answer with the proof once it is done.
    pub(super) fn client_final(&mut self) -> Option<Zeroizing<String>> {
        let work = self.work.as_mut()?;
        let keys = work.keys.advance()?;
        let stored_key = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(&keys.client)));

        let without_proof = format!("c={},r={}", self.binding.encode_input(), work.nonce);
        let auth_message = format!("{},{},{without_proof}", self.client_first_bare, work.server_first);
        let client_signature = hmac(&stored_key[..], auth_message.as_bytes());
        let proof: Zeroizing<Vec<u8>> =
            Zeroizing::new(keys.client.iter().zip(client_signature).map(|(a, b)| a ^ b).collect());

        self.server_signature = Some(keyed(&keys.server).chain_update(auth_message));
        let proof = Zeroizing::new(BASE64.encode(&proof));
        Some(Zeroizing::new(format!("{without_proof},p={}", *proof)))
    }

    /// Checks the server's last message: only one who knows the password can have made it.
    pub(super) fn verify(self, server_final: &[u8]) -> Result<(), ScramError> {
        let mut attributes = Attributes::of(server_final)?;
        if attributes.0.starts_with('e') {
            return Err(ScramError::Server(attributes.next('e')?.to_owned()));
        }
        let signature: [u8; 32] = BASE64
            .decode(attributes.next('v')?)
            .ok()
            .and_then(|signature| signature.try_into().ok())
            .ok_or_else(|| malformed("invalid server signature"))?;
        attributes.finish("garbage at end of server-final-message")?;
        let expected = self.server_signature.ok_or_else(|| malformed("server-final-message out of turn"))?;
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
        let mut attributes = Attributes::of(message)?;
        let text = attributes.0;
        let nonce = attributes.next('r')?;
        let salt = BASE64.decode(attributes.next('s')?).map_err(|_| malformed("invalid salt"))?;
        let iterations: NonZeroU32 =
            attributes.next('i')?.parse().map_err(|_| malformed("invalid iteration count"))?;
        if iterations.get() > MOST_ITERATIONS {
            return Err(ScramError::TooManyIterations(iterations.get()));
        }
        attributes.finish("garbage at end of server-first-message")?;
        Ok(Self { text, nonce, salt, iterations })
    }
}

/// What is left of `name=value,…`; a name is one letter.
struct Attributes<'a>(&'a str);

impl<'a> Attributes<'a> {
    fn of(message: &'a [u8]) -> Result<Self, ScramError> {
        match std::str::from_utf8(message) {
            Ok("") => Err(malformed("empty message")),
            Ok(text) if text.contains('\0') => Err(malformed("length mismatch")),
            Ok(text) => Ok(Self(text)),
            Err(_) => Err(malformed("not UTF-8")),
        }
    }

    fn next(&mut self, name: char) -> Result<&'a str, ScramError> {
        let value = self
            .0
            .strip_prefix(name)
            .ok_or_else(|| malformed(&format!("attribute \"{name}\" expected")))?
            .strip_prefix('=')
            .ok_or_else(|| malformed(&format!("expected character \"=\" for attribute \"{name}\"")))?;
        let (value, rest) = value.split_once(',').unwrap_or((value, ""));
        self.0 = rest;
        Ok(value)
    }

    fn finish(self, garbage: &str) -> Result<(), ScramError> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed(garbage)) }
    }
}

fn malformed(what: &str) -> ScramError {
    ScramError::Malformed(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conninfo::Config;

    /// Nonce, salt and password are those of the example in RFC 7677, section 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    const SERVER_FINAL: &[u8] = b"v=3HO6Qt1M4MKJrmlKaoOqLAI0/0TV0HZe7J9H3MBtSOg=";

    fn scram(nonce: &str, binding: Binding) -> Scram {
        let config: Config = "user=u".parse().unwrap();
        let credentials = Credentials::new(&config, Some(&"pencil".into())).unwrap();
        Scram::new(credentials, binding, nonce.into())
    }

    fn exchange(binding: Binding) -> (Scram, String) {
        let mut scram = scram(NONCE, binding);
        scram.challenge(SERVER_FIRST).unwrap();
        let last = scram.client_final().unwrap();
        (scram, last.to_string())
    }

    #[test]
    fn cn_229_messages_have_the_form_of_the_protocol() {
        for (binding, header, input) in [
            (Binding::Unsupported, "n,,", "biws"),
            (Binding::NotOffered, "y,,", "eSws"),
            (
                Binding::ServerEndPoint(vec![1]),
                "p=tls-server-end-point,,",
                "cD10bHMtc2VydmVyLWVuZC1wb2ludCwsAQ==",
            ),
        ] {
            let (scram, last) = exchange(binding);
            assert_eq!(scram.client_first(), format!("{header}n=,r=rOprNGfwEbeRWgbNEkqO"));
            let start = format!("c={input},r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=");
            assert!(last.starts_with(&start), "{last}");
        }
    }

    #[test]
    fn cn_229_the_proof_depends_on_the_binding() {
        let proof = |binding| exchange(binding).1.rsplit_once("p=").unwrap().1.to_owned();
        let proofs = [Binding::Unsupported, Binding::NotOffered, Binding::ServerEndPoint(vec![1])].map(proof);
        assert!(proofs[0] != proofs[1] && proofs[1] != proofs[2] && proofs[0] != proofs[2]);
    }

    #[test]
    fn cn_230_long_work_is_done_in_parts() {
        let mut scram = scram("n", Binding::Unsupported);
        scram.challenge(b"r=n1,s=AAAA,i=12288").unwrap();
        assert_eq!(scram.client_final(), None);
        assert_eq!(scram.client_final(), None);
        assert!(scram.client_final().unwrap().starts_with("c=biws,r=n1,p="));
    }

    #[test]
    fn cn_231_a_foreign_nonce_is_refused() {
        let mut scram = scram("mine", Binding::Unsupported);
        for answer in [&b"r=theirs,s=AAAA,i=1"[..], b"r=mine,s=AAAA,i=1"] {
            assert_eq!(scram.challenge(answer), Err(ScramError::NonceMismatch));
            assert_eq!(scram.client_final(), None);
        }
    }

    #[test]
    fn cn_232_a_server_that_does_not_know_the_password_is_refused() {
        let verify = |answer: String| exchange(Binding::Unsupported).0.verify(answer.as_bytes());
        assert_eq!(verify(format!("v={}", BASE64.encode([7; 32]))), Err(ScramError::ServerSignature));
        for answer in ["v=".to_owned(), "v=AAAA".to_owned(), format!("v={}", BASE64.encode([7; 33]))] {
            assert_eq!(verify(answer), Err(malformed("invalid server signature")));
        }
    }

    #[test]
    fn cn_232_a_server_that_knows_the_password_is_believed() {
        // Made of the server key of the standard's example by another program.
        let (scram, _) = exchange(Binding::Unsupported);
        scram.verify(SERVER_FINAL).unwrap();
    }

    #[test]
    fn cn_233_an_error_of_the_server_is_shown() {
        for (message, text) in [
            (&b"e=other-error"[..], "error received from server in SCRAM exchange: other-error"),
            (b"e=other-error,x", "error received from server in SCRAM exchange: other-error"),
            (b"e", "malformed SCRAM message (expected character \"=\" for attribute \"e\")"),
        ] {
            let (scram, _) = exchange(Binding::Unsupported);
            assert_eq!(scram.verify(message).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn cn_234_malformed_first_messages_are_named() {
        for (message, text) in [
            (&b""[..], "empty message"),
            (b"\xff", "not UTF-8"),
            (b"r=n1,s=AAAA,i=1\0", "length mismatch"),
            (b"x", "attribute \"r\" expected"),
            (b"m=x,r=n1,s=AAAA,i=1", "attribute \"r\" expected"),
            (b"r", "expected character \"=\" for attribute \"r\""),
            (b"r=n1", "attribute \"s\" expected"),
            (b"r=n1,s=*,i=1", "invalid salt"),
            (b"r=n1,s=AAAA", "attribute \"i\" expected"),
            (b"r=n1,s=AAAA,i=0", "invalid iteration count"),
            (b"r=n1,s=AAAA,i=-1", "invalid iteration count"),
            (b"r=n1,s=AAAA,i=x", "invalid iteration count"),
            (b"r=n1,s=AAAA,i=1,x=y", "garbage at end of server-first-message"),
        ] {
            let error = scram("n", Binding::Unsupported).challenge(message).unwrap_err();
            assert_eq!(error.to_string(), format!("malformed SCRAM message ({text})"));
        }
    }

    #[test]
    fn cn_234_malformed_last_messages_are_named() {
        let signature = BASE64.encode([7; 32]);
        for (message, text) in [
            (String::new(), "empty message"),
            (format!("v={signature}\0"), "length mismatch"),
            ("x".to_owned(), "attribute \"v\" expected"),
            ("v".to_owned(), "expected character \"=\" for attribute \"v\""),
            (format!("v={signature},x=y"), "garbage at end of server-final-message"),
        ] {
            let (scram, _) = exchange(Binding::Unsupported);
            let error = scram.verify(message.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), format!("malformed SCRAM message ({text})"));
        }
    }

    #[test]
    fn cn_246_endless_work_is_refused() {
        let error = scram("n", Binding::Unsupported).challenge(b"r=n1,s=AAAA,i=10000001");
        assert_eq!(error, Err(ScramError::TooManyIterations(10_000_001)));
    }

    #[test]
    fn cn_227_nonces_are_long_and_never_the_same() {
        let [one, other] = [(); 2].map(|()| fresh_nonce().unwrap());
        assert!(one.len() == 24 && one != other);
    }
}

//! What a client can prove itself by in SCRAM: a password, or the keys that were made of one. Sans-I/O.

use std::num::NonZeroU32;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::super::startup_error::StartupError;
use super::saslprep::prepare;
use super::scram::ScramError;
use crate::conninfo::Config;
use crate::types::Password;

/// The work done at a time, some milliseconds: what servers ask for unless they are told otherwise.
const ITERATIONS_AT_A_TIME: u32 = 4_096;

/// A password, a pair of keys, or a password and one of the keys; never less than what makes both keys.
#[derive(Clone)]
pub(super) struct Credentials {
    password: Option<Password>,
    client_key: Option<Password>,
    server_key: Option<Password>,
}

impl Credentials {
    /// The keys of the configuration count more than the password (CN-227). One key alone is not enough: with
    /// that of the client only, no server could be told from an impostor.
    pub(super) fn new(config: &Config, password: Option<&Password>) -> Result<Self, StartupError> {
        match (&config.scram_client_key, &config.scram_server_key, password) {
            (None, _, None) => Err(StartupError::PasswordMissing),
            (Some(_), None, None) => Err(ScramError::ServerKeyMissing.into()),
            (client_key, server_key, password) => Ok(Self {
                password: password.cloned(),
                client_key: client_key.clone(),
                server_key: server_key.clone(),
            }),
        }
    }

    /// Starts to make the keys.
    pub(super) fn derive(&self, salt: &[u8], iterations: NonZeroU32) -> KeyDerivation {
        let Self { password, client_key, server_key } = self.clone();
        let is_complete = client_key.is_some() && server_key.is_some();
        let password = password.filter(|_| !is_complete);
        let salted_password = password.map(|password| SaltedPassword::begin(&password, salt, iterations));
        KeyDerivation { client_key, server_key, salted_password }
    }
}

/// The keys of both sides.
pub(super) struct Keys {
    pub(super) client: Zeroizing<Vec<u8>>,
    pub(super) server: Zeroizing<Vec<u8>>,
}

/// Keys in the making.
pub(super) struct KeyDerivation {
    client_key: Option<Password>,
    server_key: Option<Password>,
    /// None if both keys are there.
    salted_password: Option<SaltedPassword>,
}

impl KeyDerivation {
    /// Does a part of the work; gives the keys once it is done.
    pub(super) fn advance(&mut self) -> Option<Keys> {
        let salted_password = match &mut self.salted_password {
            Some(work) => work.advance()?,
            None => Zeroizing::default(),
        };
        let key = |given: &Option<Password>, purpose: &[u8]| match given {
            Some(key) => Zeroizing::new(key.expose().to_vec()),
            None => Zeroizing::new(hmac(&salted_password[..], purpose).to_vec()),
        };
        Some(Keys {
            client: key(&self.client_key, b"Client Key"),
            server: key(&self.server_key, b"Server Key"),
        })
    }
}

/// PBKDF2 with one block of output, under way.
struct SaltedPassword {
    mac: Hmac<Sha256>,
    block: Zeroizing<[u8; 32]>,
    sum: Zeroizing<[u8; 32]>,
    iterations_left: u32,
}

impl SaltedPassword {
    fn begin(password: &Password, salt: &[u8], iterations: NonZeroU32) -> Self {
        let mac = keyed(&prepare(password.expose()));
        let first = mac.clone().chain_update(salt).chain_update(1u32.to_be_bytes());
        let block: Zeroizing<[u8; 32]> = Zeroizing::new(first.finalize().into_bytes().into());
        Self { mac, sum: block.clone(), block, iterations_left: iterations.get() - 1 }
    }

    /// Does some iterations; gives the result after the last.
    fn advance(&mut self) -> Option<Zeroizing<[u8; 32]>> {
        let iterations = self.iterations_left.min(ITERATIONS_AT_A_TIME);
        for _ in 0..iterations {
            *self.block = self.mac.clone().chain_update(*self.block).finalize().into_bytes().into();
            for (sum, byte) in self.sum.iter_mut().zip(*self.block) {
                *sum ^= byte;
            }
        }
        self.iterations_left -= iterations;
        (self.iterations_left == 0).then(|| self.sum.clone())
    }
}

/// HMAC-SHA-256 with its key.
pub(super) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // A key of any length is hashed into a block; no other failure exists.
    Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

pub(super) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    keyed(key).chain_update(message).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD as BASE64;

    use super::*;

    const CLIENT_KEY: &str = "scram_client_key=Y2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2M=";
    const SERVER_KEY: &str = "scram_server_key=c3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3M=";

    fn credentials(conninfo: &str, password: Option<&str>) -> Result<Credentials, StartupError> {
        let config: Config = format!("user=u {conninfo}").parse().unwrap();
        Credentials::new(&config, password.map(Password::from).as_ref())
    }

    /// The keys of the example in RFC 7677, section 3, where the password is `pencil`.
    fn keys(conninfo: &str, password: Option<&str>) -> (String, String) {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let iterations = NonZeroU32::new(4096).unwrap();
        let mut work = credentials(conninfo, password).unwrap().derive(&salt, iterations);
        let keys = work.advance().unwrap();
        (BASE64.encode(&keys.client[..]), BASE64.encode(&keys.server[..]))
    }

    #[test]
    fn cn_227_keys_are_made_of_the_password_as_the_standard_says() {
        let (client, server) = keys("", Some("pencil"));
        assert_eq!(client, "pg/JI9Z+hkSpLRa5btpe9GVrDHJcSEN0viVTVXaZbos=");
        assert_eq!(server, "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
    }

    #[test]
    fn cn_227_keys_that_are_given_count_more_than_the_password() {
        let given = (BASE64.encode([b'c'; 32]), BASE64.encode([b's'; 32]));
        let made = keys("", Some("pencil"));
        let both = format!("{CLIENT_KEY} {SERVER_KEY}");
        assert_eq!(keys(&both, None), given);
        assert_eq!(keys(&both, Some("pencil")), given);
        assert_eq!(keys(CLIENT_KEY, Some("pencil")), (given.0, made.1));
        assert_eq!(keys(SERVER_KEY, Some("pencil")), (made.0, given.1));
    }

    #[test]
    fn cn_275_what_does_not_make_both_keys_is_not_enough() {
        let refusal = |conninfo| credentials(conninfo, None).err().unwrap().to_string();
        assert_eq!(refusal(""), "fe_sendauth: no password supplied");
        assert_eq!(refusal(SERVER_KEY), "fe_sendauth: no password supplied");
        assert_eq!(
            refusal(CLIENT_KEY),
            "scram_client_key needs scram_server_key or a password, by which the server is known"
        );
    }
}

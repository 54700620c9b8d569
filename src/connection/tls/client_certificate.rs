//! The client's certificate and its key.
//!
//! The rules say which files may be used and in which order errors are reported. A key is read into memory
//! that is overwritten afterwards (of the passphrase the library's binding makes a copy that is not), and
//! nobody is ever asked for the passphrase.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::SslContextBuilder;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::super::tls_error::TlsError;
use super::der::{Reader, tag};
use super::failure::reason;
use super::{home_file, library_path};
use crate::conninfo::{Config, SslCertMode};
use crate::types::{OsError, Password};

/// What nobody else may do with a key of root's; groups of services may read it.
const FORBIDDEN_FOR_KEY_OF_ROOT: u32 = 0o037;

/// What nobody else may do with any other key.
const FORBIDDEN: u32 = 0o077;

/// How PEM says that a key is encrypted: in PKCS#8, and in the older way.
const MARKS_OF_ENCRYPTION: [&[u8]; 2] = [b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED"];

/// Loads the certificate if there is one, and then its key, which must be there.
pub(super) fn configure(context: &mut SslContextBuilder, config: &Config) -> Result<(), TlsError> {
    let Some(certificate) = certificate_file(config)? else { return Ok(()) };
    context
        .set_certificate_chain_file(library_path(&certificate)?)
        .map_err(|errors| TlsError::Certificate { file: certificate, reason: reason(&errors) })?;
    let key = config.ssl_key.clone().or_else(|| home_file(config, "postgresql.key"));
    if let Some(file) = &key {
        let key = private_key(file, config.ssl_password.as_ref())?;
        context
            .set_private_key(&key)
            .map_err(|errors| TlsError::Key { file: file.clone(), reason: reason(&errors) })?;
    }
    let file = key.unwrap_or_default();
    context.check_private_key().map_err(|errors| TlsError::KeyMismatch { file, reason: reason(&errors) })
}

/// The file, if it is wanted and there.
fn certificate_file(config: &Config) -> Result<Option<PathBuf>, TlsError> {
    if config.ssl_cert_mode == SslCertMode::Disable {
        return Ok(None);
    }
    let Some(file) = config.ssl_cert.clone().or_else(|| home_file(config, "postgresql.crt")) else {
        return Ok(None);
    };
    match fs::metadata(&file) {
        Ok(_) => Ok(Some(file)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(TlsError::CertificateAccess { file, reason: error.into() }),
    }
}

fn private_key(file: &Path, passphrase: Option<&Password>) -> Result<PKey<Private>, TlsError> {
    let not_loaded = |reason| TlsError::Key { file: file.to_owned(), reason };
    let mut opened = open_key(file)?;
    let size = opened.metadata().map_or(0, |metadata| metadata.len());
    // Room for all of it, so that reading leaves no copies behind in memory.
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
    opened.read_to_end(&mut content).map_err(|error| not_loaded(OsError(error).to_string()))?;
    let passphrase = passphrase.map(Password::expose).filter(|passphrase| !passphrase.contains(&0));
    if passphrase.is_none() && is_encrypted(&content) {
        return Err(TlsError::PassphraseMissing(file.to_owned()));
    }
    decode_key(&content, passphrase).map_err(|errors| not_loaded(reason(&errors)))
}

/// Opens the file if it is one that may be used.
fn open_key(file: &Path) -> Result<File, TlsError> {
    let metadata = fs::metadata(file).map_err(|error| match error.kind() {
        ErrorKind::NotFound => TlsError::KeyMissing(file.to_owned()),
        _ => TlsError::KeyAccess { file: file.to_owned(), reason: error.into() },
    })?;
    check_key_file(file, &metadata)?;
    // Should another file have taken its place since, it must neither block nor be read.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(file)
        .map_err(|error| TlsError::Key { file: file.to_owned(), reason: OsError(error).to_string() })?;
    let metadata = opened
        .metadata()
        .map_err(|error| TlsError::KeyAccess { file: file.to_owned(), reason: error.into() })?;
    check_key_file(file, &metadata)?;
    Ok(opened)
}

fn check_key_file(file: &Path, metadata: &Metadata) -> Result<(), TlsError> {
    if !metadata.is_file() {
        return Err(TlsError::KeyNotRegular(file.to_owned()));
    }
    if !is_private(metadata.uid(), metadata.mode()) {
        return Err(TlsError::KeyPermissions(file.to_owned()));
    }
    Ok(())
}

/// The owner matters only as far as it is root (CN-181, CN-182).
const fn is_private(owner: u32, mode: u32) -> bool {
    let forbidden = if owner == 0 { FORBIDDEN_FOR_KEY_OF_ROOT } else { FORBIDDEN };
    mode & forbidden == 0
}

/// Reads PEM, or else DER; where it is neither, the errors are those of PEM.
///
/// The library's binding also takes a callback for the passphrase, but panics where the library asks twice,
/// as it may for a wrong one.
fn decode_key(content: &[u8], passphrase: Option<&[u8]>) -> Result<PKey<Private>, ErrorStack> {
    let from_pem = match passphrase {
        Some(passphrase) if is_encrypted_der(content) => {
            return PKey::private_key_from_pkcs8_passphrase(content, passphrase);
        }
        // Without any passphrase the library would ask on the terminal for one.
        passphrase => PKey::private_key_from_pem_passphrase(content, passphrase.unwrap_or_default()),
    };
    from_pem.or_else(|errors| PKey::private_key_from_der(content).map_err(|_| errors))
}

fn is_encrypted(content: &[u8]) -> bool {
    let is_marked = |mark: &&[u8]| content.windows(mark.len()).any(|window| window == *mark);
    MARKS_OF_ENCRYPTION.iter().any(is_marked) || is_encrypted_der(content)
}

/// PKCS#8 begins with an algorithm where it is encrypted, and with a version where it is not.
fn is_encrypted_der(content: &[u8]) -> bool {
    let first = Reader::new(content).enter(tag::SEQUENCE).and_then(|mut key| key.element());
    first.is_some_and(|first| first.tag == tag::SEQUENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_181_and_182_permissions_of_a_key() {
        for (owner, mode, expected) in [
            (0, 0o100_600, true),
            (0, 0o100_640, true),
            (0, 0o100_740, true),
            (0, 0o100_660, false),
            (0, 0o100_650, false),
            (0, 0o100_644, false),
            (1000, 0o100_600, true),
            (1000, 0o100_400, true),
            (1000, 0o100_700, true),
            (1000, 0o100_640, false),
            (1000, 0o100_604, false),
            (1000, 0o100_601, false),
        ] {
            assert_eq!(is_private(owner, mode), expected, "{owner} {mode:o}");
        }
    }

    #[test]
    fn cn_179_encrypted_keys_are_told_apart() {
        let key = PKey::ec_gen("prime256v1").unwrap();
        let cipher = openssl::symm::Cipher::aes_128_cbc();
        let ec = key.ec_key().unwrap();
        for (content, expected) in [
            (key.private_key_to_pem_pkcs8().unwrap(), false),
            (key.private_key_to_pem_pkcs8_passphrase(cipher, b"x").unwrap(), true),
            (ec.private_key_to_pem().unwrap(), false),
            (ec.private_key_to_pem_passphrase(cipher, b"x").unwrap(), true),
            (key.private_key_to_pkcs8().unwrap(), false),
            (key.private_key_to_pkcs8_passphrase(cipher, b"x").unwrap(), true),
            (key.private_key_to_der().unwrap(), false),
            (vec![], false),
            (b"junk".to_vec(), false),
        ] {
            assert_eq!(is_encrypted(&content), expected, "{}", content.escape_ascii());
        }
    }
}

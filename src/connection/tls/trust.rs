//! Whom to trust: root certificates and lists of revoked ones.

use std::path::{Path, PathBuf};

use openssl::ssl::{SslContextBuilder, SslVerifyMode};
use openssl::x509::verify::X509VerifyFlags;

use super::super::notice::{Notice, NoticeHandler};
use super::super::tls_error::TlsError;
use super::failure::reason;
use super::{home_file, library_path};
use crate::conninfo::{Config, SslMode, SslRootCert};

/// Loads the roots, and has the server's certificates checked against them if there are any: the mode
/// decides only whether they may be missing.
pub(super) fn configure(
    context: &mut SslContextBuilder,
    config: &Config,
    notices: &NoticeHandler,
) -> Result<(), TlsError> {
    match root_file(config) {
        Roots::System => {
            context.set_default_verify_paths().map_err(|errors| TlsError::SystemRoots(reason(&errors)))?;
        }
        Roots::File(file) => {
            context
                .load_verify_locations(Some(library_path(&file)?), None)
                .map_err(|errors| TlsError::RootCertificate { file, reason: reason(&errors) })?;
            check_revocation(context, config, notices)?;
        }
        Roots::Missing(_) if config.ssl_mode < SslMode::VerifyCa => {
            context.set_verify(SslVerifyMode::NONE);
            return Ok(());
        }
        Roots::Missing(Some(file)) => return Err(TlsError::RootCertificateMissing(file)),
        Roots::Missing(None) => return Err(TlsError::NoHomeDirectory),
    }
    context.set_verify(SslVerifyMode::PEER);
    Ok(())
}

enum Roots {
    System,
    File(PathBuf),
    /// Nothing is where they should be, or there is no such place.
    Missing(Option<PathBuf>),
}

fn root_file(config: &Config) -> Roots {
    let file = match &config.ssl_root_cert {
        Some(SslRootCert::System) => return Roots::System,
        Some(SslRootCert::File(file)) => Some(file.clone()),
        None => home_file(config, "root.crt"),
    };
    match file {
        Some(file) if file.exists() => Roots::File(file),
        missing => Roots::Missing(missing),
    }
}

/// Certificates of the whole chain are looked up in the lists, once there are any. What cannot be loaded is
/// left out, as libpq does; but a file that the user named is not left out without a word (CN-177).
fn check_revocation(
    context: &mut SslContextBuilder,
    config: &Config,
    notices: &NoticeHandler,
) -> Result<(), TlsError> {
    let mut file = config.ssl_crl.clone();
    let directory = config.ssl_crl_dir.as_deref();
    if file.is_none() && directory.is_none() {
        file = home_file(config, "root.crl");
    }
    let flags = X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL;
    let loaded = load_revocation_lists(context, file.as_deref(), directory)?
        && context.cert_store_mut().set_flags(flags).is_ok();
    if let (false, Some(file)) = (loaded, &config.ssl_crl) {
        notices(&Notice::RevocationListIgnored(file.clone()));
    }
    Ok(())
}

fn load_revocation_lists(
    context: &mut SslContextBuilder,
    file: Option<&Path>,
    directory: Option<&Path>,
) -> Result<bool, TlsError> {
    let directory = directory.map(library_path).transpose()?;
    let file = match file.map(library_path).transpose() {
        // What cannot be asked for is left out only where there is nothing.
        Err(_) if file.is_some_and(|file| !file.exists()) => return Ok(false),
        file => file?,
    };
    let is_wanted = file.is_some() || directory.is_some();
    Ok(is_wanted && context.load_verify_locations(file, directory).is_ok())
}

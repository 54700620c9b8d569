//! What the library says, in libpq's words.

use std::io;

use openssl::error::{Error, ErrorStack};
use openssl::ssl::{self, ErrorCode};
use openssl::x509::X509VerifyResult;

use super::super::tls_error::TlsError;
use crate::conninfo::Config;
use crate::types::OsError;

/// The part of the library that reports errors of the system.
const SYSTEM: i32 = 2;

/// The part that is TLS itself.
const TLS: i32 = 20;

/// `SSL_R_CERTIFICATE_VERIFY_FAILED`
const CERTIFICATE_VERIFY_FAILED: i32 = 134;

/// Reasons that speak of versions of TLS: `SSL_R_BAD_PROTOCOL_VERSION_NUMBER`, `…_VERSION_TOO_HIGH`,
/// `…_NO_PROTOCOLS_AVAILABLE`, `…_UNKNOWN_PROTOCOL`, `…_UNKNOWN_SSL_VERSION`, `…_UNSUPPORTED_PROTOCOL`,
/// `…_UNSUPPORTED_SSL_VERSION`, `…_WRONG_SSL_VERSION`, `…_WRONG_VERSION_NUMBER`, `…_VERSION_TOO_LOW`,
/// `…_TLSV1_ALERT_PROTOCOL_VERSION`.
const ABOUT_VERSIONS: [i32; 11] = [116, 166, 191, 252, 254, 258, 259, 266, 267, 396, 1070];

/// What is wrong with a chain that does not lead to a root that is known:
/// `X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT`, `…_DEPTH_ZERO_SELF_SIGNED_CERT`, `…_SELF_SIGNED_CERT_IN_CHAIN`,
/// `…_UNABLE_TO_GET_ISSUER_CERT_LOCALLY`, `…_UNABLE_TO_VERIFY_LEAF_SIGNATURE`.
const ABOUT_ROOTS: [i32; 5] = [2, 18, 19, 20, 21];

/// The reason of the first of the errors, which libpq prints.
pub(super) fn reason(errors: &ErrorStack) -> String {
    errors.errors().first().map_or_else(|| "no SSL error reported".to_owned(), error_reason)
}

fn error_reason(error: &Error) -> String {
    if let Some(reason) = error.reason() {
        return reason.to_owned();
    }
    if error.library_code() == SYSTEM {
        return OsError(io::Error::from_raw_os_error(error.reason_code())).to_string();
    }
    format!("SSL error code {}", error.code())
}

/// Why the handshake failed inside TLS.
pub(super) fn of_handshake(error: &ssl::Error, chain: X509VerifyResult, config: &Config) -> TlsError {
    let first = error.ssl_error().and_then(|errors| errors.errors().first());
    let code = first.filter(|error| error.library_code() == TLS).map(Error::reason_code);
    match code {
        Some(CERTIFICATE_VERIFY_FAILED) => TlsError::Untrusted {
            detail: chain.error_string().to_owned(),
            is_root_unknown: ABOUT_ROOTS.contains(&chain.as_raw()),
        },
        Some(code) if ABOUT_VERSIONS.contains(&code) => TlsError::NoCommonVersion {
            reason: first.map(error_reason).unwrap_or_default(),
            min: config.ssl_min_protocol_version,
            max: config.ssl_max_protocol_version,
        },
        _ => of_session(error),
    }
}

/// Why a session failed inside TLS.
pub(super) fn of_session(error: &ssl::Error) -> TlsError {
    match error.code() {
        ErrorCode::ZERO_RETURN => TlsError::Closed,
        _ => TlsError::Protocol(error.ssl_error().map_or_else(|| "no SSL error reported".to_owned(), reason)),
    }
}

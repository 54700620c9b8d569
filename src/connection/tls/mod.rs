//! TLS as libpq has it: the server's certificate is checked as far as the mode asks for it, and further where
//! root certificates are there.
//!
//! What comes in is a TCP connection on which the server expects a handshake, what goes out is one that is
//! encrypted, with what authentication has to know about it. The library checks chains of certificates; the
//! names in them are compared here.

mod certificate;
mod channel_binding;
mod client_certificate;
mod client_flight;
mod context;
mod der;
mod engine;
mod failure;
mod key_log;
mod server_name;
mod stream;
#[cfg(test)]
mod tests;
mod trust;

use std::future::poll_fn;
use std::path::{Path, PathBuf};

use openssl::ssl::SslRef;
use tokio::net::TcpStream;

use self::certificate::CertificateNames;
use self::client_flight::ClientCertificate;
pub(super) use self::stream::TlsStream;
use self::stream::{HandshakeFailure, Transport};
use super::channel::TlsFacts;
use super::notice::NoticeHandler;
use super::tls_error::TlsError;
use crate::conninfo::{Config, Host, SslMode, SslNegotiation};

/// Whether this build has TLS.
pub(super) const IS_COMPILED_IN: bool = true;

/// The name of PostgreSQL's protocol in ALPN.
const APPLICATION_PROTOCOL: &[u8] = b"postgresql";

/// The directory below the home directory that has the files of TLS.
const DIRECTORY: &str = ".postgresql";

/// Encrypts a connection and checks the server's certificate, as far as the configuration asks for it.
///
/// # Cancel safety
/// A dropped future closes the connection.
pub(super) async fn handshake(
    config: &Config,
    host: &Host,
    socket: TcpStream,
    notices: &NoticeHandler,
) -> Result<TlsStream, TlsError> {
    let client = context::client(config, host, notices)?;
    let mut transport =
        Transport::new(client, socket).map_err(|errors| TlsError::Setup(failure::reason(&errors)))?;
    let connected = poll_fn(|context| transport.poll_connect(context)).await;
    let client_certificate = connected.map_err(|failure| match failure {
        HandshakeFailure::Tls(error) => {
            failure::of_handshake(&error, transport.ssl().verify_result(), config)
        }
        HandshakeFailure::Socket(error) => error,
    })?;
    let facts = check_server(config, host, transport.ssl(), client_certificate)?;
    tracing::debug!(version = transport.ssl().version_str(), "TLS established");
    Ok(TlsStream::new(transport, facts))
}

/// Checks what the library does not, and gathers what is known then.
fn check_server(
    config: &Config,
    host: &Host,
    ssl: &SslRef,
    client_certificate: ClientCertificate,
) -> Result<TlsFacts, TlsError> {
    if config.ssl_negotiation == SslNegotiation::Direct {
        match ssl.selected_alpn_protocol() {
            Some(APPLICATION_PROTOCOL) => {}
            Some(_) => return Err(TlsError::UnexpectedApplicationProtocol),
            None => return Err(TlsError::NoApplicationProtocol),
        }
    }
    let not_obtained = |reason: String| TlsError::NoServerCertificate(reason);
    let certificate =
        ssl.peer_certificate().ok_or_else(|| not_obtained("no SSL error reported".to_owned()))?;
    if config.ssl_mode == SslMode::VerifyFull {
        let der = certificate.to_der().map_err(|errors| not_obtained(failure::reason(&errors)))?;
        let names = CertificateNames::parse(&der).ok_or(TlsError::NoNameInCertificate)?;
        server_name::check(host.name.as_deref().unwrap_or_default(), &names)?;
    }
    Ok(TlsFacts {
        server_end_point: channel_binding::server_end_point(&certificate),
        certificate_requested: client_certificate != ClientCertificate::NotRequested,
        certificate_sent: client_certificate == ClientCertificate::Sent,
    })
}

/// A path as it is, if the library's binding takes it: it panics at any other.
fn library_path(path: &Path) -> Result<&Path, TlsError> {
    let is_taken = path.to_str().is_some_and(|text| !text.contains('\0'));
    if is_taken { Ok(path) } else { Err(TlsError::PathNotText(path.to_owned())) }
}

/// The default place of a file.
fn home_file(config: &Config, name: &str) -> Option<PathBuf> {
    config.home.as_ref().map(|home| home.join(DIRECTORY).join(name))
}

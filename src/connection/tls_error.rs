use std::io;
use std::path::PathBuf;

use crate::conninfo::TlsVersion;
use crate::types::OsError;

/// TLS did not come about, or broke later.
///
/// The texts are libpq's. A session that breaks later reports this inside an [`io::Error`], from which
/// [`io::Error::downcast`] gets it back; a connection that the peer reset stays an ordinary [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// This build has no TLS.
    #[error("SSL support is not compiled in")]
    NotCompiledIn,
    /// The library refuses the settings.
    #[error("could not create SSL context: {0}")]
    Setup(String),
    /// The library refuses a bound of the versions of TLS.
    #[error("could not set {bound} SSL protocol version: {reason}")]
    VersionBound {
        /// `minimum` or `maximum`.
        bound: &'static str,
        /// What the library says.
        reason: String,
    },
    /// The name of the host cannot be sent.
    #[error("could not set SSL Server Name Indication (SNI): {0}")]
    ServerNameIndication(String),
    /// The library's binding takes only paths that are text.
    #[error("the path of \"{}\" is not valid UTF-8, which TLS needs", .0.display())]
    PathNotText(PathBuf),

    /// There is no home directory, where the root certificates would be.
    #[error("could not get home directory to locate root certificate file\n{WAYS_OUT}")]
    NoHomeDirectory,
    /// The root certificates are not there.
    #[error("root certificate file \"{}\" does not exist\n{WAYS_OUT}", .0.display())]
    RootCertificateMissing(PathBuf),
    /// The root certificates cannot be read.
    #[error("could not read root certificate file \"{}\": {reason}", file.display())]
    RootCertificate {
        /// The file.
        file: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// The library does not know whom the platform trusts.
    #[error("could not load system root certificate paths: {0}")]
    SystemRoots(String),

    /// Whether there is a client certificate cannot be found out.
    #[error("could not open certificate file \"{}\": {reason}", file.display())]
    CertificateAccess {
        /// The file.
        file: PathBuf,
        /// The reason.
        reason: OsError,
    },
    /// The client certificate cannot be read.
    #[error("could not read certificate file \"{}\": {reason}", file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// The client certificate has no key.
    #[error("certificate present, but not private key file \"{}\"", .0.display())]
    KeyMissing(PathBuf),
    /// Whether there is a key cannot be found out.
    #[error("could not stat private key file \"{}\": {reason}", file.display())]
    KeyAccess {
        /// The file.
        file: PathBuf,
        /// The reason.
        reason: OsError,
    },
    /// The key is a directory, a pipe or a device.
    #[error("private key file \"{}\" is not a regular file", .0.display())]
    KeyNotRegular(PathBuf),
    /// Others can read the key.
    #[error(
        "private key file \"{}\" has group or world access; file must have permissions u=rw (0600) or less \
         if owned by the current user, or permissions u=rw,g=r (0640) or less if owned by root",
        .0.display()
    )]
    KeyPermissions(PathBuf),
    /// The key cannot be read, or does not belong to the certificate.
    #[error("could not load private key file \"{}\": {reason}", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// The key is encrypted. Nobody is asked for the passphrase.
    #[error(
        "could not load private key file \"{}\": the key is encrypted and no passphrase is given (sslpassword)",
        .0.display()
    )]
    PassphraseMissing(PathBuf),
    /// The key does not belong to the certificate.
    #[error("certificate does not match private key file \"{}\": {reason}", file.display())]
    KeyMismatch {
        /// The file.
        file: PathBuf,
        /// What the library says.
        reason: String,
    },

    /// No trusted root vouches for the server's certificate.
    #[error("SSL error: certificate verify failed")]
    Untrusted {
        /// What is wrong with the chain of certificates.
        detail: String,
        /// Whether that is the root, and not one of the certificates before it.
        is_root_unknown: bool,
    },
    /// The two sides have no version of TLS in common, or the peer does not speak it.
    #[error(
        "SSL error: {reason}\nThis may indicate that the server does not support any SSL protocol version \
         between {} and {}.",
        version_name(min.unwrap_or(TlsVersion::V1_0)),
        version_name(max.unwrap_or(TlsVersion::V1_3))
    )]
    NoCommonVersion {
        /// What the library says.
        reason: String,
        /// `ssl_min_protocol_version`
        min: Option<TlsVersion>,
        /// `ssl_max_protocol_version`
        max: Option<TlsVersion>,
    },
    /// The server has no certificate.
    #[error("certificate could not be obtained: {0}")]
    NoServerCertificate(String),
    /// The server cannot be known to speak PostgreSQL's protocol.
    #[error("direct SSL connection was established without ALPN protocol negotiation extension")]
    NoApplicationProtocol,
    /// The server speaks another protocol.
    #[error("SSL connection was established with unexpected ALPN protocol")]
    UnexpectedApplicationProtocol,

    /// There is no name to look for in the server's certificate.
    #[error("host name must be specified for a verified SSL connection")]
    HostNameMissing,
    /// The server's certificate is for another host.
    #[error("server certificate for \"{first}\"{} does not match host name \"{host}\"", other_names(*others))]
    HostNameMismatch {
        /// The first name in the certificate.
        first: String,
        /// How many other names it has.
        others: usize,
        /// The host as the settings have it.
        host: String,
    },
    /// The server's certificate has no names, or they cannot be read.
    #[error("could not get server's host name from server certificate")]
    NoNameInCertificate,
    /// A name in the server's certificate might be taken for another.
    #[error("SSL certificate's name contains embedded null")]
    NameWithNull,
    /// An address in the server's certificate is none.
    #[error("certificate contains IP address with invalid length {0}")]
    AddressLength(usize),

    /// The library gave up.
    #[error("SSL error: {0}")]
    Protocol(String),
    /// The server closed the connection without saying so inside TLS, so something may be missing.
    #[error("SSL error: unexpected eof while reading")]
    UnexpectedEof,
    /// The server closed the connection.
    #[error("SSL connection has been closed unexpectedly")]
    Closed,
    /// The server reset the connection during the handshake.
    #[error(
        "server closed the connection unexpectedly\n\
         \tThis probably means the server terminated abnormally\n\
         \tbefore or while processing the request.\n\
         SSL SYSCALL error: {0}"
    )]
    Reset(OsError),
    /// The socket failed.
    #[error("SSL SYSCALL error: {0}")]
    Socket(OsError),
}

/// What to do where root certificates are missing that the mode needs.
const WAYS_OUT: &str = "Either provide the file, use the system's trusted roots with sslrootcert=system, \
                        or change sslmode to disable server certificate verification.";

impl TlsError {
    /// Whether the same may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::UnexpectedEof | Self::Closed | Self::Reset(_) | Self::Socket(_))
    }

    /// What a person can do about it, where the text does not say so.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Untrusted { detail, is_root_unknown: true } => Some(format!(
                "The reason is \"{detail}\": sslrootcert must name the root certificate of the authority that \
                 signed the server's, or the server's own if it signed itself."
            )),
            Self::Untrusted { detail, .. } => Some(format!("The reason is \"{detail}\".")),
            _ => None,
        }
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        Self::other(error)
    }
}

fn other_names(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " (and 1 other name)".to_owned(),
        _ => format!(" (and {count} other names)"),
    }
}

const fn version_name(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::V1_0 => "TLSv1",
        TlsVersion::V1_1 => "TLSv1.1",
        TlsVersion::V1_2 => "TLSv1.2",
        TlsVersion::V1_3 => "TLSv1.3",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_192_and_193_other_names_are_counted() {
        let mismatch = |others| TlsError::HostNameMismatch {
            first: "a.example".to_owned(),
            others,
            host: "b.example".to_owned(),
        };
        for (others, counted) in [(0, ""), (1, " (and 1 other name)"), (2, " (and 2 other names)")] {
            let expected = format!(
                "server certificate for \"a.example\"{counted} does not match host name \"b.example\""
            );
            assert_eq!(mismatch(others).to_string(), expected);
        }
    }

    #[test]
    fn cn_165_the_range_of_versions_is_named() {
        let error = TlsError::NoCommonVersion {
            reason: "wrong version number".to_owned(),
            min: None,
            max: Some(TlsVersion::V1_2),
        };
        assert_eq!(
            error.to_string(),
            "SSL error: wrong version number\n\
             This may indicate that the server does not support any SSL protocol version between TLSv1 and TLSv1.2."
        );
    }

    #[test]
    fn it_comes_back_out_of_an_io_error() {
        let error = io::Error::from(TlsError::Closed);
        assert_eq!(error.to_string(), "SSL connection has been closed unexpectedly");
        assert!(matches!(error.downcast::<TlsError>(), Ok(TlsError::Closed)));
    }
}

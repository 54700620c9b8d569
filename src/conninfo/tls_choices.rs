//! The settings of TLS that depend on each other.

use std::path::PathBuf;

use super::{ConninfoError, Keyword, Settings, SslCertMode, SslMode, SslNegotiation, TlsVersion};

/// Whom to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SslRootCert {
    /// `system`: whom the platform trusts.
    System,
    /// The certificates of a file.
    File(PathBuf),
}

/// What goes together.
pub(super) struct TlsChoices {
    pub(super) mode: SslMode,
    pub(super) negotiation: SslNegotiation,
    pub(super) cert_mode: SslCertMode,
    pub(super) root_cert: Option<SslRootCert>,
    pub(super) min_version: Option<TlsVersion>,
    pub(super) max_version: Option<TlsVersion>,
}

impl TlsChoices {
    /// Refuses what does not go together.
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, ConninfoError> {
        let choices = Self {
            mode: SslMode::from_settings(settings)?,
            negotiation: SslNegotiation::from_settings(settings)?,
            root_cert: root_cert(settings),
            min_version: TlsVersion::from_settings(settings, Keyword::SslMinProtocolVersion)?,
            max_version: TlsVersion::from_settings(settings, Keyword::SslMaxProtocolVersion)?,
            cert_mode: SslCertMode::from_settings(settings)?,
        };
        let mode = choices.mode;
        if choices.root_cert == Some(SslRootCert::System) && mode < SslMode::VerifyFull {
            return Err(ConninfoError::WeakSslModeForSystemRoots { mode });
        }
        if choices.negotiation == SslNegotiation::Direct && mode < SslMode::Require {
            return Err(ConninfoError::WeakSslModeForDirect { mode });
        }
        if let (Some(min), Some(max)) = (choices.min_version, choices.max_version)
            && min > max
        {
            return Err(ConninfoError::TlsVersionRange);
        }
        Ok(choices)
    }
}

fn root_cert(settings: &Settings) -> Option<SslRootCert> {
    match settings.value(Keyword::SslRootCert) {
        Some(b"system") => Some(SslRootCert::System),
        _ => settings.path(Keyword::SslRootCert).map(SslRootCert::File),
    }
}

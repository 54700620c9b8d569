//! How TLS is to be done, from the settings.

use openssl::error::ErrorStack;
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode, SslVersion,
};

use super::super::notice::NoticeHandler;
use super::super::tls_error::TlsError;
use super::failure::reason;
use super::{APPLICATION_PROTOCOL, client_certificate, key_log, trust};
use crate::conninfo::{Config, Host, TlsVersion};

/// Makes a client ready for one handshake with this host. Files are read here, and nowhere later.
pub(super) fn client(config: &Config, host: &Host, notices: &NoticeHandler) -> Result<Ssl, TlsError> {
    let mut context = SslContext::builder(SslMethod::tls_client()).map_err(|errors| setup(&errors))?;
    set_versions(&mut context, config)?;
    set_options(&mut context).map_err(|errors| setup(&errors))?;
    trust::configure(&mut context, config, notices)?;
    client_certificate::configure(&mut context, config)?;
    if let Some(file) = &config.ssl_key_log_file {
        key_log::configure(&mut context, file, notices);
    }
    let mut ssl = Ssl::new(&context.build()).map_err(|errors| setup(&errors))?;
    if let Some(name) = name_to_indicate(config, host) {
        if name.contains('\0') {
            return Err(TlsError::ServerNameIndication("the name contains a NUL byte".to_owned()));
        }
        ssl.set_hostname(name).map_err(|errors| TlsError::ServerNameIndication(reason(&errors)))?;
    }
    Ok(ssl)
}

/// A bound that is not set is that of the system's configuration.
fn set_versions(context: &mut SslContextBuilder, config: &Config) -> Result<(), TlsError> {
    let refused = |bound| move |errors| TlsError::VersionBound { bound, reason: reason(&errors) };
    if let Some(version) = config.ssl_min_protocol_version {
        context.set_min_proto_version(Some(library_version(version))).map_err(refused("minimum"))?;
    }
    if let Some(version) = config.ssl_max_protocol_version {
        context.set_max_proto_version(Some(library_version(version))).map_err(refused("maximum"))?;
    }
    Ok(())
}

fn set_options(context: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    context.set_options(
        SslOptions::NO_SSLV2
            | SslOptions::NO_SSLV3
            | SslOptions::NO_COMPRESSION
            | SslOptions::NO_RENEGOTIATION,
    );
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    let length = APPLICATION_PROTOCOL.len() as u8;
    context.set_alpn_protos(&[&[length], APPLICATION_PROTOCOL].concat())
}

/// Names are indicated, addresses are not (CN-167).
fn name_to_indicate<'a>(config: &Config, host: &'a Host) -> Option<&'a str> {
    let name = host.name.as_deref().filter(|_| config.ssl_sni)?;
    let is_v4 = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (!is_v4 && !name.contains(':')).then_some(name)
}

const fn library_version(version: TlsVersion) -> SslVersion {
    match version {
        TlsVersion::V1_0 => SslVersion::TLS1,
        TlsVersion::V1_1 => SslVersion::TLS1_1,
        TlsVersion::V1_2 => SslVersion::TLS1_2,
        TlsVersion::V1_3 => SslVersion::TLS1_3,
    }
}

fn setup(errors: &ErrorStack) -> TlsError {
    TlsError::Setup(reason(errors))
}

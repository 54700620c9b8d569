//! Channel binding: what ties a SCRAM exchange to the TLS connection that it runs over (RFC 5929).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Why channel binding stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelBindingError {
    /// The server offers it over a connection without TLS: somebody has taken TLS away (CN-245).
    #[error("server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection")]
    OfferedWithoutTls,
    /// It is demanded over a connection without TLS.
    #[error("channel binding required, but SSL not in use")]
    RequiredWithoutTls,
    /// It is demanded and the server asks for something that cannot have it.
    #[error("channel binding required but not supported by server's authentication request")]
    NotInRequest,
    /// It is demanded and the server offers no mechanism with it.
    #[error(
        "channel binding is required, but server did not offer an authentication method that supports \
         channel binding"
    )]
    NotOffered,
    /// It is demanded and the server did without.
    #[error("channel binding required, but server authenticated client without channel binding")]
    Bypassed,
    /// The server's certificate has nothing to bind to.
    #[error("{0}")]
    NoEndPoint(String),
}

/// What a SCRAM exchange says about channel binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// The client cannot, or does not want to.
    Unsupported,
    /// The client can, but believes that the server cannot; a server that can takes it for an attack.
    NotOffered,
    /// The hash of the server's certificate.
    ServerEndPoint(Vec<u8>),
}

impl Binding {
    pub(super) fn gs2_header(&self) -> &'static str {
        match self {
            Self::Unsupported => "n,,",
            Self::NotOffered => "y,,",
            Self::ServerEndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    /// The header again, with the data: the value of the attribute `c`.
    pub(super) fn encode_input(&self) -> String {
        let data = match self {
            Self::Unsupported | Self::NotOffered => &[][..],
            Self::ServerEndPoint(hash) => hash,
        };
        BASE64.encode([self.gs2_header().as_bytes(), data].concat())
    }

    pub(super) fn is_bound(&self) -> bool {
        matches!(self, Self::ServerEndPoint(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_229_every_flag_has_its_header_and_its_input() {
        for (binding, header, input) in [
            (Binding::Unsupported, "n,,", "biws"),
            (Binding::NotOffered, "y,,", "eSws"),
            (
                Binding::ServerEndPoint(vec![0, 1, 255]),
                "p=tls-server-end-point,,",
                "cD10bHMtc2VydmVyLWVuZC1wb2ludCwsAAH/",
            ),
        ] {
            assert_eq!(binding.gs2_header(), header);
            assert_eq!(binding.encode_input(), input);
        }
    }
}

//! Keywords whose value is one of a few words.

use std::fmt;
use std::str::FromStr;

use super::{ConninfoError, Keyword, Origin, Settings};

macro_rules! enumerated {
    (
        $(#[$doc:meta])*
        $name:ident = $keyword:ident { $($(#[$variant_doc:meta])* $variant:ident $text:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// The word as a connection string has it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            pub(super) fn from_settings(settings: &Settings) -> Result<Self, ConninfoError> {
                let keyword = Keyword::$keyword;
                let value = String::from_utf8_lossy(settings.value(keyword).unwrap_or_default());
                Self::from_word(&value, settings.origin(keyword).unwrap_or(Origin::Default))
            }

            fn from_word(word: &str, origin: Origin) -> Result<Self, ConninfoError> {
                match word {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(ConninfoError::InvalidValue {
                        keyword: Keyword::$keyword,
                        value: word.to_owned(),
                        origin,
                    }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = ConninfoError;

            fn from_str(word: &str) -> Result<Self, ConninfoError> {
                Self::from_word(word, Origin::Option)
            }
        }
    };
}

enumerated! {
    /// How much TLS is wanted over TCP, from the weakest to the strongest. Unix sockets ignore it.
    SslMode = SslMode {
        /// Plain text only.
        Disable "disable",
        /// Plain text, and TLS if the server refuses that.
        Allow "allow",
        /// TLS, and plain text if that does not come about.
        Prefer "prefer",
        /// TLS only; the server's certificate is checked if a root certificate is there.
        Require "require",
        /// TLS only, with a certificate that a trusted root vouches for.
        VerifyCa "verify-ca",
        /// The same, with the name of the host in the certificate.
        VerifyFull "verify-full",
    }
}

enumerated! {
    /// How TLS begins.
    SslNegotiation = SslNegotiation {
        /// The server is asked first.
        Postgres "postgres",
        /// With the first byte (servers from 17).
        Direct "direct",
    }
}

enumerated! {
    /// Whether the server gets a client certificate.
    SslCertMode = SslCertMode {
        /// Never.
        Disable "disable",
        /// If it asks and there is one.
        Allow "allow",
        /// It must ask and must get one.
        Require "require",
    }
}

enumerated! {
    /// Whether SCRAM is tied to the TLS connection.
    ChannelBinding = ChannelBinding {
        /// Never.
        Disable "disable",
        /// Where the server offers it.
        Prefer "prefer",
        /// Always; other methods are refused.
        Require "require",
    }
}

enumerated! {
    /// Whether GSSAPI encrypts the connection.
    GssEncMode = GssEncMode {
        /// Never.
        Disable "disable",
        /// If there are credentials.
        Prefer "prefer",
        /// Always.
        Require "require",
    }
}

enumerated! {
    /// The kind of server that will do.
    TargetSessionAttrs = TargetSessionAttrs {
        /// Any server.
        Any "any",
        /// One that takes writes.
        ReadWrite "read-write",
        /// One that does not.
        ReadOnly "read-only",
        /// One that is not in recovery.
        Primary "primary",
        /// One that is.
        Standby "standby",
        /// One that is, or any if none is.
        PreferStandby "prefer-standby",
    }
}

enumerated! {
    /// The order in which hosts are tried.
    LoadBalanceHosts = LoadBalanceHosts {
        /// As given.
        Disable "disable",
        /// At random.
        Random "random",
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// `TLSv1`
    V1_0,
    /// `TLSv1.1`
    V1_1,
    /// `TLSv1.2`
    V1_2,
    /// `TLSv1.3`
    V1_3,
}

impl TlsVersion {
    /// None is no bound. Letter case does not count (CN-048).
    pub(super) fn from_settings(
        settings: &Settings,
        keyword: Keyword,
    ) -> Result<Option<Self>, ConninfoError> {
        let Some(value) = settings.non_empty(keyword) else { return Ok(None) };
        match value.to_ascii_lowercase().as_slice() {
            b"tlsv1" => Ok(Some(Self::V1_0)),
            b"tlsv1.1" => Ok(Some(Self::V1_1)),
            b"tlsv1.2" => Ok(Some(Self::V1_2)),
            b"tlsv1.3" => Ok(Some(Self::V1_3)),
            _ => Err(ConninfoError::InvalidTlsVersion {
                keyword,
                value: String::from_utf8_lossy(value).into_owned(),
                origin: settings.origin(keyword).unwrap_or(Origin::Default),
            }),
        }
    }
}

/// A version of the frontend/backend protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtocolVersion {
    /// 3.0, which every supported server speaks.
    V3_0,
    /// 3.2, from server 18 on. There is no 3.1.
    V3_2,
}

impl ProtocolVersion {
    /// None if the keyword has no value. `latest` is 3.2 (CN-050).
    pub(super) fn from_settings(
        settings: &Settings,
        keyword: Keyword,
    ) -> Result<Option<Self>, ConninfoError> {
        match settings.value(keyword) {
            None => Ok(None),
            Some(b"3.0") => Ok(Some(Self::V3_0)),
            Some(b"3.2" | b"latest") => Ok(Some(Self::V3_2)),
            Some(value) => Err(ConninfoError::InvalidValue {
                keyword,
                value: String::from_utf8_lossy(value).into_owned(),
                origin: settings.origin(keyword).unwrap_or(Origin::Default),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::builder().option(Keyword::User, "u").connection_string(text).build().unwrap()
    }

    #[test]
    fn cn_047_words_and_their_order() {
        let modes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
        let parsed: Vec<SslMode> = modes.iter().map(|mode| mode.parse().unwrap()).collect();
        assert!(parsed.is_sorted());
        assert!(parsed.iter().zip(modes).all(|(mode, word)| mode.to_string() == word));
        for word in ["", "Prefer", " prefer", "1"] {
            let error = word.parse::<SslMode>().unwrap_err();
            assert_eq!(error.to_string(), format!("invalid sslmode value: \"{word}\""));
        }
    }

    #[test]
    fn cn_048_versions_of_tls() {
        let keyword = Keyword::SslMinProtocolVersion;
        for (text, expected) in [
            ("ssl_min_protocol_version=tlsV1", "Ok(Some(V1_0))"),
            ("ssl_min_protocol_version=TLSv1.1", "Ok(Some(V1_1))"),
            ("", "Ok(Some(V1_2))"),
            ("ssl_min_protocol_version=TLSV1.3", "Ok(Some(V1_3))"),
        ] {
            assert_eq!(format!("{:?}", TlsVersion::from_settings(&settings(text), keyword)), expected);
        }
        let error =
            TlsVersion::from_settings(&settings("ssl_min_protocol_version=SSLv3"), keyword).unwrap_err();
        assert_eq!(error.to_string(), "invalid \"ssl_min_protocol_version\" value: \"SSLv3\"");
        let maximum = TlsVersion::from_settings(&settings(""), Keyword::SslMaxProtocolVersion);
        assert!(matches!(maximum, Ok(None)));
    }

    #[test]
    fn cn_050_versions_of_the_protocol() {
        let keyword = Keyword::MaxProtocolVersion;
        for (text, expected) in [
            ("", "Ok(None)"),
            ("max_protocol_version=3.0", "Ok(Some(V3_0))"),
            ("max_protocol_version=3.2", "Ok(Some(V3_2))"),
            ("max_protocol_version=latest", "Ok(Some(V3_2))"),
        ] {
            assert_eq!(format!("{:?}", ProtocolVersion::from_settings(&settings(text), keyword)), expected);
        }
        let error =
            ProtocolVersion::from_settings(&settings("max_protocol_version=3.1"), keyword).unwrap_err();
        assert_eq!(error.to_string(), "invalid max_protocol_version value: \"3.1\"");
    }
}

//! OAUTHBEARER, as far as it goes: what is missing is said before anything is sent.

use crate::conninfo::Config;

/// Where an issuer publishes how to get a token, below its address.
const WELL_KNOWN: &str = "/.well-known/";

/// The server wants a token, and there is no way to one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OauthError {
    /// The user did not say where to get a token.
    #[error("server requires OAuth authentication, but oauth_issuer and oauth_client_id are not both set")]
    NotConfigured,
    /// A token would have to be fetched in the clear.
    #[error("OAuth discovery URI \"{0}\" must use HTTPS")]
    NotHttps(String),
    /// No way to get a token is built in.
    #[error("no OAuth flows are available (pgsiphon has none built in)")]
    NoFlow,
}

/// Why this configuration leads to no token (CN-256, CN-257).
pub(super) fn refusal(config: &Config) -> OauthError {
    let (Some(issuer), Some(_)) = (&config.oauth_issuer, &config.oauth_client_id) else {
        return OauthError::NotConfigured;
    };
    let scheme = issuer.get(.."https://".len());
    if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
        OauthError::NoFlow
    } else {
        OauthError::NotHttps(discovery_uri(issuer))
    }
}

/// The issuer is itself such an address, or it is below the issuer's.
fn discovery_uri(issuer: &str) -> String {
    if issuer.contains(WELL_KNOWN) {
        issuer.to_owned()
    } else {
        format!("{issuer}{WELL_KNOWN}openid-configuration")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_256_and_257_what_is_missing_is_named() {
        let missing =
            "server requires OAuth authentication, but oauth_issuer and oauth_client_id are not both set";
        let no_flow = "no OAuth flows are available (pgsiphon has none built in)";
        for (conninfo, text) in [
            ("", missing),
            ("oauth_issuer=https://a", missing),
            ("oauth_client_id=c", missing),
            ("oauth_issuer=http://a", missing),
            ("oauth_issuer=https://a oauth_client_id=c", no_flow),
            ("oauth_issuer=HTTPS://a/.well-known/openid-configuration oauth_client_id=c", no_flow),
            (
                "oauth_issuer=http://a/.well-known/openid-configuration oauth_client_id=c",
                "OAuth discovery URI \"http://a/.well-known/openid-configuration\" must use HTTPS",
            ),
            (
                "oauth_issuer=http://a oauth_client_id=c",
                "OAuth discovery URI \"http://a/.well-known/openid-configuration\" must use HTTPS",
            ),
            (
                "oauth_issuer=ähm oauth_client_id=c",
                "OAuth discovery URI \"ähm/.well-known/openid-configuration\" must use HTTPS",
            ),
        ] {
            let config: Config = format!("user=u {conninfo}").parse().unwrap();
            assert_eq!(refusal(&config).to_string(), text, "{conninfo}");
        }
    }
}

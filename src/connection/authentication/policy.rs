//! What the user allows: `require_auth`, `channel_binding` and `sslcertmode` against what the server does.
//! Sans-I/O.
//!
//! A request is judged before anything is answered to it, so that no secret goes where the user would not have
//! it (CN-273), and consent before it is believed.

use super::super::channel::Channel;
use super::super::startup_error::StartupError;
use super::channel_binding::ChannelBindingError;
use super::mechanism::Mechanism;
use super::request::Request;
use crate::conninfo::{AuthMethod, ChannelBinding, Config, SslCertMode};

/// What was proved when the server said that it is content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The server did not ask for anything.
    None,
    /// An exchange has begun, and its end is missing.
    Incomplete,
    /// The client has done its part, and the server its own where it has one.
    Given,
    /// The same, tied to the TLS connection.
    GivenWithBinding,
}

/// Judges a request, before it is answered (CN-248, CN-264 … CN-274).
pub(super) fn check_request(
    config: &Config,
    channel: &Channel,
    request: &Request,
) -> Result<(), StartupError> {
    let (methods, violation): (&[AuthMethod], _) = match request {
        Request::Password => (&[AuthMethod::Password], "server requested a cleartext password"),
        Request::Md5 { .. } => (&[AuthMethod::Md5], "server requested a hashed password"),
        Request::Gss => (&[AuthMethod::Gss], "server requested GSSAPI authentication"),
        Request::Sspi => (&[AuthMethod::Sspi], "server requested SSPI authentication"),
        Request::GssContinue(_) => {
            (&[AuthMethod::Gss, AuthMethod::Sspi], "server requested GSSAPI authentication")
        }
        Request::Sasl(_) | Request::SaslContinue(_) | Request::SaslFinal(_) => {
            (&[AuthMethod::ScramSha256, AuthMethod::Oauth], "server requested SASL authentication")
        }
        Request::Accepted | Request::Unknown(_) => (&[], "server requested an unknown authentication type"),
    };
    require(config, methods, violation)?;
    if config.channel_binding != ChannelBinding::Require {
        return Ok(());
    }
    match (request, channel) {
        (Request::SaslContinue(_) | Request::SaslFinal(_), _) | (Request::Sasl(_), Channel::Tls(_)) => Ok(()),
        (Request::Sasl(_), _) => Err(ChannelBindingError::RequiredWithoutTls.into()),
        _ => Err(ChannelBindingError::NotInRequest.into()),
    }
}

/// Judges the choice of a mechanism.
pub(super) fn check_mechanism(config: &Config, mechanism: Mechanism) -> Result<(), StartupError> {
    let violation = format!("server requested {} authentication", mechanism.name());
    require(config, &[mechanism.method()], &violation)?;
    if config.channel_binding == ChannelBinding::Require && mechanism != Mechanism::ScramSha256Plus {
        return Err(ChannelBindingError::NotOffered.into());
    }
    Ok(())
}

/// Judges the server's consent (CN-186, CN-235, CN-249, CN-265).
pub(super) fn check_consent(config: &Config, channel: &Channel, proof: Proof) -> Result<(), StartupError> {
    check_certificate(config.ssl_cert_mode, channel)?;
    let without_proof: &[AuthMethod] = match channel {
        // The encryption could not have come about without the user's ticket.
        Channel::Gss => &[AuthMethod::None, AuthMethod::Gss],
        Channel::Plain | Channel::Tls(_) => &[AuthMethod::None],
    };
    if matches!(proof, Proof::None | Proof::Incomplete) {
        require(config, without_proof, "server did not complete authentication")?;
    }
    if config.channel_binding == ChannelBinding::Require && proof != Proof::GivenWithBinding {
        return Err(ChannelBindingError::Bypassed.into());
    }
    if proof == Proof::Incomplete { Err(StartupError::Incomplete) } else { Ok(()) }
}

fn check_certificate(mode: SslCertMode, channel: &Channel) -> Result<(), StartupError> {
    match (mode, channel) {
        (SslCertMode::Disable | SslCertMode::Allow, _) => Ok(()),
        (SslCertMode::Require, Channel::Tls(facts)) if facts.certificate_requested => {
            if facts.certificate_sent { Ok(()) } else { Err(StartupError::CertificateNotSent) }
        }
        (SslCertMode::Require, _) => Err(StartupError::CertificateNotRequested),
    }
}

/// Checks that `require_auth` allows one of the methods.
fn require(config: &Config, methods: &[AuthMethod], violation: &str) -> Result<(), StartupError> {
    match &config.require_auth {
        Some(required) if !methods.iter().any(|&method| required.allows(method)) => {
            Err(StartupError::MethodRefused {
                required: required.as_str().to_owned(),
                violation: violation.to_owned(),
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::super::channel::TlsFacts;
    use super::*;

    fn config(conninfo: &str) -> Config {
        format!("user=u {conninfo}").parse().unwrap()
    }

    fn tls(certificate_requested: bool, certificate_sent: bool) -> Channel {
        Channel::Tls(TlsFacts { server_end_point: Ok(vec![1]), certificate_requested, certificate_sent })
    }

    fn text(result: Result<(), StartupError>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    /// Every request with its words in a violation, and the methods that it may be.
    const REQUESTS: [(&[u8], &str, &[&str]); 10] = [
        (b"\0\0\0\x03", "a cleartext password", &["password"]),
        (b"\0\0\0\x05salt", "a hashed password", &["md5"]),
        (b"\0\0\0\x07", "GSSAPI authentication", &["gss"]),
        (b"\0\0\0\x08token", "GSSAPI authentication", &["gss", "sspi"]),
        (b"\0\0\0\x09", "SSPI authentication", &["sspi"]),
        (b"\0\0\0\x0aSCRAM-SHA-256\0\0", "SASL authentication", &["scram-sha-256", "oauth"]),
        (b"\0\0\0\x0bdata", "SASL authentication", &["scram-sha-256", "oauth"]),
        (b"\0\0\0\x0cdata", "SASL authentication", &["scram-sha-256", "oauth"]),
        (b"\0\0\0\x02", "an unknown authentication type", &[]),
        (b"\0\0\0\x63", "an unknown authentication type", &[]),
    ];

    const METHODS: [&str; 7] = ["password", "md5", "gss", "sspi", "scram-sha-256", "oauth", "none"];

    /// What is said about each of the requests, empty where it is allowed.
    fn judge(required: &str, is_allowed: impl Fn(&[&str]) -> bool) {
        let config = config(&format!("require_auth={required}"));
        for (body, words, methods) in REQUESTS {
            let request = Request::parse(Bytes::from_static(body)).unwrap();
            let violation =
                format!("authentication method requirement \"{required}\" failed: server requested {words}");
            let expected = if is_allowed(methods) { "" } else { &violation };
            assert_eq!(text(check_request(&config, &Channel::Plain, &request)), expected, "{required}");
        }
    }

    #[test]
    fn cn_264_and_272_one_method_allows_only_itself() {
        for method in METHODS {
            judge(method, |methods| methods.contains(&method));
        }
    }

    #[test]
    fn cn_266_a_list_allows_each_of_its_methods() {
        judge("md5,oauth,none", |methods| methods.iter().any(|method| ["md5", "oauth"].contains(method)));
    }

    #[test]
    fn cn_267_a_negated_list_allows_the_others() {
        for method in METHODS {
            judge(&format!("!{method}"), |methods| methods.iter().any(|other| *other != method));
        }
        judge("!scram-sha-256,!oauth", |methods| {
            methods.iter().any(|method| !["scram-sha-256", "oauth"].contains(method))
        });
    }

    #[test]
    fn cn_272_a_mechanism_is_judged_by_itself() {
        for (required, mechanism, name) in [
            ("oauth", Mechanism::ScramSha256, "SCRAM-SHA-256"),
            ("oauth", Mechanism::ScramSha256Plus, "SCRAM-SHA-256-PLUS"),
            ("!scram-sha-256", Mechanism::ScramSha256, "SCRAM-SHA-256"),
            ("scram-sha-256", Mechanism::Oauthbearer, "OAUTHBEARER"),
            ("!oauth", Mechanism::Oauthbearer, "OAUTHBEARER"),
        ] {
            let config = config(&format!("require_auth={required} channel_binding=require"));
            let expected = format!(
                "authentication method requirement \"{required}\" failed: server requested {name} authentication"
            );
            assert_eq!(text(check_mechanism(&config, mechanism)), expected);
        }
        for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha256Plus] {
            check_mechanism(&config("require_auth=scram-sha-256"), mechanism).unwrap();
        }
    }

    #[test]
    fn cn_247_and_248_channel_binding_is_demanded_before_anything_is_sent() {
        let config = config("channel_binding=require");
        let not_in_request = "channel binding required but not supported by server's authentication request";
        for (body, _, methods) in REQUESTS {
            let request = Request::parse(Bytes::from_static(body)).unwrap();
            let is_sasl = methods.contains(&"scram-sha-256");
            let over_tls = text(check_request(&config, &tls(false, false), &request));
            assert_eq!(over_tls, if is_sasl { "" } else { not_in_request });
        }
        let request = Request::parse(Bytes::from_static(REQUESTS[5].0)).unwrap();
        for channel in [Channel::Plain, Channel::Gss] {
            let refusal = text(check_request(&config, &channel, &request));
            assert_eq!(refusal, "channel binding required, but SSL not in use");
        }
    }

    #[test]
    fn cn_247_a_mechanism_without_channel_binding_is_refused() {
        let config = config("channel_binding=require");
        for mechanism in [Mechanism::ScramSha256, Mechanism::Oauthbearer] {
            assert_eq!(
                text(check_mechanism(&config, mechanism)),
                "channel binding is required, but server did not offer an authentication method that supports \
                 channel binding"
            );
        }
        check_mechanism(&config, Mechanism::ScramSha256Plus).unwrap();
    }

    #[test]
    fn cn_274_require_auth_speaks_before_channel_binding() {
        let config = config("channel_binding=require require_auth=password");
        let request = Request::parse(Bytes::from_static(b"\0\0\0\x05salt")).unwrap();
        let refusal = text(check_request(&config, &Channel::Plain, &request));
        assert!(refusal.ends_with("server requested a hashed password"), "{refusal}");
        let refusal = text(check_consent(&config, &Channel::Plain, Proof::None));
        assert!(refusal.ends_with("server did not complete authentication"), "{refusal}");
    }

    #[test]
    fn cn_265_consent_without_a_proof_is_for_those_who_allow_none() {
        for (required, is_allowed, over_gss) in [
            ("none", true, true),
            ("md5,none", true, true),
            ("!md5", true, true),
            ("!gss", true, true),
            ("gss", false, true),
            ("scram-sha-256,gss", false, true),
            ("!none", false, true),
            ("!none,!gss", false, false),
            ("scram-sha-256", false, false),
        ] {
            let config = config(&format!("require_auth={required}"));
            let violation = format!(
                "authentication method requirement \"{required}\" failed: server did not complete authentication"
            );
            for (channel, is_allowed) in
                [(Channel::Plain, is_allowed), (tls(true, true), is_allowed), (Channel::Gss, over_gss)]
            {
                let expected = if is_allowed { "" } else { &violation };
                assert_eq!(text(check_consent(&config, &channel, Proof::None)), expected, "{required}");
                check_consent(&config, &channel, Proof::Given).unwrap();
            }
        }
    }

    #[test]
    fn cn_235_consent_within_an_exchange_is_refused_always() {
        let incomplete = "server did not complete authentication";
        let violation =
            |required| format!("authentication method requirement \"{required}\" failed: {incomplete}");
        let bypassed = "channel binding required, but server authenticated client without channel binding";
        for (conninfo, expected) in [
            ("", incomplete.to_owned()),
            ("require_auth=none", incomplete.to_owned()),
            ("require_auth=!md5", incomplete.to_owned()),
            ("require_auth=scram-sha-256", violation("scram-sha-256")),
            ("require_auth=!none", violation("!none")),
            ("channel_binding=require", bypassed.to_owned()),
        ] {
            assert_eq!(text(check_consent(&config(conninfo), &Channel::Plain, Proof::Incomplete)), expected);
        }
    }

    #[test]
    fn cn_249_consent_without_channel_binding_is_refused() {
        let config = config("channel_binding=require");
        for proof in [Proof::None, Proof::Given] {
            assert_eq!(
                text(check_consent(&config, &tls(true, true), proof)),
                "channel binding required, but server authenticated client without channel binding"
            );
        }
        check_consent(&config, &tls(true, true), Proof::GivenWithBinding).unwrap();
    }

    #[test]
    fn cn_186_a_client_certificate_is_demanded_before_all_else() {
        let not_requested = "server did not request an SSL certificate";
        let not_sent = "server accepted connection without a valid SSL certificate";
        for (channel, expected) in [
            (Channel::Plain, not_requested),
            (Channel::Gss, not_requested),
            (tls(false, false), not_requested),
            (tls(true, false), not_sent),
            (tls(true, true), ""),
        ] {
            let require = config("sslcertmode=require");
            assert_eq!(text(check_consent(&require, &channel, Proof::None)), expected);
            if !expected.is_empty() {
                let all = config("sslcertmode=require require_auth=md5 channel_binding=require");
                assert_eq!(text(check_consent(&all, &channel, Proof::None)), expected);
            }
            for mode in ["disable", "allow"] {
                check_consent(&config(&format!("sslcertmode={mode}")), &channel, Proof::None).unwrap();
            }
        }
    }
}

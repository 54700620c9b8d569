//! Which SASL mechanism to use, of those that the server offers. Sans-I/O.

use super::super::startup_error::StartupError;
use super::channel_binding::ChannelBindingError;
use crate::conninfo::{AuthMethod, ChannelBinding};

/// A mechanism that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mechanism {
    Oauthbearer,
    ScramSha256,
    /// With channel binding.
    ScramSha256Plus,
}

impl Mechanism {
    const ALL: [Self; 3] = [Self::Oauthbearer, Self::ScramSha256, Self::ScramSha256Plus];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Oauthbearer => "OAUTHBEARER",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }

    /// The word for it in `require_auth`.
    pub(super) const fn method(self) -> AuthMethod {
        match self {
            Self::Oauthbearer => AuthMethod::Oauth,
            Self::ScramSha256 | Self::ScramSha256Plus => AuthMethod::ScramSha256,
        }
    }

    /// The best of a list of names, each with a NUL, and one that is empty at the end (CN-228, CN-251). Channel
    /// binding over a connection without TLS is refused wherever it stands.
    pub(super) fn choose(
        offered: &[u8],
        over_tls: bool,
        binding: ChannelBinding,
    ) -> Result<Self, StartupError> {
        let mut best = None;
        for mechanism in names(offered)?.filter_map(Self::from_name) {
            match mechanism {
                Self::ScramSha256Plus if !over_tls => {
                    return Err(ChannelBindingError::OfferedWithoutTls.into());
                }
                Self::ScramSha256Plus if binding == ChannelBinding::Disable => {}
                mechanism => best = best.max(Some(mechanism)),
            }
        }
        best.ok_or(StartupError::NoMechanism)
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().as_bytes() == name)
    }
}

fn names(offered: &[u8]) -> Result<impl Iterator<Item = &[u8]>, StartupError> {
    let split = |list| <[u8]>::split(list, |&byte| byte == 0);
    let names = match offered {
        b"\0" => None,
        list => Some(list.strip_suffix(b"\0\0").ok_or_else(malformed)?),
    };
    match names {
        Some(names) if split(names).any(<[u8]>::is_empty) => Err(malformed()),
        names => Ok(names.into_iter().flat_map(split)),
    }
}

fn malformed() -> StartupError {
    StartupError::Protocol(
        "fe_sendauth: invalid authentication request from server: invalid list of authentication mechanisms"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use ChannelBinding::{Disable, Prefer, Require};

    use super::*;

    fn choose(names: &[&str], over_tls: bool, binding: ChannelBinding) -> Result<Mechanism, String> {
        let list: String = names.iter().flat_map(|name| [name, "\0"]).chain(["\0"]).collect();
        Mechanism::choose(list.as_bytes(), over_tls, binding).map_err(|error| error.to_string())
    }

    #[test]
    fn cn_228_the_best_mechanism_is_chosen_in_any_order() {
        let [scram, plus, oauth] = ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER"];
        for (names, over_tls, binding, expected) in [
            (&[scram][..], false, Prefer, Mechanism::ScramSha256),
            (&[scram], true, Require, Mechanism::ScramSha256),
            (&[scram, plus], true, Prefer, Mechanism::ScramSha256Plus),
            (&[plus, scram], true, Require, Mechanism::ScramSha256Plus),
            (&[plus, scram], true, Disable, Mechanism::ScramSha256),
            (&[oauth, "OTHER", scram], false, Prefer, Mechanism::ScramSha256),
            (&[scram, oauth], false, Prefer, Mechanism::ScramSha256),
            (&[oauth], true, Prefer, Mechanism::Oauthbearer),
            (&[plus, oauth], true, Disable, Mechanism::Oauthbearer),
            (&[scram, scram], false, Prefer, Mechanism::ScramSha256),
        ] {
            assert_eq!(choose(names, over_tls, binding), Ok(expected), "{names:?}");
        }
    }

    #[test]
    fn cn_221_mechanisms_that_are_not_known_are_refused() {
        for (names, over_tls) in [
            (&["SCRAM-SHA-512"][..], false),
            (&["scram-sha-256"], false),
            (&[], false),
            (&["SCRAM-SHA-256-PLUS"], true),
        ] {
            assert_eq!(
                choose(names, over_tls, Disable),
                Err("none of the server's SASL authentication mechanisms are supported".to_owned())
            );
        }
    }

    #[test]
    fn cn_245_channel_binding_is_not_offered_without_tls() {
        for binding in [Disable, Prefer] {
            for names in [&["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"], &["OAUTHBEARER", "SCRAM-SHA-256-PLUS"]] {
                assert_eq!(
                    choose(names, false, binding),
                    Err("server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection"
                        .to_owned())
                );
            }
        }
    }

    #[test]
    fn cn_302_lists_out_of_form_are_refused() {
        for list in [
            &b""[..],
            b"SCRAM-SHA-256",
            b"SCRAM-SHA-256\0",
            b"\0\0",
            b"\0SCRAM-SHA-256\0\0",
            b"SCRAM-SHA-256\0\0x",
            b"SCRAM-SHA-256\0\0OTHER\0\0",
            b"SCRAM-SHA-256\0\0\0",
        ] {
            let error = Mechanism::choose(list, false, Prefer).unwrap_err();
            assert_eq!(
                error.to_string(),
                "fe_sendauth: invalid authentication request from server: invalid list of authentication \
                 mechanisms",
                "{}",
                list.escape_ascii()
            );
        }
    }
}

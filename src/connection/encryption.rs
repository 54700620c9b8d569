//! Which protection a connection gets: the methods in turn (CN-139 … CN-161). Without I/O.
//!
//! What comes in is what the user asked for and how a method ended; what goes out is the method to try next.
//! None is tried twice for the same address.

use super::tls;
use crate::conninfo::{Config, GssEncMode, SslMode};

/// A way to protect the bytes of a connection, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    Gss,
    Tls,
    Plain,
}

/// The methods that are left for one address, in the order in which they are tried; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Methods {
    current: Encryption,
    /// The later ones, the next of them last.
    later: Vec<Encryption>,
}

impl Methods {
    /// A Unix socket is never encrypted, whatever `sslmode` says.
    pub(super) fn for_socket() -> Self {
        Self { current: Encryption::Plain, later: Vec::new() }
    }

    /// GSSAPI needs credentials, and encrypts even where TLS is demanded. `allow` alone tries plain text first.
    pub(super) fn for_tcp(config: &Config, has_gss_credentials: bool) -> Self {
        let gss = config.gss_enc_mode != GssEncMode::Disable && has_gss_credentials;
        let without_gss = config.gss_enc_mode != GssEncMode::Require;
        let tls = tls::IS_COMPILED_IN && without_gss && config.ssl_mode != SslMode::Disable;
        let plain = without_gss && config.ssl_mode <= SslMode::Prefer;
        let plain_first = config.ssl_mode == SslMode::Allow;
        let mut methods: Vec<_> = [
            (gss, Encryption::Gss),
            (plain && plain_first, Encryption::Plain),
            (tls, Encryption::Tls),
            (plain && !plain_first, Encryption::Plain),
        ]
        .into_iter()
        .filter_map(|(is_allowed, method)| is_allowed.then_some(method))
        .rev()
        .collect();
        // Without credentials nothing is left of a demand for GSSAPI; the caller has refused that.
        let current = methods.pop().unwrap_or(Encryption::Gss);
        Self { current, later: methods }
    }

    /// The method to try.
    pub(super) fn current(&self) -> Encryption {
        self.current
    }

    /// Plain text will not be tried any more, however the methods before it end.
    pub(super) fn forbid_plain(&mut self) {
        self.later.retain(|&method| method != Encryption::Plain);
    }

    /// Goes on to the next method. False if there is none.
    pub(super) fn advance(&mut self) -> bool {
        match self.later.pop() {
            Some(method) => {
                self.current = method;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(conninfo: &str, has_gss_credentials: bool) -> String {
        let config: Config = format!("user=u {conninfo}").parse().unwrap();
        in_turn(Methods::for_tcp(&config, has_gss_credentials))
    }

    fn in_turn(mut methods: Methods) -> String {
        let mut order = vec![format!("{:?}", methods.current())];
        while methods.advance() {
            order.push(format!("{:?}", methods.current()));
        }
        order.join(" ")
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn cn_057_what_a_build_does_not_have_is_not_asked_for() {
        for mode in ["disable", "allow", "prefer"] {
            assert_eq!(order(&format!("sslmode={mode}"), false), "Plain", "{mode}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn cn_163_where_plain_text_is_forbidden_it_does_not_come_later() {
        for (conninfo, expected) in [
            ("sslmode=disable", "Gss"),
            ("sslmode=allow", "Gss Tls"),
            ("sslmode=prefer", "Gss Tls"),
            ("sslmode=require", "Gss Tls"),
        ] {
            let config: Config = format!("user=u {conninfo}").parse().unwrap();
            let mut methods = Methods::for_tcp(&config, true);
            methods.forbid_plain();
            assert_eq!(in_turn(methods), expected, "{conninfo}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn cn_141_to_161_the_methods_in_turn() {
        for (conninfo, without_ticket, with_ticket) in [
            ("sslmode=disable", "Plain", "Gss Plain"),
            ("sslmode=allow", "Plain Tls", "Gss Plain Tls"),
            ("sslmode=prefer", "Tls Plain", "Gss Tls Plain"),
            ("sslmode=require", "Tls", "Gss Tls"),
            ("sslmode=verify-ca", "Tls", "Gss Tls"),
            ("sslmode=verify-full", "Tls", "Gss Tls"),
            ("sslmode=prefer gssencmode=disable", "Tls Plain", "Tls Plain"),
            ("sslmode=disable gssencmode=disable", "Plain", "Plain"),
            ("sslmode=verify-full gssencmode=require", "Gss", "Gss"),
            ("sslmode=disable gssencmode=require", "Gss", "Gss"),
        ] {
            assert_eq!(order(conninfo, false), without_ticket, "{conninfo}");
            assert_eq!(order(conninfo, true), with_ticket, "{conninfo}");
        }
    }

    #[test]
    fn cn_139_a_unix_socket_is_never_encrypted() {
        let mut methods = Methods::for_socket();
        assert_eq!(methods.current(), Encryption::Plain);
        assert!(!methods.advance());
    }
}

//! Whether the server's certificate is for the host that the settings name, by libpq's rules.
//!
//! What comes in is the host as it is written and the names in the certificate, as bytes. Nothing is
//! resolved, and an address of the socket never counts.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::inet_address::parse_v4;
use super::super::tls_error::TlsError;
use super::certificate::{AlternativeName, CertificateNames};

/// The bytes of the addresses that a certificate can have.
const IPV4_LENGTH: usize = 4;
const IPV6_LENGTH: usize = 16;

/// Checks the names in their order; the first that matches will do.
///
/// The common name counts only where there is no alternative name of the host's own kind (CN-194 … CN-200).
pub(super) fn check(host: &str, names: &CertificateNames<'_>) -> Result<(), TlsError> {
    if host.is_empty() {
        return Err(TlsError::HostNameMissing);
    }
    let host = HostName::new(host);
    let mut first = None;
    let mut count = 0;
    let mut examine = |name: String| {
        count += 1;
        first.get_or_insert(name);
    };
    for &name in &names.alternatives {
        let matches = match name {
            AlternativeName::Dns(name) => host.matches_name(name)?,
            AlternativeName::Address(address) => host.matches_address(address)?,
        };
        if matches {
            return Ok(());
        }
        examine(name_text(name));
    }
    let is_decided = names.alternatives.iter().any(|&name| host.is_of_kind(name));
    if let Some(name) = names.common_name
        && !is_decided
    {
        if host.matches_name(name)? {
            return Ok(());
        }
        examine(String::from_utf8_lossy(name).into_owned());
    }
    match first {
        Some(first) => {
            Err(TlsError::HostNameMismatch { first, others: count - 1, host: host.text.to_owned() })
        }
        None => Err(TlsError::NoNameInCertificate),
    }
}

/// The host to look for.
struct HostName<'a> {
    text: &'a str,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl<'a> HostName<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, v4: parse_v4(text), v6: text.parse().ok() }
    }

    fn is_of_kind(&self, name: AlternativeName<'_>) -> bool {
        let is_address = self.v4.is_some() || self.v6.is_some();
        is_address == matches!(name, AlternativeName::Address(_))
    }

    fn matches_name(&self, name: &[u8]) -> Result<bool, TlsError> {
        if name.contains(&0) {
            return Err(TlsError::NameWithNull);
        }
        let host = self.text.as_bytes();
        Ok(name.eq_ignore_ascii_case(host) || matches_wildcard(host, name))
    }

    fn matches_address(&self, address: &[u8]) -> Result<bool, TlsError> {
        match address.len() {
            IPV4_LENGTH => Ok(self.v4.is_some_and(|host| host.octets() == address)),
            IPV6_LENGTH => Ok(self.v6.is_some_and(|host| host.octets() == address)),
            length => Err(TlsError::AddressLength(length)),
        }
    }
}

/// `*.` at the beginning stands for one label (CN-191).
fn matches_wildcard(host: &[u8], pattern: &[u8]) -> bool {
    let Some(rest) = pattern.strip_prefix(b"*").filter(|rest| rest.len() > 1 && rest.starts_with(b"."))
    else {
        return false;
    };
    let Some(label_length) = host.len().checked_sub(rest.len()) else { return false };
    let (label, end) = host.split_at(label_length);
    !label.is_empty() && !label.contains(&b'.') && end.eq_ignore_ascii_case(rest)
}

fn name_text(name: AlternativeName<'_>) -> String {
    match name {
        AlternativeName::Dns(name) => String::from_utf8_lossy(name).into_owned(),
        AlternativeName::Address(address) => {
            let v4 = <[u8; IPV4_LENGTH]>::try_from(address).map(|octets| Ipv4Addr::from(octets).to_string());
            let v6 = <[u8; IPV6_LENGTH]>::try_from(address).map(|octets| Ipv6Addr::from(octets).to_string());
            v4.or(v6).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::AlternativeName::{Address, Dns};
    use super::*;

    fn outcome(host: &str, alternatives: &[AlternativeName<'_>], common_name: Option<&str>) -> String {
        let names = CertificateNames {
            alternatives: alternatives.to_vec(),
            common_name: common_name.map(str::as_bytes),
        };
        match check(host, &names) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn cn_190_and_191_names_and_wildcards() {
        for (pattern, host, expected) in [
            ("db.example", "db.example", true),
            ("DB.example", "db.EXAMPLE", true),
            ("db.example", "db.example.", false),
            ("db.example", "xdb.example", false),
            ("*.example", "db.example", true),
            ("*.EXAMPLE", "db.example", true),
            ("*.a.b", "x.a.b", true),
            ("*.a.b", "x.y.a.b", false),
            ("*.a.b", "a.b", false),
            ("*.a.b", ".a.b", false),
            ("*.a.b", "*.a.b", true),
            ("*", "db", false),
            ("*.", "db.", false),
            ("*a.b", "xa.b", false),
            ("x.*.b", "x.a.b", false),
            ("*.*.b", "x.a.b", false),
            ("", "db", false),
        ] {
            let found = outcome(host, &[Dns(pattern.as_bytes())], None) == "ok";
            assert_eq!(found, expected, "{pattern} {host}");
        }
    }

    #[test]
    fn cn_192_and_193_the_text_names_the_first() {
        let mismatch = |names, rest: &str| {
            assert_eq!(outcome("h", names, Some("cn")), format!("server certificate for {rest}"));
        };
        mismatch(&[], "\"cn\" does not match host name \"h\"");
        mismatch(&[Dns(b"a")], "\"a\" does not match host name \"h\"");
        mismatch(&[Dns(b"a"), Dns(b"b")], "\"a\" (and 1 other name) does not match host name \"h\"");
        mismatch(
            &[Address(&[192, 0, 2, 1]), Dns(b"b"), Dns(b"c")],
            "\"192.0.2.1\" (and 2 other names) does not match host name \"h\"",
        );
        mismatch(
            &[Address(&[192, 0, 2, 1])],
            "\"192.0.2.1\" (and 1 other name) does not match host name \"h\"",
        );
        let mut v6 = [0; 16];
        v6[15] = 1;
        mismatch(&[Dns(b"a"), Address(&v6)], "\"a\" (and 1 other name) does not match host name \"h\"");
    }

    #[test]
    fn cn_194_to_200_which_names_count() {
        let v4 = Address(&[192, 0, 2, 1]);
        let v6 = Ipv6Addr::from_bits(0x2001_0db8 << 96 | 1).octets();
        let v6 = Address(&v6);
        for (host, names, common_name, expected) in [
            ("cn", &[][..], "cn", true),
            ("cn", &[Dns(b"a")], "cn", false),
            ("a", &[Dns(b"b"), Dns(b"a")], "cn", true),
            ("cn", &[v4], "cn", true),
            ("192.0.2.1", &[v4], "cn", true),
            ("192.0.2.2", &[v4], "192.0.2.2", false),
            ("192.0.513", &[v4], "cn", true),
            ("0xc0000201", &[v4], "cn", true),
            ("3221225985", &[v4], "cn", true),
            ("0300.0.2.01", &[v4], "cn", true),
            ("192.0.2.1 x", &[v4], "cn", true),
            ("192.0.2.1/32", &[v4], "cn", false),
            ("192.0.2.1", &[], "192.0.2.1", true),
            ("192.0.513", &[], "192.0.2.1", false),
            ("192.0.2.1", &[Dns(b"192.0.2.1")], "cn", true),
            ("192.0.2.1", &[Dns(b"a")], "192.0.2.1", true),
            ("192.0.2.1", &[Dns(b"a"), v6], "192.0.2.1", false),
            ("2001:db8::1", &[v6], "cn", true),
            ("2001:DB8:0::1", &[v4, v6], "cn", true),
            ("2001:db8::1/128", &[v6], "cn", false),
            ("2001:db8::2", &[v6], "2001:db8::2", false),
            ("::ffff:192.0.2.1", &[v4], "cn", false),
        ] {
            assert_eq!(
                outcome(host, names, Some(common_name)) == "ok",
                expected,
                "{host} {names:?} {common_name}"
            );
        }
    }

    #[test]
    fn cn_202_and_203_no_names_and_none_to_look_for() {
        assert_eq!(outcome("h", &[], None), "could not get server's host name from server certificate");
        assert_eq!(
            outcome("", &[Dns(b"")], None),
            "host name must be specified for a verified SSL connection"
        );
    }

    #[test]
    fn names_that_deceive_are_refused() {
        let with_null = "SSL certificate's name contains embedded null";
        assert_eq!(outcome("h", &[Dns(b"h\0.example"), Dns(b"h")], None), with_null);
        assert_eq!(outcome("h", &[], Some("h\0")), with_null);
        assert_eq!(outcome("h", &[Dns(b"h"), Dns(b"h\0")], None), "ok");
        let mismatch = "server certificate for \"h\u{fffd}\" does not match host name \"h\"";
        assert_eq!(outcome("h", &[Dns(b"h\xff")], Some("h")), mismatch);
        for (length, text) in [(0, "0"), (5, "5"), (32, "32")] {
            let expected = format!("certificate contains IP address with invalid length {text}");
            assert_eq!(outcome("h", &[Address(&vec![0; length]), Dns(b"h")], None), expected);
        }
    }

    proptest! {
        #[test]
        fn cn_190_any_name_matches_itself(host in "[a-z0-9.-]{1,20}") {
            prop_assert_eq!(outcome(&host, &[Dns(host.as_bytes())], None), "ok");
        }

        #[test]
        fn any_names_give_an_answer(host: String, name: Vec<u8>, address: Vec<u8>) {
            let names = CertificateNames {
                alternatives: vec![Dns(&name), Address(&address)],
                common_name: Some(&name),
            };
            let _ = check(&host, &names);
        }
    }
}

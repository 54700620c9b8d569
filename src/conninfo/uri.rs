//! Connection URIs: text to assignments.
//!
//! ```text
//! scheme "://" [ user [ ":" password ] "@" ] [ host [ ":" port ] { "," host [ ":" port ] } ]
//!     [ "/" dbname ] [ "?" key "=" value { "&" key "=" value } ]
//! host = "[" address "]" | bytes other than ":", "/", "?", ","
//! ```
//!
//! The items are percent-decoded one by one, the hosts and the ports each as one list. Nothing is
//! interpreted beyond that: a host need not be one (CN-027). No password appears in an error.

use std::ops::Range;

use zeroize::Zeroizing;

use super::assignment::Assignment;
use super::{ConninfoError, Keyword};

/// Whether a connection string is to be read as a URI (CN-020, CN-038).
pub(super) fn is_uri(text: &[u8]) -> bool {
    after_scheme(text).is_some()
}

/// Reads a URI from left to right and stops at the first error (CN-020 … CN-044).
pub(super) fn parse(uri: &[u8]) -> Result<Vec<Assignment>, ConninfoError> {
    let rest = after_scheme(uri).unwrap_or(uri);
    let mut assignments = Vec::new();
    let mut assign = |keyword: Keyword, item: &[u8]| -> Result<(), ConninfoError> {
        if !item.is_empty() {
            assignments.push(Assignment { keyword, value: decode(item, keyword.is_secret())? });
        }
        Ok(())
    };

    let (user_info, rest) = split_user_info(rest);
    let (user, password) = split_at_byte(user_info, |byte| byte == b':');
    assign(Keyword::User, user)?;
    assign(Keyword::Password, password.unwrap_or_default())?;

    let hosts = split_hosts(uri, rest)?;
    assign(Keyword::Host, &hosts.names)?;
    assign(Keyword::Port, &hosts.ports)?;

    let (path, query) = split_at_byte(hosts.rest, |byte| byte == b'?');
    assign(Keyword::Dbname, path.strip_prefix(b"/").unwrap_or_default())?;
    parse_query(query.unwrap_or_default(), &mut assignments)?;
    Ok(assignments)
}

fn after_scheme(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"postgresql://").or_else(|| text.strip_prefix(b"postgres://"))
}

/// An `@` before the first `/` ends the user information, even behind a `?`.
fn split_user_info(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|&byte| matches!(byte, b'@' | b'/')) {
        Some(at) if text[at] == b'@' => (&text[..at], &text[at + 1..]),
        _ => (&[], text),
    }
}

/// The hosts and the ports, each joined by commas.
#[derive(Default)]
struct Hosts<'a> {
    names: Vec<u8>,
    ports: Vec<u8>,
    /// What follows them: nothing, or a text that begins with `/` or `?`.
    rest: &'a [u8],
}

fn split_hosts<'a>(uri: &[u8], mut rest: &'a [u8]) -> Result<Hosts<'a>, ConninfoError> {
    let mut hosts = Hosts::default();
    loop {
        let (host, after) = split_host(uri, rest)?;
        hosts.names.extend_from_slice(host);
        let (port, after) = match after.strip_prefix(b":") {
            Some(after) => split_before(after, |byte| matches!(byte, b'/' | b'?' | b',')),
            None => (&[][..], after),
        };
        hosts.ports.extend_from_slice(port);
        match after.strip_prefix(b",") {
            Some(after) => rest = after,
            None => return Ok(Hosts { rest: after, ..hosts }),
        }
        hosts.names.push(b',');
        hosts.ports.push(b',');
    }
}

/// One host without its brackets, and what follows it.
fn split_host<'a>(uri: &[u8], text: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), ConninfoError> {
    let Some(inner) = text.strip_prefix(b"[") else {
        return Ok(split_before(text, |byte| matches!(byte, b':' | b'/' | b'?' | b',')));
    };
    let (host, after) = match split_at_byte(inner, |byte| byte == b']') {
        (_, None) => return Err(ConninfoError::UriUnmatchedBracket { uri: without_secrets(uri) }),
        ([], _) => return Err(ConninfoError::UriEmptyIpv6Address { uri: without_secrets(uri) }),
        (host, Some(after)) => (host, after),
    };
    if let Some(&byte) = after.first()
        && !matches!(byte, b':' | b'/' | b'?' | b',')
    {
        let character = String::from_utf8_lossy(after).chars().next().unwrap_or_default();
        let position = uri.len() - after.len() + 1;
        return Err(ConninfoError::UriUnexpectedCharacter { character, position, uri: without_secrets(uri) });
    }
    Ok((host, after))
}

fn parse_query(query: &[u8], assignments: &mut Vec<Assignment>) -> Result<(), ConninfoError> {
    let mut rest = query;
    while !rest.is_empty() {
        let (pair, after) = split_at_byte(rest, |byte| byte == b'&');
        assignments.push(parse_parameter(pair)?);
        rest = after.unwrap_or_default();
    }
    Ok(())
}

fn parse_parameter(pair: &[u8]) -> Result<Assignment, ConninfoError> {
    let (key, value) = split_at_byte(pair, |byte| byte == b'=');
    let shown = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    let value = value.ok_or_else(|| ConninfoError::UriMissingSeparator { parameter: shown(key) })?;
    if value.contains(&b'=') {
        return Err(ConninfoError::UriExtraSeparator { parameter: shown(key) });
    }
    let name = decode(key, false)?;
    let value = decode(value, is_secret_name(&name))?;
    if (name.as_slice(), value.as_slice()) == (b"ssl", b"true") {
        return Ok(Assignment { keyword: Keyword::SslMode, value: Zeroizing::new(b"require".to_vec()) });
    }
    Assignment::new(&name, value).ok_or_else(|| ConninfoError::UnknownUriParameter { name: shown(&name) })
}

/// Takes percent-encoding away. Blanks around the item do not count, blanks in it are refused
/// (CN-032, CN-036, CN-037).
fn decode(item: &[u8], is_secret: bool) -> Result<Zeroizing<Vec<u8>>, ConninfoError> {
    let token = || if is_secret { "…".to_owned() } else { String::from_utf8_lossy(item).into_owned() };
    let mut decoded = Zeroizing::new(Vec::with_capacity(item.len()));
    let mut rest = trim_spaces(item);
    while let Some((&byte, after)) = rest.split_first() {
        let (value, after) = match byte {
            b' ' => return Err(ConninfoError::UriUnexpectedSpaces { token: token() }),
            b'%' => percent_value(after, token)?,
            _ => (byte, after),
        };
        decoded.push(value);
        rest = after;
    }
    Ok(decoded)
}

/// The byte that the two digits after a `%` stand for, and what follows them.
fn percent_value(text: &[u8], token: impl Fn() -> String) -> Result<(u8, &[u8]), ConninfoError> {
    let digits = text.split_at_checked(2).and_then(|(digits, after)| {
        let value = hex_digit(digits[0])? << 4 | hex_digit(digits[1])?;
        Some((value, after))
    });
    match digits {
        Some((0, _)) => Err(ConninfoError::UriForbiddenNul { token: token() }),
        Some(found) => Ok(found),
        None => Err(ConninfoError::UriInvalidPercentEncoding { token: token() }),
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

fn trim_spaces(mut item: &[u8]) -> &[u8] {
    while let [b' ', inner @ ..] | [inner @ .., b' '] = item {
        item = inner;
    }
    item
}

/// The URI for an error text: the password and the values of secret parameters are left out.
fn without_secrets(uri: &[u8]) -> String {
    let mut shown = Vec::with_capacity(uri.len());
    let mut from = 0;
    for secret in secrets(uri) {
        shown.extend_from_slice(&uri[from..secret.start]);
        shown.extend_from_slice("…".as_bytes());
        from = secret.end;
    }
    shown.extend_from_slice(&uri[from..]);
    String::from_utf8_lossy(&shown).into_owned()
}

/// Where the secrets stand in the URI, from left to right.
fn secrets(uri: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let start = uri.len() - after_scheme(uri).unwrap_or(uri).len();
    let (user_info, rest) = split_user_info(&uri[start..]);
    if let Some(colon) = user_info.iter().position(|&byte| byte == b':') {
        found.push(start + colon + 1..start + user_info.len());
    }
    let mut end = uri.len() - rest.len();
    for piece in rest.split_inclusive(|&byte| matches!(byte, b'?' | b'&')) {
        let start = end;
        end += piece.len();
        let piece = piece.strip_suffix(b"?").or_else(|| piece.strip_suffix(b"&")).unwrap_or(piece);
        if let (name, Some(value)) = split_at_byte(piece, |byte| byte == b'=')
            && decode(name, false).is_ok_and(|name| is_secret_name(&name))
        {
            let value_start = start + piece.len() - value.len();
            found.push(value_start..start + piece.len());
        }
    }
    found
}

fn is_secret_name(name: &[u8]) -> bool {
    str::from_utf8(name).ok().and_then(Keyword::from_name).is_some_and(Keyword::is_secret)
}

/// What stands before the first byte that matches, and what stands behind it.
fn split_at_byte(text: &[u8], is_end: impl Fn(u8) -> bool) -> (&[u8], Option<&[u8]>) {
    let (before, rest) = split_before(text, is_end);
    (before, rest.split_first().map(|(_, behind)| behind))
}

/// What stands before the first byte that matches, and the rest from that byte on.
fn split_before(text: &[u8], is_end: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|&byte| is_end(byte)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome(uri: &str) -> String {
        match parse(uri.as_bytes()) {
            Ok(assignments) => {
                let shown = assignments
                    .iter()
                    .map(|a| format!("{}={}", a.keyword, String::from_utf8_lossy(&a.value)));
                shown.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        }
    }

    fn assert_outcomes(table: &[(&str, &str)]) {
        for (uri, expected) in table {
            assert_eq!(outcome(uri), *expected, "{uri}");
        }
    }

    #[test]
    fn cn_020_and_038_schemes() {
        for (text, expected) in [
            ("postgresql://", true),
            ("postgres://h", true),
            ("postgre://h", false),
            ("Postgres://h", false),
            ("postgresql:/h", false),
            (" postgres://h", false),
            ("", false),
        ] {
            assert_eq!(is_uri(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn cn_021_to_026_authority_and_database() {
        assert_outcomes(&[
            ("postgresql://", ""),
            ("postgres://", ""),
            ("postgresql://u@", "user=u"),
            ("postgresql://u:p@", "user=u password=p"),
            ("postgresql://:p@", "password=p"),
            ("postgresql://u:@h", "user=u host=h"),
            ("postgresql://@h", "host=h"),
            ("postgresql://:@h", "host=h"),
            ("postgresql://h", "host=h"),
            ("postgresql://h/", "host=h"),
            ("postgresql://h:", "host=h"),
            ("postgresql://h:/", "host=h"),
            ("postgresql://h:1/db", "host=h port=1 dbname=db"),
            ("postgresql://u:p@h:1/db", "user=u password=p host=h port=1 dbname=db"),
            ("postgresql://:1/db", "port=1 dbname=db"),
            ("postgresql://:1", "port=1"),
            ("postgresql:///db", "dbname=db"),
            ("postgresql:////db", "dbname=/db"),
            ("postgresql://h/a/b", "host=h dbname=a/b"),
            ("postgresql://h:abc", "host=h port=abc"),
            ("postgresql://h:1:2", "host=h port=1:2"),
            ("postgresql://u:p@w@h", "user=u password=p host=w@h"),
            ("postgresql://u:p:q@h", "user=u password=p:q host=h"),
            ("postgresql://u?x@h", "user=u?x host=h"),
            ("postgresql://u/a@h", "host=u dbname=a@h"),
            ("postgresql://h#x", "host=h#x"),
            ("postgresql://h/db#x", "host=h dbname=db#x"),
            (r"postgresql://h\x", r"host=h\x"),
            ("postgresql://é", "host=é"),
        ]);
    }

    #[test]
    fn cn_027_and_028_addresses_in_brackets() {
        assert_outcomes(&[
            ("postgresql://[::1]", "host=::1"),
            ("postgresql://[::1]:5", "host=::1 port=5"),
            ("postgresql://[::1]/db", "host=::1 dbname=db"),
            ("postgresql://[::1]?user=a", "host=::1 user=a"),
            ("postgresql://[::1],h", "host=::1,h port=,"),
            ("postgresql://[z%3a]:1", "host=z: port=1"),
            ("postgresql://[::1%25eth0]", "host=::1%eth0"),
            ("postgresql://[a,b]", "host=a,b"),
            ("postgresql://[a/b]", "host=a/b"),
            ("postgresql://[a@b]", "user=[a host=b]"),
            (
                "postgresql://[::1",
                "end of string reached when looking for matching \"]\" in IPv6 host address in URI: \
                 \"postgresql://[::1\"",
            ),
            ("postgresql://[]", "IPv6 host address may not be empty in URI: \"postgresql://[]\""),
            (
                "postgresql://[::1]x",
                "unexpected character \"x\" at position 19 in URI (expected \":\" or \"/\"): \
                 \"postgresql://[::1]x\"",
            ),
            (
                "postgresql://[::1]é",
                "unexpected character \"é\" at position 19 in URI (expected \":\" or \"/\"): \
                 \"postgresql://[::1]é\"",
            ),
        ]);
    }

    #[test]
    fn cn_029_to_031_and_034_to_040_query() {
        assert_outcomes(&[
            ("postgresql://?", ""),
            ("postgresql://h/db?", "host=h dbname=db"),
            ("postgresql://h?user=a", "host=h user=a"),
            ("postgresql://h/?user=a&", "host=h user=a"),
            ("postgresql://h/a?user=b/c", "host=h dbname=a user=b/c"),
            ("postgresql://h?user=", "host=h user="),
            ("postgresql://h?u%73er=x", "host=h user=x"),
            ("postgresql://h/db?host=/tmp", "host=h dbname=db host=/tmp"),
            ("postgresql:///?hostaddr=127.0.0.1&host=x", "hostaddr=127.0.0.1 host=x"),
            ("postgresql://h?ssl=true", "host=h sslmode=require"),
            ("postgresql://h?s%73l=t%72ue", "host=h sslmode=require"),
            ("postgresql://h?requiressl=1", "host=h sslmode=require"),
            ("postgresql://h?sslmode=bogus", "host=h sslmode=bogus"),
            ("postgresql://h?ssl=false", "invalid URI query parameter: \"ssl\""),
            ("postgresql://h?foo=", "invalid URI query parameter: \"foo\""),
            ("postgresql://h?u%7aer=1", "invalid URI query parameter: \"uzer\""),
            ("postgresql://h?user%3dx=a", "invalid URI query parameter: \"user=x\""),
            ("postgresql://h?=a", "invalid URI query parameter: \"\""),
            ("postgresql://h?user", "missing key/value separator \"=\" in URI query parameter: \"user\""),
            ("postgresql://h?u%73er", "missing key/value separator \"=\" in URI query parameter: \"u%73er\""),
            ("postgresql://h?&user=a", "missing key/value separator \"=\" in URI query parameter: \"\""),
            ("postgresql://h?&", "missing key/value separator \"=\" in URI query parameter: \"\""),
            ("postgresql://h?user=a&&", "missing key/value separator \"=\" in URI query parameter: \"\""),
            ("postgresql://h?user=a=b", "extra key/value separator \"=\" in URI query parameter: \"user\""),
            ("postgresql://h?user=a=", "extra key/value separator \"=\" in URI query parameter: \"user\""),
        ]);
    }

    #[test]
    fn cn_032_033_036_037_and_044_encoding() {
        assert_outcomes(&[
            ("postgresql://u%40:p%3A@h%2Cb", "user=u@ password=p: host=h,b"),
            ("postgresql://%c3%A9", "host=é"),
            ("postgresql://%2Fvar%2Frun:7/db", "host=/var/run port=7 dbname=db"),
            ("postgresql://%40name", "host=@name"),
            ("postgresql://h/a%2fb", "host=h dbname=a/b"),
            ("postgresql://h:%35%34", "host=h port=54"),
            ("postgresql://h? user = a &port=1", "host=h user=a port=1"),
            ("postgresql:// u @h", "user=u host=h"),
            ("postgresql://h?user=%20a", "host=h user= a"),
            (
                "postgresql://h?user=a b",
                "unexpected spaces found in \"a b\", use percent-encoded spaces (%20) instead",
            ),
            ("postgresql://%", "invalid percent-encoded token: \"%\""),
            ("postgresql://a%2", "invalid percent-encoded token: \"a%2\""),
            ("postgresql://%+1", "invalid percent-encoded token: \"%+1\""),
            ("postgresql://u%zz@h", "invalid percent-encoded token: \"u%zz\""),
            ("postgresql://h?%zz=1", "invalid percent-encoded token: \"%zz\""),
            ("postgresql://a%00b", "forbidden value %00 in percent-encoded value: \"a%00b\""),
            ("postgresql://h?a%00=1", "forbidden value %00 in percent-encoded value: \"a%00\""),
        ]);
    }

    #[test]
    fn cn_041_lists_of_hosts_and_ports() {
        assert_outcomes(&[
            ("postgresql://a,b,c", "host=a,b,c port=,,"),
            ("postgresql://a:1,b:2/db", "host=a,b port=1,2 dbname=db"),
            ("postgresql://a:1,b/db", "host=a,b port=1, dbname=db"),
            ("postgresql://a,b:2", "host=a,b port=,2"),
            ("postgresql://,", "host=, port=,"),
            ("postgresql://a,", "host=a, port=,"),
            ("postgresql://h:1,h2,[::1]:3/d?user=x", "host=h,h2,::1 port=1,,3 dbname=d user=x"),
        ]);
    }

    #[test]
    fn passwords_are_not_in_errors() {
        assert_outcomes(&[
            ("postgresql://u:p%@h", "invalid percent-encoded token: \"…\""),
            ("postgresql://h?p%61ssword=%zz", "invalid percent-encoded token: \"…\""),
            (
                "postgresql://u:hunter2@[]/d?sslpassword=hunter2&user=x&p%61ssword=hunter2",
                "IPv6 host address may not be empty in URI: \
                 \"postgresql://u:…@[]/d?sslpassword=…&user=x&p%61ssword=…\"",
            ),
        ]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(rest: Vec<u8>) {
            let _ = parse(&[b"postgres://".as_slice(), &rest].concat());
        }

        #[test]
        fn cn_032_encoded_bytes_come_back(value in proptest::collection::vec(1u8.., 1..20)) {
            let encoded = value.iter().fold(String::new(), |text, byte| format!("{text}%{byte:02x}"));
            let read = parse(format!("postgres://{encoded}:{encoded}@/{encoded}").as_bytes()).unwrap();
            prop_assert_eq!(read.len(), 3);
            prop_assert!(read.iter().all(|assignment| *assignment.value == value));
        }
    }
}

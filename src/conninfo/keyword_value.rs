//! Connection strings of the form `host=db1 user='a b'`: text to assignments, and values to text.
//!
//! ```text
//! string  = [ white ] [ keyword [ white ] "=" [ white ] value { white } … ]
//! keyword = bytes other than white space and "="
//! value   = "'" { byte | "\" byte } "'" | { byte other than white space | "\" byte }
//! ```
//!
//! White space after `=` is skipped, so `host= port=1` gives the host `port=1` (CN-016). No value is
//! interpreted here.

use zeroize::Zeroizing;

use super::assignment::Assignment;
use super::{ConninfoError, ConninfoWarning, Keyword};

/// Reads a string from left to right and stops at the first error (CN-010 … CN-019). What looks like a mistake
/// is added to the warnings.
pub(super) fn parse(
    text: &[u8],
    warnings: &mut Vec<ConninfoWarning>,
) -> Result<Vec<Assignment>, ConninfoError> {
    let mut assignments: Vec<Assignment> = Vec::new();
    let mut rest = trim_white(text);
    while !rest.is_empty() {
        let (name, after) = split_name(rest);
        // What follows a password may be the rest of it, cut off by a blank that was not quoted.
        let shown = || match assignments.last() {
            Some(last) if last.keyword.is_secret() => "…".to_owned(),
            _ => String::from_utf8_lossy(name).into_owned(),
        };
        let after = trim_white(after)
            .strip_prefix(b"=")
            .ok_or_else(|| ConninfoError::MissingEquals { word: shown() })?;
        let is_apart = after.first().is_some_and(|&byte| is_white(byte));
        let after = trim_white(after);
        let swallowed = swallowed_keyword(after).filter(|_| is_apart);
        let (value, after) = split_value(after)?;
        let assignment =
            Assignment::new(name, value).ok_or_else(|| ConninfoError::UnknownKeyword { name: shown() })?;
        let keyword = assignment.keyword;
        warnings.extend(swallowed.map(|swallowed| ConninfoWarning::SwallowedPair { keyword, swallowed }));
        assignments.push(assignment);
        rest = trim_white(after);
    }
    Ok(assignments)
}

/// The keyword of a pair that stands where a value is expected, as in `host= port=1` (CN-016).
fn swallowed_keyword(text: &[u8]) -> Option<Keyword> {
    let (name, rest) = split_name(text);
    if rest.starts_with(b"=") { Keyword::from_name(str::from_utf8(name).ok()?) } else { None }
}

/// Appends a value so that [`parse`] gives it back: bare if it can be, else quoted (BB-174, first
/// layer).
pub(super) fn write_value(value: &[u8], out: &mut Vec<u8>) {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    if !value.is_empty() && value.iter().all(is_plain) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'\'');
    for &byte in value {
        if matches!(byte, b'\'' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'\'');
}

fn split_name(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&byte| byte == b'=' || is_white(byte)).unwrap_or(text.len());
    text.split_at(end)
}

fn split_value(text: &[u8]) -> Result<(Zeroizing<Vec<u8>>, &[u8]), ConninfoError> {
    let (quoted, text) = match text.strip_prefix(b"'") {
        Some(inner) => (true, inner),
        None => (false, text),
    };
    // Never grows, so that no copy of a password stays behind in memory.
    let mut value = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'\\' => value.extend(bytes.next().map(|(_, &escaped)| escaped)),
            b'\'' if quoted => return Ok((value, &text[at + 1..])),
            _ if !quoted && is_white(byte) => return Ok((value, &text[at..])),
            _ => value.push(byte),
        }
    }
    if quoted { Err(ConninfoError::UnterminatedQuote) } else { Ok((value, &[])) }
}

/// Space, tab, newline, vertical tab, form feed, carriage return: what C's `isspace` takes.
pub(super) const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

pub(super) fn trim_white(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|&byte| !is_white(byte)).unwrap_or(text.len());
    &text[start..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conninfo::Keyword;

    fn outcome(text: &[u8]) -> String {
        match parse(text, &mut Vec::new()) {
            Ok(assignments) => format!("{assignments:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn cn_010_to_019_strings_and_what_they_say() {
        for (text, expected) in [
            ("", "[]"),
            (" \t\n\r\x0b\x0c", "[]"),
            ("host=a port=1", r#"[host="a", port="1"]"#),
            ("host=a\nport=1\x0buser=u", r#"[host="a", port="1", user="u"]"#),
            ("host = \t x", r#"[host="x"]"#),
            ("host\x0b=\x0ca", r#"[host="a"]"#),
            ("host='a b'", r#"[host="a b"]"#),
            ("host=''", r#"[host=""]"#),
            ("host=", r#"[host=""]"#),
            ("host='a'port=1", r#"[host="a", port="1"]"#),
            ("host= port=1", r#"[host="port=1"]"#),
            ("host==a", r#"[host="=a"]"#),
            (r"host=a\ b", r#"[host="a b"]"#),
            (r"host=a\\b\'c\d", r#"[host="a\\b'cd"]"#),
            (r"host='a\\b\'c\d'", r#"[host="a\\b'cd"]"#),
            (r"host=a\", r#"[host="a"]"#),
            ("host=a host=b", r#"[host="a", host="b"]"#),
            ("requiressl=1", r#"[sslmode="require"]"#),
            ("replication=database", r#"[replication="database"]"#),
            (r"host='a\", "unterminated quoted string in connection info string"),
            ("host='a", "unterminated quoted string in connection info string"),
            ("host='", "unterminated quoted string in connection info string"),
            ("host", r#"missing "=" after "host" in connection info string"#),
            ("host x=1", r#"missing "=" after "host" in connection info string"#),
            ("host='a' port", r#"missing "=" after "port" in connection info string"#),
            ("host='a''b'", r#"missing "=" after "'b'" in connection info string"#),
            ("host=a'b c'", r#"missing "=" after "c'" in connection info string"#),
            ("bogus", r#"missing "=" after "bogus" in connection info string"#),
            ("postgre://h", r#"missing "=" after "postgre://h" in connection info string"#),
            ("foo=1 host", r#"invalid connection option "foo""#),
            ("HOST=a", r#"invalid connection option "HOST""#),
            ("=x", r#"invalid connection option """#),
            ("'host'=a", r#"invalid connection option "'host'""#),
            (r"h\ost=a", r#"invalid connection option "h\ost""#),
        ] {
            assert_eq!(outcome(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_values_but_no_keywords() {
        assert_eq!(parse(b"user=\xff", &mut Vec::new()).unwrap()[0].value.as_slice(), b"\xff");
        assert_eq!(outcome(b"\xff=1"), "invalid connection option \"\u{fffd}\"");
    }

    #[test]
    fn cn_016_a_swallowed_pair_is_warned_of() {
        for (text, expected) in [
            ("host= port=1", &["host port"][..]),
            ("password=\tuser=x dbname= sslmode=allow", &["password user", "dbname sslmode"]),
            ("host= port = 1", &[]),
            ("host=port=1", &[]),
            ("host= 'port=1'", &[]),
            ("host= ports=1", &[]),
            ("options= -cport=1", &[]),
            ("host=", &[]),
        ] {
            let mut warnings = Vec::new();
            let _ = parse(text.as_bytes(), &mut warnings);
            let named = warnings.iter().map(|ConninfoWarning::SwallowedPair { keyword, swallowed }| {
                format!("{keyword} {swallowed}")
            });
            assert_eq!(named.collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn what_follows_a_password_is_not_shown() {
        assert_eq!(outcome(b"password=my secret"), r#"missing "=" after "…" in connection info string"#);
        assert_eq!(outcome(b"password=my sec=ret"), r#"invalid connection option "…""#);
    }

    fn assignments() -> impl Strategy<Value = Vec<(Keyword, Vec<u8>)>> {
        let keyword = proptest::sample::select(Keyword::ALL);
        let value =
            proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\''), Just(b'\\'), Just(b' ')], 0..20);
        proptest::collection::vec((keyword, value), 0..6)
    }

    proptest! {
        #[test]
        fn bb_174_what_is_written_is_read_back(assignments in assignments()) {
            let mut text = Vec::new();
            for (keyword, value) in &assignments {
                text.extend_from_slice(format!(" {keyword}=").as_bytes());
                write_value(value, &mut text);
            }
            let mut warnings = Vec::new();
            let read = parse(&text, &mut warnings).unwrap();
            let read: Vec<_> = read.into_iter().map(|a| (a.keyword, a.value.to_vec())).collect();
            prop_assert_eq!(read, assignments);
            prop_assert_eq!(warnings, []);
        }

        #[test]
        fn any_bytes_give_an_answer(text: Vec<u8>) {
            let _ = parse(&text, &mut Vec::new());
        }
    }
}

//! The argument of `-Z`, taken apart.
//!
//! In: what the user typed. Out: where to compress, with what, and how in detail. Nothing is validated: for
//! compression on the server that is the server's business, and [`CompressionSpec`](super::CompressionSpec) does
//! it for the client.

use super::integer;

/// `[client-|server-]METHOD[:DETAIL]`, or an integer, which is a level of gzip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressionArgument {
    /// Who compresses; none is for the other options to say (BB-025).
    pub location: Option<Location>,
    /// The text in front of the first colon.
    pub method: String,
    /// Everything behind the first colon.
    pub detail: Option<String>,
}

/// Who compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// This program.
    Client,
    /// The server.
    Server,
}

/// Whose rules for integers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// Those of `pg_basebackup` 15: integers have no prefix, and 0 is a level like any other (BB-023).
    Fifteen,
    /// Those of later ones: an integer may follow a prefix, and 0 is no compression (BB-022).
    SinceSixteen,
}

impl CompressionArgument {
    /// Takes an argument apart.
    pub fn parse(text: &str, grammar: Grammar) -> Self {
        match grammar {
            Grammar::Fifteen if is_integer(text) => Self::gzip_level(None, text),
            Grammar::Fifteen => {
                let (location, rest) = split_location(text);
                Self::method_and_detail(location, rest)
            }
            Grammar::SinceSixteen => {
                let (location, rest) = split_location(text);
                Self::behind_location(location, rest)
            }
        }
    }

    /// Takes an argument apart that cannot say who compresses: that of `pg_receivewal` (RW-018).
    pub fn parse_without_location(text: &str) -> Self {
        Self::behind_location(None, text)
    }

    fn behind_location(location: Option<Location>, text: &str) -> Self {
        match integer::parse(text) {
            _ if !is_integer(text) => Self::method_and_detail(location, text),
            None | Some(0) => Self { location, method: "none".to_owned(), detail: None },
            Some(_) => Self::gzip_level(location, text),
        }
    }

    fn gzip_level(location: Option<Location>, level: &str) -> Self {
        Self { location, method: "gzip".to_owned(), detail: Some(level.to_owned()) }
    }

    fn method_and_detail(location: Option<Location>, text: &str) -> Self {
        match text.split_once(':') {
            Some((method, detail)) => {
                Self { location, method: method.to_owned(), detail: Some(detail.to_owned()) }
            }
            None => Self { location, method: text.to_owned(), detail: None },
        }
    }
}

/// Nothing at all counts as the integer 0, because C's `strtol` consumes it completely.
fn is_integer(text: &str) -> bool {
    text.is_empty() || integer::parse(text).is_some()
}

fn split_location(text: &str) -> (Option<Location>, &str) {
    if let Some(rest) = text.strip_prefix("client-") {
        (Some(Location::Client), rest)
    } else if let Some(rest) = text.strip_prefix("server-") {
        (Some(Location::Server), rest)
    } else {
        (None, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (Option<Location>, &'static str, Option<&'static str>);
    const CLIENT: Option<Location> = Some(Location::Client);
    const SERVER: Option<Location> = Some(Location::Server);

    fn check(grammar: Grammar, rows: &[(&str, Parts)]) {
        for &(text, (location, method, detail)) in rows {
            let expected = CompressionArgument {
                location,
                method: method.to_owned(),
                detail: detail.map(str::to_owned),
            };
            assert_eq!(CompressionArgument::parse(text, grammar), expected, "{text:?}");
        }
    }

    #[test]
    fn bb_022_integers_are_levels_of_gzip_behind_any_prefix() {
        check(
            Grammar::SinceSixteen,
            &[
                ("", (None, "none", None)),
                ("0", (None, "none", None)),
                (" -00", (None, "none", None)),
                ("client-", (CLIENT, "none", None)),
                ("server-", (SERVER, "none", None)),
                ("client-0", (CLIENT, "none", None)),
                ("5", (None, "gzip", Some("5"))),
                (" +5", (None, "gzip", Some(" +5"))),
                ("-1", (None, "gzip", Some("-1"))),
                ("client-15", (CLIENT, "gzip", Some("15"))),
                ("server--1", (SERVER, "gzip", Some("-1"))),
                ("99999999999999999999", (None, "gzip", Some("99999999999999999999"))),
                (" ", (None, " ", None)),
                ("5 ", (None, "5 ", None)),
                ("0x5", (None, "0x5", None)),
                ("5:1", (None, "5", Some("1"))),
                ("client--", (CLIENT, "-", None)),
            ],
        );
    }

    #[test]
    fn bb_023_fifteen_looks_for_integers_before_prefixes() {
        check(
            Grammar::Fifteen,
            &[
                ("", (None, "gzip", Some(""))),
                ("0", (None, "gzip", Some("0"))),
                ("5", (None, "gzip", Some("5"))),
                ("client-", (CLIENT, "", None)),
                ("client-0", (CLIENT, "0", None)),
                ("server-5", (SERVER, "5", None)),
                ("client-gzip:5", (CLIENT, "gzip", Some("5"))),
            ],
        );
    }

    #[test]
    fn bb_025_the_location_is_the_first_prefix_or_open() {
        let rows = [
            ("gzip", (None, "gzip", None)),
            ("client-lz4", (CLIENT, "lz4", None)),
            ("server-zstd:level=3,workers=2", (SERVER, "zstd", Some("level=3,workers=2"))),
            ("client-server-gzip", (CLIENT, "server-gzip", None)),
            ("Client-gzip", (None, "Client-gzip", None)),
            ("client", (None, "client", None)),
            ("server:", (None, "server", Some(""))),
            ("gzip:client-", (None, "gzip", Some("client-"))),
        ];
        check(Grammar::Fifteen, &rows);
        check(Grammar::SinceSixteen, &rows);
    }

    #[test]
    fn rw_018_and_030_where_nobody_else_compresses_there_are_no_prefixes() {
        for (text, method, detail) in [
            ("", "none", None),
            ("0", "none", None),
            ("-1", "gzip", Some("-1")),
            ("lz4:3", "lz4", Some("3")),
            ("client-gzip", "client-gzip", None),
            ("server-5", "server-5", None),
        ] {
            let parsed = CompressionArgument::parse_without_location(text);
            assert_eq!((parsed.method.as_str(), parsed.detail.as_deref()), (method, detail), "{text:?}");
        }
    }

    #[test]
    fn bb_027_nothing_is_validated() {
        let rows = [
            ("server-foo:level=5:6,", (SERVER, "foo", Some("level=5:6,"))),
            (":", (None, "", Some(""))),
            ("gzip:", (None, "gzip", Some(""))),
            ("none:1", (None, "none", Some("1"))),
        ];
        check(Grammar::Fifteen, &rows);
        check(Grammar::SinceSixteen, &rows);
    }
}

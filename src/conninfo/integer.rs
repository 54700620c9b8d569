//! Values that are integers (CN-051).

use std::time::Duration;

use super::error::source_of;
use super::keyword_value::is_white;
use super::{Keyword, Origin, Settings};

/// A value that is to be an integer of 32 bits and is none (CN-051).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid integer value \"{value}\" for connection option \"{keyword}\"")]
pub struct InvalidInteger {
    /// The keyword.
    pub keyword: Keyword,
    /// Its value.
    pub value: String,
    /// Who gave it.
    pub origin: Origin,
}

impl InvalidInteger {
    /// Where to look for the value, where the user does not see it.
    pub fn hint(&self) -> Option<String> {
        source_of(self.keyword, self.origin)
    }
}

/// A decimal integer of 32 bits, with a sign or not, with white space around it or not (CN-051).
pub(super) fn parse(text: &[u8]) -> Option<i32> {
    let text = str::from_utf8(text).ok()?;
    text.trim_matches(|c| u8::try_from(c).is_ok_and(is_white)).parse().ok()
}

/// A number of seconds; zero and negative numbers stand for the default (CN-117).
pub(super) fn seconds(settings: &Settings, keyword: Keyword) -> Result<Option<Duration>, InvalidInteger> {
    Ok(positive(settings, keyword)?.map(|number| Duration::from_secs(number.into())))
}

/// A number above zero; zero and negative numbers stand for the default.
pub(super) fn positive(settings: &Settings, keyword: Keyword) -> Result<Option<u32>, InvalidInteger> {
    let number = of_setting(settings, keyword)?.and_then(|number| u32::try_from(number).ok());
    Ok(number.filter(|&number| number > 0))
}

/// Any number.
pub(super) fn of_setting(settings: &Settings, keyword: Keyword) -> Result<Option<i32>, InvalidInteger> {
    let Some(value) = settings.value(keyword) else { return Ok(None) };
    let invalid = || InvalidInteger {
        keyword,
        value: String::from_utf8_lossy(value).into_owned(),
        origin: settings.origin(keyword).unwrap_or(Origin::Default),
    };
    parse(value).map(Some).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_051_blanks_signs_overflow_and_junk() {
        for (text, expected) in [
            ("0", Some(0)),
            ("007", Some(7)),
            (" \t\n\u{b}\u{c}\r1 ", Some(1)),
            ("+3", Some(3)),
            ("-5", Some(-5)),
            ("2147483647", Some(i32::MAX)),
            ("-2147483648", Some(i32::MIN)),
            ("2147483648", None),
            ("99999999999", None),
            ("", None),
            (" ", None),
            ("1x", None),
            ("1 2", None),
            ("+ 3", None),
            ("--3", None),
            ("0x10", None),
            ("1.0", None),
            ("\u{a0}1", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(parse(b"1\xff"), None);
    }
}

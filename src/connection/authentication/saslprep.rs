//! Prepares passwords for SCRAM as servers did when they stored the secret: `SASLprep` (RFC 4013) with
//! PostgreSQL's reading of it.
//!
//! Where `SASLprep` refuses a password, its bytes are used as they are. PostgreSQL looks for what is prohibited
//! before it normalizes the text, and not after.

use std::borrow::Cow;

use stringprep::{saslprep, tables};

/// The bytes that secrets are made of. ASCII is what it is, and so is what is not UTF-8
/// (CN-239 … CN-243).
pub(super) fn prepare(password: &[u8]) -> Cow<'_, [u8]> {
    let text = std::str::from_utf8(password).ok().filter(|text| !text.is_ascii());
    match text.filter(|text| is_permitted(text)).and_then(|text| saslprep(text).ok()) {
        Some(prepared) => Cow::Owned(prepared.into_owned().into_bytes()),
        None => Cow::Borrowed(password),
    }
}

fn is_permitted(text: &str) -> bool {
    let mapped: Vec<char> = text
        .chars()
        .map(|c| if tables::non_ascii_space_character(c) { ' ' } else { c })
        .filter(|&c| !tables::commonly_mapped_to_nothing(c))
        .collect();
    !mapped.is_empty() && !mapped.iter().copied().any(is_prohibited) && is_of_one_direction(&mapped)
}

fn is_prohibited(c: char) -> bool {
    tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::surrogate_code(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
        || tables::unassigned_code_point(c)
}

/// A text with a letter that runs from right to left begins and ends with one, and has none of the other
/// direction.
fn is_of_one_direction(text: &[char]) -> bool {
    let runs_left = |c: Option<&char>| c.is_some_and(|&c| tables::bidi_r_or_al(c));
    !text.iter().any(|c| runs_left(Some(c)))
        || runs_left(text.first()) && runs_left(text.last()) && !text.iter().any(|&c| tables::bidi_l(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_239_passwords_are_normalized() {
        for (password, prepared) in [
            ("I\u{ad}X", "IX"),
            ("\u{2168}", "IX"),
            ("\u{aa}", "a"),
            ("e\u{301}", "\u{e9}"),
            ("a\u{a0}b\u{200b}c", "a b c"),
            ("\u{5d0}\u{ad}1\u{5d0}", "\u{5d0}1\u{5d0}"),
        ] {
            assert_eq!(prepare(password.as_bytes()), prepared.as_bytes(), "{}", password.escape_unicode());
        }
    }

    #[test]
    fn cn_240_to_243_other_passwords_are_left_alone() {
        for password in [
            &b"plain"[..],
            b"\x07 control",
            b"\xff\xfe",
            "\u{2168}\u{7}".as_bytes(),
            "\u{2168}\u{e000}".as_bytes(),
            // Nothing would be left.
            "\u{ad}".as_bytes(),
            // Both directions, or a digit at the end.
            "\u{627}\u{2168}".as_bytes(),
            "\u{627}1".as_bytes(),
            // Prohibited, though it would be normalized to what is not.
            "a\u{ad}\u{340}".as_bytes(),
            // Not assigned in Unicode 3.2, though it would be normalized to what is.
            "\u{1f130}".as_bytes(),
        ] {
            assert_eq!(prepare(password), password, "{}", password.escape_ascii());
        }
    }
}

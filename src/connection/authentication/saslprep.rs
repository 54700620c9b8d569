//! Prepares passwords for SCRAM as servers did when they stored the secret: `SASLprep` (RFC 4013) with
//! PostgreSQL's reading of it.
//!
//! Where `SASLprep` refuses a password, its bytes are used as they are. PostgreSQL looks for what is prohibited,
//! and for the direction of the text, before it normalizes the text, and not after.

use stringprep::tables;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The bytes that secrets are made of. ASCII is what it is, and so is what is not UTF-8
/// (CN-239 … CN-243).
pub(super) fn prepare(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let text = std::str::from_utf8(password).ok().filter(|text| !text.is_ascii());
    let mapped = text.map(map).filter(|mapped| is_permitted(mapped));
    mapped.map_or_else(|| Zeroizing::new(password.to_vec()), |mapped| normalize(&mapped))
}

/// Spaces of all widths become one, and what is commonly mapped to nothing vanishes.
fn map(text: &str) -> Zeroizing<Vec<char>> {
    let mut mapped = Zeroizing::new(Vec::with_capacity(text.len()));
    mapped.extend(
        text.chars()
            .map(|c| if tables::non_ascii_space_character(c) { ' ' } else { c })
            .filter(|&c| !tables::commonly_mapped_to_nothing(c)),
    );
    mapped
}

/// NFKC, in a buffer that need not grow.
fn normalize(text: &[char]) -> Zeroizing<Vec<u8>> {
    let normalized = || text.iter().copied().nfkc();
    let mut prepared = Zeroizing::new(String::with_capacity(normalized().map(char::len_utf8).sum()));
    prepared.extend(normalized());
    Zeroizing::new(std::mem::take(&mut *prepared).into_bytes())
}

fn is_permitted(text: &[char]) -> bool {
    !text.is_empty() && !text.iter().copied().any(is_prohibited) && is_of_one_direction(text)
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
        || runs_left(text.first()) && runs_left(text.last()) && !text.iter().any(|&c| runs_right(c))
}

/// The standard has the directions of Unicode 3.2, some of which have changed since.
fn runs_right(c: char) -> bool {
    const NOT_YET: &[char] = &['\u{cbf}', '\u{cc6}', '\u{1734}', '\u{2132}', '\u{302e}', '\u{302f}'];
    const NO_MORE: &[char] = &[
        '\u{17b4}',
        '\u{17b5}',
        '\u{1885}',
        '\u{1886}',
        // Nabla and partial differential in every style.
        '\u{1d6c1}',
        '\u{1d6fb}',
        '\u{1d735}',
        '\u{1d76f}',
        '\u{1d7a9}',
        '\u{1d6db}',
        '\u{1d715}',
        '\u{1d74f}',
        '\u{1d789}',
        '\u{1d7c3}',
    ];
    let is_braille = matches!(c, '\u{2800}'..='\u{28ff}');
    let runs_right_today = tables::bidi_l(c) && !is_braille && !NOT_YET.contains(&c);
    runs_right_today || NO_MORE.contains(&c)
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
            // What it becomes ends with a mark that has no direction.
            ("\u{5d0}\u{fb1d}", "\u{5d0}\u{5d9}\u{5b4}"),
            // A letter that had no direction in the Unicode of the standard, between two that have one.
            ("\u{5d0}\u{2800}\u{fb1d}", "\u{5d0}\u{2800}\u{5d9}\u{5b4}"),
        ] {
            assert_eq!(
                prepare(password.as_bytes())[..],
                *prepared.as_bytes(),
                "{}",
                password.escape_unicode()
            );
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
            // A vowel that ran from left to right in the Unicode of the standard.
            "\u{5d0}\u{17b4}\u{fb1d}".as_bytes(),
            "\u{5d0}\u{1d6c1}\u{fb1d}".as_bytes(),
            // Prohibited, though it would be normalized to what is not.
            "a\u{ad}\u{340}".as_bytes(),
            // Not assigned in Unicode 3.2, though it would be normalized to what is.
            "\u{1f130}".as_bytes(),
        ] {
            assert_eq!(prepare(password)[..], *password, "{}", password.escape_ascii());
        }
    }
}

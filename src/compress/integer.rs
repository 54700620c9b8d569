//! Integers as C's `strtol` reads them.
//!
//! In: a whole text. Out: its value, or nothing when it is no integer from its first byte to its last.

/// Blanks, a sign, decimal digits, and nothing behind them. What is beyond 32 bits is the nearest number within.
pub(super) fn parse(text: &str) -> Option<i32> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_i32, |value, &digit| {
        let digit = i32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        let digit = if negative { -digit } else { digit };
        Some(value.saturating_mul(10).saturating_add(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bb_022_and_024_integers_are_those_of_strtol() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("+5", 5),
            ("007", 7),
            (" \t\n\u{b}\u{c}\r-12", -12),
            ("2147483647", i32::MAX),
            ("2147483648", i32::MAX),
            ("99999999999999999999999", i32::MAX),
            ("-2147483648", i32::MIN),
            ("-2147483649", i32::MIN),
            ("-99999999999999999999999", i32::MIN),
        ] {
            assert_eq!(parse(text), Some(value), "{text:?}");
        }
        for text in
            ["", " ", "+", "-", "+-1", "--1", "- 1", "5 ", "5x", "0x10", "1.5", "1e3", "1_0", "\u{a0}5", "５"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}

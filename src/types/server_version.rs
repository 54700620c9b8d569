use std::fmt;

/// The version a server reports as `server_version`.
///
/// It is ordered by the number that PostgreSQL derives from the text: `18.6` is 180006, and what
/// follows the digits (`18beta1`, `16.3 (Debian 16.3-1)`) does not count (BB-059).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerVersion {
    number: u32,
    text: String,
}

impl ServerVersion {
    /// Reads the value of `server_version`. A text without a leading number has the number 0.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '.').map(|part| leading_number(part).unwrap_or(0).min(9_999));
        let (major, second, third) =
            (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        let number = match major {
            0 => 0,
            1..10 => major * 10_000 + second.min(99) * 100 + third.min(99),
            10.. => major * 10_000 + second,
        };
        Self { number, text: text.to_owned() }
    }

    /// The version as one number: the major version times 10000 plus the minor one.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// The major version: 18 for `18.6`, 9 for `9.6.24`.
    pub const fn major(&self) -> u32 {
        self.number / 10_000
    }
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The text as the server gave it.
impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bb_059_versions_with_what_follows_them() {
        for (text, number) in [
            ("18.6", 180_006),
            ("18beta1", 180_000),
            ("19devel", 190_000),
            ("15.18 (Debian 15.18-0+deb12u1)", 150_018),
            ("10.23", 100_023),
            ("9.6.24", 90_624),
            ("", 0),
            ("unknown", 0),
            ("99999999999.1", 0),
        ] {
            assert_eq!(ServerVersion::parse(text).number(), number, "{text:?}");
        }
        assert_eq!(ServerVersion::parse("9.6.24").major(), 9);
    }
}

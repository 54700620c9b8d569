//! One `keyword = value` of a connection string or URI, after its syntax has been taken away.

use std::fmt;

use zeroize::Zeroizing;

use super::Keyword;

/// The last word on a keyword is the last of its assignments (CN-004).
#[derive(PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) keyword: Keyword,
    pub(super) value: Zeroizing<Vec<u8>>,
}

impl Assignment {
    /// Resolves the name; none if no keyword has it. The old `requiressl` becomes `sslmode` (CN-018).
    pub(super) fn new(name: &[u8], value: Zeroizing<Vec<u8>>) -> Option<Self> {
        if name == b"requiressl" {
            let mode: &[u8] = if value.first() == Some(&b'1') { b"require" } else { b"prefer" };
            return Some(Self { keyword: Keyword::SslMode, value: Zeroizing::new(mode.to_vec()) });
        }
        let keyword = Keyword::from_name(str::from_utf8(name).ok()?)?;
        Some(Self { keyword, value })
    }
}

/// A secret is not shown.
impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.keyword.is_secret() {
            write!(f, "{}=…", self.keyword)
        } else {
            write!(f, "{}={:?}", self.keyword, String::from_utf8_lossy(&self.value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_018_requiressl_is_read_as_sslmode() {
        for (value, mode) in [("1", "require"), ("12", "require"), ("0", "prefer"), ("", "prefer")] {
            let assignment = Assignment::new(b"requiressl", Zeroizing::new(value.into())).unwrap();
            assert_eq!(format!("{assignment:?}"), format!("sslmode=\"{mode}\""));
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let assignment = Assignment::new(b"password", Zeroizing::new("hunter2".into())).unwrap();
        assert_eq!(format!("{assignment:?}"), "password=…");
    }
}

use std::fmt;

use zeroize::Zeroizing;

/// A password or passphrase.
///
/// It does not print: `Debug` shows a placeholder and there is no `Display`. The memory is
/// overwritten when the value is dropped. The bytes need not be UTF-8, because PostgreSQL passes
/// passwords on as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// Takes the bytes over.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The secret itself, for the one who must send or write it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is nothing in it; PostgreSQL treats an empty password as none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_it() {
        assert!(!format!("{:?}", Password::from("hunter2")).contains("hunter2"));
    }
}

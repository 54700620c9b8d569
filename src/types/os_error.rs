use std::fmt;
use std::io;

/// An operating-system error as PostgreSQL's programs print it: the text of `strerror` alone,
/// without the number that Rust appends.
#[derive(Debug)]
pub struct OsError(pub io::Error);

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let plain = match self.0.raw_os_error() {
            Some(code) => text.strip_suffix(&format!(" (os error {code})")).unwrap_or(&text),
            None => &text,
        };
        f.write_str(plain)
    }
}

impl std::error::Error for OsError {}

impl From<io::Error> for OsError {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_left_out() {
        let full = io::Error::from_raw_os_error(28);
        assert_eq!(OsError(full).to_string(), "No space left on device");
        assert_eq!(OsError(io::Error::other("odd")).to_string(), "odd");
    }
}

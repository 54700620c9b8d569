//! The text of an error as the program prints it.

use std::error::Error;

use pgsiphon::types::WithCauses;

/// Gives errors their text with everything that caused them.
pub trait ErrorText {
    /// The error and its causes on one line.
    fn with_causes(&self) -> String;
}

impl<E: Error + 'static> ErrorText for E {
    fn with_causes(&self) -> String {
        WithCauses(self).to_string()
    }
}

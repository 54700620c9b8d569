//! JSON as a stream of events.
//!
//! In: the bytes of a document in chunks of any size. Out: what begins, ends or stands in it, in order
//! ([`Event`]), or where it stops being JSON ([`JsonError`], in the words of PostgreSQL's own reader). No more
//! than one token of at most [`MAX_TOKEN_LEN`] bytes is held, and nothing nests deeper than [`MAX_DEPTH`].

mod lexer;
mod syntax;

pub use lexer::MAX_TOKEN_LEN;
pub(super) use syntax::{Event, EventReader};

/// The deepest nesting that is read; manifests nest three deep.
const MAX_DEPTH: usize = 16;

/// A document that is no JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The document ends too early.
    #[error("The input string ended unexpectedly.")]
    EndedUnexpectedly,
    /// Something that no JSON has in it.
    #[error("Token \"{0}\" is invalid.")]
    InvalidToken(String),
    /// Something that JSON has elsewhere.
    #[error("Expected {expected}, but found \"{found}\".")]
    Unexpected {
        /// What could stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A control character in a string.
    #[error("Character with value 0x{0:02x} must be escaped.")]
    ControlCharacter(u8),
    /// An escape that means nothing.
    #[error("Escape sequence \"\\{0}\" is invalid.")]
    InvalidEscape(char),
    /// A `\u` without its digits.
    #[error("\"\\u\" must be followed by four hexadecimal digits.")]
    InvalidUnicodeEscape,
    /// One half of a surrogate pair without the other.
    #[error("{0}")]
    Surrogate(&'static str),
    /// A zero character, which no path has.
    #[error("\\u0000 cannot be converted to text.")]
    ZeroCharacter,
    /// A string or number that is too long to be in a manifest.
    #[error("a token is longer than {MAX_TOKEN_LEN} bytes")]
    TokenTooLong,
    /// Lists in lists in lists.
    #[error("nested too deep, maximum depth is {MAX_DEPTH}")]
    TooDeep,
}

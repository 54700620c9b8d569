//! What looks like a mistake in connection settings and is obeyed nevertheless, because libpq obeys it.

use super::Keyword;

/// A setting does not do what its author probably meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConninfoWarning {
    /// In `host= port=1` the host is `port=1`, since blanks after `=` are skipped (CN-016).
    #[error(
        "\"{swallowed}=\" after \"{keyword}= \" is read as the value of \"{keyword}\"; an empty value is written {keyword}=''"
    )]
    SwallowedPair {
        /// The keyword whose value it is.
        keyword: Keyword,
        /// The keyword that was probably meant to have a value of its own.
        swallowed: Keyword,
    },
}

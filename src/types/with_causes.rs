use std::error::Error;
use std::fmt;

/// Shows an error with everything that caused it on one line, joined as PostgreSQL's programs join them:
/// `could not write to file "f": No space left on device`.
///
/// ```
/// use pgsiphon::types::{OsError, WithCauses};
///
/// #[derive(Debug, thiserror::Error)]
/// #[error("could not write to file \"f\"")]
/// struct WriteError(#[source] OsError);
///
/// let error = WriteError(std::io::Error::from_raw_os_error(28).into());
/// assert_eq!(
///     WithCauses(&error).to_string(),
///     "could not write to file \"f\": No space left on device"
/// );
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WithCauses<'a>(pub &'a dyn Error);

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(reason) = cause {
            write!(f, ": {reason}")?;
            cause = reason.source();
        }
        Ok(())
    }
}

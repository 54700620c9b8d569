/// GSSAPI refused, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GssError {
    /// This build has no GSSAPI.
    #[error("GSSAPI support is not compiled in")]
    NotCompiledIn,
}

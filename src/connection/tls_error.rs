/// TLS did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// This build has no TLS.
    #[error("SSL support is not compiled in")]
    NotCompiledIn,
}

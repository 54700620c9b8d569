use super::error::InvalidCompression;
use super::method::Method;

/// What is wanted of a compression: a method and its parameters, known to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionSpec {
    /// How.
    pub method: Method,
    /// The level in the method's own scale; none is its default.
    pub level: Option<i32>,
    /// Threads of the zstd library; none is no thread of its own.
    pub workers: Option<u32>,
    /// Long-distance matching of zstd.
    pub long_distance: bool,
}

impl CompressionSpec {
    /// The method with its defaults.
    pub const fn of(method: Method) -> Self {
        Self { method, level: None, workers: None, long_distance: false }
    }

    /// Reads a method and its detail (`-Z METHOD[:DETAIL]`); `none` is no compression (BB-024, BB-028).
    pub fn parse(method: &str, _detail: Option<&str>) -> Result<Option<Self>, InvalidCompression> {
        match (method, Method::from_name(method)) {
            ("none", _) => Ok(None),
            (_, Some(method)) => Ok(Some(Self::of(method))),
            (other, None) => Err(InvalidCompression::UnknownMethod(other.to_owned())),
        }
    }
}

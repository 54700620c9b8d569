use super::method::Method;
use super::spec::CompressionSpec;

/// The largest window that a zstd stream may declare, which is what decompressing it takes in memory.
///
/// The window is how far back a stream refers to what it has said. A server chooses it by the level, and a stream that
/// comes from elsewhere can declare any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargestWindow {
    /// The power of two of its bytes.
    pub(super) log: u32,
}

impl LargestWindow {
    /// The most that zstd takes without being told to: 128 MiB.
    pub const MOST: Self = Self { log: 27 };

    /// What every level up to 19 keeps within: 8 MiB.
    pub const USUAL: Self = Self { log: 23 };

    /// The first level whose streams need more.
    const FIRST_LARGE_LEVEL: i32 = 20;

    /// What a stream needs that was compressed as this says.
    pub fn of(spec: &CompressionSpec) -> Self {
        let is_large = spec.long_distance || spec.level.is_some_and(|level| level >= Self::FIRST_LARGE_LEVEL);
        if spec.method == Method::Zstd && is_large { Self::MOST } else { Self::USUAL }
    }
}

impl Default for LargestWindow {
    fn default() -> Self {
        Self::USUAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_asks_for_far_matches_has_a_large_window() {
        for (method, detail, expected) in [
            ("zstd", None, LargestWindow::USUAL),
            ("zstd", Some("19"), LargestWindow::USUAL),
            ("zstd", Some("20"), LargestWindow::MOST),
            ("zstd", Some("level=1,long"), LargestWindow::MOST),
            ("gzip", Some("9"), LargestWindow::USUAL),
        ] {
            let spec = CompressionSpec::parse(method, detail).unwrap().unwrap();
            assert_eq!(LargestWindow::of(&spec), expected, "{method} {detail:?}");
        }
    }
}

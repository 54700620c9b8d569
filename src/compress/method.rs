//! The methods of compression and their names.

use std::fmt;

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// gzip (RFC 1952).
    Gzip,
    /// LZ4 frames.
    Lz4,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Lz4, Self::Zstd];

    /// The name in options and commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The name as its makers write it.
    pub(super) const fn proper_name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Lz4 => "LZ4",
            Self::Zstd => "ZSTD",
        }
    }

    /// Whether this build can do it.
    pub const fn is_built(self) -> bool {
        match self {
            Self::Gzip => cfg!(feature = "gzip"),
            Self::Lz4 => cfg!(feature = "lz4"),
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }

    /// What names of compressed files end in, with its dot.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Lz4 => ".lz4",
            Self::Zstd => ".zst",
        }
    }

    /// The method by its name in options.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// The method that a file name tells.
    pub fn of_file_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| name.ends_with(method.suffix()))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_suffixes_tell_the_method() {
        for method in Method::ALL {
            assert_eq!(Method::from_name(method.name()), Some(method));
            assert_eq!(Method::of_file_name(&format!("base.tar{}", method.suffix())), Some(method));
            assert_eq!(method.to_string(), method.name());
        }
        for name in ["", "none", "GZIP", "gz", "zst"] {
            assert_eq!(Method::from_name(name), None, "{name}");
        }
        for name in ["base.tar", "base.gz.tar", "gz", "base.tar.GZ"] {
            assert_eq!(Method::of_file_name(name), None, "{name}");
        }
    }
}

//! What an archive is, by the name that the server gives it.

use crate::compress::Method;
use crate::protocol::ArchiveName;

/// What can be done with an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArchiveFormat {
    /// A tar archive, compressed or not.
    Tar(Option<Method>),
    /// Something else, which can only be kept as it is (BB-105).
    Unknown,
}

impl ArchiveFormat {
    pub(super) fn of(name: &ArchiveName) -> Self {
        let compression = Method::of_file_name(name.as_str());
        let suffix = compression.map_or("", Method::suffix);
        match name.as_str().strip_suffix(suffix).and_then(|name| name.rsplit_once('.')) {
            Some((_, "tar")) => Self::Tar(compression),
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bb_105_only_tar_archives_are_looked_into() {
        for (name, format) in [
            ("base.tar", ArchiveFormat::Tar(None)),
            ("16384.tar.gz", ArchiveFormat::Tar(Some(Method::Gzip))),
            ("base.tar.lz4", ArchiveFormat::Tar(Some(Method::Lz4))),
            ("base.tar.zst", ArchiveFormat::Tar(Some(Method::Zstd))),
            ("base.tar.bz2", ArchiveFormat::Unknown),
            ("base.gz", ArchiveFormat::Unknown),
            ("base.tgz", ArchiveFormat::Unknown),
            ("tar", ArchiveFormat::Unknown),
        ] {
            assert_eq!(ArchiveFormat::of(&ArchiveName::new(name.as_bytes()).unwrap()), format, "{name}");
        }
    }
}

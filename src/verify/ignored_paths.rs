//! The paths that do not count (BB-221).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// What no manifest lists, because it comes or changes when the backup is complete.
const ALWAYS: [&str; 5] =
    ["backup_manifest", "pg_wal", "postgresql.auto.conf", "recovery.signal", "standby.signal"];

/// Paths relative to a backup that do not count, with everything below them.
#[derive(Clone, Debug)]
pub(super) struct IgnoredPaths(Vec<Vec<u8>>);

impl IgnoredPaths {
    /// Those that never count, and more.
    pub(super) fn new(more: &[PathBuf]) -> Self {
        let always = ALWAYS.map(|path| path.as_bytes().to_vec());
        Self(always.into_iter().chain(more.iter().map(|path| canonical(path))).collect())
    }

    /// Adds a path.
    pub(super) fn add(&mut self, path: &[u8]) {
        self.0.push(path.to_vec());
    }

    /// Whether the path does not count.
    pub(super) fn cover(&self, path: &[u8]) -> bool {
        self.0.iter().any(|ignored| match path.strip_prefix(&ignored[..]) {
            Some(rest) => !ignored.is_empty() && (rest.is_empty() || rest[0] == b'/'),
            None => false,
        })
    }
}

/// The path without doubled slashes, `.` and `..`.
fn canonical(path: &Path) -> Vec<u8> {
    let mut simple = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir if matches!(simple.components().next_back(), Some(Component::Normal(_))) => {
                simple.pop();
            }
            Component::CurDir => {}
            other => simple.push(other),
        }
    }
    OsString::from(simple).into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bb_221_a_directory_covers_what_is_in_it() {
        let ignored = IgnoredPaths::new(&["./aa//bb/".into(), "x/../c".into()]);
        for path in ["aa/bb", "aa/bb/c", "aa/bb/c/d", "c", "pg_wal", "pg_wal/0", "backup_manifest"] {
            assert!(ignored.cover(path.as_bytes()), "{path}");
        }
        for path in ["aa", "aa/bbb", "aa/b", "a", "x", "pg_wal.tar", "base/pg_wal", "recovery.signals"] {
            assert!(!ignored.cover(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn bb_221_paths_that_lead_nowhere_cover_nothing() {
        for path in ["", ".", "..", "../c", "/", "/c", "c/.."] {
            assert!(!IgnoredPaths::new(&[path.into()]).cover(b"c"), "{path:?}");
        }
    }
}

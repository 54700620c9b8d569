//! The program under test, under each of its names.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The binary of this package.
pub fn pgsiphon() -> PathBuf {
    let Some(path) = option_env!("CARGO_BIN_EXE_pgsiphon") else {
        panic!("the binary is built with the feature `cli` only")
    };
    path.into()
}

/// The binary under another name, as a link in a directory of its own.
#[derive(Debug)]
pub struct Personality {
    _directory: TempDir,
    path: PathBuf,
}

impl Personality {
    /// A link with that name, such as `pg_basebackup`.
    pub fn named(name: &str) -> Self {
        let directory = scratch_directory();
        let path = directory.path().join(name);
        symlink(pgsiphon(), &path).unwrap();
        Self { _directory: directory, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A new directory that the user who owns the servers can reach too; it is removed when dropped.
///
/// Its path is short enough for Unix sockets.
pub fn scratch_directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("pgsiphon-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in("/tmp")
        .unwrap()
}

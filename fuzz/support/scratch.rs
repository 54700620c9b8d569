//! A directory for the files of a target, below the one of `TMPDIR`. Nothing removes it: who runs the fuzzer does.

use std::fs;
use std::path::{Path, PathBuf};

/// Makes it anew and empty.
pub fn emptied(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pgsiphon-fuzz-{name}-{}", std::process::id()));
    remove(&path);
    fs::create_dir(&path).unwrap();
    path
}

/// Takes it away, if it is there.
pub fn remove(path: &Path) {
    if fs::symlink_metadata(path).is_ok() {
        fs::remove_dir_all(path).unwrap();
    }
}

//! A file system of its own, small enough to be full soon.

use std::path::Path;

use super::{Run, scratch_directory};

/// A small file system, gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// One with room for so many bytes, with a suffix such as `8m`.
    #[track_caller]
    pub fn new(size: &str) -> Self {
        let directory = scratch_directory();
        let outcome = Run::new("/usr/bin/mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory.path())
            .run();
        assert_eq!(
            outcome.code(),
            Some(0),
            "this test mounts a small file system, which root may do: {}",
            outcome.stderr
        );
        Self { directory }
    }

    pub fn make_read_only(&self) {
        self.remount("remount,ro");
    }

    pub fn make_writable(&self) {
        self.remount("remount,rw");
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn remount(&self, how: &str) {
        Run::new("/usr/bin/mount").args(["-o", how]).arg(self.path()).run().expect_success();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Run::new("/usr/bin/umount").args(["--lazy"]).arg(self.path()).run();
    }
}

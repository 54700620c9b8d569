//! A file system of its own, small enough to be full soon.

use std::path::{Path, PathBuf};

use super::{Run, ServerAccount, scratch_directory};

/// A small file system, gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
    /// Where it is mounted, if that is there for it alone; taken away after it.
    _directory: Option<tempfile::TempDir>,
}

impl SmallDisk {
    /// One with room for so many bytes, with a suffix such as `8m`.
    #[track_caller]
    pub fn new(size: &str) -> Self {
        let directory = scratch_directory();
        let path = directory.path().to_owned();
        mount(&path, &format!("size={size}"));
        Self { path, _directory: Some(directory) }
    }

    /// One over a directory of a server, with room for so many files and directories, itself included.
    #[track_caller]
    pub fn with_inodes(count: usize, over: &Path) -> Self {
        let ServerAccount { uid, gid } = ServerAccount::current();
        mount(over, &format!("nr_inodes={count},mode=0700,uid={uid},gid={gid}"));
        Self { path: over.to_owned(), _directory: None }
    }

    pub fn make_read_only(&self) {
        self.remount("remount,ro");
    }

    pub fn make_writable(&self) {
        self.remount("remount,rw");
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn remount(&self, how: &str) {
        Run::new("/usr/bin/mount").args(["-o", how]).arg(self.path()).run().expect_success();
    }
}

#[track_caller]
fn mount(path: &Path, options: &str) {
    let mount = Run::new("/usr/bin/mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path);
    let outcome = mount.run();
    let needed = "this test mounts a small file system, which root may do";
    assert_eq!(outcome.code(), Some(0), "{needed}: {}", outcome.stderr);
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Run::new("/usr/bin/umount").args(["--lazy"]).arg(self.path()).run();
    }
}

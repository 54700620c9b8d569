//! Open directories, in which everything is named by one component.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawMode, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

use super::error::StorageError;
use super::sync_policy::SyncPolicy;
use crate::types::OsError;

/// Who may read what is created (BB-256).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// The owner alone: files 0600, directories 0700.
    #[default]
    Owner,
    /// The owner, and the group for reading: files 0640, directories 0750.
    Group,
}

impl Access {
    /// The access to the copy of a data directory with these permission bits (BB-256).
    pub const fn of_data_directory(mode: u32) -> Self {
        if mode & 0o750 == 0o750 { Self::Group } else { Self::Owner }
    }

    /// The permission bits of a file.
    pub const fn file_mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o640,
        }
    }

    /// The permission bits of a directory.
    pub const fn directory_mode(self) -> u32 {
        match self {
            Self::Owner => 0o700,
            Self::Group => 0o750,
        }
    }
}

/// A directory held open, so that what happens to its path cannot redirect what is done in it.
///
/// The path serves messages only.
#[derive(Debug)]
pub struct Directory {
    handle: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens an existing directory by its path.
    pub fn open(path: impl Into<PathBuf>) -> Result<Arc<Self>, StorageError> {
        let path = path.into();
        Self::open_at(CWD, &path.clone(), path)
    }

    /// Opens a directory that was just made, and nothing that somebody has put into its place as a symbolic link.
    pub(super) fn open_made(path: &Path) -> Result<Arc<Self>, StorageError> {
        // With a slash at its end a link would be followed.
        let name = path.components();
        Self::open_with(CWD, name.as_path(), path.to_owned(), OFlags::NOFOLLOW)
    }

    /// Opens the directory at a relative path below this one. Nothing on the way may be a symbolic link or lead up.
    ///
    /// The kernel sees to that in one step. Where it has no such step, or a sandbox forbids it, the components are
    /// opened one by one; and so they are where it refuses, to name the one that is in the way.
    pub fn open_below(self: &Arc<Self>, path: &Path) -> Result<Arc<Self>, StorageError> {
        if path.as_os_str().is_empty() {
            return Ok(Arc::clone(self));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.handle, path, flags, Mode::empty(), resolve) {
            Ok(handle) => Ok(Arc::new(Self { handle, path: self.path.join(path) })),
            Err(_) => self.open_each_below(path),
        }
    }

    fn open_each_below(self: &Arc<Self>, path: &Path) -> Result<Arc<Self>, StorageError> {
        path.components().try_fold(Arc::clone(self), |directory, component| match component {
            Component::Normal(name) => directory.open_child(name),
            Component::CurDir => Ok(directory),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                let path = self.path.join(path);
                Err(StorageError::OpenDirectory { path, source: os_error(Errno::XDEV) })
            }
        })
    }

    /// Creates the directory `name` in this one, or takes the one that exists, and opens it. A
    /// symbolic link to a directory is followed, because the write-ahead log may live elsewhere.
    ///
    /// A directory that was created has exactly the permissions of `access`, whatever the umask, and
    /// is durable in this one; one that existed is left as it is.
    pub fn subdirectory(
        &self,
        name: &str,
        access: Access,
        policy: SyncPolicy,
    ) -> Result<Arc<Self>, StorageError> {
        let path = self.path.join(name);
        let mode = Mode::from_raw_mode(access.directory_mode() as RawMode);
        let created = match rustix::fs::mkdirat(&self.handle, name, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(StorageError::CreateDirectory { path, source: os_error(errno) }),
        };
        let directory = Self::open_at(self.handle.as_fd(), Path::new(name), path)?;
        if created {
            rustix::fs::fchmod(&directory.handle, mode).map_err(|errno| StorageError::SetPermissions {
                path: directory.path.clone(),
                source: os_error(errno),
            })?;
            directory.sync(policy)?;
            self.sync(policy)?;
        }
        Ok(directory)
    }

    /// Creates the directory `name` in this one with exactly these permission bits and opens it. One that
    /// exists is an error unless `may_exist`, and gets the bits all the same; a symbolic link is none.
    pub fn create_directory(
        &self,
        name: &OsStr,
        mode: u32,
        may_exist: bool,
    ) -> Result<Arc<Self>, StorageError> {
        match rustix::fs::mkdirat(&self.handle, name, Mode::from_raw_mode(mode)) {
            Err(Errno::EXIST) if may_exist => {}
            Err(errno) => {
                let path = self.path.join(name);
                return Err(StorageError::CreateDirectory { path, source: os_error(errno) });
            }
            Ok(()) => {}
        }
        let directory = self.open_child(name)?;
        directory.set_mode(mode)?;
        Ok(directory)
    }

    /// Opens the directory `name` in this one; a symbolic link is refused.
    pub fn open_child(&self, name: &OsStr) -> Result<Arc<Self>, StorageError> {
        let flags = OFlags::NOFOLLOW;
        Self::open_with(self.handle.as_fd(), Path::new(name), self.path.join(name), flags)
    }

    /// Gives the directory exactly these permission bits.
    pub fn set_mode(&self, mode: u32) -> Result<(), StorageError> {
        rustix::fs::fchmod(&self.handle, Mode::from_raw_mode(mode)).map_err(|errno| {
            StorageError::SetPermissions { path: self.path.clone(), source: os_error(errno) }
        })
    }

    /// Creates the symbolic link `name` in this directory; nothing of that name may exist.
    pub fn create_symlink(&self, name: &OsStr, target: &Path) -> Result<(), StorageError> {
        rustix::fs::symlinkat(target, &self.handle, name).map_err(|errno| StorageError::CreateSymlink {
            path: self.path.join(name),
            target: target.to_owned(),
            source: os_error(errno),
        })
    }

    fn open_at(parent: BorrowedFd<'_>, name: &Path, path: PathBuf) -> Result<Arc<Self>, StorageError> {
        Self::open_with(parent, name, path, OFlags::empty())
    }

    fn open_with(
        parent: BorrowedFd<'_>,
        name: &Path,
        path: PathBuf,
        how: OFlags,
    ) -> Result<Arc<Self>, StorageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | how;
        match retry_on_intr(|| rustix::fs::openat(parent, name, flags, Mode::empty())) {
            Ok(handle) => Ok(Arc::new(Self { handle, path })),
            Err(errno) => Err(StorageError::OpenDirectory { path, source: os_error(errno) }),
        }
    }

    /// Whether there is anything called `name` in it.
    pub fn contains(&self, name: &str) -> Result<bool, StorageError> {
        match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(StorageError::Stat { path: self.path.join(name), source: os_error(errno) }),
        }
    }

    /// Makes the names in the directory durable, unless nothing is to be synced.
    pub fn sync(&self, policy: SyncPolicy) -> Result<(), StorageError> {
        if !policy.syncs_each() {
            return Ok(());
        }
        match retry_on_intr(|| rustix::fs::fsync(&self.handle)) {
            // File systems that cannot sync a directory say so in one of these ways.
            Ok(()) | Err(Errno::BADF | Errno::INVAL) => Ok(()),
            Err(errno) => Err(StorageError::Sync { path: self.path.clone(), source: os_error(errno) }),
        }
    }

    /// Makes everything durable that is on the file system of this directory, if the policy is to do it this way.
    pub fn sync_file_system(&self, policy: SyncPolicy) -> Result<(), StorageError> {
        if policy != SyncPolicy::FileSystem {
            return Ok(());
        }
        retry_on_intr(|| rustix::fs::syncfs(&self.handle)).map_err(|errno| StorageError::SyncFileSystem {
            path: self.path.clone(),
            source: os_error(errno),
        })
    }

    /// The path it was opened by, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

pub(super) fn os_error(errno: Errno) -> OsError {
    OsError(errno.into())
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn bb_256_a_new_directory_has_the_permissions_of_its_access() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        for (name, access, expected) in [("o", Access::Owner, 0o700), ("g", Access::Group, 0o750)] {
            let made = directory.subdirectory(name, access, SyncPolicy::Durable).unwrap();
            assert_eq!(made.path(), root.path().join(name));
            assert_eq!(mode(made.path()), expected);
        }
    }

    #[test]
    fn bb_180_an_existing_directory_or_a_link_to_one_is_taken_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), root.path().join("pg_wal")).unwrap();
        let before = mode(elsewhere.path());
        let directory = Directory::open(root.path()).unwrap();
        let pg_wal = directory.subdirectory("pg_wal", Access::Group, SyncPolicy::Never).unwrap();
        pg_wal.subdirectory("archive_status", Access::Group, SyncPolicy::Never).unwrap();
        assert_eq!(mode(elsewhere.path()), before);
        assert!(elsewhere.path().join("archive_status").is_dir());
        assert!(pg_wal.contains("archive_status").unwrap());
        assert!(!pg_wal.contains("summaries").unwrap());
    }

    #[test]
    fn a_way_down_has_no_links_and_no_way_up_in_one_step_or_in_many() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        for (link, target) in [("a/up", ".."), ("a/here", "b"), ("out", "/tmp")] {
            std::os::unix::fs::symlink(target, root.path().join(link)).unwrap();
        }
        let directory = Directory::open(root.path().join("a")).unwrap();
        let outcomes = |path: &str| {
            [directory.open_below(Path::new(path)), directory.open_each_below(Path::new(path))].map(
                |opened| {
                    opened
                        .map(|opened| opened.path().to_owned())
                        .map_err(|error| (error.to_string(), error.source().unwrap().to_string()))
                },
            )
        };
        for path in ["", "b", "./b/."] {
            let expected = Ok(root.path().join("a").join(path));
            assert_eq!(outcomes(path), [expected.clone(), expected], "{path}");
        }
        for (path, reason) in [
            ("up", "Not a directory"),
            ("here", "Not a directory"),
            ("up/out", "Not a directory"),
            ("missing/x", "No such file or directory"),
            ("..", "Invalid cross-device link"),
            ("b/../b", "Invalid cross-device link"),
            ("/", "Invalid cross-device link"),
        ] {
            let [step, steps] = outcomes(path);
            assert_eq!(steps.as_ref().unwrap_err().1, reason, "{path}");
            if path != "b/../b" {
                assert_eq!(step, steps, "{path}");
            }
        }
    }

    #[test]
    fn errors_name_the_operation_and_the_path() {
        let root = tempfile::tempdir().unwrap();
        let missing = root.path().join("none");
        let error = Directory::open(&missing).unwrap_err();
        assert_eq!(error.to_string(), format!("could not open directory \"{}\"", missing.display()));
        assert_eq!(error.source().unwrap().to_string(), "No such file or directory");

        std::fs::write(root.path().join("file"), "").unwrap();
        let directory = Directory::open(root.path()).unwrap();
        let error = directory.subdirectory("file", Access::Owner, SyncPolicy::Never).unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "Not a directory");
    }
}

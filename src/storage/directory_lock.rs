//! Keeps other processes away from a directory.

use std::os::fd::OwnedFd;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::directory::{Directory, os_error};
use crate::types::OsError;

/// An advisory lock on a directory, which ends when this is dropped or the process dies.
#[derive(Debug)]
pub struct DirectoryLock {
    handle: OwnedFd,
}

impl DirectoryLock {
    /// Takes the lock; nothing if somebody else has it.
    ///
    /// # Errors
    /// Why the file system of the directory cannot lock it.
    pub fn take(directory: &Directory) -> Result<Option<Self>, OsError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle =
            retry_on_intr(|| rustix::fs::openat(directory, ".", flags, Mode::empty())).map_err(os_error)?;
        match retry_on_intr(|| rustix::fs::flock(&handle, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(Some(Self { handle })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(os_error(errno)),
        }
    }
}

impl Drop for DirectoryLock {
    /// A process that is just being started by this one has the directory open too, and would keep the lock.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.handle, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rw_227_one_at_a_time_has_the_lock() {
        let root = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| Directory::open(root.path()).unwrap());
        let lock = DirectoryLock::take(&one).unwrap();
        assert!(lock.is_some());
        assert!(DirectoryLock::take(&other).unwrap().is_none());
        let inherited = lock.as_ref().unwrap().handle.try_clone().unwrap();
        drop(lock);
        assert!(DirectoryLock::take(&other).unwrap().is_some());
        drop(inherited);
    }
}

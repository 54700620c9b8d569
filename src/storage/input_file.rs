//! Files that are read.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::directory::{Directory, os_error};
use super::error::StorageError;
use super::sync_policy::SyncPolicy;

/// A file of a directory, open for reading. It can be read to its end even if its name goes meanwhile.
#[derive(Debug)]
pub struct InputFile {
    handle: OwnedFd,
    path: PathBuf,
}

impl InputFile {
    /// Opens `name` in the directory.
    pub fn open(directory: &Directory, name: &str) -> Result<Self, StorageError> {
        let path = directory.path().join(name);
        match Self::try_open(directory, name) {
            Ok(handle) => Ok(Self { handle, path }),
            Err(errno) => Err(StorageError::OpenFile { path, source: os_error(errno) }),
        }
    }

    /// Opens `name` in the directory, if anything of that name is there.
    pub fn find(directory: &Directory, name: &str) -> Result<Option<Self>, StorageError> {
        let path = directory.path().join(name);
        match Self::try_open(directory, name) {
            Ok(handle) => Ok(Some(Self { handle, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(StorageError::OpenFile { path, source: os_error(errno) }),
        }
    }

    fn try_open(directory: &Directory, name: &str) -> Result<OwnedFd, Errno> {
        // What is no file, such as a pipe, must not be waited for.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        retry_on_intr(|| rustix::fs::openat(directory, name, flags, Mode::empty()))
    }

    /// How many bytes it has.
    pub fn length(&self) -> Result<u64, StorageError> {
        match rustix::fs::fstat(&self.handle) {
            Ok(found) => Ok(u64::try_from(found.st_size).unwrap_or(0)),
            Err(errno) => Err(StorageError::Stat { path: self.path.clone(), source: os_error(errno) }),
        }
    }

    /// Fills the buffer with what is at that offset, and says how much that is: less than the buffer takes only
    /// where the file ends.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StorageError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            match retry_on_intr(|| rustix::io::pread(&self.handle, &mut *rest, offset + filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(errno) => {
                    return Err(StorageError::ReadFile { path: self.path.clone(), source: os_error(errno) });
                }
            }
        }
        Ok(filled)
    }

    /// Syncs its bytes, whoever has written them.
    pub fn sync(&self, policy: SyncPolicy) -> Result<(), StorageError> {
        if !policy.syncs_each() {
            return Ok(());
        }
        retry_on_intr(|| rustix::fs::fsync(&self.handle))
            .map_err(|errno| StorageError::Sync { path: self.path.clone(), source: os_error(errno) })
    }

    /// The path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_from_anywhere_to_its_end() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        assert!(InputFile::find(&directory, "f").unwrap().is_none());
        let error = InputFile::open(&directory, "f").unwrap_err();
        let expected = format!("could not open file \"{}\"", root.path().join("f").display());
        assert_eq!(error.to_string(), expected);
        fs::write(root.path().join("f"), b"0123456789").unwrap();
        let file = InputFile::find(&directory, "f").unwrap().unwrap();
        assert_eq!(file.length().unwrap(), 10);
        file.sync(SyncPolicy::Durable).unwrap();
        fs::remove_file(root.path().join("f")).unwrap();
        let mut buffer = [0; 4];
        for (offset, expected) in [(0, "0123"), (3, "3456"), (8, "89"), (10, ""), (99, "")] {
            let count = file.read_at(&mut buffer, offset).unwrap();
            assert_eq!(&buffer[..count], expected.as_bytes());
        }
    }

    #[test]
    fn what_is_no_file_is_an_error_or_empty_and_never_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        let file = InputFile::open(&directory, "d").unwrap();
        let error = file.read_at(&mut [0; 4], 0).unwrap_err();
        let expected = format!("could not read file \"{}\"", root.path().join("d").display());
        assert_eq!(error.to_string(), expected);

        rustix::fs::mknodat(&*directory, "p", rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        let pipe = InputFile::open(&directory, "p").unwrap();
        assert!(pipe.read_at(&mut [0; 4], 0).is_err());
    }
}

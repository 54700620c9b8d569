//! What lies in a directory: its names, the lengths of its files, their bytes, and their going away.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::directory::{Directory, os_error};
use super::error::StorageError;
use super::input_file::InputFile;

impl Directory {
    /// The names of everything in it, in no order.
    pub fn names(&self) -> Result<Vec<OsString>, StorageError> {
        let failed =
            |errno| StorageError::ReadDirectory { path: self.path().to_owned(), source: os_error(errno) };
        let names = Entries::of(self).map_err(failed)?;
        names.map(|name| Ok(OsString::from_vec(name.map_err(failed)?.into_bytes()))).collect()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(Entries::of(self)?.next().transpose()?.is_none())
    }

    /// Removes everything in it and below it. Symbolic links are removed and never followed, and no path is:
    /// whatever has happened to the one that this directory had, nothing else is touched (BB-247).
    ///
    /// What cannot be removed keeps nothing else; the first reason is the error.
    pub fn remove_content(&self) -> io::Result<()> {
        // Some file systems pass over names where others go while they are read. One after the other in one piece of
        // memory, the names of a million files are about ten megabytes.
        let mut names = Vec::new();
        let mut outcome = Entries::of(self)?.try_for_each(|name| {
            names.extend_from_slice(name?.as_bytes_with_nul());
            Ok(())
        });
        for name in names.split_inclusive(|&byte| byte == 0) {
            let removed = CStr::from_bytes_with_nul(name).map_err(|_| Errno::INVAL);
            outcome = outcome.and(removed.and_then(|name| self.remove(name)));
        }
        outcome.map_err(|errno: Errno| errno.into())
    }

    /// A directory inside a directory takes a descriptor and a few hundred bytes of stack; a name in an archive has
    /// 100 bytes at most, so there are never more than fifty of them.
    fn remove(&self, name: &CStr) -> Result<(), Errno> {
        let refusal = match rustix::fs::unlinkat(self, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(refusal) => refusal,
        };
        if !matches!(refusal, Errno::ISDIR | Errno::PERM) {
            return Err(refusal);
        }
        let Ok(directory) = self.open_child(OsStr::from_bytes(name.to_bytes())) else { return Err(refusal) };
        let emptied = directory.remove_content();
        let removed = rustix::fs::unlinkat(self, name, AtFlags::REMOVEDIR);
        emptied.map_err(|error| Errno::from_io_error(&error).unwrap_or(refusal)).and(removed)
    }

    /// The bytes of the file `name`, or nothing where there is none, or something else than a file.
    pub fn file_length(&self, name: &str) -> Result<Option<u64>, StorageError> {
        match rustix::fs::statat(self, name, AtFlags::empty()) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_file() => {
                Ok(Some(u64::try_from(stat.st_size).unwrap_or(0)))
            }
            Ok(_) | Err(Errno::NOENT | Errno::LOOP) => Ok(None),
            Err(errno) => Err(StorageError::Stat { path: self.path().join(name), source: os_error(errno) }),
        }
    }

    /// Opens the file `name` for reading.
    pub fn open_file(&self, name: &str) -> Result<InputFile, StorageError> {
        InputFile::open(self, name)
    }

    /// Removes the file `name`, which may be gone already. Whether it stays away after a power failure is for whoever
    /// syncs the directory.
    pub fn remove_file(&self, name: &str) -> Result<(), StorageError> {
        match rustix::fs::unlinkat(self, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => {
                Err(StorageError::RemoveFile { path: self.path().join(name), source: os_error(errno) })
            }
        }
    }

    /// Whether the path that it was opened by still leads to it, and not to another directory.
    pub fn is_at_its_path(&self) -> Result<bool, StorageError> {
        let path = self.path();
        let there = rustix::fs::stat(path).map_err(|errno| StorageError::OpenDirectory {
            path: path.to_owned(),
            source: os_error(errno),
        })?;
        let here = rustix::fs::fstat(self)
            .map_err(|errno| StorageError::Stat { path: path.to_owned(), source: os_error(errno) })?;
        Ok((there.st_dev, there.st_ino) == (here.st_dev, here.st_ino))
    }
}

/// The names in a directory but `.` and `..`.
struct Entries(Dir);

impl Entries {
    fn of(directory: &Directory) -> Result<Self, Errno> {
        Dir::read_from(directory).map(Self)
    }
}

impl Iterator for Entries {
    type Item = Result<CString, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        let is_itself_or_parent = |name: &CStr| matches!(name.to_bytes(), b"." | b"..");
        self.0.by_ref().find_map(|entry| match entry {
            Ok(entry) if is_itself_or_parent(entry.file_name()) => None,
            entry => Some(entry.map(|entry| entry.file_name().to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lengths_and_bytes_are_those_of_the_files() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        std::fs::write(root.path().join("f"), "content").unwrap();
        std::fs::create_dir(root.path().join("d")).unwrap();
        std::os::unix::fs::symlink("f", root.path().join("to f")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.path().join("to nothing")).unwrap();
        let mut names = directory.names().unwrap();
        names.sort();
        assert_eq!(names, ["d", "f", "to f", "to nothing"]);
        for (name, length) in
            [("f", Some(7)), ("d", None), ("to f", Some(7)), ("to nothing", None), ("x", None)]
        {
            assert_eq!(directory.file_length(name).unwrap(), length, "{name}");
        }
        let mut buffer = [0; 5];
        let file = directory.open_file("f").unwrap();
        assert_eq!(file.read_at(&mut buffer, 1).unwrap(), 5);
        assert_eq!(&buffer, b"onten");
        assert_eq!(file.read_at(&mut buffer, 6).unwrap(), 1);
        directory.remove_file("f").unwrap();
        directory.remove_file("f").unwrap();
        assert!(!root.path().join("f").exists());
        let error = directory.remove_file("d").unwrap_err().to_string();
        assert_eq!(error, format!("could not remove file \"{}\"", root.path().join("d").display()));
        let error = directory.open_file("f").unwrap_err().to_string();
        assert_eq!(error, format!("could not open file \"{}\"", root.path().join("f").display()));
    }

    #[test]
    fn a_directory_knows_whether_its_path_leads_to_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("archive");
        std::fs::create_dir(&path).unwrap();
        let directory = Directory::open(&path).unwrap();
        assert!(directory.is_at_its_path().unwrap());
        std::fs::rename(&path, root.path().join("moved")).unwrap();
        assert!(matches!(directory.is_at_its_path(), Err(StorageError::OpenDirectory { .. })));
        std::fs::create_dir(&path).unwrap();
        assert!(!directory.is_at_its_path().unwrap());
    }
}

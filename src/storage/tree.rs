//! A tree of files and directories that is written below one directory and nowhere else.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::Directory;
use super::durable::OutputFile;
use super::error::StorageError;
use super::sync_policy::SyncPolicy;

/// Creates things by relative path below a root, through directory handles: no symbolic link below the root
/// is followed, so that nothing a server sends can lead elsewhere.
///
/// One directory may lie elsewhere on purpose (`--waldir`); whoever makes that link names it here.
#[derive(Debug)]
pub struct Tree {
    root: Arc<Directory>,
    elsewhere: Option<(PathBuf, Arc<Directory>)>,
    /// Members of one directory come together: the last one stays open.
    current: Option<(PathBuf, Arc<Directory>)>,
    /// What must be synced when everything is in place; the root is not among them.
    directories: Vec<PathBuf>,
}

impl Tree {
    /// A tree below `root`.
    pub fn new(root: Arc<Directory>) -> Self {
        Self { root, elsewhere: None, current: None, directories: Vec::new() }
    }

    /// Lets everything below `name`, a directory directly below the root, be created in `directory`.
    pub fn place_elsewhere(&mut self, name: impl Into<PathBuf>, directory: Arc<Directory>) {
        self.elsewhere = Some((name.into(), directory));
    }

    /// Closes what is kept open between members, where no more of them come for a while.
    pub fn rest(&mut self) {
        self.current = None;
    }

    /// The path of a member, for messages.
    pub fn path_of(&self, member: &Path) -> PathBuf {
        self.root.path().join(member)
    }

    /// Creates a file with exactly these permission bits; nothing of that name may exist.
    pub fn create_file(&mut self, member: &Path, mode: u32) -> Result<OutputFile, StorageError> {
        let (parent, name) = self.parent(member)?;
        OutputFile::create_with_mode(&parent, name, mode)
    }

    /// Creates a directory with exactly these permission bits. One that exists is an error unless
    /// `may_exist`; it gets the permission bits all the same.
    pub fn create_directory(
        &mut self,
        member: &Path,
        mode: u32,
        may_exist: bool,
    ) -> Result<(), StorageError> {
        let directory = match &self.elsewhere {
            Some((name, directory)) if member == name => {
                directory.set_mode(mode)?;
                return Ok(());
            }
            _ => {
                let (parent, name) = self.parent(member)?;
                parent.create_directory(name, mode, may_exist)?
            }
        };
        self.directories.push(member.to_owned());
        self.current = Some((member.to_owned(), directory));
        Ok(())
    }

    /// Creates a symbolic link; nothing of that name may exist.
    pub fn create_symlink(&mut self, member: &Path, target: &Path) -> Result<(), StorageError> {
        let (parent, name) = self.parent(member)?;
        parent.create_symlink(name, target)
    }

    /// Syncs every directory that was created, those inside before those around them.
    pub fn sync_directories(&mut self, policy: SyncPolicy) -> Result<(), StorageError> {
        if !policy.syncs_each() {
            return Ok(());
        }
        for member in std::mem::take(&mut self.directories).iter().rev() {
            let directory = self.open(member)?;
            directory.sync(policy)?;
        }
        if let Some((_, directory)) = &self.elsewhere {
            directory.sync(policy)?;
        }
        self.root.sync(policy)
    }

    fn parent<'m>(&mut self, member: &'m Path) -> Result<(Arc<Directory>, &'m OsStr), StorageError> {
        let name = member.file_name().unwrap_or(OsStr::from_bytes(b"."));
        let parent = member.parent().unwrap_or(Path::new(""));
        if let Some((path, directory)) = &self.current
            && path == parent
        {
            return Ok((Arc::clone(directory), name));
        }
        let directory = self.open(parent)?;
        self.current = Some((parent.to_owned(), Arc::clone(&directory)));
        Ok((directory, name))
    }

    fn open(&self, member: &Path) -> Result<Arc<Directory>, StorageError> {
        match &self.elsewhere {
            Some((name, elsewhere)) if member.starts_with(name) => {
                elsewhere.open_below(member.strip_prefix(name).unwrap_or(member))
            }
            _ => self.root.open_below(member),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn fixture() -> (tempfile::TempDir, Tree) {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::new(Directory::open(root.path()).unwrap());
        (root, tree)
    }

    #[test]
    fn bb_130_to_132_members_get_their_own_modes() {
        let (root, mut tree) = fixture();
        tree.create_directory(Path::new("base"), 0o750, false).unwrap();
        tree.create_directory(Path::new("base/1"), 0o700, false).unwrap();
        tree.create_file(Path::new("base/1/2"), 0o640).unwrap().append(b"x").unwrap();
        tree.create_file(Path::new("top"), 0o600).unwrap();
        tree.create_symlink(Path::new("link"), Path::new("/elsewhere")).unwrap();
        tree.sync_directories(SyncPolicy::Durable).unwrap();
        let mode = |name| fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            [mode("base"), mode("base/1"), mode("base/1/2"), mode("top")],
            [0o750, 0o700, 0o640, 0o600]
        );
        assert_eq!(fs::read_link(root.path().join("link")).unwrap(), Path::new("/elsewhere"));
    }

    #[test]
    fn bb_131_only_what_may_exist_may_exist() {
        let (root, mut tree) = fixture();
        fs::create_dir(root.path().join("pg_wal")).unwrap();
        tree.create_directory(Path::new("pg_wal"), 0o700, true).unwrap();
        let error = tree.create_directory(Path::new("pg_wal"), 0o700, false).unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "File exists");
        tree.create_file(Path::new("f"), 0o600).unwrap();
        assert!(tree.create_file(Path::new("f"), 0o600).is_err());
        assert!(tree.create_directory(Path::new("f"), 0o700, true).is_err());
    }

    #[test]
    fn links_below_the_root_are_not_followed() {
        let (root, mut tree) = fixture();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), root.path().join("out")).unwrap();
        assert!(tree.create_file(Path::new("out/f"), 0o600).is_err());
        assert!(tree.create_directory(Path::new("out/d"), 0o700, true).is_err());
        assert!(tree.create_directory(Path::new("out"), 0o700, true).is_err());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn bb_131_a_directory_placed_elsewhere_gets_its_members_there() {
        let (root, mut tree) = fixture();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink(elsewhere.path(), root.path().join("pg_wal")).unwrap();
        tree.place_elsewhere("pg_wal", Directory::open(elsewhere.path()).unwrap());
        tree.create_directory(Path::new("pg_wal"), 0o750, true).unwrap();
        tree.create_directory(Path::new("pg_wal/archive_status"), 0o700, true).unwrap();
        tree.create_file(Path::new("pg_wal/archive_status/x.done"), 0o600).unwrap();
        tree.sync_directories(SyncPolicy::Durable).unwrap();
        assert!(elsewhere.path().join("archive_status/x.done").exists());
    }
}

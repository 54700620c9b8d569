//! Directories that a run takes for its output: missing or empty before, as they were after a failure.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::{Access, Directory};
use super::error::StorageError;
use super::sync_policy::SyncPolicy;
use crate::types::OsError;

/// A directory that belongs to this run: it was made by it, or was empty when the run began.
#[derive(Debug)]
pub struct ClaimedDirectory {
    directory: Arc<Directory>,
    created: bool,
    /// The directory whose entries changed when this one was made.
    changed_parent: Option<PathBuf>,
}

impl ClaimedDirectory {
    /// Creates the directory with its parents, or takes an empty one as it is (BB-236 … BB-239). Nothing is
    /// changed where it cannot be had.
    ///
    /// A directory that is created gets exactly the permissions of `access`, and so do its parents. Its emptiness and
    /// its permissions are those of the open directory, so that nobody can put another one into its place meanwhile.
    ///
    /// Parents stay when the directory is [taken back](Self::undo), and who comes then finds them as if they had
    /// always been there. So their names are made durable here already.
    pub fn claim(path: &Path, access: Access, policy: SyncPolicy) -> Result<Self, StorageError> {
        match Directory::open(path) {
            Ok(directory) => Self::of_empty(directory, false, None),
            Err(StorageError::OpenDirectory { source: OsError(error), .. })
                if error.kind() == io::ErrorKind::NotFound =>
            {
                Self::create(path, access, policy)
            }
            Err(StorageError::OpenDirectory { path, source }) => {
                Err(StorageError::AccessDirectory { path, source })
            }
            Err(error) => Err(error),
        }
    }

    fn create(path: &Path, access: Access, policy: SyncPolicy) -> Result<Self, StorageError> {
        let failed = |path: &Path, source: io::Error| StorageError::CreateDirectory {
            path: path.to_owned(),
            source: source.into(),
        };
        let missing_parents: Vec<&Path> =
            path.ancestors().skip(1).take_while(|parent| !is_there(parent)).collect();
        for parent in missing_parents.into_iter().rev() {
            let directory = match fs::create_dir(parent) {
                Ok(()) => {
                    let made = Directory::open_made(parent)?;
                    made.set_mode(access.directory_mode())?;
                    made
                }
                // Someone else made it in the meantime.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && parent.is_dir() => {
                    Directory::open(parent)?
                }
                Err(error) => return Err(failed(parent, error)),
            };
            sync_name(&directory, &parent_of(parent), policy)?;
        }
        DirBuilder::new().mode(access.directory_mode()).create(path).map_err(|error| failed(path, error))?;
        let claimed = Directory::open_made(path).and_then(|directory| {
            directory.set_mode(access.directory_mode())?;
            Self::of_empty(directory, true, Some(parent_of(path)))
        });
        claimed.inspect_err(|_| {
            // The failure that is reported matters more than one to tidy up; a directory that is not empty stays.
            let _ = fs::remove_dir(path);
        })
    }

    fn of_empty(
        directory: Arc<Directory>,
        created: bool,
        changed_parent: Option<PathBuf>,
    ) -> Result<Self, StorageError> {
        let path = || directory.path().to_owned();
        match directory.is_empty() {
            Ok(true) => Ok(Self { directory, created, changed_parent }),
            Ok(false) => Err(StorageError::DirectoryNotEmpty { path: path() }),
            Err(error) => Err(StorageError::AccessDirectory { path: path(), source: error.into() }),
        }
    }

    /// The directory, open.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Its path as it was given.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Whether this run made it.
    pub fn was_created(&self) -> bool {
        self.created
    }

    /// Syncs the directory itself and the entry that leads to it.
    pub fn sync(&self, policy: SyncPolicy) -> Result<(), StorageError> {
        if policy == SyncPolicy::FileSystem {
            return self.directory.sync_file_system(policy);
        }
        self.directory.sync(policy)?;
        match &self.changed_parent {
            Some(parent) => sync_name(&self.directory, parent, policy),
            None => Ok(()),
        }
    }

    /// Brings back what was there before: removes the directory if this run made it, and its contents
    /// otherwise. Links are removed, never followed (BB-241, BB-242, BB-247).
    ///
    /// What is removed is what lies in the open directory. Where another one has come to its path, that one stays,
    /// unless it is an empty one.
    pub fn undo(&self) -> io::Result<()> {
        self.directory.remove_content()?;
        if self.created { fs::remove_dir(self.path()) } else { Ok(()) }
    }
}

/// Makes the name durable that a directory has in its parent. Where that may be written to but not be read, it can only
/// be synced with everything else on its file system.
fn sync_name(directory: &Directory, parent: &Path, policy: SyncPolicy) -> Result<(), StorageError> {
    if !policy.syncs_each() {
        return Ok(());
    }
    match Directory::open(parent) {
        Ok(parent) => parent.sync(policy),
        Err(StorageError::OpenDirectory { source: OsError(error), .. })
            if error.kind() == io::ErrorKind::PermissionDenied =>
        {
            directory.sync_file_system(SyncPolicy::FileSystem)
        }
        Err(error) => Err(error),
    }
}

fn is_there(path: &Path) -> bool {
    path.as_os_str().is_empty() || fs::symlink_metadata(path).is_ok()
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn bb_236_a_missing_directory_is_created_with_its_parents() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c");
        let claimed = ClaimedDirectory::claim(&path, Access::Group, SyncPolicy::Durable).unwrap();
        assert!(claimed.was_created());
        assert_eq!(mode(&path), 0o750);
        claimed.sync(SyncPolicy::Durable).unwrap();
    }

    #[test]
    fn bb_237_an_empty_directory_is_taken_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        let claimed = ClaimedDirectory::claim(root.path(), Access::Owner, SyncPolicy::Durable).unwrap();
        assert!(!claimed.was_created());
        assert_eq!(mode(root.path()), 0o755);
    }

    #[test]
    fn bb_238_a_directory_with_anything_in_it_is_refused() {
        for name in [".hidden", "lost+found"] {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join(name)).unwrap();
            let error = ClaimedDirectory::claim(root.path(), Access::Owner, SyncPolicy::Durable).unwrap_err();
            let expected = format!("directory \"{}\" exists but is not empty", root.path().display());
            assert_eq!(error.to_string(), expected);
            assert!(root.path().join(name).exists());
        }
    }

    #[test]
    fn bb_239_what_is_no_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        fs::write(&path, "").unwrap();
        let error = ClaimedDirectory::claim(&path, Access::Owner, SyncPolicy::Durable).unwrap_err();
        assert_eq!(error.to_string(), format!("could not access directory \"{}\"", path.display()));
    }

    #[test]
    fn bb_241_a_created_directory_goes_and_its_parents_stay() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let claimed = ClaimedDirectory::claim(&path, Access::Owner, SyncPolicy::Durable).unwrap();
        fs::write(path.join("f"), "").unwrap();
        claimed.undo().unwrap();
        assert!(!path.exists() && root.path().join("a").exists());
    }

    #[test]
    fn bb_242_and_247_an_adopted_directory_is_emptied_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("precious"), "").unwrap();
        let claimed = ClaimedDirectory::claim(root.path(), Access::Owner, SyncPolicy::Durable).unwrap();
        symlink(elsewhere.path(), root.path().join("pg_wal")).unwrap();
        fs::create_dir_all(root.path().join("base/1")).unwrap();
        fs::write(root.path().join("base/1/2"), "").unwrap();
        claimed.undo().unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        assert!(elsewhere.path().join("precious").exists());
    }

    /// As somebody could do it who may write into the directory around it.
    #[test]
    fn bb_247_what_has_come_to_its_path_meanwhile_is_not_touched() {
        for created in [true, false] {
            let root = tempfile::tempdir().unwrap();
            let (path, moved) = (root.path().join("out"), root.path().join("moved"));
            let precious = root.path().join("precious");
            fs::create_dir(&precious).unwrap();
            fs::write(precious.join("file"), "").unwrap();
            if !created {
                fs::create_dir(&path).unwrap();
            }
            let claimed = ClaimedDirectory::claim(&path, Access::Owner, SyncPolicy::Durable).unwrap();
            fs::create_dir_all(path.join("base/1")).unwrap();
            fs::write(path.join("base/1/2"), "").unwrap();
            fs::rename(&path, &moved).unwrap();
            symlink(&precious, &path).unwrap();
            assert_eq!(claimed.undo().is_err(), created);
            assert!(precious.join("file").exists() && path.is_symlink());
            assert_eq!(fs::read_dir(&moved).unwrap().count(), 0);
        }
    }

    #[test]
    fn bb_239_a_link_to_nothing_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("link");
        symlink(root.path().join("nothing"), &path).unwrap();
        let error = ClaimedDirectory::claim(&path, Access::Owner, SyncPolicy::Durable).unwrap_err();
        assert_eq!(error.to_string(), format!("could not create directory \"{}\"", path.display()));
        assert!(path.is_symlink() && !root.path().join("nothing").exists());
    }
}

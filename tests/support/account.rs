//! The account that servers run as: PostgreSQL refuses to run as root.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// An unprivileged user and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerAccount {
    pub uid: u32,
    pub gid: u32,
}

impl ServerAccount {
    /// The user `postgres` if the tests run as root, else the user who runs them.
    pub fn current() -> Self {
        if is_root() { Self::postgres() } else { Self { uid: own_uid(), gid: own_gid() } }
    }

    fn postgres() -> Self {
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let fields: Vec<&str> = passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields[0] == "postgres")
            .expect("as root, servers run as the user postgres, which scripts/install-postgres makes");
        Self { uid: fields[2].parse().unwrap(), gid: fields[3].parse().unwrap() }
    }

    /// Makes `command` run as this account.
    pub fn apply(self, command: &mut Command) {
        if is_root() {
            command.uid(self.uid).gid(self.gid);
        }
    }

    /// Gives the file or the tree to this account; links are given, not followed.
    pub fn own(self, path: &Path) {
        if !is_root() {
            return;
        }
        lchown(path, Some(self.uid), Some(self.gid)).unwrap();
        if fs::symlink_metadata(path).unwrap().is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                self.own(&entry.unwrap().path());
            }
        }
    }

    /// Gives a data directory to this account, with the WAL directory and the tablespaces that it links to.
    pub fn own_data_directory(self, data_directory: &Path) {
        self.own(data_directory);
        let tablespaces = fs::read_dir(data_directory.join("pg_tblspc"))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path());
        for link in tablespaces.chain([data_directory.join("pg_wal")]) {
            if let Ok(target) = fs::canonicalize(&link) {
                self.own(&target);
            }
        }
    }
}

/// The user id of this process.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn own_gid() -> u32 {
    rustix::process::getegid().as_raw()
}

fn is_root() -> bool {
    own_uid() == 0
}

/// Makes sure that `path` is a directory of this process's user, whoever could have made it before.
pub fn own_directory(path: &Path) {
    fs::create_dir_all(path).unwrap();
    let metadata = fs::symlink_metadata(path).unwrap();
    assert!(
        metadata.is_dir() && metadata.uid() == own_uid(),
        "{} belongs to somebody else; remove it",
        path.display()
    );
}

//! Where the programs of each PostgreSQL version are.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::account;

/// The major versions that are supported and tested.
pub const VERSIONS: [u16; 9] = [10, 11, 12, 13, 14, 15, 16, 17, 18];

/// The version whose client programs are used where any will do: some servers come without them.
const CLIENT_VERSION: u16 = 15;

/// The programs of one version.
#[derive(Clone, Debug)]
pub struct Installation {
    major: u16,
    bin: PathBuf,
}

impl Installation {
    /// The installation of that major version.
    ///
    /// # Panics
    ///
    /// If it is not installed.
    pub fn find(major: u16) -> Self {
        if major == 15 {
            return Self::in_directory(major, "/usr/lib/postgresql/15/bin".into());
        }
        Self::in_cache(major, &major.to_string())
    }

    /// The installation of one release, such as `18.4`, which has a fault that the newest one has not. It is a
    /// server without client programs.
    ///
    /// # Panics
    ///
    /// If it is not installed.
    pub fn find_release(release: &str) -> Self {
        let (major, _) = release.split_once('.').unwrap();
        Self::in_cache(major.parse().unwrap(), release)
    }

    fn in_cache(major: u16, name: &str) -> Self {
        Self::in_directory(major, cache_directory().join("postgresql").join(name).join("bin"))
    }

    fn in_directory(major: u16, bin: PathBuf) -> Self {
        assert!(
            bin.join("postgres").is_file(),
            "PostgreSQL {major} is not in {}; run scripts/install-postgres",
            bin.display()
        );
        Self { major, bin }
    }

    pub fn major(&self) -> u16 {
        self.major
    }

    /// The path of one of its programs.
    ///
    /// # Panics
    ///
    /// If this version is installed without that program, as 10 to 13 are without client programs.
    pub fn program(&self, name: &str) -> PathBuf {
        let path = self.bin.join(name);
        assert!(path.is_file(), "PostgreSQL {} is installed here without {name}", self.major);
        path
    }

    /// A client program of this version, or of the one that serves all older servers if this has none.
    pub fn client_program(&self, name: &str) -> PathBuf {
        let path = self.bin.join(name);
        if path.is_file() { path } else { client_program(name) }
    }

    /// The directory of its libraries.
    ///
    /// The modules that servers load have to be told: those of 14, 16, 17 and 18 look for libraries where they
    /// were built, and would then take the system's libpq, which can be older than they are.
    pub fn library_directory(&self) -> PathBuf {
        self.bin.with_file_name("lib")
    }

    /// What the server says of its version, such as `postgres (PostgreSQL) 17.11`.
    pub fn version_text(&self) -> String {
        let output = Command::new(self.program("postgres")).arg("--version").output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// A client program of the version that can talk to all servers; replication commands only to older ones.
pub fn client_program(name: &str) -> PathBuf {
    Installation::find(CLIENT_VERSION).program(name)
}

/// The same place that `scripts/install-postgres` chooses.
fn cache_directory() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = variable("PGSIPHON_CACHE") {
        return cache;
    }
    if account::own_uid() == 0 {
        return Path::new("/var/cache/pgsiphon").to_owned();
    }
    let user_cache = variable("XDG_CACHE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".cache")))
        .expect("one of PGSIPHON_CACHE, XDG_CACHE_HOME and HOME must be set");
    user_cache.join("pgsiphon")
}

//! The PostgreSQL version that the program stands in for.
//!
//! In: the name by which it was called, and the environment. Out: the version that `--version` shows, which some
//! tools compare with that of the server, and which options and values there are. Whether servers are talked to
//! never depends on it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The variable that names the version.
pub(super) const VARIABLE: &str = "PGSIPHON_PG_VERSION";

/// Each major version that can be claimed, with its newest release.
const RELEASES: [(u32, u32); 9] =
    [(10, 23), (11, 22), (12, 22), (13, 23), (14, 23), (15, 18), (16, 15), (17, 11), (18, 6)];

/// A release of PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClaimedVersion {
    major: u32,
    minor: u32,
}

/// The variable has a value that names no release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid value \"{0}\" of {VARIABLE}: must be a PostgreSQL release from 10 to 18, such as 15 or 15.4"
)]
pub(super) struct InvalidClaim(String);

impl ClaimedVersion {
    /// The newest release.
    pub(super) const NEWEST: Self = {
        let (major, minor) = RELEASES[RELEASES.len() - 1];
        Self { major, minor }
    };

    /// What the variable says; else the major version of the directory in which the program was called, as in
    /// `/usr/lib/postgresql/15/bin/pg_basebackup`; else the newest release.
    ///
    /// `called` is the program's name as its caller gave it. Links count from where they lie: one in a directory
    /// of PostgreSQL 15 stands for the program of 15, wherever it leads.
    pub(super) fn of_process(called: &OsStr) -> Result<Self, InvalidClaim> {
        let value = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        if let Some(value) = value {
            let text = value.to_string_lossy();
            return Self::parse(&text).ok_or_else(|| InvalidClaim(text.into_owned()));
        }
        let search_path = std::env::var_os("PATH");
        let path = invoked_path(called, search_path);
        Ok(path.and_then(|path| Self::of_path(&path)).unwrap_or(Self::NEWEST))
    }

    /// A major version, which stands for its newest release, or a release.
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.').map_or((text, None), |(major, minor)| (major, Some(minor)));
        let newest = Self::newest_of(number(major)?)?;
        match minor {
            None => Some(newest),
            Some(minor) => Some(Self { minor: number(minor)?, ..newest }),
        }
    }

    /// The newest release of a major version.
    pub(super) fn newest_of(major: u32) -> Option<Self> {
        RELEASES.into_iter().find(|release| release.0 == major).map(|(major, minor)| Self { major, minor })
    }

    /// The version of the directory of a program, or of one of the programs that it is a link to.
    fn of_path(program: &Path) -> Option<Self> {
        let mut seen = BTreeSet::new();
        let mut link = program.to_owned();
        while seen.insert(link.clone()) {
            let directory = link.parent()?;
            // The directory itself may be reached by a link, or by way of `..`.
            let found =
                Self::of_directory(directory).or_else(|| Self::of_directory(&directory.canonicalize().ok()?));
            if found.is_some() {
                return found;
            }
            link = directory.join(link.read_link().ok()?);
        }
        None
    }

    /// `…/postgresql/15/bin`, `…/pgsql-15/bin` or `…/postgresql-15/bin`.
    fn of_directory(directory: &Path) -> Option<Self> {
        let installation = directory.parent().filter(|_| directory.ends_with("bin"))?;
        let name = installation.file_name()?.to_str()?;
        let major = match name.split_once('-') {
            Some(("pgsql" | "postgresql", major)) => major,
            Some(_) => return None,
            None => {
                Some(name).filter(|_| installation.parent().is_some_and(|p| p.ends_with("postgresql")))?
            }
        };
        Self::newest_of(number(major)?)
    }

    /// The major version.
    pub(super) const fn major(self) -> u32 {
        self.major
    }
}

impl fmt::Display for ClaimedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A number as a version has it: digits without a sign and without zeros in front.
fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// The path by which a program was called: a bare name was looked for along the search path.
fn invoked_path(called: &OsStr, search_path: Option<OsString>) -> Option<PathBuf> {
    if called.as_bytes().contains(&b'/') {
        return std::path::absolute(called).ok();
    }
    let search_path = search_path?;
    let mut candidates = std::env::split_paths(&search_path).map(|directory| directory.join(called));
    std::path::absolute(candidates.find(|path| path.is_file())?).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn bb_003_a_version_that_is_named() {
        for (text, version) in [("15", "15.18"), ("15.4", "15.4"), ("18", "18.6"), ("10.0", "10.0")] {
            assert_eq!(ClaimedVersion::parse(text).unwrap().to_string(), version);
        }
        for text in ["", "9.6", "19", "15.", ".4", "15.4.1", "+15", "015", "15beta1", "15.x", " 15", "four"] {
            assert_eq!(ClaimedVersion::parse(text), None, "{text}");
        }
    }

    #[test]
    fn bb_003_directories_of_one_version() {
        for (directory, version) in [
            ("/usr/lib/postgresql/15/bin", Some("15.18")),
            ("/usr/pgsql-16/bin", Some("16.15")),
            ("/usr/lib64/postgresql-17/bin", Some("17.11")),
            ("/opt/postgresql/9.6/bin", None),
            ("/usr/lib/postgresql/19/bin", None),
            ("/usr/lib/postgresql/15/sbin", None),
            ("/home/15/bin", None),
            ("/usr/other-15/bin", None),
            ("/usr/bin", None),
            ("/", None),
        ] {
            let found = ClaimedVersion::of_directory(Path::new(directory)).map(|found| found.to_string());
            assert_eq!(found.as_deref(), version, "{directory}");
        }
    }

    #[test]
    fn bb_003_links_count_from_where_they_lie() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for directory in ["opt", "bin", "postgresql/15/bin", "postgresql/16/bin"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        fs::write(at("opt/pgsiphon"), "").unwrap();
        symlink("../../../opt/pgsiphon", at("postgresql/15/bin/pg_basebackup")).unwrap();
        symlink(at("postgresql/15/bin/pg_basebackup"), at("bin/pg_basebackup")).unwrap();
        symlink(at("opt/pgsiphon"), at("bin/pgsiphon")).unwrap();
        symlink("16", at("postgresql/current")).unwrap();
        symlink("loop", at("bin/loop")).unwrap();
        fs::write(at("postgresql/16/bin/pg_basebackup"), "").unwrap();
        let version = |path: &str| ClaimedVersion::of_path(&at(path)).map(|found| found.to_string());
        for (path, expected) in [
            ("postgresql/15/bin/pg_basebackup", Some("15.18")),
            ("bin/pg_basebackup", Some("15.18")),
            ("postgresql/16/../15/bin/pg_basebackup", Some("15.18")),
            ("postgresql/15/bin/../../16/bin/pg_basebackup", Some("16.15")),
            ("postgresql/15/bin/../bin/pg_basebackup", Some("15.18")),
            ("postgresql/current/bin/pg_basebackup", Some("16.15")),
            ("bin/pgsiphon", None),
            ("bin/loop", None),
            ("bin/missing", None),
        ] {
            assert_eq!(version(path).as_deref(), expected, "{path}");
        }
        let search_path = std::env::join_paths([at("opt"), at("bin"), at("postgresql/16/bin")]).unwrap();
        let found = invoked_path(OsStr::new("pg_basebackup"), Some(search_path));
        assert_eq!(found, Some(at("bin/pg_basebackup")));
        assert_eq!(invoked_path(OsStr::new("pg_basebackup"), None), None);
    }
}

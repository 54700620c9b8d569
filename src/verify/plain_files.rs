//! Compares what lies in a data directory with what is listed: presence and sizes.
//!
//! Links are followed, as a server follows them. Names of one directory are looked at in their order, so that
//! two runs find the same things in the same order.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::Problem;
use super::control_file::{self, CONTROL_FILE};
use super::findings::{Findings, Stop};
use super::ignored_paths::IgnoredPaths;
use super::manifest_file::ListedBackup;

/// Finds the listed files below `root` (BB-222 … BB-225).
///
/// What cannot be read is added to what is ignored, so that nothing below it is missed as well.
pub(super) fn compare(
    root: &Path,
    backup: &mut ListedBackup,
    ignored: &mut IgnoredPaths,
    findings: &mut Findings<'_>,
) -> Result<(), Stop> {
    let mut walk = Walk { root, backup, ignored, findings, ancestors: Vec::new() };
    walk.visit_directory(&[])
}

struct Walk<'a, 'o> {
    root: &'a Path,
    backup: &'a mut ListedBackup,
    ignored: &'a mut IgnoredPaths,
    findings: &'a mut Findings<'o>,
    /// The directories on the way to the one at hand by device and number: a link may lead back to one.
    ancestors: Vec<(u64, u64)>,
}

impl Walk<'_, '_> {
    /// Looks at everything in the directory of that relative path, empty for the root.
    fn visit_directory(&mut self, relative: &[u8]) -> Result<(), Stop> {
        let path = self.full_path(relative);
        let names = match self.enter(&path) {
            Ok(names) => names,
            Err(source) => {
                self.ignored.add(relative);
                return self.findings.report(&Problem::OpenDirectory { path, source: source.into() });
            }
        };
        for name in names {
            let mut child = relative.to_vec();
            if !child.is_empty() {
                child.push(b'/');
            }
            child.extend_from_slice(name.as_bytes());
            if !self.ignored.cover(&child) {
                self.visit(&child)?;
            }
        }
        self.ancestors.pop();
        Ok(())
    }

    /// The names in a directory, in order, if that is none of the directories that led to it.
    fn enter(&mut self, path: &Path) -> io::Result<Vec<OsString>> {
        let metadata = fs::metadata(path)?;
        let identity = (metadata.dev(), metadata.ino());
        if self.ancestors.contains(&identity) {
            return Err(Errno::LOOP.into());
        }
        let mut names =
            fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        self.ancestors.push(identity);
        Ok(names)
    }

    fn visit(&mut self, relative: &[u8]) -> Result<(), Stop> {
        let path = self.full_path(relative);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => self.visit_directory(relative),
            Ok(metadata) if metadata.is_file() => self.visit_file(relative, &path, &metadata),
            Ok(_) => self.findings.report(&Problem::NotAFile(display(relative))),
            Err(source) => {
                self.ignored.add(relative);
                self.findings.report(&Problem::Stat { path: display(relative), source: source.into() })
            }
        }
    }

    fn visit_file(&mut self, relative: &[u8], path: &Path, metadata: &Metadata) -> Result<(), Stop> {
        let Some(number) = self.backup.files.find(relative) else {
            return self.findings.report(&Problem::NotListed(display(relative)));
        };
        let (found, listed) = (metadata.len(), self.backup.files.get(number).size());
        self.backup.files.mark_found(number, found == listed);
        if found != listed {
            self.findings.report(&Problem::Size { path: display(relative), found, listed })?;
        }
        if let Some(system_id) = self.backup.system_id.filter(|_| relative == CONTROL_FILE) {
            control_file::check_file(path, system_id).map_err(super::VerifyError::from)?;
        }
        Ok(())
    }

    fn full_path(&self, relative: &[u8]) -> PathBuf {
        if relative.is_empty() { self.root.to_owned() } else { self.root.join(display(relative)) }
    }
}

fn display(path: &[u8]) -> PathBuf {
    OsString::from_vec(path.to_vec()).into()
}

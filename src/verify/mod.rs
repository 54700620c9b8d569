//! Compares a backup on disk with its manifest.
//!
//! In: the path of a backup in plain or tar format ([`verify`]). Out: every difference as it is found, by way of
//! an [`Observer`], and a [`Report`]; or a [`VerifyError`] where nothing more can be said. Nothing is written, the
//! manifest's names are never opened unless the directory itself has them, and a file of the backup costs some 100
//! bytes of memory.
//!
//! ```text
//! backup_manifest ──► listed files ◄── names and sizes in the directory      (presence, sizes, pg_control)
//!                          │       ◄── contents                              (checksums)
//!                     WAL ranges   ◄── pg_wal                                (records from start to end)
//! ```
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use std::path::Path;
//!
//! use pgsiphon::verify::{Observer, Problem, VerifyOptions, verify};
//!
//! struct Printer;
//!
//! impl Observer for Printer {
//!     fn problem(&mut self, problem: &Problem) -> ControlFlow<()> {
//!         eprintln!("{problem}");
//!         ControlFlow::Continue(())
//!     }
//! }
//!
//! # fn main() -> Result<(), pgsiphon::verify::VerifyError> {
//! let report = verify(Path::new("/srv/backup/monday"), &VerifyOptions::default(), &mut Printer)?;
//! assert!(report.is_verified());
//! # Ok(())
//! # }
//! ```

mod archives;
mod control_file;
mod error;
mod file_checksums;
mod findings;
mod ignored_paths;
mod listed_files;
mod manifest_file;
mod options;
mod plain_files;
mod problem;
mod wal_ranges;

use std::fs;
use std::path::{Path, PathBuf};

pub use control_file::ControlFileFault;
pub use error::VerifyError;
pub use findings::{Observer, Progress};
pub use options::{BackupFormat, VerifyOptions};
pub use problem::Problem;
pub use wal_ranges::WalFault;

use findings::{Findings, Stop};
use ignored_paths::IgnoredPaths;
use listed_files::ListedFiles;
use manifest_file::ListedBackup;

/// What a verification came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How many problems were found; the observer was told each.
    pub problems: u64,
    /// How many files the manifest lists.
    pub listed_files: u64,
}

impl Report {
    /// Whether the backup is what its manifest says.
    pub const fn is_verified(&self) -> bool {
        self.problems == 0
    }
}

/// Compares the backup in `directory` with its manifest.
///
/// It reads, and so it blocks; call it from a thread that may.
pub fn verify(
    directory: &Path,
    options: &VerifyOptions,
    observer: &mut dyn Observer,
) -> Result<Report, VerifyError> {
    let manifest = options.manifest.clone().unwrap_or_else(|| child(directory, "backup_manifest"));
    let mut backup = manifest_file::read(&manifest)?;
    let mut findings = Findings::new(observer);
    let listed_files = backup.files.len() as u64;
    match compare(directory, options, &mut backup, &mut findings) {
        Ok(()) | Err(Stop::Asked) => Ok(Report { problems: findings.count(), listed_files }),
        Err(Stop::Failed(error)) => Err(error),
    }
}

fn compare(
    directory: &Path,
    options: &VerifyOptions,
    backup: &mut ListedBackup,
    findings: &mut Findings<'_>,
) -> Result<(), Stop> {
    if let Err(source) = fs::read_dir(directory) {
        return Err(VerifyError::OpenDirectory { path: directory.into(), source: source.into() }.into());
    }
    let mut ignored = IgnoredPaths::new(&options.ignored_paths);
    match options.format.unwrap_or_else(|| format_of(directory)) {
        BackupFormat::Plain => {
            plain_files::compare(directory, backup, &mut ignored, findings)?;
            report_missing(&backup.files, &ignored, findings)?;
            if options.read_contents {
                file_checksums::compare(directory, &backup.files, findings)?;
            }
            if options.read_wal {
                let wal_directory = options.wal_directory.clone();
                let wal_directory = wal_directory.unwrap_or_else(|| child(directory, "pg_wal"));
                wal_ranges::check(&backup.wal_ranges, backup.system_id, &wal_directory, findings)?;
            }
            Ok(())
        }
        BackupFormat::Tar if options.read_wal => Err(VerifyError::WalInArchives.into()),
        BackupFormat::Tar => {
            archives::compare(directory, options.read_contents, backup, &mut ignored, findings)?;
            report_missing(&backup.files, &ignored, findings)
        }
    }
}

/// The format of the backup in a directory: a data directory has a file that no backup in tar format has (BB-220).
fn format_of(directory: &Path) -> BackupFormat {
    if fs::metadata(child(directory, "PG_VERSION")).is_ok() { BackupFormat::Plain } else { BackupFormat::Tar }
}

/// Names the files that are nowhere (BB-226).
fn report_missing(
    files: &ListedFiles,
    ignored: &IgnoredPaths,
    findings: &mut Findings<'_>,
) -> Result<(), Stop> {
    for file in files.iter() {
        if !file.was_found() && !ignored.cover(file.path()) {
            findings.report(&Problem::Missing(file.display_path()))?;
        }
    }
    Ok(())
}

/// The path of something in a directory. An empty path is no directory, and above all not the current one.
fn child(directory: &Path, name: &str) -> PathBuf {
    let mut path = directory.as_os_str().to_owned();
    if !path.as_encoded_bytes().ends_with(b"/") {
        path.push("/");
    }
    path.push(name);
    path.into()
}

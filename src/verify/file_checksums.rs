//! Compares the contents of files with their checksums.
//!
//! Only files that the directory was found to have are opened, so that no name of the manifest leads out of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Problem;
use super::findings::{Findings, Stop};
use super::listed_files::{ListedFile, ListedFiles};
use crate::manifest::Checksummer;

/// Large enough that system calls do not count, small enough to stay in the cache.
const CHUNK: usize = 256 << 10;

/// Reads every file that was found as listed and has a checksum (BB-227).
pub(super) fn compare(root: &Path, files: &ListedFiles, findings: &mut Findings<'_>) -> Result<(), Stop> {
    let to_compare = || files.iter().filter(ListedFile::has_contents_to_compare);
    findings.begin_reading(to_compare().map(|file| file.size()).sum());
    let mut buffer = vec![0; CHUNK];
    for file in to_compare() {
        if let Err(problem) = compare_file(root, file, &mut buffer, findings) {
            findings.report(&problem)?;
        }
    }
    findings.end_reading();
    Ok(())
}

fn compare_file(
    root: &Path,
    listed: ListedFile<'_>,
    buffer: &mut [u8],
    findings: &mut Findings<'_>,
) -> Result<(), Problem> {
    let path = || listed.display_path();
    let mut file = File::open(root.join(OsStr::from_bytes(listed.path())))
        .map_err(|source| Problem::OpenFile { path: path(), source: source.into() })?;
    let mut checksummer = Checksummer::new(listed.checksum().algorithm());
    let mut read = 0;
    loop {
        let len = read_some(&mut file, buffer)
            .map_err(|source| Problem::ReadFile { path: path(), source: source.into() })?;
        if len == 0 {
            break;
        }
        checksummer.update(&buffer[..len]);
        read += len as u64;
        findings.advance(len as u64);
    }
    if read != listed.size() {
        return Err(Problem::Length { path: path(), listed: listed.size(), read });
    }
    if checksummer.finish() == listed.checksum() { Ok(()) } else { Err(Problem::Checksum(path())) }
}

/// Reads what comes at once; nothing at the end of the file.
pub(super) fn read_some(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

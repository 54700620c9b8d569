//! Compares the files in archives with what is listed (BB-231).
//!
//! In: a directory with `base.tar`, the archive of each tablespace by its OID, and any of them compressed. Out:
//! what is in them too much, too long or changed. Archives are read once from start to end and never held; the WAL
//! that lies beside them is not looked at.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::control_file::{self, CONTROL_DATA_LEN, CONTROL_FILE, ControlFilePlace};
use super::file_checksums::read_some;
use super::findings::{Findings, Stop};
use super::ignored_paths::IgnoredPaths;
use super::listed_files::FileNumber;
use super::manifest_file::ListedBackup;
use super::{Problem, VerifyError};
use crate::compress::{Decoder, Method};
use crate::manifest::{Checksum, Checksummer};
use crate::tar::{Entry, EntryKind, Piece, TarSplitter};
use crate::types::SystemId;

const CHUNK: usize = 256 << 10;

/// An archive of the backup.
#[derive(Debug)]
struct Archive {
    name: OsString,
    /// What the paths in it are below, empty or with a slash at the end.
    prefix: Vec<u8>,
    compression: Option<Method>,
    size: u64,
}

/// Finds the listed files in the archives in a directory.
pub(super) fn compare(
    directory: &Path,
    read_contents: bool,
    backup: &mut ListedBackup,
    ignored: &mut IgnoredPaths,
    findings: &mut Findings<'_>,
) -> Result<(), Stop> {
    let archives = find_archives(directory, ignored, findings)?;
    findings.begin_reading(archives.iter().map(|archive| archive.size).sum());
    let mut buffer = vec![0; CHUNK];
    for archive in &archives {
        let mut file = match File::open(directory.join(&archive.name)) {
            Ok(file) => file,
            Err(source) => {
                let path = archive.name.clone().into();
                findings.report(&Problem::OpenFile { path, source: source.into() })?;
                continue;
            }
        };
        let member = Members { archive, read_contents, backup, ignored, at_hand: None };
        read_archive(&mut file, member, &mut buffer, findings)?;
    }
    findings.end_reading();
    Ok(())
}

fn find_archives(
    directory: &Path,
    ignored: &mut IgnoredPaths,
    findings: &mut Findings<'_>,
) -> Result<Vec<Archive>, Stop> {
    let open_error =
        |source: std::io::Error| VerifyError::OpenDirectory { path: directory.into(), source: source.into() };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(open_error)? {
        names.push(entry.map_err(open_error)?.file_name());
    }
    names.sort_unstable();
    let mut archives = Vec::new();
    for name in names {
        if ignored.cover(name.as_bytes()) {
            continue;
        }
        let path = PathBuf::from(&name);
        match fs::metadata(directory.join(&name)) {
            Err(source) => {
                ignored.add(name.as_bytes());
                findings.report(&Problem::Stat { path, source: source.into() })?;
            }
            Ok(metadata) if !metadata.is_file() => findings.report(&Problem::NotAnArchive(path))?,
            Ok(metadata) => match Archive::of_name(name, metadata.len()) {
                Ok(archive) => archives.extend(archive),
                Err(UnexpectedName) => findings.report(&Problem::UnexpectedFile(path))?,
            },
        }
    }
    Ok(archives)
}

struct UnexpectedName;

impl Archive {
    /// The archive of that name; none for that of the WAL.
    fn of_name(name: OsString, size: u64) -> Result<Option<Self>, UnexpectedName> {
        const SUFFIXES: [(&str, Option<Method>); 5] = [
            (".tar", None),
            (".tgz", Some(Method::Gzip)),
            (".tar.gz", Some(Method::Gzip)),
            (".tar.lz4", Some(Method::Lz4)),
            (".tar.zst", Some(Method::Zstd)),
        ];
        let text = name.to_str().ok_or(UnexpectedName)?;
        let (stem, compression) = SUFFIXES
            .iter()
            .find_map(|(suffix, method)| Some((text.strip_suffix(suffix)?, *method)))
            .ok_or(UnexpectedName)?;
        let prefix = match stem {
            "pg_wal" => return Ok(None),
            "base" => Vec::new(),
            oid if is_oid(oid) => format!("pg_tblspc/{oid}/").into_bytes(),
            _ => return Err(UnexpectedName),
        };
        Ok(Some(Self { name, prefix, compression, size }))
    }

    fn display_name(&self) -> PathBuf {
        PathBuf::from(&self.name)
    }
}

fn is_oid(text: &str) -> bool {
    let is_plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain && text.parse::<u32>().is_ok()
}

fn read_archive(
    file: &mut File,
    mut members: Members<'_>,
    buffer: &mut [u8],
    findings: &mut Findings<'_>,
) -> Result<(), Stop> {
    let name = members.archive.display_name();
    let decompress_error = |source| VerifyError::Decompress { archive: name.clone(), source };
    let mut decoder = members.archive.compression.map(Decoder::new).transpose().map_err(decompress_error)?;
    let mut splitter = TarSplitter::new();
    loop {
        let len = read_some(file, buffer)
            .map_err(|source| VerifyError::ReadArchive { archive: name.clone(), source: source.into() })?;
        if len == 0 {
            break;
        }
        let mut read = &buffer[..len];
        match &mut decoder {
            None => members.take(&mut splitter, read, findings)?,
            Some(decoder) => {
                while let Some(piece) = decoder.next_piece(&mut read).map_err(decompress_error)? {
                    members.take(&mut splitter, &piece, findings)?;
                }
            }
        }
        findings.advance(len as u64);
    }
    // An empty file at the very end is complete without another byte.
    members.take(&mut splitter, &[], findings)?;
    if let Some(decoder) = decoder {
        decoder.finish().map_err(decompress_error)?;
    }
    let finished = splitter.finish();
    Ok(finished.map_err(|source| VerifyError::Tar { archive: name.clone(), source })?)
}

/// The members of an archive, being compared.
struct Members<'a> {
    archive: &'a Archive,
    read_contents: bool,
    backup: &'a mut ListedBackup,
    ignored: &'a IgnoredPaths,
    at_hand: Option<Member>,
}

/// A file of the size that is listed.
struct Member {
    number: FileNumber,
    /// If the contents are to be compared.
    checksummer: Option<(Checksummer, Checksum)>,
    /// The beginning of the control file, and the cluster that it must be of.
    control: Option<(Vec<u8>, SystemId)>,
}

impl Members<'_> {
    fn take(
        &mut self,
        splitter: &mut TarSplitter,
        mut chunk: &[u8],
        findings: &mut Findings<'_>,
    ) -> Result<(), Stop> {
        loop {
            let piece = splitter
                .next_piece(&mut chunk)
                .map_err(|source| VerifyError::Tar { archive: self.archive.display_name(), source })?;
            match piece {
                Some(Piece::Entry(entry)) => self.begin(&entry, findings)?,
                Some(Piece::Data(data)) => {
                    if let Some(member) = &mut self.at_hand {
                        member.take(data);
                    }
                }
                Some(Piece::EntryEnd) => self.end(findings)?,
                Some(Piece::Padding(_) | Piece::End(_)) => {}
                None => return Ok(()),
            }
        }
    }

    fn begin(&mut self, entry: &Entry, findings: &mut Findings<'_>) -> Result<(), Stop> {
        if entry.kind != EntryKind::File {
            return Ok(());
        }
        let path = [&self.archive.prefix[..], entry.path.as_bytes()].concat();
        if self.ignored.cover(&path) {
            return Ok(());
        }
        let archive = self.archive.display_name();
        let Some(number) = self.backup.files.find(&path) else {
            let path = OsString::from_vec(path).into();
            return findings.report(&Problem::MemberNotListed { path, archive });
        };
        let file = self.backup.files.get(number);
        let (found, listed, checksum) = (entry.size, file.size(), file.checksum());
        self.backup.files.mark_found(number, found == listed);
        if found != listed {
            let path = OsString::from_vec(path).into();
            return findings.report(&Problem::MemberSize { path, archive, found, listed });
        }
        let compares = self.read_contents && checksum != Checksum::NONE;
        let is_control_file = path == CONTROL_FILE;
        self.at_hand = Some(Member {
            number,
            checksummer: compares.then(|| (Checksummer::new(checksum.algorithm()), checksum)),
            control: self.backup.system_id.filter(|_| is_control_file).map(|id| (Vec::new(), id)),
        });
        Ok(())
    }

    fn end(&mut self, findings: &mut Findings<'_>) -> Result<(), Stop> {
        let Some(member) = self.at_hand.take() else { return Ok(()) };
        let path = self.backup.files.get(member.number).display_path();
        let archive = self.archive.display_name();
        if member.checksummer.is_some_and(|(checksummer, expected)| checksummer.finish() != expected) {
            findings.report(&Problem::MemberChecksum { path: path.clone(), archive: archive.clone() })?;
        }
        if let Some((data, system_id)) = member.control {
            let place = ControlFilePlace { archive: Some(archive), path };
            control_file::check(&data, place, system_id).map_err(VerifyError::from)?;
        }
        Ok(())
    }
}

impl Member {
    fn take(&mut self, data: &[u8]) {
        if let Some((checksummer, _)) = &mut self.checksummer {
            checksummer.update(data);
        }
        if let Some((beginning, _)) = &mut self.control {
            let missing = CONTROL_DATA_LEN.saturating_sub(beginning.len());
            beginning.extend_from_slice(&data[..data.len().min(missing)]);
        }
    }
}

//! Archives of a server on their way into a directory: whatever they say, nothing outside of it changes. Where a manifest
//! comes too, what is taken for a backup is what the manifest says.
//!
//! Beside the directory lie a file and a directory that must stay as they are; links to `/out` lead there. The first
//! byte says how the rest is meant, and how it is cut: an archive whose headers get their right checksums, or a member
//! on each line:
//!
//! ```text
//! =NAME PATH                another archive begins: that of the tablespace at this path, or without one the main one
//! TYPE MODE NAME CONTENT    a member with this type flag; the content of a link is where it leads
//! @                         all that follows is the manifest, which gets its right checksum
//! ```

#![no_main]

#[path = "../support/archive.rs"]
mod archive;
#[path = "../support/scratch.rs"]
mod scratch;
#[path = "../support/sealed_manifest.rs"]
mod sealed_manifest;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pgsiphon::backup::{CleanUpPolicy, DirectoryDestination, TablespaceMapping, fuzzing};
use pgsiphon::client::BackupEvent;
use pgsiphon::manifest::{Checksum, FileEntry, ManifestItem, ManifestReader};
use pgsiphon::protocol::{ArchiveName, Tablespace};
use pgsiphon::storage::SyncPolicy;
use pgsiphon::tar::{BLOCK_SIZE, HeaderBlock};
use sealed_manifest::sealed;

const RAW: u8 = 1;
const WAL_ELSEWHERE: u8 = 2;
const KEEP: u8 = 4;

/// The tablespaces that a server may have: one inside the data directory, one of its own.
const TABLESPACES: [(u32, &str); 2] = [(16384, "pg_tblspc/16384"), (16385, "/srv/ts")];

fuzz_target!(|input: &[u8]| {
    let Some((&how, rest)) = input.split_first() else { return };
    let (archives, manifest) = if how & RAW == 0 { described(rest) } else { (raw(rest), None) };
    let tablespaces = announced(&archives);
    let length = usize::from(how >> 3) * 100 + 1;
    let events = archives.into_iter().flat_map(|archive| archive.events(length));
    let events = events.chain(manifest.iter().flat_map(|manifest| manifest_events(manifest, length)));

    let place = scratch::emptied("extract");
    put_canaries(&place);
    let policy = if how & KEEP == 0 { CleanUpPolicy::Undo } else { CleanUpPolicy::Keep };
    let destination = destination(&place, how & WAL_ELSEWHERE != 0, policy);
    let extracted = fuzzing::extract(destination, &tablespaces, events);

    check_canaries(&place);
    if extracted.is_err() && policy == CleanUpPolicy::Undo {
        assert!(fs::symlink_metadata(place.join("backup")).is_err());
    }
    if let (Ok(()), Some(manifest)) = (&extracted, &manifest) {
        assert_eq!(&fs::read(place.join("backup/backup_manifest")).unwrap(), manifest);
        check_files(&place, manifest);
    }
    for directory in ["backup", "tablespace", "wal"] {
        check_tree(&place.join(directory));
    }
    scratch::remove(&place);
});

/// An archive with what tells where it belongs.
struct Archive {
    name: ArchiveName,
    path: Vec<u8>,
    bytes: Vec<u8>,
}

impl Archive {
    fn events(self, length: usize) -> Vec<BackupEvent> {
        let begin = BackupEvent::Archive { name: self.name, tablespace_path: self.path.into() };
        let data = self.bytes.chunks(length).map(|chunk| BackupEvent::Data(chunk.to_vec().into()));
        std::iter::once(begin).chain(data).collect()
    }
}

fn manifest_events(manifest: &[u8], length: usize) -> Vec<BackupEvent> {
    let data = manifest.chunks(length).map(|chunk| BackupEvent::Data(chunk.to_vec().into()));
    std::iter::once(BackupEvent::Manifest).chain(data).collect()
}

fn raw(bytes: &[u8]) -> Vec<Archive> {
    let mut bytes = bytes.to_vec();
    archive::seal(&mut bytes);
    vec![Archive { name: ArchiveName::new(b"base.tar").unwrap(), path: Vec::new(), bytes }]
}

fn described(text: &[u8]) -> (Vec<Archive>, Option<Vec<u8>>) {
    let (mut archives, mut rest) = (raw(b""), text);
    while !rest.is_empty() {
        let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
        rest = rest.get(line.len() + 1..).unwrap_or_default();
        if line == b"@" {
            return (archives, Some(sealed(rest.to_vec())));
        }
        if let Some(begin) = line.strip_prefix(b"=") {
            let (name, path) = split(begin);
            let Ok(name) = ArchiveName::new(name) else { continue };
            if archives.last().is_some_and(|last| last.bytes.is_empty()) {
                archives.pop();
            }
            archives.push(Archive { name, path: path.to_vec(), bytes: Vec::new() });
        } else if !line.is_empty() {
            add_member(line, &mut archives.last_mut().unwrap().bytes);
        }
    }
    (archives, None)
}

fn add_member(line: &[u8], archive: &mut Vec<u8>) {
    let (kind, rest) = split(line);
    let (mode, rest) = split(rest);
    let (name, content) = split(rest);
    let kind = kind.first().copied().unwrap_or(0);
    let target = if matches!(kind, b'1' | b'2') { content } else { b"" };
    let data = if target.is_empty() { content } else { b"" };

    let mut header: HeaderBlock = [0; BLOCK_SIZE];
    put(&mut header[..100], name);
    put(&mut header[100..107], mode);
    put(&mut header[124..135], format!("{:011o}", data.len()).as_bytes());
    header[156] = kind;
    put(&mut header[157..257], target);
    put(&mut header[257..265], b"ustar\x0000");
    archive::seal_header(&mut header);
    archive.extend_from_slice(&header);
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(BLOCK_SIZE), 0);
}

fn put(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// What stands before the first blank, and what behind it.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = text.splitn(2, |&byte| byte == b' ');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// The main data directory, and the tablespaces of which there are archives.
fn announced(archives: &[Archive]) -> Vec<Tablespace> {
    let is_there = |location: &str| archives.iter().any(|archive| archive.path == location.as_bytes());
    let tablespaces = TABLESPACES.into_iter().filter(|(_, location)| is_there(location));
    tablespaces
        .map(|(oid, location)| Tablespace { oid: Some(oid), location: location.into(), size: 0 })
        .chain([Tablespace { oid: None, location: "".into(), size: 0 }])
        .collect()
}

fn destination(place: &Path, wal_is_elsewhere: bool, policy: CleanUpPolicy) -> DirectoryDestination {
    let mapping = |old: &str, new| TablespaceMapping::new(Path::new(old), &place.join(new));
    let destination = DirectoryDestination::new(place.join("backup"), SyncPolicy::Never, policy)
        .with_tablespace_mappings(vec![mapping("/srv/ts", "tablespace"), mapping("/out", "out")]);
    if wal_is_elsewhere { destination.with_wal_directory(place.join("wal")) } else { destination }
}

fn put_canaries(place: &Path) {
    fs::create_dir(place.join("out")).unwrap();
    for file in ["canary", "out/canary"] {
        fs::write(place.join(file), "sings").unwrap();
        fs::set_permissions(place.join(file), Permissions::from_mode(0o640)).unwrap();
    }
    fs::set_permissions(place.join("out"), Permissions::from_mode(0o750)).unwrap();
}

fn check_canaries(place: &Path) {
    for file in ["canary", "out/canary"] {
        assert_eq!(fs::read(place.join(file)).unwrap(), b"sings");
        let metadata = fs::symlink_metadata(place.join(file)).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o640, 1), "{file}");
    }
    assert_eq!(fs::symlink_metadata(place.join("out")).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(fs::read_dir(place.join("out")).unwrap().count(), 1);
    for entry in fs::read_dir(place).unwrap() {
        let name = entry.unwrap().file_name();
        let known = ["canary", "out", "backup", "tablespace", "wal"];
        assert!(known.iter().any(|known| name == *known), "{name:?}");
    }
}

/// The files are those that the manifest lists, and what it says of them is right. WAL need not be listed.
fn check_files(place: &Path, manifest: &[u8]) {
    let mut files = BTreeMap::new();
    collect_files(&place.join("backup"), b"", &mut files);
    collect_files(&place.join("tablespace"), b"pg_tblspc/16385/", &mut files);
    files.remove(&b"backup_manifest"[..]);
    let (mut reader, mut rest) = (ManifestReader::new(), manifest);
    while let Some(item) = reader.next_item(&mut rest).unwrap() {
        let ManifestItem::File(FileEntry { path, size, checksum }) = item else { continue };
        if path.starts_with(b"pg_wal/") {
            continue;
        }
        let content = files.remove(&path[..]).unwrap_or_else(|| panic!("{path:?} is not there"));
        assert_eq!(content.len() as u64, size, "{path:?}");
        let right = crc32c::crc32c(&content).to_le_bytes().map(|byte| format!("{byte:02x}")).concat();
        assert!(checksum == Checksum::NONE || checksum.to_string() == right, "{path:?}");
    }
    files.retain(|path, _| !path.starts_with(b"pg_wal/"));
    assert!(files.is_empty(), "not listed: {files:?}");
}

/// The contents of the files in a tree by their paths, which get that prefix. Links are not followed.
fn collect_files(directory: &Path, prefix: &[u8], files: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let path = [prefix, entry.file_name().as_bytes()].concat();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect_files(&entry.path(), &[&path[..], b"/"].concat(), files);
        } else if kind.is_file() {
            files.insert(path, fs::read(entry.path()).unwrap());
        }
    }
}

/// There are files with one name each, directories, and links; none of them gives anybody the rights of another.
fn check_tree(path: &Path) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    if metadata.is_symlink() {
        return;
    }
    assert_eq!(metadata.mode() & 0o7000, 0, "{path:?}");
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            check_tree(&entry.unwrap().path());
        }
    } else {
        assert!(metadata.is_file() && metadata.nlink() == 1, "{path:?}");
    }
}

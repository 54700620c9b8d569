//! What lies in a directory, for comparing one with another.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// One thing in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    /// The permission bits; of a link they mean nothing and are 0.
    pub mode: u32,
}

/// What kind of thing it is, with what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File {
        size: u64,
        sha256: [u8; 32],
    },
    Directory,
    Link {
        target: PathBuf,
    },
    /// A socket, a pipe or a device.
    Other,
}

/// Everything below `directory`, by its path relative to it. Links are not followed.
pub fn snapshot(directory: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut entries = BTreeMap::new();
    visit(directory, Path::new(""), &mut entries);
    entries
}

fn visit(root: &Path, relative: &Path, entries: &mut BTreeMap<PathBuf, Entry>) {
    for child in fs::read_dir(root.join(relative)).unwrap() {
        let name = relative.join(child.unwrap().file_name());
        let entry = entry(&root.join(&name));
        if entry.kind == Kind::Directory {
            visit(root, &name, entries);
        }
        entries.insert(name, entry);
    }
}

fn entry(path: &Path) -> Entry {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_symlink() {
        return Entry { kind: Kind::Link { target: fs::read_link(path).unwrap() }, mode: 0 };
    }
    let kind = if metadata.is_dir() {
        Kind::Directory
    } else if metadata.is_file() {
        Kind::File { size: metadata.len(), sha256: Sha256::digest(fs::read(path).unwrap()).into() }
    } else {
        Kind::Other
    };
    Entry { kind, mode }
}

/// The differences of two directories, one on each line; empty if there are none.
///
/// What lies at or below a path in `ignoring` does not count.
pub fn differences(left: &Path, right: &Path, ignoring: &[&str]) -> String {
    let counting = |directory| {
        let mut entries = snapshot(directory);
        entries.retain(|path, _| !ignoring.iter().any(|ignored| path.starts_with(ignored)));
        entries
    };
    differences_of_entries(&counting(left), &counting(right))
}

/// The differences of what lies in two directories, one on each line; empty if there are none.
pub fn differences_of_entries(left: &BTreeMap<PathBuf, Entry>, right: &BTreeMap<PathBuf, Entry>) -> String {
    let describe_side = |entry: Option<&Entry>| entry.map_or_else(|| "nothing".to_owned(), describe);
    let only_right = right.keys().filter(|path| !left.contains_key(*path));
    let mut text = String::new();
    for path in left.keys().chain(only_right) {
        let sides = [left, right].map(|side| side.get(path));
        if sides[0] != sides[1] {
            let [left_side, right_side] = sides.map(describe_side);
            writeln!(text, "{}: {left_side} on the left, {right_side} on the right", path.display()).unwrap();
        }
    }
    text
}

fn describe(entry: &Entry) -> String {
    let mode = entry.mode;
    match &entry.kind {
        Kind::File { size, sha256 } => {
            format!("a file of {size} bytes ({}…, mode {mode:04o})", hexadecimal(&sha256[..4]))
        }
        Kind::Directory => format!("a directory (mode {mode:04o})"),
        Kind::Link { target } => format!("a link to {}", target.display()),
        Kind::Other => format!("a special file (mode {mode:04o})"),
    }
}

/// The bytes as lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// # Panics
///
/// With the list of differences, if the two directories are not the same.
#[track_caller]
pub fn assert_same_tree(left: &Path, right: &Path, ignoring: &[&str]) {
    let differences = differences(left, right, ignoring);
    assert!(differences.is_empty(), "{} and {} differ:\n{differences}", left.display(), right.display());
}

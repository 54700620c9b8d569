//! Reads a manifest from its file, to its end, before anything else is looked at (BB-219).

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::VerifyError;
use super::listed_files::{ListedFiles, ListedTwice};
use crate::manifest::{ManifestItem, ManifestReader, ManifestVersion, WalRange};
use crate::types::SystemId;

const CHUNK: usize = 256 << 10;

/// The backup that a manifest describes.
#[derive(Debug)]
pub(super) struct ListedBackup {
    pub(super) files: ListedFiles,
    pub(super) wal_ranges: Vec<WalRange>,
    /// The cluster that the control file must be of, where the manifest's version says so (BB-225).
    pub(super) system_id: Option<SystemId>,
}

/// Reads a manifest whose own checksum is right.
pub(super) fn read(path: &Path) -> Result<ListedBackup, VerifyError> {
    let mut file = File::open(path)
        .map_err(|source| VerifyError::OpenManifest { path: path.into(), source: source.into() })?;
    let mut reader = ManifestReader::new();
    let mut backup = ListedBackup { files: ListedFiles::new(), wal_ranges: Vec::new(), system_id: None };
    let mut buffer = vec![0; CHUNK];
    loop {
        let len = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(VerifyError::ReadManifest { path: path.into(), source: source.into() });
            }
        };
        let mut chunk = &buffer[..len];
        while let Some(item) = reader.next_item(&mut chunk)? {
            match item {
                ManifestItem::SystemIdentifier(id) => backup.system_id = Some(id),
                ManifestItem::File(file) => backup.files.add(&file)?,
                ManifestItem::WalRange(range) => backup.wal_ranges.push(range),
            }
        }
    }
    reader.finish()?;
    backup.system_id = backup.system_id.filter(|_| reader.version() != Some(ManifestVersion::One));
    Ok(backup)
}

impl From<ListedTwice> for VerifyError {
    fn from(ListedTwice(path): ListedTwice) -> Self {
        Self::ListedTwice(path)
    }
}

//! What a manifest says.
//!
//! In: the fields of one line. Out: the entry that they make, with every rule for single entries checked.

use super::checksum::decode_hex;
use super::line::{Fields, Scalar};
use super::{Checksum, ChecksumAlgorithm, ManifestError, ManifestFault};
use crate::types::{Lsn, SystemId, TimelineId};

/// The version of a manifest's format (BB-205).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ManifestVersion {
    /// That of servers 13 to 16.
    One,
    /// That of servers from 17 on, with the system identifier.
    Two,
}

/// One statement of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestItem {
    /// The cluster that the backup is of; comes first where the version has it.
    SystemIdentifier(SystemId),
    /// A file of the backup.
    File(FileEntry),
    /// WAL that is needed to use the backup; comes after the files.
    WalRange(WalRange),
}

/// A file as listed in a manifest (BB-206).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The path below the data directory, which need not be UTF-8; files of a tablespace are below
    /// `pg_tblspc/OID/`. It is as the server wrote it: nothing says that it stays inside.
    pub path: Vec<u8>,
    /// The size in bytes.
    pub size: u64,
    /// The checksum of its contents, or [`Checksum::NONE`].
    pub checksum: Checksum,
}

/// A stretch of WAL on one timeline (BB-211).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalRange {
    /// The timeline.
    pub timeline: TimelineId,
    /// The first byte that is needed.
    pub start: Lsn,
    /// The end of what is needed; this byte itself is not.
    pub end: Lsn,
}

impl FileEntry {
    pub(super) fn from_fields(fields: Fields<'_>) -> Result<Self, ManifestError> {
        let (mut plain, mut encoded, mut size, mut algorithm, mut checksum) = (None, None, None, None, None);
        for (key, value) in fields.0 {
            match &*key {
                "Path" => plain = Some(value.into_text()),
                "Encoded-Path" => encoded = Some(value.into_text()),
                "Size" => size = Some(value),
                "Last-Modified" => {}
                "Checksum-Algorithm" => algorithm = Some(value.into_text()),
                "Checksum" => checksum = Some(value.into_text()),
                _ => return Err(ManifestFault::UnexpectedFileField.into()),
            }
        }
        let path = match (plain, encoded) {
            (Some(_), Some(_)) => return Err(ManifestFault::BothPaths.into()),
            (Some(path), None) => path.into_owned().into_bytes(),
            (None, Some(path)) => decode_hex(&path).ok_or(ManifestFault::UndecodablePath)?,
            (None, None) => return Err(ManifestFault::MissingPath.into()),
        };
        let size = size.ok_or(ManifestFault::MissingSize)?;
        let size = size.as_integer().ok_or(ManifestFault::SizeNotInteger)?;
        let checksum = match (algorithm, checksum) {
            (None, None) => Checksum::NONE,
            (None, Some(_)) => return Err(ManifestFault::ChecksumWithoutAlgorithm.into()),
            (Some(algorithm), checksum) => {
                read_checksum(&path, algorithm.parse()?, checksum.as_deref().unwrap_or_default())?
            }
        };
        Ok(Self { path, size, checksum })
    }
}

fn read_checksum(path: &[u8], algorithm: ChecksumAlgorithm, text: &str) -> Result<Checksum, ManifestError> {
    let path = || String::from_utf8_lossy(path).into_owned();
    let expected = algorithm.checksum_len();
    let bytes = decode_hex(text)
        .filter(|bytes| bytes.is_empty() == (expected == 0))
        .ok_or_else(|| ManifestError::InvalidChecksum { path: path(), checksum: text.to_owned() })?;
    Checksum::from_bytes(algorithm, &bytes).ok_or_else(|| ManifestError::ChecksumLength {
        path: path(),
        actual: bytes.len(),
        expected,
    })
}

impl WalRange {
    pub(super) fn from_fields(fields: Fields<'_>) -> Result<Self, ManifestFault> {
        let (mut timeline, mut start, mut end) = (None, None, None);
        for (key, value) in fields.0 {
            match &*key {
                "Timeline" => timeline = Some(value),
                "Start-LSN" => start = Some(value),
                "End-LSN" => end = Some(value),
                _ => return Err(ManifestFault::UnexpectedWalRangeField),
            }
        }
        let lsn = |value: Scalar<'_>| value.into_text().parse().ok();
        let timeline = timeline.ok_or(ManifestFault::MissingTimeline)?.as_integer();
        let timeline = timeline.and_then(|number| TimelineId::new(u32::try_from(number).ok()?));
        Ok(Self {
            timeline: timeline.ok_or(ManifestFault::TimelineNotInteger)?,
            start: lsn(start.ok_or(ManifestFault::MissingStartLsn)?)
                .ok_or(ManifestFault::UnreadableStartLsn)?,
            end: lsn(end.ok_or(ManifestFault::MissingEndLsn)?).ok_or(ManifestFault::UnreadableEndLsn)?,
        })
    }
}

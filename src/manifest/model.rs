//! What a manifest says.
//!
//! In: the fields of an entry as text. Out: the entry that they make, with every rule for single entries checked.

use super::checksum::decode_hex;
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
    /// The cluster that the backup is of; servers write it first, from version 17 on.
    SystemIdentifier(SystemId),
    /// A file of the backup.
    File(FileEntry),
    /// WAL that is needed to use the backup; servers write it after the files.
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

/// The fields of a file as far as they have come; where one comes twice, the last one counts.
#[derive(Debug, Default)]
pub(super) struct FileFields {
    path: Option<Vec<u8>>,
    encoded_path: Option<Vec<u8>>,
    size: Option<Vec<u8>>,
    algorithm: Option<Vec<u8>>,
    checksum: Option<Vec<u8>>,
}

/// A field of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileField {
    Path,
    EncodedPath,
    Size,
    LastModified,
    ChecksumAlgorithm,
    Checksum,
}

impl FileField {
    pub(super) fn of_name(name: &[u8]) -> Result<Self, ManifestFault> {
        Ok(match name {
            b"Path" => Self::Path,
            b"Encoded-Path" => Self::EncodedPath,
            b"Size" => Self::Size,
            b"Last-Modified" => Self::LastModified,
            b"Checksum-Algorithm" => Self::ChecksumAlgorithm,
            b"Checksum" => Self::Checksum,
            _ => return Err(ManifestFault::UnexpectedFileField),
        })
    }
}

impl FileFields {
    pub(super) fn set(&mut self, field: FileField, value: &[u8]) {
        let place = match field {
            FileField::Path => &mut self.path,
            FileField::EncodedPath => &mut self.encoded_path,
            FileField::Size => &mut self.size,
            // It says nothing that could be checked.
            FileField::LastModified => return,
            FileField::ChecksumAlgorithm => &mut self.algorithm,
            FileField::Checksum => &mut self.checksum,
        };
        *place = Some(value.to_vec());
    }

    /// The file that they describe.
    pub(super) fn finish(self) -> Result<FileEntry, ManifestError> {
        let (path, encoded) = match (self.path, self.encoded_path) {
            (Some(_), Some(_)) => return Err(ManifestFault::BothPaths.into()),
            (None, None) => return Err(ManifestFault::MissingPath.into()),
            (path, encoded) => (path, encoded),
        };
        let size = self.size.ok_or(ManifestFault::MissingSize)?;
        if let (None, Some(_)) = (&self.algorithm, &self.checksum) {
            return Err(ManifestFault::ChecksumWithoutAlgorithm.into());
        }
        let encoded =
            encoded.map(|text| decode_hex(&text).ok_or(ManifestFault::UndecodablePath)).transpose()?;
        let path = encoded.or(path).unwrap_or_default();
        let size = integer(&size).ok_or(ManifestFault::SizeNotInteger)?;
        let checksum = match self.algorithm {
            None => Checksum::NONE,
            Some(algorithm) => {
                let algorithm = String::from_utf8_lossy(&algorithm).parse()?;
                read_checksum(&path, algorithm, &self.checksum.unwrap_or_default())?
            }
        };
        Ok(FileEntry { path, size, checksum })
    }
}

fn read_checksum(path: &[u8], algorithm: ChecksumAlgorithm, text: &[u8]) -> Result<Checksum, ManifestError> {
    let path = || String::from_utf8_lossy(path).into_owned();
    let bytes = decode_hex(text).ok_or_else(|| ManifestError::InvalidChecksum {
        path: path(),
        checksum: String::from_utf8_lossy(text).into_owned(),
    })?;
    if algorithm == ChecksumAlgorithm::None {
        return Ok(Checksum::NONE);
    }
    Checksum::from_bytes(algorithm, &bytes).ok_or_else(|| ManifestError::ChecksumLength {
        path: path(),
        actual: bytes.len(),
        expected: algorithm.checksum_len(),
    })
}

/// The fields of a stretch of WAL, likewise.
#[derive(Debug, Default)]
pub(super) struct WalRangeFields {
    timeline: Option<Vec<u8>>,
    start: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
}

/// A field of a stretch of WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalRangeField {
    Timeline,
    Start,
    End,
}

impl WalRangeField {
    pub(super) fn of_name(name: &[u8]) -> Result<Self, ManifestFault> {
        Ok(match name {
            b"Timeline" => Self::Timeline,
            b"Start-LSN" => Self::Start,
            b"End-LSN" => Self::End,
            _ => return Err(ManifestFault::UnexpectedWalRangeField),
        })
    }
}

impl WalRangeFields {
    pub(super) fn set(&mut self, field: WalRangeField, value: &[u8]) {
        let place = match field {
            WalRangeField::Timeline => &mut self.timeline,
            WalRangeField::Start => &mut self.start,
            WalRangeField::End => &mut self.end,
        };
        *place = Some(value.to_vec());
    }

    /// The stretch that they describe.
    pub(super) fn finish(self) -> Result<WalRange, ManifestFault> {
        let lsn = |text: Vec<u8>| std::str::from_utf8(&text).ok()?.parse().ok();
        let timeline = self.timeline.ok_or(ManifestFault::MissingTimeline)?;
        let start = self.start.ok_or(ManifestFault::MissingStartLsn)?;
        let end = self.end.ok_or(ManifestFault::MissingEndLsn)?;
        let timeline = integer(&timeline).and_then(|number| TimelineId::new(u32::try_from(number).ok()?));
        Ok(WalRange {
            timeline: timeline.ok_or(ManifestFault::TimelineNotInteger)?,
            start: lsn(start).ok_or(ManifestFault::UnreadableStartLsn)?,
            end: lsn(end).ok_or(ManifestFault::UnreadableEndLsn)?,
        })
    }
}

/// An unsigned number in decimal digits, as the value of a field.
pub(super) fn integer(text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits?.parse().ok()
}

//! A push parser for a manifest.
//!
//! In: chunks of any size. Out: [`ManifestItem`]s, in order, and at the end whether the manifest was whole.
//! What is handed out before [`finish`](ManifestReader::finish) has returned is what the manifest says so
//! far: only then has its own checksum vouched for it.

use super::checksum::decode_hex;
use super::json::{Event, EventReader};
use super::line_digest::LineDigest;
use super::model::{FileField, FileFields, WalRangeField, WalRangeFields, integer};
use super::{ManifestError, ManifestFault, ManifestItem, ManifestVersion};
use crate::types::SystemId;

/// Reads a manifest that comes in chunks.
///
/// ```
/// use pgsiphon::manifest::{ManifestItem, ManifestReader};
///
/// # fn print(chunks: Vec<Vec<u8>>) -> Result<(), pgsiphon::manifest::ManifestError> {
/// let mut reader = ManifestReader::new();
/// for chunk in &chunks {
///     let mut chunk = &chunk[..];
///     while let Some(item) = reader.next_item(&mut chunk)? {
///         if let ManifestItem::File(file) = item {
///             println!("{} {}", String::from_utf8_lossy(&file.path), file.size);
///         }
///     }
/// }
/// reader.finish()
/// # }
/// ```
#[derive(Debug, Default)]
pub struct ManifestReader {
    events: EventReader,
    document: Document,
    /// In a box, because its three states are larger than all the rest.
    digest: Box<LineDigest>,
    refused: Option<ManifestError>,
}

/// The manifest as far as it has come.
#[derive(Debug, Default)]
struct Document {
    place: Place,
    version: Option<ManifestVersion>,
    has_system_identifier: bool,
    /// The file at hand.
    file: FileFields,
    /// The stretch of WAL at hand.
    wal_range: WalRangeFields,
    /// What the manifest says that its checksum is.
    checksum: Option<Vec<u8>>,
}

/// Where in a manifest the next event happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    /// At the version, which comes before all other fields.
    FirstField,
    Version,
    /// At any other field of the manifest itself.
    Field,
    SystemIdentifier,
    Files,
    InFiles,
    InFile,
    FileValue(FileField),
    WalRanges,
    InWalRanges,
    InWalRange,
    WalRangeValue(WalRangeField),
    Checksum,
    /// After the checksum, where only the end may come.
    End,
    Behind,
}

impl ManifestReader {
    /// A reader at the start of a manifest.
    pub fn new() -> Self {
        Self::default()
    }

    /// The version of the manifest, once it has come.
    pub const fn version(&self) -> Option<ManifestVersion> {
        self.document.version
    }

    /// Takes bytes off the front of `chunk` up to the end of the next item, or all of it and returns nothing.
    ///
    /// After an error every further call and [`finish`](Self::finish) fail as well.
    pub fn next_item(&mut self, chunk: &mut &[u8]) -> Result<Option<ManifestItem>, ManifestError> {
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        let before = *chunk;
        let item = self.advance(chunk).inspect_err(|error| self.refused = Some(error.clone()))?;
        self.digest.update(&before[..before.len() - chunk.len()]);
        Ok(item)
    }

    /// Says whether the manifest is complete and its checksum right.
    pub fn finish(&self) -> Result<(), ManifestError> {
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        if self.events.is_at_end_of_lone_word() {
            return Err(ManifestFault::UnexpectedScalar.into());
        }
        self.events.finish()?;
        let digest = self.digest.finish()?;
        let text = self.document.checksum.as_ref().ok_or(ManifestFault::EndedUnexpectedly)?;
        let expected = decode_hex(text).filter(|bytes| bytes.len() == digest.len()).ok_or_else(|| {
            ManifestError::InvalidManifestChecksum(String::from_utf8_lossy(text).into_owned())
        })?;
        if expected == digest { Ok(()) } else { Err(ManifestError::ManifestChecksumMismatch) }
    }

    /// Whether what comes next is a file, or the end of the files.
    pub(super) fn is_between_files(&self) -> bool {
        self.document.place == Place::InFiles
    }

    fn advance(&mut self, chunk: &mut &[u8]) -> Result<Option<ManifestItem>, ManifestError> {
        while let Some(event) = self.events.next_event(chunk)? {
            if let Some(item) = self.document.accept(event)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }
}

impl Document {
    fn accept(&mut self, event: Event<'_>) -> Result<Option<ManifestItem>, ManifestError> {
        match event {
            Event::ObjectStart => self.begin_object()?,
            Event::ObjectEnd => return self.end_object(),
            Event::ArrayStart => self.begin_array()?,
            Event::ArrayEnd => self.end_array()?,
            Event::Field(name) => self.begin_field(name)?,
            Event::Scalar(text) => return Ok(self.take_value(text)?),
        }
        Ok(None)
    }

    fn begin_object(&mut self) -> Result<(), ManifestFault> {
        self.place = match self.place {
            Place::Before => Place::FirstField,
            Place::InFiles => Place::InFile,
            Place::InWalRanges => Place::InWalRange,
            _ => return Err(ManifestFault::UnexpectedObjectStart),
        };
        Ok(())
    }

    fn end_object(&mut self) -> Result<Option<ManifestItem>, ManifestError> {
        match self.place {
            Place::InFile => {
                self.place = Place::InFiles;
                let file = std::mem::take(&mut self.file).finish()?;
                Ok(Some(ManifestItem::File(file)))
            }
            Place::InWalRange => {
                self.place = Place::InWalRanges;
                let range = std::mem::take(&mut self.wal_range).finish()?;
                Ok(Some(ManifestItem::WalRange(range)))
            }
            Place::End if self.version == Some(ManifestVersion::Two) && !self.has_system_identifier => {
                Err(ManifestFault::MissingSystemIdentifier.into())
            }
            Place::End => {
                self.place = Place::Behind;
                Ok(None)
            }
            _ => Err(ManifestFault::UnexpectedObjectEnd.into()),
        }
    }

    fn begin_array(&mut self) -> Result<(), ManifestFault> {
        self.place = match self.place {
            Place::Files => Place::InFiles,
            Place::WalRanges => Place::InWalRanges,
            _ => return Err(ManifestFault::UnexpectedArrayStart),
        };
        Ok(())
    }

    fn end_array(&mut self) -> Result<(), ManifestFault> {
        self.place = match self.place {
            Place::InFiles | Place::InWalRanges => Place::Field,
            _ => return Err(ManifestFault::UnexpectedArrayEnd),
        };
        Ok(())
    }

    fn begin_field(&mut self, name: &[u8]) -> Result<(), ManifestFault> {
        self.place = match (self.place, name) {
            (Place::FirstField, b"PostgreSQL-Backup-Manifest-Version") => Place::Version,
            (Place::FirstField, _) => return Err(ManifestFault::ExpectedVersion),
            (Place::Field, b"System-Identifier") => Place::SystemIdentifier,
            (Place::Field, b"Files") => Place::Files,
            (Place::Field, b"WAL-Ranges") => Place::WalRanges,
            (Place::Field, b"Manifest-Checksum") => Place::Checksum,
            (Place::Field, _) => return Err(ManifestFault::UnrecognizedTopLevelField),
            (Place::InFile, name) => Place::FileValue(FileField::of_name(name)?),
            (Place::InWalRange, name) => Place::WalRangeValue(WalRangeField::of_name(name)?),
            _ => return Err(ManifestFault::UnexpectedObjectField),
        };
        Ok(())
    }

    fn take_value(&mut self, text: &[u8]) -> Result<Option<ManifestItem>, ManifestFault> {
        self.place = match self.place {
            Place::Version => {
                self.version = Some(match integer(text) {
                    Some(1) => ManifestVersion::One,
                    Some(2) => ManifestVersion::Two,
                    Some(_) => return Err(ManifestFault::UnexpectedVersion),
                    None => return Err(ManifestFault::VersionNotInteger),
                });
                Place::Field
            }
            Place::SystemIdentifier => {
                let number = integer(text).ok_or(ManifestFault::SystemIdentifierNotInteger)?;
                self.has_system_identifier = true;
                self.place = Place::Field;
                return Ok(Some(ManifestItem::SystemIdentifier(SystemId::new(number))));
            }
            Place::FileValue(field) => {
                self.file.set(field, text);
                Place::InFile
            }
            Place::WalRangeValue(field) => {
                self.wal_range.set(field, text);
                Place::InWalRange
            }
            Place::Checksum => {
                self.checksum = Some(text.to_vec());
                Place::End
            }
            _ => return Err(ManifestFault::UnexpectedScalar),
        };
        Ok(None)
    }
}

#[cfg(test)]
mod tests;

//! A push parser for a manifest as the server sends it.
//!
//! In: chunks of any size. Out: [`ManifestItem`]s, in order, and at the end whether the manifest was whole.
//! What is handed out before [`finish`](ManifestReader::finish) has returned is what the manifest says so
//! far: only then has its own checksum vouched for it.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::checksum::decode_hex;
use super::line::{FieldEnd, Fields, Line, LineError, Scalar};
use super::{FileEntry, ManifestError, ManifestFault, ManifestItem, ManifestVersion, WalRange};
use crate::types::SystemId;

/// The longest line that is taken, in bytes without its newline. The longest that a server writes has a
/// path of 1024 bytes, each of them escaped.
pub const MAX_LINE_LEN: usize = 64 << 10;

/// Reads a manifest that comes in chunks.
///
/// It takes the layout that servers write, line by line, and not the same JSON laid out otherwise.
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
    expected: Expected,
    version: Option<ManifestVersion>,
    /// The beginning of a line whose end has not come; at most [`MAX_LINE_LEN`] bytes.
    partial: Vec<u8>,
    /// How many lines are complete.
    lines: u64,
    /// Over all lines up to now, newlines included (BB-210).
    sha256: Sha256,
}

/// What the next line must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expected {
    #[default]
    Version,
    SystemIdentifier,
    Files,
    File(Next),
    WalRanges,
    WalRange(Next),
    Checksum,
    /// Nothing more: the manifest is complete and its checksum right.
    Nothing,
    /// Nothing more: there was an error.
    Refused,
}

/// What the next line of a list may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    EntryOrEnd,
    Entry,
    End,
}

impl ManifestReader {
    /// A reader at the start of a manifest.
    pub fn new() -> Self {
        Self::default()
    }

    /// The version of the manifest, once its first line has come.
    pub const fn version(&self) -> Option<ManifestVersion> {
        self.version
    }

    /// Takes lines off the front of `chunk` up to the end of the next item, or all of it and returns nothing.
    ///
    /// After an error every further call and [`finish`](Self::finish) fail as well.
    pub fn next_item(&mut self, chunk: &mut &[u8]) -> Result<Option<ManifestItem>, ManifestError> {
        self.advance(chunk).inspect_err(|_| self.expected = Expected::Refused)
    }

    /// Says whether the manifest is complete and its checksum right.
    pub fn finish(&self) -> Result<(), ManifestError> {
        match self.expected {
            Expected::Nothing => Ok(()),
            Expected::Checksum if !self.partial.is_empty() => {
                Err(ManifestFault::LastLineNotTerminated.into())
            }
            _ => Err(ManifestFault::EndedUnexpectedly.into()),
        }
    }

    fn advance(&mut self, chunk: &mut &[u8]) -> Result<Option<ManifestItem>, ManifestError> {
        while let Some(line) = self.next_line(chunk)? {
            if let Some(item) = self.accept(&line)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// Takes the next line with its newline, or keeps the beginning of it.
    fn next_line<'c>(&mut self, chunk: &mut &'c [u8]) -> Result<Option<Cow<'c, [u8]>>, ManifestError> {
        match self.expected {
            Expected::Refused => return Err(ManifestFault::EndedUnexpectedly.into()),
            // The checksum is that of all lines but the last, so another byte makes it a wrong one.
            Expected::Nothing if !chunk.is_empty() => return Err(ManifestError::ManifestChecksumMismatch),
            _ => {}
        }
        let newline = chunk.iter().position(|&b| b == b'\n');
        let len = newline.map_or(chunk.len(), |at| at + 1);
        if self.partial.len() + newline.unwrap_or(len) > MAX_LINE_LEN {
            return Err(ManifestFault::LineTooLong.into());
        }
        let (line, rest) = chunk.split_at(len);
        *chunk = rest;
        if newline.is_some() && self.partial.is_empty() {
            return Ok(Some(Cow::Borrowed(line)));
        }
        self.partial.extend_from_slice(line);
        Ok(newline.map(|_| Cow::Owned(std::mem::take(&mut self.partial))))
    }

    fn accept(&mut self, line: &[u8]) -> Result<Option<ManifestItem>, ManifestError> {
        self.lines += 1;
        let parsed = match self.expected {
            Expected::Version => parse_first(line),
            _ => Line::parse(line),
        };
        let parsed = parsed.map_err(|error| match error {
            LineError::Fault(fault) => fault.into(),
            LineError::Json(source) => ManifestError::MalformedLine { line: self.lines, source },
        })?;
        if let (Expected::Checksum, Line::Field(key, value, FieldEnd::Brace)) = (self.expected, &parsed) {
            self.check(key, value)?;
            return Ok(None);
        }
        self.sha256.update(line);
        match parsed {
            Line::Field(key, value, FieldEnd::Comma) => self.accept_field(&key, &value),
            Line::Field(_, _, FieldEnd::Brace) => Err(ManifestFault::UnexpectedObjectEnd.into()),
            Line::ListStart(key) => self.accept_list_start(&key).map(|()| None),
            Line::Object(fields, comma) => self.accept_entry(fields, comma).map(Some),
            Line::ListEnd => self.accept_list_end().map(|()| None),
        }
    }

    fn accept_field(&mut self, key: &str, value: &Scalar<'_>) -> Result<Option<ManifestItem>, ManifestError> {
        match (self.expected, key) {
            (Expected::Version, "PostgreSQL-Backup-Manifest-Version") => {
                let (version, expected) = match value.as_integer() {
                    Some(1) => (ManifestVersion::One, Expected::Files),
                    Some(2) => (ManifestVersion::Two, Expected::SystemIdentifier),
                    Some(_) => return Err(ManifestFault::UnexpectedVersion.into()),
                    None => return Err(ManifestFault::VersionNotInteger.into()),
                };
                (self.version, self.expected) = (Some(version), expected);
                Ok(None)
            }
            (Expected::SystemIdentifier, "System-Identifier") => {
                let number = value.as_integer().ok_or(ManifestFault::SystemIdentifierNotInteger)?;
                self.expected = Expected::Files;
                Ok(Some(ManifestItem::SystemIdentifier(SystemId::new(number))))
            }
            _ => Err(self.unexpected_field().into()),
        }
    }

    fn accept_list_start(&mut self, key: &str) -> Result<(), ManifestError> {
        self.expected = match (self.expected, key) {
            (Expected::Files, "Files") => Expected::File(Next::EntryOrEnd),
            (Expected::WalRanges, "WAL-Ranges") => Expected::WalRange(Next::EntryOrEnd),
            _ => return Err(self.unexpected_field().into()),
        };
        Ok(())
    }

    fn accept_entry(&mut self, fields: Fields<'_>, comma: bool) -> Result<ManifestItem, ManifestError> {
        let next = if comma { Next::Entry } else { Next::End };
        match self.expected {
            Expected::File(Next::EntryOrEnd | Next::Entry) => {
                self.expected = Expected::File(next);
                FileEntry::from_fields(fields).map(ManifestItem::File)
            }
            Expected::WalRange(Next::EntryOrEnd | Next::Entry) => {
                self.expected = Expected::WalRange(next);
                Ok(ManifestItem::WalRange(WalRange::from_fields(fields)?))
            }
            _ => Err(ManifestFault::UnexpectedObjectStart.into()),
        }
    }

    fn accept_list_end(&mut self) -> Result<(), ManifestError> {
        self.expected = match self.expected {
            Expected::File(Next::EntryOrEnd | Next::End) => Expected::WalRanges,
            Expected::WalRange(Next::EntryOrEnd | Next::End) => Expected::Checksum,
            _ => return Err(ManifestFault::UnexpectedArrayEnd.into()),
        };
        Ok(())
    }

    /// Takes the last line, which is not part of what it is the checksum of.
    fn check(&mut self, key: &str, value: &Scalar<'_>) -> Result<(), ManifestError> {
        let (Scalar::Text(text), "Manifest-Checksum") = (value, key) else {
            return Err(self.unexpected_field().into());
        };
        let expected = decode_hex(text)
            .filter(|bytes| bytes.len() == Sha256::output_size())
            .ok_or_else(|| ManifestError::InvalidManifestChecksum(text.clone().into_owned()))?;
        if self.sha256.finalize_reset()[..] != expected {
            return Err(ManifestError::ManifestChecksumMismatch);
        }
        self.expected = Expected::Nothing;
        Ok(())
    }

    /// What to say of a field that does not belong where it stands.
    const fn unexpected_field(&self) -> ManifestFault {
        match self.expected {
            Expected::Version => ManifestFault::ExpectedVersion,
            Expected::File(_) | Expected::WalRange(_) => ManifestFault::UnexpectedObjectField,
            _ => ManifestFault::UnrecognizedTopLevelField,
        }
    }
}

/// The first line begins with the brace that the last one closes.
fn parse_first(line: &[u8]) -> Result<Line<'_>, LineError> {
    let line = line.trim_ascii_start();
    Line::parse(line.strip_prefix(b"{").ok_or(ManifestFault::ExpectedVersion)?)
}

#[cfg(test)]
mod tests;

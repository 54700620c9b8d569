//! Makes one compressed file out of one raw file.
//!
//! ```text
//! X              X.gz.tmp (empty)      what is to be done is marked
//! X              X.gz.tmp              written, synced, and decoded again: it holds what X holds
//! X              X.gz                  renamed, and the directory synced
//!                X.gz
//! ```
//!
//! At every instant the segment is there as a whole, raw or compressed, under the name of a complete one. When
//! something goes wrong the raw file stays, and so does the mark. A partial segment goes the same way from `X.partial`
//! to `X.gz.partial`.

use std::sync::Arc;

use super::decode::decode;
use crate::compress::{CompressError, CompressionSpec, Decoder, Encoder, Method};
use crate::storage::{Access, Directory, InputFile, OutputFile, StorageError, SyncPolicy, publish_durably};
use crate::types::WalFileName;

/// How much of a raw file is read at once.
const READ: usize = 256 << 10;

/// How files are compressed, and where.
#[derive(Debug)]
pub(super) struct Compression {
    pub(super) directory: Arc<Directory>,
    pub(super) spec: CompressionSpec,
    pub(super) access: Access,
    pub(super) policy: SyncPolicy,
}

/// What became of a raw file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The compressed one has taken its place.
    Compressed,
    /// Somebody has taken it away, as programs that archive from the directory do.
    TakenAway,
}

/// Why a file was not compressed although nothing has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("file \"{file}\" has {size} bytes, should be {expected}")]
    Size { file: String, size: u64, expected: u64 },
    #[error("file \"{0}\" exists already and holds another segment")]
    Occupied(String),
    #[error("file \"{file}\" does not hold what was compressed into it: {reason}")]
    Unfaithful { file: String, reason: String },
    #[error("it was given up")]
    GivenUp,
}

impl From<Refusal> for StorageError {
    fn from(refusal: Refusal) -> Self {
        Self::Other(Box::new(refusal))
    }
}

/// The files of one segment.
struct Names {
    raw: String,
    temporary: String,
    compressed: String,
}

impl Names {
    fn of_complete(segment: WalFileName, method: Method) -> Self {
        let suffix = method.suffix();
        Self {
            raw: segment.to_string(),
            temporary: format!("{segment}{suffix}.tmp"),
            compressed: format!("{segment}{suffix}"),
        }
    }

    fn of_partial(segment: WalFileName, method: Method) -> Self {
        Self {
            raw: format!("{segment}.partial"),
            compressed: format!("{segment}{}.partial", method.suffix()),
            ..Self::of_complete(segment, method)
        }
    }
}

/// What a compressed file holds, compared with a raw one.
enum Likeness {
    Same,
    /// As many bytes, but others.
    Different,
    /// Not as many bytes, or none that can be decompressed to the end.
    Invalid(String),
}

impl Compression {
    /// Leaves the mark that the segment is to be compressed.
    pub(super) fn mark(&self, segment: WalFileName) -> Result<(), StorageError> {
        let name = Names::of_complete(segment, self.spec.method).temporary;
        OutputFile::create_or_empty(&self.directory, &name, self.access)?.close()
    }

    /// Takes the mark away.
    pub(super) fn unmark(&self, segment: WalFileName) -> Result<(), StorageError> {
        let name = Names::of_complete(segment, self.spec.method).temporary;
        self.directory.remove_file(&name)
    }

    /// Puts the compressed form of a complete segment in the place of the raw one. On an error the raw one stays, and
    /// the mark with it if a later run may do better.
    ///
    /// Gives up soon when `given_up` says so. Before a name changes `may_change` is asked, and what it gives is kept
    /// until that is done; with nothing it is given up, too.
    pub(super) fn compress<T>(
        &self,
        segment: WalFileName,
        given_up: &dyn Fn() -> bool,
        may_change: impl Fn() -> Option<T>,
    ) -> Result<Outcome, StorageError> {
        let outcome = self.try_compress(segment, given_up, may_change);
        let keeps_mark = outcome.as_ref().is_err_and(|error| !is_refused(error));
        // A new file: one that could not be synced is never used again.
        let tidied_up =
            self.unmark(segment).and_then(|()| if keeps_mark { self.mark(segment) } else { Ok(()) });
        let outcome = outcome?;
        tidied_up?;
        Ok(outcome)
    }

    fn try_compress<T>(
        &self,
        segment: WalFileName,
        given_up: &dyn Fn() -> bool,
        may_change: impl Fn() -> Option<T>,
    ) -> Result<Outcome, StorageError> {
        let names = Names::of_complete(segment, self.spec.method);
        let Some(file) = InputFile::find(&self.directory, &names.raw)? else {
            return Ok(Outcome::TakenAway);
        };
        let raw = Source { file, name: &names.raw, length: segment.size().as_u64(), given_up };
        raw.check_size()?;
        if let Some(compressed) = InputFile::find(&self.directory, &names.compressed)? {
            match self.compare(&raw, &names.compressed)? {
                Likeness::Same => {
                    compressed.sync(self.policy)?;
                    self.directory.sync(self.policy)?;
                    let _changing = may_change().ok_or(Refusal::GivenUp)?;
                    self.directory.remove_file(&names.raw)?;
                    return Ok(Outcome::Compressed);
                }
                Likeness::Different => return Err(Refusal::Occupied(names.compressed).into()),
                Likeness::Invalid(_) => {}
            }
        }
        self.prepare(&raw, &names)?;
        let _changing = may_change().ok_or(Refusal::GivenUp)?;
        if !self.directory.contains(&names.raw)? {
            return Ok(Outcome::TakenAway);
        }
        self.publish(&names)?;
        Ok(Outcome::Compressed)
    }

    /// Puts the compressed form of the first `length` bytes of a partial segment in its place. On an error the raw
    /// one stays. Gives up soon when `given_up` says so.
    pub(super) fn compress_partial(
        &self,
        segment: WalFileName,
        length: u64,
        given_up: &dyn Fn() -> bool,
    ) -> Result<(), StorageError> {
        let names = Names::of_partial(segment, self.spec.method);
        let file = InputFile::open(&self.directory, &names.raw)?;
        let raw = Source { file, name: &names.raw, length, given_up };
        self.prepare(&raw, &names).and_then(|()| self.publish(&names)).inspect_err(|_| {
            // The failure that is reported matters more than one to tidy up.
            let _ = self.directory.remove_file(&names.temporary);
        })
    }

    /// Writes the temporary file and makes sure of it.
    fn prepare(&self, raw: &Source<'_>, names: &Names) -> Result<(), StorageError> {
        self.write(raw, names)?;
        let reason = match self.compare(raw, &names.temporary)? {
            Likeness::Same => return Ok(()),
            Likeness::Different => "other bytes".to_owned(),
            Likeness::Invalid(reason) => reason,
        };
        Err(Refusal::Unfaithful { file: names.temporary.clone(), reason }.into())
    }

    /// Gives the temporary file its name, durably, and only then takes the raw one away.
    fn publish(&self, names: &Names) -> Result<(), StorageError> {
        publish_durably(&self.directory, &names.temporary, &names.compressed, self.policy)?;
        self.directory.remove_file(&names.raw)
    }

    /// Writes and syncs the temporary file.
    fn write(&self, raw: &Source<'_>, names: &Names) -> Result<(), StorageError> {
        let mut encoder = Encoder::new(&self.spec).map_err(failed)?;
        let mut file = OutputFile::create_or_empty(&self.directory, &names.temporary, self.access)?;
        let mut buffer = vec![0; READ];
        let mut compressed = Vec::new();
        let mut offset = 0;
        while offset < raw.length {
            let piece = raw.read(&mut buffer, offset)?;
            encoder.push(piece, &mut compressed).map_err(failed)?;
            offset += piece.len() as u64;
            file.append(&compressed)?;
            file.begin_writeback(self.policy);
            compressed.clear();
        }
        encoder.finish(&mut compressed).map_err(failed)?;
        file.append(&compressed)?;
        file.sync_content(self.policy.for_single_files())?;
        file.close()
    }

    /// Compares what a compressed file holds with what it should.
    fn compare(&self, raw: &Source<'_>, compressed: &str) -> Result<Likeness, StorageError> {
        let mut buffer = vec![0; Decoder::PIECE];
        let (mut offset, mut is_same) = (0, true);
        let mut compare_piece = |piece: &[u8]| {
            let expected = raw.read(&mut buffer[..piece.len()], offset)?;
            is_same = is_same && expected == piece;
            offset += piece.len() as u64;
            Ok(())
        };
        let decoded = decode(&self.directory, compressed, self.spec.method, raw.length, &mut compare_piece)?;
        Ok(match decoded.error {
            Some(error) => Likeness::Invalid(error.to_string()),
            None if decoded.length < raw.length => Likeness::Invalid(format!("{} bytes", decoded.length)),
            None if is_same => Likeness::Same,
            None => Likeness::Different,
        })
    }
}

/// The raw file that is compressed, as far as it counts.
struct Source<'a> {
    file: InputFile,
    name: &'a str,
    /// How many bytes of it count.
    length: u64,
    given_up: &'a dyn Fn() -> bool,
}

impl Source<'_> {
    /// Checks that all of the file counts.
    fn check_size(&self) -> Result<(), StorageError> {
        match self.file.length()? {
            size if size == self.length => Ok(()),
            size => Err(self.wrong_size(size)),
        }
    }

    /// As many bytes from there on as the buffer takes, or as count.
    fn read<'b>(&self, buffer: &'b mut [u8], offset: u64) -> Result<&'b [u8], StorageError> {
        if (self.given_up)() {
            return Err(Refusal::GivenUp.into());
        }
        let wanted = buffer.len().min(usize::try_from(self.length - offset).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..wanted], offset)?;
        if count < wanted {
            return Err(self.wrong_size(offset + count as u64));
        }
        Ok(&buffer[..count])
    }

    fn wrong_size(&self, size: u64) -> StorageError {
        Refusal::Size { file: self.name.to_owned(), size, expected: self.length }.into()
    }
}

/// Whether it is no use to try again.
pub(super) fn is_refused(error: &StorageError) -> bool {
    let StorageError::Other(reason) = error else { return false };
    matches!(reason.downcast_ref(), Some(Refusal::Size { .. } | Refusal::Occupied(_)))
}

fn failed(error: CompressError) -> StorageError {
    StorageError::Other(Box::new(error))
}

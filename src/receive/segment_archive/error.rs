//! What goes wrong with a segment, in the words of PostgreSQL's program.

use crate::storage::StorageError;
use crate::types::OsError;

/// Why a segment cannot be written or kept, as the source of a [`StorageError::Other`].
#[derive(Debug, thiserror::Error)]
pub(super) enum SegmentError {
    /// There is no file to write to, or no space for it (RW-150).
    #[error("could not open write-ahead log file \"{file}\"")]
    Open { file: String, source: OsError },
    /// Bytes could not be written (RW-154, RW-155).
    #[error("could not write {length} bytes to WAL file \"{file}\"")]
    Write { file: String, length: usize, source: OsError },
    /// There is a good segment of that name already, with other content (I-4).
    #[error("WAL segment \"{file}\" exists already and differs from what was received")]
    Conflict { file: String },
}

impl SegmentError {
    /// The failure of opening a segment's file, or of taking space for it.
    pub(super) fn open(file: &str, error: StorageError) -> StorageError {
        match error {
            StorageError::CreateFile { source, .. }
            | StorageError::OpenFile { source, .. }
            | StorageError::WriteFile { source, .. } => Self::Open { file: file.to_owned(), source }.into(),
            other => other,
        }
    }

    /// The failure of writing to a segment's file.
    pub(super) fn write(file: &str, length: usize, error: StorageError) -> StorageError {
        match error {
            StorageError::WriteFile { source, .. } => {
                Self::Write { file: file.to_owned(), length, source }.into()
            }
            other => other,
        }
    }
}

impl From<SegmentError> for StorageError {
    fn from(error: SegmentError) -> Self {
        Self::Other(Box::new(error))
    }
}

//! Why a manifest is not taken, in the words of `pg_verifybackup`.

use super::{JsonError, UnrecognizedChecksumAlgorithm};

/// A manifest that is not taken, and so nothing that it says (BB-232, BB-233).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The manifest does not have the parts that it must have.
    #[error("could not parse backup manifest: {0}")]
    Parse(ManifestFault),
    /// The manifest is not JSON.
    #[error("could not parse backup manifest: {0}")]
    Json(JsonError),
    /// A file has a checksum of a kind that this client does not know.
    #[error(transparent)]
    ChecksumAlgorithm(#[from] UnrecognizedChecksumAlgorithm),
    /// A file's checksum is not made of pairs of hexadecimal digits.
    #[error("invalid checksum for file \"{path}\": \"{checksum}\"")]
    InvalidChecksum {
        /// The file.
        path: String,
        /// The text in place of the checksum.
        checksum: String,
    },
    /// A file's checksum is not as long as its algorithm's.
    #[error("file \"{path}\" has checksum of length {actual}, but expected {expected}")]
    ChecksumLength {
        /// The file.
        path: String,
        /// The length in the manifest, in bytes.
        actual: usize,
        /// The length that the algorithm gives, in bytes.
        expected: usize,
    },
    /// The manifest's own checksum is not made of 64 hexadecimal digits.
    #[error("invalid manifest checksum: \"{0}\"")]
    InvalidManifestChecksum(String),
    /// The manifest's own checksum is not that of its bytes.
    #[error("manifest checksum mismatch")]
    ManifestChecksumMismatch,
}

/// What a manifest lacks or has in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant says in its message what it is")]
pub enum ManifestFault {
    #[error("manifest ended unexpectedly")]
    EndedUnexpectedly,
    #[error("expected at least 2 lines")]
    TooFewLines,
    #[error("last line not newline-terminated")]
    LastLineNotTerminated,
    #[error("line is longer than {} bytes", super::MAX_TOKEN_LEN)]
    LineTooLong,
    #[error("files are not listed one on a line")]
    SeveralOnALine,
    #[error("unexpected object start")]
    UnexpectedObjectStart,
    #[error("unexpected object end")]
    UnexpectedObjectEnd,
    #[error("unexpected object field")]
    UnexpectedObjectField,
    #[error("unexpected array start")]
    UnexpectedArrayStart,
    #[error("unexpected array end")]
    UnexpectedArrayEnd,
    #[error("unexpected scalar")]
    UnexpectedScalar,
    #[error("expected version indicator")]
    ExpectedVersion,
    #[error("manifest version not an integer")]
    VersionNotInteger,
    #[error("unexpected manifest version")]
    UnexpectedVersion,
    #[error("missing system identifier")]
    MissingSystemIdentifier,
    #[error("system identifier in manifest not an integer")]
    SystemIdentifierNotInteger,
    #[error("unrecognized top-level field")]
    UnrecognizedTopLevelField,
    #[error("unexpected file field")]
    UnexpectedFileField,
    #[error("missing path name")]
    MissingPath,
    #[error("both path name and encoded path name")]
    BothPaths,
    #[error("could not decode file name")]
    UndecodablePath,
    #[error("missing size")]
    MissingSize,
    #[error("file size is not an integer")]
    SizeNotInteger,
    #[error("checksum without algorithm")]
    ChecksumWithoutAlgorithm,
    #[error("unexpected WAL range field")]
    UnexpectedWalRangeField,
    #[error("missing timeline")]
    MissingTimeline,
    #[error("timeline is not an integer")]
    TimelineNotInteger,
    #[error("missing start LSN")]
    MissingStartLsn,
    #[error("could not parse start LSN")]
    UnreadableStartLsn,
    #[error("missing end LSN")]
    MissingEndLsn,
    #[error("could not parse end LSN")]
    UnreadableEndLsn,
}

impl From<ManifestFault> for ManifestError {
    fn from(fault: ManifestFault) -> Self {
        Self::Parse(fault)
    }
}

impl From<JsonError> for ManifestError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

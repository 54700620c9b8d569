//! What is wrong with a log, and where.

use crate::types::{Lsn, SystemId};

/// A log that is not what the server wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// A page that does not belong where it is.
    #[error("invalid WAL page at {at}: {reason}")]
    Page {
        /// Where the page begins.
        at: Lsn,
        /// What is wrong with it.
        reason: PageFault,
    },
    /// A record that is damaged.
    #[error("invalid WAL record at {at}: {reason}")]
    Record {
        /// Where the record begins.
        at: Lsn,
        /// What is wrong with it.
        reason: RecordFault,
    },
}

/// A page that no server has written there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageFault {
    /// A magic number of no known version, or of another version than the pages before.
    #[error("unexpected magic number {0:04X}")]
    Magic(u16),
    /// Flags that do not exist, or that do not go with the place.
    #[error("unexpected info bits {0:04X}")]
    InfoBits(u16),
    /// The page was written for another place.
    #[error("unexpected page address {0}")]
    Address(Lsn),
    /// The WAL of another cluster.
    #[error("WAL is from a different database system, whose identifier is {0}")]
    SystemId(SystemId),
    /// Segments of another size.
    #[error("unexpected segment size {0}")]
    SegmentSize(u32),
    /// Pages of no possible size, or of another size than before.
    #[error("unexpected page size {0}")]
    PageSize(u32),
    /// A timeline that is newer than the one that is read, or older than that of a page before.
    #[error("unexpected timeline {0}")]
    Timeline(u32),
    /// The record before has not ended, and the page does not continue it.
    #[error("the record that began at {0} is not continued")]
    NotContinued(Lsn),
    /// The page continues a record and should not.
    #[error("there is no record to be continued")]
    NothingToContinue,
    /// The page and the record do not agree on how much of it is left.
    #[error("{found} bytes of a record are left, but {expected} are missing")]
    Continuation {
        /// What the page says.
        found: u32,
        /// What the record before says.
        expected: u32,
    },
}

/// A record that is not as a server wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// Shorter than the header that every record has.
    #[error("invalid record length, expected at least 24, got {0}")]
    Length(u32),
    /// Not where records begin.
    #[error("no record begins there")]
    Misaligned,
    /// The record does not follow the one before.
    #[error("record with incorrect prev-link {0}")]
    PreviousRecord(Lsn),
    /// The checksum does not go with the content.
    #[error("incorrect resource manager data checksum in record")]
    Checksum,
    /// Where the log has ended there is something again.
    #[error("data after the end of WAL")]
    AfterEnd,
}

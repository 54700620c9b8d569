//! The replication protocol as data: commands as text, payloads and results as typed values.
//!
//! What comes in is bytes that were framed elsewhere; what goes out is values and command texts.
//! Nothing here does I/O, reads a clock, or allocates by a length that the peer claims.
//! The grammar is that of "Streaming Replication Protocol" in the PostgreSQL manual.

mod archive_message;
mod command;
mod result_set;
mod slot;
mod version;
mod wal_message;

pub use archive_message::{ArchiveMessage, ArchiveMessageError, ArchiveName};
pub(crate) use command::select_slot;
pub use command::{
    BaseBackup, Checkpoint, CompressionRequest, CreateSlot, ManifestRequest, PhysicalStart, ServerTarget,
    drop_slot, identify_system, read_slot, show, timeline_history, upload_manifest,
};
pub use result_set::{
    EndPoint, NextTimeline, ResultSet, ResultSetError, StartPoint, SystemIdentity, Tablespace,
    TimelineHistoryFile,
};
pub(crate) use slot::RecordedSlot;
pub use slot::SlotState;
pub use version::{ServerFeatures, UnsupportedServer};
pub use wal_message::{StandbyStatus, WalMessage, WalMessageError};

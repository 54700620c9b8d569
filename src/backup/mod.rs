//! One base backup from start to finish.
//!
//! ```text
//! reference manifest ──► UPLOAD_MANIFEST                                (before an incremental backup)
//! BASE_BACKUP ──► intake ──► destination
//!                 │ cut into members, hash, compare with the manifest
//!                 └ put recovery settings into the main archive
//! START_REPLICATION ──► receive ──► the destination's WAL archive      (beside it, on threads of its own)
//! ```
//!
//! What comes in is options and a [`Destination`]; what goes out is a [`BackupReport`] of a backup that is
//! complete, verified and durable, or a [`BackupError`] and a destination as it was before. Nothing is
//! printed: whoever wants to know what happens is an [`Observer`].

mod accompanying_wal;
mod archive_format;
mod archive_rules;
mod cleanup;
mod compressor;
mod destination;
mod error;
pub mod fetched_wal;
#[cfg(fuzzing)]
pub mod fuzzing;
mod intake;
mod location;
pub mod member_injection;
mod nameless_files;
mod observer;
mod open_archive;
mod options;
mod outlet;
mod own_slot;
mod recovery_conf;
pub mod recovery_injection;
mod recovery_options;
mod reference_manifest;
mod run;
mod server_support;
mod space;
mod statements;
mod transfer;
pub mod verify_in_flight;

pub use cleanup::CleanUpPolicy;
pub use destination::{
    Destination, DirectoryDestination, Form, NoDestination, Preparation, TarFilesDestination,
    TarStreamDestination, Traces,
};
pub use error::BackupError;
pub use location::{ArchiveLocation, InvalidLocation};
pub use observer::{CleanUp, DirectoryRole, Event, Observer, Progress};
pub use options::{BackupOptions, Compression, ReceiveSlot, SlotOrigin, TablespaceMapping, WalMethod};
pub use own_slot::SlotStays;
pub use recovery_conf::InvalidRecovery;
pub use recovery_options::{RecoveryOptions, RecoveryRole, RecoveryTarget, RecoveryTargetAction};
pub use run::{BackupReport, run};
pub use space::LittleSpace;

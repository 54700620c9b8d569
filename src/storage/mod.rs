//! Where bytes come to rest, by the promise that each function keeps.
//!
//! What comes in is bytes and names relative to an open directory; what goes out is files, and
//! [`Durable`] values for what survives a power failure. Nothing here knows about PostgreSQL, and no
//! path is made by joining strings except for messages.

mod directory;
mod durable;
mod error;

pub use directory::{Access, Directory};
pub use durable::{Durable, OutputFile, SyncPolicy, replace_durably, sync_directory};
pub use error::StorageError;

//! Where bytes come to rest, by the promise that each function keeps.
//!
//! What comes in is bytes and names relative to an open directory; what goes out is files, and
//! [`Durable`] values for what survives a power failure. Nothing here knows about PostgreSQL, and no
//! path is made by joining strings except for messages.

mod background_sync;
mod claimed_directory;
mod commit_file;
mod directory;
mod directory_content;
mod directory_lock;
mod durable;
mod error;
mod free_space;
mod input_file;
mod spool;
mod sync_policy;
mod tree;

pub use background_sync::BackgroundSync;
pub use claimed_directory::ClaimedDirectory;
pub(crate) use commit_file::CommitFile;
pub use directory::{Access, Directory};
pub use directory_lock::DirectoryLock;
pub use durable::{
    Durable, OutputFile, publish_durably, publish_durably_or_not, publish_new_durably, replace_durably,
    sync_existing,
};
pub use error::StorageError;
pub use free_space::FreeSpace;
pub use input_file::InputFile;
pub use spool::Spool;
pub use sync_policy::SyncPolicy;
pub use tree::Tree;

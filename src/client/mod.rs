//! The replication commands over one connection, typed.
//!
//! A [`ReplicationClient`] is one session with a server in physical replication mode. Small commands are
//! plain calls; `BASE_BACKUP` and `START_REPLICATION` turn the client into a stream that borrows it, so that
//! no other command can be sent until the stream is finished.
//!
//! ```no_run
//! use pgsiphon::client::{BackupEvent, ReplicationClient};
//! use pgsiphon::protocol::BaseBackup;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut client = ReplicationClient::connect(&"host=db1 user=replicator".parse()?).await?;
//! println!("{:?}", client.identify_system().await?);
//!
//! let options = BaseBackup { label: "nightly".into(), ..BaseBackup::default() };
//! let mut backup = client.base_backup(&options).await?;
//! while let Some(event) = backup.next().await? {
//!     if let BackupEvent::Archive { name, .. } = event {
//!         println!("receiving {name}");
//!     }
//! }
//! println!("the backup ends at {}", backup.finish().await?.lsn);
//! # Ok(())
//! # }
//! ```

mod base_backup;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod physical_stream;
mod query_client;
mod replication_client;
mod upload_manifest;

pub use base_backup::{BackupEvent, BackupStream};
pub use error::ClientError;
pub(crate) use physical_stream::StatusSender;
pub use physical_stream::{PhysicalStream, StartReplication};
pub(crate) use query_client::QueryClient;
pub use replication_client::ReplicationClient;
pub use upload_manifest::ManifestUpload;

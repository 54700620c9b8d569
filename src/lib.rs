//! A native client for PostgreSQL's physical replication protocol: base backups and WAL, without libpq and
//! without PostgreSQL's client programs.
//!
//! The crate is the library below the programs of the same name. It has two floors for its users:
//!
//! - [`ReplicationClient`] is the protocol, typed: one method for each replication command, and streams
//!   for `BASE_BACKUP` and `START_REPLICATION`.
//! - [`backup::run`] and [`receive::stream`] are the pipelines that the programs run: a backup into a
//!   [`backup::Destination`], WAL into a [`receive::WalArchive`], verified and durable.
//!
//! Data goes one way, from what the user asked to what lies on disk, and each module imports only from those
//! after it and from [`types`]:
//!
//! ```text
//! cli ──► backup ──► receive ──► client ──► connection ──► conninfo
//!            │          │           │            │
//!            │          │           └────────────┴──► protocol
//!            │          ├──► wal
//!            ├──► tar, manifest, compress
//!            └──────────┴──► storage
//! ```
//!
//! [`verify`] stands beside `backup`: it compares a backup on disk with its manifest. `protocol`, `tar`, `manifest`,
//! `wal`, `compress` and `types` do no I/O. Nothing but `cli` prints.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use pgsiphon::backup::{self, BackupOptions, CleanUpPolicy, DirectoryDestination};
//! use pgsiphon::conninfo::Config;
//! use pgsiphon::storage::SyncPolicy;
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config: Config = "host=db1 user=replicator".parse()?;
//! let destination =
//!     DirectoryDestination::new("/srv/backup/monday", SyncPolicy::Durable, CleanUpPolicy::Undo);
//! let (report, _) = backup::run(
//!     &config,
//!     &BackupOptions::default(),
//!     destination,
//!     Arc::new(()),
//!     CancellationToken::new(),
//! )
//! .await?;
//! println!("consistent from {} on", report.end.lsn);
//! # Ok(())
//! # }
//! ```

pub mod backup;
#[cfg(feature = "cli")]
pub mod cli;
pub mod client;
pub mod compress;
pub mod connection;
pub mod conninfo;
pub mod manifest;
pub mod protocol;
pub mod receive;
pub mod storage;
pub mod tar;
pub mod types;
pub mod verify;
pub mod wal;

pub use client::ReplicationClient;
pub use conninfo::Config;

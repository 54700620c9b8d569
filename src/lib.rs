//! A native client for PostgreSQL's physical replication protocol.

pub mod backup;
#[cfg(feature = "cli")]
pub mod cli;
pub mod client;
pub mod connection;
pub mod conninfo;
pub mod manifest;
pub mod protocol;
pub mod receive;
pub mod storage;
pub mod tar;
pub mod types;
pub mod wal;

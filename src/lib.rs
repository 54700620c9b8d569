//! A native client for PostgreSQL's physical replication protocol.

pub mod protocol;
pub mod storage;
pub mod types;
pub mod wal;

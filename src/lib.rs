//! A native client for PostgreSQL's physical replication protocol.

pub mod protocol;
pub mod types;

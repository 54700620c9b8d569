//! A native client for PostgreSQL's physical replication protocol.

pub mod conninfo;
pub mod types;

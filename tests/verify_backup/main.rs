//! `pg_verifybackup` under our name for it: everything that can be wrong with a backup is found and told in the
//! words of the real program of PostgreSQL 18, which judges the same directory beside it.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "../support/mod.rs"]
mod support;

mod archives;
mod control_file;
mod judges;
mod manifests;
mod options;
mod plain;
mod servers;
mod specimen;
mod wal;

//! Incremental backups combine, with the real `pg_combinebackup`, into clusters that are what the server was.

#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

#[path = "../support/mod.rs"]
mod support;

mod broken_uploads;
mod chain;
mod chains;
mod files;
mod nodes;
mod refusals;
mod upload;
mod visibility_maps;

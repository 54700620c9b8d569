//! Backups that are taken through the library, with options that have no place on a command line.
//!
//! The tests that need it take this file in by its path, because most need no library.

// Every test file compiles this module for itself and uses a part of it.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::unwrap_used, reason = "what is missing fails the test")]

use std::path::Path;
use std::sync::Arc;

use pgsiphon::backup::{
    self, BackupError, BackupOptions, BackupReport, CleanUpPolicy, Destination, DirectoryDestination,
    TablespaceMapping, TarFilesDestination, WalMethod,
};
use pgsiphon::conninfo::{Config, Settings};
use pgsiphon::protocol::Checkpoint;
use pgsiphon::storage::SyncPolicy;
use tokio_util::sync::CancellationToken;

/// A backup that does not wait for the checkpoint.
pub fn options(wal: WalMethod) -> BackupOptions {
    BackupOptions { wal, checkpoint: Checkpoint::Fast, ..BackupOptions::default() }
}

/// What a connection string says, and nothing else.
pub fn settings(conninfo: &str) -> Settings {
    Settings::builder().connection_string(conninfo).build().unwrap()
}

pub fn into_directory(
    conninfo: &str,
    options: &BackupOptions,
    directory: &Path,
    mappings: Vec<TablespaceMapping>,
) -> Result<BackupReport, BackupError> {
    let destination = DirectoryDestination::new(directory, SyncPolicy::Never, CleanUpPolicy::Undo)
        .with_tablespace_mappings(mappings);
    into(conninfo, options, destination)
}

pub fn into_archives(
    conninfo: &str,
    options: &BackupOptions,
    directory: &Path,
) -> Result<BackupReport, BackupError> {
    into(conninfo, options, TarFilesDestination::new(directory, SyncPolicy::Never, CleanUpPolicy::Undo))
}

fn into(
    conninfo: &str,
    options: &BackupOptions,
    destination: impl Destination + 'static,
) -> Result<BackupReport, BackupError> {
    let config = Config::from_settings(&settings(conninfo)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let run = backup::run(&config, options, destination, Arc::new(()), CancellationToken::new());
    runtime.block_on(run).map(|(report, _)| report)
}

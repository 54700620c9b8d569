//! What a command line of `pg_basebackup` means.
//!
//! In: what was typed. Out: a [`Plan`], or the first of the combinations that make no sense, in the order in which
//! people know the refusals (BB-031 … BB-050). Nothing outside is touched.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::basebackup_arguments::{self, Typed};
use super::claimed_version::ClaimedVersion;
use super::compression::client_compression;
use super::connection_arguments::ConnectionArguments;
use super::getopt::{Refusal, refuse_if};
use super::values::{Format, SyncMethod, WalMethod};
use crate::backup::{self, BackupOptions, CleanUpPolicy, Compression, ReceiveSlot, TablespaceMapping};
use crate::compress::{CompressionArgument, Grammar, Location};
use crate::protocol::{CompressionRequest, ManifestRequest};
use crate::storage::SyncPolicy;

const DEFAULT_STATUS_INTERVAL: u32 = 10;

/// What the command line means.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) connection: ConnectionArguments,
    pub(super) output: Output,
    /// What the backup shall be; recovery settings still lack the primary.
    pub(super) options: BackupOptions,
    /// `-R`
    pub(super) standby: bool,
    pub(super) sync_policy: SyncPolicy,
    pub(super) clean_up: CleanUpPolicy,
    /// How often a backup that failed is taken again.
    pub(super) retries: u32,
    pub(super) progress: bool,
    pub(super) verbose: bool,
}

/// Where the backup goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Directory {
        path: PathBuf,
        wal_directory: Option<PathBuf>,
        tablespace_mappings: Vec<TablespaceMapping>,
    },
    TarFiles(PathBuf),
    Stdout,
    /// The server keeps it.
    Target,
}

/// Reads a command line; the first argument is the program's name.
pub(super) fn parse(
    line: Vec<OsString>,
    claim: ClaimedVersion,
    operands_end_options: bool,
) -> Result<Plan, Refusal> {
    plan(basebackup_arguments::read(line, claim, operands_end_options)?, claim)
}

fn plan(typed: Typed, claim: ClaimedVersion) -> Result<Plan, Refusal> {
    check_place(&typed)?;
    let compression = compression(&typed, claim)?;
    check_wal(&typed)?;
    check_reports(&typed)?;
    let retries = typed.patience.retries.unwrap_or(0);
    refuse_if(typed.no_clean && retries > 0, "--no-clean and --retries are incompatible options")?;
    let (output, target) = (output(&typed), typed.target());
    let recovery = typed.recovery.options(typed.write_recovery_conf)?;
    let wal = match typed.wal_method.unwrap_or(WalMethod::Stream) {
        WalMethod::None => backup::WalMethod::None,
        WalMethod::Fetch => backup::WalMethod::Fetch,
        WalMethod::Stream => {
            let slot = slot(typed.slot, typed.create_slot, typed.no_slot);
            let interval = typed.status_interval.unwrap_or(DEFAULT_STATUS_INTERVAL);
            let status_interval = (interval > 0).then(|| Duration::from_secs(interval.into()));
            backup::WalMethod::Stream { slot, status_interval }
        }
    };
    let defaults = BackupOptions::default();
    let options = BackupOptions {
        label: typed.label.unwrap_or(defaults.label),
        checkpoint: typed.checkpoint.unwrap_or_default(),
        wal,
        max_rate: typed.max_rate,
        estimate_size: !typed.no_estimate_size,
        verify_page_checksums: !typed.no_verify_checksums,
        manifest: match (typed.no_manifest, typed.manifest_force_encode) {
            (true, _) => ManifestRequest::No,
            (false, true) => ManifestRequest::ForceEncode,
            (false, false) => ManifestRequest::Yes,
        },
        manifest_checksums: typed.manifest_checksums,
        compression,
        target,
        incremental: typed.incremental,
        recovery,
        receive_timeout: typed
            .patience
            .receive_timeout
            .filter(|&timeout| timeout > 0)
            .map(|timeout| Duration::from_secs(timeout.into())),
    };
    Ok(Plan {
        connection: typed.connection,
        output,
        options,
        standby: typed.write_recovery_conf,
        sync_policy: match (typed.no_sync, typed.sync_method.unwrap_or_default()) {
            (true, _) => SyncPolicy::Never,
            (false, SyncMethod::Fsync) => SyncPolicy::Durable,
            (false, SyncMethod::Syncfs) => SyncPolicy::FileSystem,
        },
        clean_up: match (typed.no_clean, retries) {
            (true, _) => CleanUpPolicy::Keep,
            (false, 0) => CleanUpPolicy::Undo,
            (false, _) => CleanUpPolicy::UndoEverything,
        },
        retries,
        progress: typed.progress,
        verbose: typed.verbose,
    })
}

fn slot(name: Option<String>, create: bool, none: bool) -> ReceiveSlot {
    match (name, create) {
        (Some(name), true) => ReceiveSlot::Create(name),
        (Some(name), false) => ReceiveSlot::Existing(name),
        (None, _) if none => ReceiveSlot::None,
        (None, _) => ReceiveSlot::Temporary,
    }
}

fn output(typed: &Typed) -> Output {
    let Some(path) = typed.directory.as_deref().filter(|_| typed.target().is_none()) else {
        return Output::Target;
    };
    match typed.format.unwrap_or(Format::Plain) {
        Format::Plain => Output::Directory {
            path: without_noise(path),
            wal_directory: typed.wal_directory.as_deref().map(without_noise),
            tablespace_mappings: typed.tablespace_mappings.clone(),
        },
        Format::Tar if goes_to_stdout(typed) => Output::Stdout,
        Format::Tar => Output::TarFiles(without_noise(path)),
    }
}

fn goes_to_stdout(typed: &Typed) -> bool {
    typed.format == Some(Format::Tar)
        && typed.directory.as_deref().is_some_and(|path| path.as_os_str() == "-")
}

/// The same path without slashes at the end, doubled slashes and `.` parts: it is shown, and made, part by part.
fn without_noise(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Combinations 2 to 4: where the backup goes.
fn check_place(typed: &Typed) -> Result<(), Refusal> {
    let has_target = typed.target().is_some();
    refuse_if(has_target && typed.format.is_some(), "cannot specify both format and backup target")?;
    refuse_if(!has_target && typed.directory.is_none(), "must specify output directory or backup target")?;
    refuse_if(
        has_target && typed.directory.is_some(),
        "cannot specify both output directory and backup target",
    )
}

/// Who compresses, and how (BB-025); combinations 5 to 7.
fn compression(typed: &Typed, claim: ClaimedVersion) -> Result<Compression, Refusal> {
    let grammar = if claim.major() == 15 { Grammar::Fifteen } else { Grammar::SinceSixteen };
    let Some(argument) = typed.compress() else { return Ok(Compression::None) };
    let CompressionArgument { location, method, detail } = CompressionArgument::parse(argument, grammar);
    let has_target = typed.target().is_some();
    let default = if has_target { Location::Server } else { Location::Client };
    if location.unwrap_or(default) == Location::Server {
        return Ok(Compression::Server(CompressionRequest { method, detail }));
    }
    let spec = client_compression(&method, detail.as_deref(), claim)
        .map_err(|error| Refusal::Value(error.to_string()))?;
    refuse_if(has_target, "client-side compression is not possible when a backup target is specified")?;
    let is_plain = typed.format.unwrap_or(Format::Plain) == Format::Plain;
    refuse_if(is_plain && spec.is_some(), "only tar mode backups can be compressed")?;
    Ok(spec.map_or(Compression::None, Compression::Client))
}

/// Combinations 8 to 16: how WAL is included.
fn check_wal(typed: &Typed) -> Result<(), Refusal> {
    let streams = typed.wal_method.unwrap_or(WalMethod::Stream) == WalMethod::Stream;
    let has_target = typed.target().is_some();
    refuse_if(has_target && streams, "WAL cannot be streamed when a backup target is specified")?;
    refuse_if(goes_to_stdout(typed) && streams, "cannot stream write-ahead logs in tar mode to stdout")?;
    refuse_if(typed.slot.is_some() && !streams, "replication slots can only be used with WAL streaming")?;
    refuse_if(typed.no_slot && typed.slot.is_some(), "--no-slot cannot be used with slot name")?;
    // This covers a slot that shall be created and not be there, too.
    refuse_if(
        typed.create_slot && typed.slot.is_none(),
        "--create-slot needs a slot to be specified using --slot",
    )?;
    let Some(wal_directory) = &typed.wal_directory else { return Ok(()) };
    refuse_if(has_target, "WAL directory location cannot be specified along with a backup target")?;
    let is_tar = typed.format == Some(Format::Tar);
    refuse_if(is_tar, "WAL directory location can only be specified in plain mode")?;
    refuse_if(!wal_directory.is_absolute(), "WAL directory location must be an absolute path")
}

/// Combinations 17 to 19.
fn check_reports(typed: &Typed) -> Result<(), Refusal> {
    refuse_if(
        typed.progress && typed.no_estimate_size,
        "--progress and --no-estimate-size are incompatible options",
    )?;
    refuse_if(
        typed.no_manifest && typed.manifest_checksums.is_some(),
        "--no-manifest and --manifest-checksums are incompatible options",
    )?;
    refuse_if(
        typed.no_manifest && typed.manifest_force_encode,
        "--no-manifest and --manifest-force-encode are incompatible options",
    )
}

#[cfg(test)]
mod tests;

//! What was typed on the command line of `pg_basebackup`: each option in one place.
//!
//! In: the arguments. Out: the value of each option, judged by itself and in the order of the line (BB-007). What
//! they mean together is for [`basebackup_plan`](super::basebackup_plan) to say. Nothing outside is touched.

use std::ffi::OsString;
use std::path::PathBuf;

use super::claimed_version::ClaimedVersion;
use super::getopt::{Grammar, LONG_ONLY, OptionSpec, Refusal, refuse_operands};
use super::recovery_arguments::{self, RecoveryArguments};
use super::values::{self, Format, SyncMethod, WalMethod};
use crate::backup::TablespaceMapping;
use crate::protocol::{Checkpoint, ServerTarget};

/// What was typed.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(super) struct Typed {
    pub(super) directory: Option<PathBuf>,
    pub(super) format: Option<Format>,
    pub(super) incremental: Option<PathBuf>,
    pub(super) checkpoint: Checkpoint,
    pub(super) create_slot: bool,
    pub(super) max_rate: Option<u32>,
    pub(super) write_recovery_conf: bool,
    pub(super) slot: Option<String>,
    pub(super) target: Option<ServerTarget>,
    pub(super) tablespace_mappings: Vec<TablespaceMapping>,
    pub(super) wal_method: Option<WalMethod>,
    pub(super) compress: Option<Compress>,
    pub(super) label: Option<String>,
    pub(super) no_clean: bool,
    pub(super) no_sync: bool,
    pub(super) connection: ConnectionArguments,
    pub(super) status_interval: Option<u32>,
    pub(super) verbose: bool,
    pub(super) progress: bool,
    pub(super) wal_directory: Option<PathBuf>,
    pub(super) no_slot: bool,
    pub(super) no_verify_checksums: bool,
    pub(super) no_estimate_size: bool,
    pub(super) no_manifest: bool,
    pub(super) manifest_force_encode: bool,
    pub(super) manifest_checksums: Option<String>,
    pub(super) sync_method: SyncMethod,
    pub(super) recovery: RecoveryArguments,
}

/// `-z` and `-Z`, of which the last one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Compress {
    /// `-z`
    Gzip,
    /// `-Z` and its argument.
    Specified(String),
}

/// How to reach the server, as far as the command line says.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionArguments {
    pub(super) connection_string: Option<OsString>,
    pub(super) host: Option<OsString>,
    pub(super) port: Option<OsString>,
    pub(super) user: Option<OsString>,
    pub(super) prompt: PasswordPrompt,
}

/// When a password is asked for at the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PasswordPrompt {
    /// When the server demands one and none is known.
    #[default]
    OnDemand,
    /// Never.
    Never,
    /// Before the first attempt to connect.
    First,
}

/// Reads a command line; the first argument is the program's name.
pub(super) fn read(
    line: Vec<OsString>,
    claim: ClaimedVersion,
    operands_end_options: bool,
) -> Result<Typed, Refusal> {
    let mut typed = Typed::default();
    let grammar = Grammar {
        options: &OPTIONS,
        own_options: &recovery_arguments::OPTIONS,
        major: claim.major(),
        operands_end_options,
    };
    let operands = grammar.read(line, &mut typed)?;
    refuse_operands(&operands)?;
    Ok(typed)
}

/// In the order in which ambiguous ones are named.
const OPTIONS: [OptionSpec<Typed>; 35] = [
    OptionSpec::refused("help", "--help is understood as the first argument only"),
    OptionSpec::refused("version", "--version is understood as the first argument only"),
    OptionSpec::value(b'D', "pgdata", |typed, value| typed.directory = Some(value.into())),
    OptionSpec::judged(b'F', "format", |typed, value| {
        values::format(&value.to_string_lossy()).map(|judged| typed.format = Some(judged))
    }),
    OptionSpec::value(b'i', "incremental", |typed: &mut Typed, value| typed.incremental = Some(value.into()))
        .since(17),
    OptionSpec::judged(b'c', "checkpoint", |typed, value| {
        values::checkpoint(&value.to_string_lossy()).map(|judged| typed.checkpoint = judged)
    }),
    OptionSpec::flag(b'C', "create-slot", |typed| typed.create_slot = true),
    OptionSpec::judged(b'r', "max-rate", |typed, value| {
        values::max_rate(&value.to_string_lossy()).map(|judged| typed.max_rate = Some(judged))
    }),
    OptionSpec::flag(b'R', "write-recovery-conf", |typed| typed.write_recovery_conf = true),
    OptionSpec::judged(b'S', "slot", |typed, value| {
        values::text("-S/--slot", value).map(|judged| typed.slot = Some(judged))
    }),
    OptionSpec::judged(b't', "target", |typed, value| {
        values::text("-t/--target", value).map(|text| typed.target = values::target(&text))
    }),
    OptionSpec::judged(b'T', "tablespace-mapping", |typed, value| {
        values::tablespace_mapping(&value).map(|mapping| typed.tablespace_mappings.push(mapping))
    }),
    OptionSpec::judged(b'X', "wal-method", |typed, value| {
        values::wal_method(&value.to_string_lossy()).map(|judged| typed.wal_method = Some(judged))
    }),
    OptionSpec::flag(b'z', "gzip", |typed| typed.compress = Some(Compress::Gzip)),
    OptionSpec::value(b'Z', "compress", |typed, value| {
        // There is no method with a name of other bytes.
        typed.compress = Some(Compress::Specified(value.to_string_lossy().into_owned()));
    }),
    OptionSpec::judged(b'l', "label", |typed, value| {
        values::text("-l/--label", value).map(|judged| typed.label = Some(judged))
    }),
    OptionSpec::flag(b'n', "no-clean", |typed| typed.no_clean = true),
    OptionSpec::flag(b'N', "no-sync", |typed| typed.no_sync = true),
    OptionSpec::value(b'd', "dbname", |typed, value| typed.connection.connection_string = Some(value)),
    OptionSpec::value(b'h', "host", |typed, value| typed.connection.host = Some(value)),
    OptionSpec::value(b'p', "port", |typed, value| typed.connection.port = Some(value)),
    OptionSpec::value(b'U', "username", |typed, value| typed.connection.user = Some(value)),
    OptionSpec::flag(b'w', "no-password", |typed| typed.connection.prompt = PasswordPrompt::Never),
    OptionSpec::flag(b'W', "password", |typed| typed.connection.prompt = PasswordPrompt::First),
    OptionSpec::judged(b's', "status-interval", |typed, value| {
        values::status_interval(&value.to_string_lossy()).map(|judged| typed.status_interval = Some(judged))
    }),
    OptionSpec::flag(b'v', "verbose", |typed| typed.verbose = true),
    OptionSpec::flag(b'P', "progress", |typed| typed.progress = true),
    OptionSpec::value(LONG_ONLY, "waldir", |typed, value| typed.wal_directory = Some(value.into())),
    OptionSpec::flag(LONG_ONLY, "no-slot", |typed| typed.no_slot = true),
    OptionSpec::flag(LONG_ONLY, "no-verify-checksums", |typed| typed.no_verify_checksums = true),
    OptionSpec::flag(LONG_ONLY, "no-estimate-size", |typed| typed.no_estimate_size = true),
    OptionSpec::flag(LONG_ONLY, "no-manifest", |typed| typed.no_manifest = true),
    OptionSpec::flag(LONG_ONLY, "manifest-force-encode", |typed| typed.manifest_force_encode = true),
    OptionSpec::judged(LONG_ONLY, "manifest-checksums", |typed, value| {
        values::text("--manifest-checksums", value).map(|judged| typed.manifest_checksums = Some(judged))
    }),
    OptionSpec::judged(LONG_ONLY, "sync-method", |typed: &mut Typed, value| {
        values::sync_method(&value.to_string_lossy()).map(|judged| typed.sync_method = judged)
    })
    .since(17),
];

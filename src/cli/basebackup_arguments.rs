//! What was typed on the command line of `pg_basebackup`: each option in one place.
//!
//! In: the arguments. Out: the value of each option, judged by itself and in the order of the line (BB-007). What
//! they mean together is for [`basebackup_plan`](super::basebackup_plan) to say. Nothing outside is touched.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::claimed_version::ClaimedVersion;
use super::connection_arguments::ConnectionArguments;
use super::getopt::{self, Dialect, FirstArgumentOnly, OWN_OPTIONS, Refusal, refuse_operands};
use super::recovery_arguments::RecoveryArguments;
use super::value_parsers::{Named, path, text};
use super::values::{self, Format, SyncMethod, WalMethod};
use crate::backup::TablespaceMapping;
use crate::protocol::{Checkpoint, ServerTarget};

/// Options that came after PostgreSQL 15, each with the major version that brought it.
const LATER_OPTIONS: [(&str, u32); 2] = [("incremental", 17), ("sync-method", 17)];

/// More than anybody waits for.
const MOST_RETRIES: u32 = 1000;

/// What was typed; the options in the order in which ambiguous ones are named.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(super) struct Typed {
    #[command(flatten)]
    first_argument_only: FirstArgumentOnly,
    #[arg(short = 'D', long = "pgdata", value_parser = path())]
    pub(super) directory: Option<PathBuf>,
    #[arg(short = 'F', long, value_parser = text(values::format))]
    pub(super) format: Option<Format>,
    #[arg(short, long, value_parser = path())]
    pub(super) incremental: Option<PathBuf>,
    #[arg(short, long, value_parser = text(values::checkpoint))]
    pub(super) checkpoint: Option<Checkpoint>,
    #[arg(short = 'C', long)]
    pub(super) create_slot: bool,
    #[arg(short = 'r', long, value_parser = text(values::max_rate))]
    pub(super) max_rate: Option<u32>,
    #[arg(short = 'R', long)]
    pub(super) write_recovery_conf: bool,
    #[arg(short = 'S', long, value_parser = Named(values::text))]
    pub(super) slot: Option<String>,
    #[arg(short, long, value_parser = Named(values::text))]
    target: Option<String>,
    #[arg(
        short = 'T',
        long = "tablespace-mapping",
        value_parser = Named(|_, value| values::tablespace_mapping(&value))
    )]
    pub(super) tablespace_mappings: Vec<TablespaceMapping>,
    #[arg(short = 'X', long, value_parser = text(values::wal_method))]
    pub(super) wal_method: Option<WalMethod>,
    #[arg(short = 'z', long, overrides_with = "compress")]
    gzip: bool,
    /// There is no method with a name of other bytes than text.
    #[arg(short = 'Z', long, overrides_with = "gzip", value_parser = text(|text| Ok(text.to_owned())))]
    compress: Option<String>,
    #[arg(short, long, value_parser = Named(values::text))]
    pub(super) label: Option<String>,
    #[arg(short, long)]
    pub(super) no_clean: bool,
    #[arg(short = 'N', long)]
    pub(super) no_sync: bool,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
    #[arg(short, long, value_parser = text(values::status_interval))]
    pub(super) status_interval: Option<u32>,
    #[arg(short, long)]
    pub(super) verbose: bool,
    #[arg(short = 'P', long)]
    pub(super) progress: bool,
    #[arg(long = "waldir", value_parser = path())]
    pub(super) wal_directory: Option<PathBuf>,
    #[arg(long)]
    pub(super) no_slot: bool,
    #[arg(long)]
    pub(super) no_verify_checksums: bool,
    #[arg(long)]
    pub(super) no_estimate_size: bool,
    #[arg(long)]
    pub(super) no_manifest: bool,
    #[arg(long)]
    pub(super) manifest_force_encode: bool,
    #[arg(long, value_parser = Named(values::text))]
    pub(super) manifest_checksums: Option<String>,
    #[arg(long, value_parser = text(values::sync_method))]
    pub(super) sync_method: Option<SyncMethod>,
    #[command(flatten)]
    pub(super) recovery: RecoveryArguments,
    #[command(flatten)]
    pub(super) patience: PatienceArguments,
    /// There must be none.
    operands: Vec<OsString>,
}

/// Options of our own: what happens when the server or the network fails.
#[derive(Debug, Args)]
#[command(next_help_heading = OWN_OPTIONS)]
pub(super) struct PatienceArguments {
    #[arg(long, value_parser = text(|text| values::seconds("--receive-timeout", text, 0)))]
    pub(super) receive_timeout: Option<u32>,
    #[arg(long, value_parser = text(|text| values::integer("--retries", text, 0..=MOST_RETRIES)))]
    pub(super) retries: Option<u32>,
}

/// Reads a command line; the first argument is the program's name.
pub(super) fn read(
    line: Vec<OsString>,
    claim: ClaimedVersion,
    operands_end_options: bool,
) -> Result<Typed, Refusal> {
    let dialect = Dialect { later_options: &LATER_OPTIONS, major: claim.major(), operands_end_options };
    let typed: Typed = getopt::read(line, &dialect)?;
    refuse_operands(&typed.operands)?;
    Ok(typed)
}

impl Typed {
    /// `-t`, unless it names the client.
    pub(super) fn target(&self) -> Option<ServerTarget> {
        self.target.as_deref().and_then(values::target)
    }

    /// The argument of `-Z`, or what `-z` stands for.
    pub(super) fn compress(&self) -> Option<&str> {
        self.compress.as_deref().or_else(|| self.gzip.then_some("gzip"))
    }
}

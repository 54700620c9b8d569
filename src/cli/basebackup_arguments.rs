//! The command line of `pg_basebackup`: what was typed, and what it means.
//!
//! Parsing judges single values, in the order of the line; combinations are judged afterwards, in the order
//! in which people know the refusals (BB-007, BB-031 … BB-050). Neither touches the world.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser};

use super::getopt::{self, Refusal};
use super::values::{self, Format, WalMethod};
use crate::backup::{ReceiveSlot, TablespaceMapping};
use crate::protocol::{Checkpoint, ManifestRequest};

const DEFAULT_LABEL: &str = "pg_basebackup base backup";
const DEFAULT_STATUS_INTERVAL: u32 = 10;

/// What was typed.
#[derive(Debug, Parser)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    infer_long_args = true
)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
struct Typed {
    #[arg(short = 'D', long, allow_hyphen_values = true, value_parser = values::path())]
    pgdata: Option<PathBuf>,
    #[arg(short = 'F', long, allow_hyphen_values = true, value_parser = values::format)]
    format: Option<Format>,
    #[arg(short = 'i', long, allow_hyphen_values = true, value_parser = values::path())]
    incremental: Option<PathBuf>,
    #[arg(short = 'r', long, allow_hyphen_values = true, value_parser = values::max_rate)]
    max_rate: Option<u32>,
    #[arg(short = 'R', long)]
    write_recovery_conf: bool,
    #[arg(short = 't', long, allow_hyphen_values = true)]
    target: Option<String>,
    #[arg(short = 'T', long, allow_hyphen_values = true, value_parser = values::tablespace_mapping)]
    tablespace_mapping: Vec<TablespaceMapping>,
    #[arg(long, allow_hyphen_values = true, value_parser = values::path())]
    waldir: Option<PathBuf>,
    #[arg(short = 'X', long, allow_hyphen_values = true, value_parser = values::wal_method)]
    wal_method: Option<WalMethod>,
    #[arg(short = 'z', long, overrides_with = "compress")]
    gzip: bool,
    #[arg(short = 'Z', long, allow_hyphen_values = true, overrides_with = "gzip")]
    compress: Option<String>,
    #[arg(short = 'c', long, allow_hyphen_values = true, value_parser = values::checkpoint)]
    checkpoint: Option<Checkpoint>,
    #[arg(short = 'C', long)]
    create_slot: bool,
    #[arg(short = 'l', long, allow_hyphen_values = true)]
    label: Option<String>,
    #[arg(short = 'n', long)]
    no_clean: bool,
    #[arg(short = 'N', long)]
    no_sync: bool,
    #[arg(short = 'P', long)]
    progress: bool,
    #[arg(short = 'S', long, allow_hyphen_values = true)]
    slot: Option<String>,
    #[arg(short = 'v', long)]
    verbose: bool,
    #[arg(long, allow_hyphen_values = true)]
    manifest_checksums: Option<String>,
    #[arg(long)]
    manifest_force_encode: bool,
    #[arg(long)]
    no_estimate_size: bool,
    #[arg(long)]
    no_manifest: bool,
    #[arg(long)]
    no_slot: bool,
    #[arg(long)]
    no_verify_checksums: bool,
    #[arg(long, allow_hyphen_values = true, value_parser = values::sync_method)]
    sync_method: Option<()>,
    #[arg(short = 'd', long, allow_hyphen_values = true)]
    dbname: Option<OsString>,
    #[arg(short = 'h', long, allow_hyphen_values = true)]
    host: Option<OsString>,
    #[arg(short = 'p', long, allow_hyphen_values = true)]
    port: Option<OsString>,
    #[arg(short = 's', long, allow_hyphen_values = true, value_parser = values::status_interval)]
    status_interval: Option<u32>,
    #[arg(short = 'U', long, allow_hyphen_values = true)]
    username: Option<OsString>,
    #[arg(short = 'w', long, overrides_with = "password")]
    no_password: bool,
    #[arg(short = 'W', long, overrides_with = "no_password")]
    password: bool,
    /// There are none; the first one is named.
    operands: Vec<OsString>,
}

/// When a password is asked for at the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasswordPrompt {
    /// When the server demands one and none is known.
    OnDemand,
    /// Never.
    Never,
    /// Before the first attempt to connect.
    First,
}

/// How to reach the server, as far as the command line says.
#[derive(Clone, Debug)]
pub(super) struct ConnectionArguments {
    pub(super) connection_string: Option<OsString>,
    pub(super) host: Option<OsString>,
    pub(super) port: Option<OsString>,
    pub(super) user: Option<OsString>,
    pub(super) prompt: PasswordPrompt,
}

/// What the command line means.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(super) struct Plan {
    pub(super) connection: ConnectionArguments,
    pub(super) directory: PathBuf,
    pub(super) format: Format,
    pub(super) wal_directory: Option<PathBuf>,
    pub(super) incremental: Option<PathBuf>,
    pub(super) tablespace_mappings: Vec<TablespaceMapping>,
    pub(super) wal_method: WalMethod,
    pub(super) slot: ReceiveSlot,
    pub(super) status_interval: Option<Duration>,
    pub(super) write_recovery_conf: bool,
    pub(super) label: String,
    pub(super) checkpoint: Checkpoint,
    pub(super) max_rate: Option<u32>,
    pub(super) manifest: ManifestRequest,
    pub(super) manifest_checksums: Option<String>,
    pub(super) verify_page_checksums: bool,
    pub(super) estimate_size: bool,
    pub(super) clean_up: bool,
    pub(super) sync: bool,
    pub(super) progress: bool,
    pub(super) verbose: bool,
}

/// Reads a command line; the first argument is the program's name.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<Plan, Refusal> {
    let command = Typed::command();
    let arguments = getopt::separate_short_values(&command, arguments);
    let typed = command
        .clone()
        .try_get_matches_from(arguments)
        .and_then(|matches| Typed::from_arg_matches(&matches))
        .map_err(|error| getopt::refusal(&command, &error))?;
    plan(typed)
}

/// The same path without slashes at the end, doubled slashes and `.` parts: it is shown, and made, part by part.
fn without_noise(path: &Path) -> PathBuf {
    path.components().collect()
}

fn refuse_if(condition: bool, message: &str) -> Result<(), Refusal> {
    if condition { Err(Refusal::Usage(message.to_owned())) } else { Ok(()) }
}

fn plan(typed: Typed) -> Result<Plan, Refusal> {
    if let Some(operand) = typed.operands.first() {
        let operand = operand.to_string_lossy();
        return Err(Refusal::Usage(format!("too many command-line arguments (first is \"{operand}\")")));
    }
    check_output(&typed)?;
    let format = typed.format.unwrap_or(Format::Plain);
    let wal_method = typed.wal_method.unwrap_or(WalMethod::Stream);
    check_wal(&typed, format, wal_method)?;
    check_reports(&typed)?;
    let slot = match (typed.slot, typed.create_slot, typed.no_slot) {
        (Some(name), true, _) => ReceiveSlot::Create(name),
        (Some(name), false, _) => ReceiveSlot::Existing(name),
        (None, _, true) => ReceiveSlot::None,
        (None, _, false) => ReceiveSlot::Temporary,
    };
    let interval = typed.status_interval.unwrap_or(DEFAULT_STATUS_INTERVAL);
    Ok(Plan {
        connection: ConnectionArguments {
            connection_string: typed.dbname,
            host: typed.host,
            port: typed.port,
            user: typed.username,
            prompt: match (typed.no_password, typed.password) {
                (true, _) => PasswordPrompt::Never,
                (_, true) => PasswordPrompt::First,
                _ => PasswordPrompt::OnDemand,
            },
        },
        directory: typed.pgdata.as_deref().map(without_noise).unwrap_or_default(),
        format,
        wal_directory: typed.waldir.as_deref().map(without_noise),
        incremental: typed.incremental,
        tablespace_mappings: typed.tablespace_mapping,
        wal_method,
        slot,
        status_interval: (interval > 0).then(|| Duration::from_secs(interval.into())),
        write_recovery_conf: typed.write_recovery_conf,
        label: typed.label.unwrap_or_else(|| DEFAULT_LABEL.to_owned()),
        checkpoint: typed.checkpoint.unwrap_or_default(),
        max_rate: typed.max_rate,
        manifest: match (typed.no_manifest, typed.manifest_force_encode) {
            (true, _) => ManifestRequest::No,
            (false, true) => ManifestRequest::ForceEncode,
            (false, false) => ManifestRequest::Yes,
        },
        manifest_checksums: typed.manifest_checksums,
        verify_page_checksums: !typed.no_verify_checksums,
        estimate_size: !typed.no_estimate_size,
        clean_up: !typed.no_clean,
        sync: !typed.no_sync,
        progress: typed.progress,
        verbose: typed.verbose,
    })
}

/// Combinations 2 to 7: where the backup goes and in which form.
fn check_output(typed: &Typed) -> Result<(), Refusal> {
    let target = typed.target.as_deref().filter(|target| *target != "client");
    refuse_if(target.is_some() && typed.format.is_some(), "cannot specify both format and backup target")?;
    refuse_if(target.is_none() && typed.pgdata.is_none(), "must specify output directory or backup target")?;
    refuse_if(
        target.is_some() && typed.pgdata.is_some(),
        "cannot specify both output directory and backup target",
    )?;
    refuse_if(target.is_some(), "backup targets are not supported by this version of pgsiphon")?;
    let compressed =
        typed.gzip || typed.compress.as_deref().is_some_and(|spec| !values::is_no_compression(spec));
    refuse_if(compressed && typed.format != Some(Format::Tar), "only tar mode backups can be compressed")?;
    refuse_if(compressed, "compression is not supported by this version of pgsiphon")
}

/// Combinations 9 to 16: how WAL is included.
fn check_wal(typed: &Typed, format: Format, method: WalMethod) -> Result<(), Refusal> {
    let streams = method == WalMethod::Stream;
    let to_stdout =
        format == Format::Tar && typed.pgdata.as_deref().is_some_and(|path| path.as_os_str() == "-");
    refuse_if(to_stdout && streams, "cannot stream write-ahead logs in tar mode to stdout")?;
    refuse_if(to_stdout, "tar output to stdout is not supported by this version of pgsiphon")?;
    refuse_if(typed.slot.is_some() && !streams, "replication slots can only be used with WAL streaming")?;
    refuse_if(typed.no_slot && typed.slot.is_some(), "--no-slot cannot be used with slot name")?;
    refuse_if(
        typed.create_slot && typed.slot.is_none(),
        "--create-slot needs a slot to be specified using --slot",
    )?;
    let Some(wal_directory) = &typed.waldir else { return Ok(()) };
    refuse_if(format == Format::Tar, "WAL directory location can only be specified in plain mode")?;
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
mod tests {
    use super::*;

    fn parse_line(line: &[&str]) -> Result<Plan, Refusal> {
        parse(std::iter::once("pg_basebackup").chain(line.iter().copied()).map(OsString::from).collect())
    }

    fn usage(line: &[&str]) -> String {
        match parse_line(line).unwrap_err() {
            Refusal::Usage(message) => message,
            Refusal::Value(message) => panic!("{line:?}: {message}"),
        }
    }

    #[test]
    fn bb_001_forms_that_getopt_knows() {
        for line in [
            &["-D", "/d", "-PvXs"][..],
            &["-D/d", "-P", "-v", "-X", "stream"],
            &["--pgdata=/d", "-vP", "--wal-method", "s"],
            &["--pgdat", "/d", "--prog", "-v", "--wal-m=stream", "--"],
            &["-D", "/x", "-D", "/d", "-PP", "-vvv", "-Xf", "-Xs"],
        ] {
            let plan = parse_line(line).unwrap();
            assert_eq!(plan.directory, PathBuf::from("/d"), "{line:?}");
            assert!(plan.progress && plan.verbose && plan.wal_method == WalMethod::Stream, "{line:?}");
        }
        assert_eq!(parse_line(&["-D=foo"]).unwrap().directory, PathBuf::from("=foo"));
        assert_eq!(parse_line(&["-D", "x", "-l", "-x"]).unwrap().label, "-x");
        assert_eq!(parse_line(&["-D", "x", "-l", "--"]).unwrap().label, "--");
        assert_eq!(parse_line(&["-D", "x", "--label", "-P"]).unwrap().label, "-P");
        assert_eq!(parse_line(&["-D", "x", "-l", ""]).unwrap().label, "");
        assert_eq!(parse_line(&["-D", ""]).unwrap().directory, PathBuf::new());
    }

    #[test]
    fn bb_240_paths_lose_what_says_nothing() {
        for (typed, meant) in [
            ("d/", "d"),
            ("d//", "d"),
            ("/a//d/./", "/a/d"),
            ("./d", "./d"),
            (".", "."),
            ("./", "."),
            ("..", ".."),
        ] {
            let plan = parse_line(&["-D", typed, "--waldir", "/w//x/"]).unwrap();
            assert_eq!(plan.directory.as_os_str(), meant);
            assert_eq!(plan.wal_directory.unwrap().as_os_str(), "/w/x");
        }
    }

    #[test]
    fn bb_004_options_that_are_none() {
        assert_eq!(usage(&["--bogus"]), "unrecognized option '--bogus'");
        assert_eq!(usage(&["-Pk"]), "invalid option -- 'k'");
        assert_eq!(usage(&["-P-c", "fast"]), "invalid option -- '-'");
        assert_eq!(usage(&["-D"]), "option '-D' requires an argument".replace("-D", "--pgdata"));
        assert_eq!(usage(&["--progress=1"]), "option '--progress' doesn't allow an argument");
        assert_eq!(
            usage(&["--wal", "x"]),
            "option '--wal' is ambiguous; possibilities: '--waldir' '--wal-method'"
        );
    }

    #[test]
    fn bb_006_the_last_one_wins() {
        let prompt = |line: &[&str]| parse_line(line).unwrap().connection.prompt;
        assert_eq!(prompt(&["-D", "d", "-w", "-W"]), PasswordPrompt::First);
        assert_eq!(prompt(&["-D", "d", "-W", "-w"]), PasswordPrompt::Never);
        let two = parse_line(&["-D", "d", "-T", "/a=/b", "-T/c=/d"]).unwrap();
        assert_eq!(two.tablespace_mappings.len(), 2);
    }

    #[test]
    fn bb_007_values_are_judged_before_combinations() {
        let refusal = parse_line(&["extra", "-c", "bogus"]).unwrap_err();
        let expected = "invalid checkpoint argument \"bogus\", must be \"fast\" or \"spread\"";
        assert_eq!(refusal, Refusal::Value(expected.into()));
    }

    #[test]
    fn bb_031_to_049_combinations_are_refused() {
        for (line, message) in [
            (&["-D", "d", "x"][..], "too many command-line arguments (first is \"x\")"),
            (&["-t", "blackhole", "-Fp"], "cannot specify both format and backup target"),
            (&[], "must specify output directory or backup target"),
            (&["-t", "client"], "must specify output directory or backup target"),
            (&["-D", "d", "-t", "blackhole"], "cannot specify both output directory and backup target"),
            (&["-D", "d", "-z"], "only tar mode backups can be compressed"),
            (&["-D", "-", "-Ft"], "cannot stream write-ahead logs in tar mode to stdout"),
            (&["-D", "d", "-Xf", "-S", "s"], "replication slots can only be used with WAL streaming"),
            (&["-D", "d", "--no-slot", "-S", "s", "-C"], "--no-slot cannot be used with slot name"),
            (&["-D", "d", "-C"], "--create-slot needs a slot to be specified using --slot"),
            (&["-D", "d", "-C", "--no-slot"], "--create-slot needs a slot to be specified using --slot"),
            (
                &["-D", "d", "--waldir", "/w", "-Ft"],
                "WAL directory location can only be specified in plain mode",
            ),
            (&["-D", "d", "--waldir", "w"], "WAL directory location must be an absolute path"),
            (
                &["-D", "d", "-P", "--no-estimate-size"],
                "--progress and --no-estimate-size are incompatible options",
            ),
            (
                &["-D", "d", "--no-manifest", "--manifest-checksums=none"],
                "--no-manifest and --manifest-checksums are incompatible options",
            ),
            (
                &["-D", "d", "--no-manifest", "--manifest-force-encode"],
                "--no-manifest and --manifest-force-encode are incompatible options",
            ),
        ] {
            assert_eq!(usage(line), message, "{line:?}");
        }
    }

    #[test]
    fn bb_051_harmless_combinations_are_accepted() {
        for line in [
            &["-D", "d", "--no-slot", "-Xf"][..],
            &["-D", "d", "--no-slot", "-Xn"],
            &["-D", "d", "-P"],
            &["-D", "d", "-Ft", "-T", "/a=/b"],
            &["-D", "-", "-Fp"],
            &["-D", "d", "--sync-method=fsync", "-Z", "none"],
        ] {
            assert!(parse_line(line).is_ok(), "{line:?}");
        }
    }
}

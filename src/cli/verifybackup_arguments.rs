//! The command line of `pg_verifybackup`: what was typed, and what it means (BB-217).
//!
//! Values are judged by themselves and in the order of the line, what they mean together afterwards. Nothing
//! outside is touched.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::claimed_version::ClaimedVersion;
use super::getopt::{self, Dialect, FirstArgumentOnly, Refusal, refuse_operands};
use super::value_parsers::{self, text};
use super::values::{InvalidValue, invalid};
use crate::verify::{BackupFormat, VerifyOptions};

/// The first major version whose program reads archives; those before take every directory for a data directory.
const ARCHIVES_SINCE: u32 = 18;

/// Options that came after PostgreSQL 15, each with the major version that brought it.
const LATER_OPTIONS: [(&str, u32); 2] = [("format", ARCHIVES_SINCE), ("progress", 16)];

/// What the command line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) directory: PathBuf,
    pub(super) options: VerifyOptions,
    pub(super) exit_on_error: bool,
    pub(super) progress: bool,
    pub(super) quiet: bool,
}

/// What was typed; the options in the order in which ambiguous ones are named.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(super) struct Typed {
    #[arg(short, long)]
    exit_on_error: bool,
    #[arg(short, long = "ignore", value_parser = value_parsers::path())]
    ignored_paths: Vec<PathBuf>,
    #[arg(short, long, value_parser = OsStringValueParser::new().map(path))]
    manifest_path: Option<PathBuf>,
    #[arg(short = 'F', long, value_parser = text(format))]
    format: Option<BackupFormat>,
    #[arg(short, long)]
    no_parse_wal: bool,
    #[arg(short = 'P', long)]
    progress: bool,
    #[arg(short, long)]
    quiet: bool,
    #[arg(short, long)]
    skip_checksums: bool,
    #[arg(short, long, value_parser = OsStringValueParser::new().map(path))]
    wal_directory: Option<PathBuf>,
    #[command(flatten)]
    first_argument_only: FirstArgumentOnly,
    /// The directory, and nothing else.
    operands: Vec<OsString>,
}

/// Reads a command line; the first argument is the program's name.
pub(super) fn parse(
    line: Vec<OsString>,
    claim: ClaimedVersion,
    operands_end_options: bool,
) -> Result<Plan, Refusal> {
    let dialect = Dialect { later_options: &LATER_OPTIONS, major: claim.major(), operands_end_options };
    let mut typed: Typed = getopt::read(line, &dialect)?;
    let mut operands = typed.operands.into_iter();
    let directory = operands.next();
    let directory = directory.ok_or_else(|| Refusal::Usage("no backup directory specified".to_owned()))?;
    refuse_operands(operands.as_slice())?;
    if typed.progress && typed.quiet {
        return Err(Refusal::Value("cannot specify both -P/--progress and -q/--quiet".to_owned()));
    }
    if claim.major() < ARCHIVES_SINCE {
        typed.format = Some(BackupFormat::Plain);
    }
    Ok(Plan {
        directory: path(directory),
        options: VerifyOptions {
            format: typed.format,
            manifest: typed.manifest_path,
            ignored_paths: typed.ignored_paths,
            read_contents: !typed.skip_checksums,
            read_wal: !typed.no_parse_wal,
            wal_directory: typed.wal_directory,
        },
        exit_on_error: typed.exit_on_error,
        progress: typed.progress,
        quiet: typed.quiet,
    })
}

fn format(text: &str) -> Result<BackupFormat, InvalidValue> {
    match text {
        "p" | "plain" => Ok(BackupFormat::Plain),
        "t" | "tar" => Ok(BackupFormat::Tar),
        _ => invalid(format!("invalid backup format \"{text}\", must be \"plain\" or \"tar\"")),
    }
}

/// The path without slashes at the end, doubled slashes and `.` parts, because it is shown.
fn path(value: OsString) -> PathBuf {
    PathBuf::from(value).components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &[&str]) -> Result<Plan, Refusal> {
        let line = std::iter::once("pg_verifybackup").chain(line.iter().copied()).map(OsString::from);
        parse(line.collect(), ClaimedVersion::NEWEST, false)
    }

    #[test]
    fn bb_217_what_options_mean() {
        let everything = Plan {
            directory: "d".into(),
            options: VerifyOptions::default(),
            exit_on_error: false,
            progress: false,
            quiet: false,
        };
        assert_eq!(parse_line(&["d//"]).unwrap(), everything);
        let options = VerifyOptions {
            format: Some(BackupFormat::Tar),
            manifest: Some("/m".into()),
            ignored_paths: vec!["a".into(), "b/".into()],
            read_contents: false,
            read_wal: false,
            wal_directory: Some("/w".into()),
        };
        let restricted = Plan { options, exit_on_error: true, quiet: true, ..everything.clone() };
        for line in [
            &["-nseq", "-Ft", "-ia", "-ib/", "-m/m/", "-w", "/w", "d"][..],
            &["d", "--no-parse", "--skip", "--exit", "--quiet", "--format=tar", "--ignore", "a", "--ig=b/"],
        ] {
            let mut line = line.to_vec();
            line.extend(["--manifest-path=/m", "--wal-dir=//w"]);
            assert_eq!(parse_line(&line).unwrap(), restricted, "{line:?}");
        }
        assert_eq!(parse_line(&["-P", "--", "d"]).unwrap(), Plan { progress: true, ..everything });
        assert_eq!(parse_line(&["--", "-x"]).unwrap().directory, PathBuf::from("-x"));
    }

    #[test]
    fn bb_217_lines_that_mean_nothing() {
        let usage = |message: &str| Err(Refusal::Usage(message.to_owned()));
        let value = |message: &str| Err(Refusal::Value(message.to_owned()));
        let format = "invalid backup format \"x\", must be \"plain\" or \"tar\"";
        assert_eq!(parse_line(&[]), usage("no backup directory specified"));
        assert_eq!(parse_line(&["-P", "-q"]), usage("no backup directory specified"));
        let surplus = usage("too many command-line arguments (first is \"b\")");
        assert_eq!(parse_line(&["a", "b", "c", "-qP"]), surplus);
        assert_eq!(parse_line(&["a", "b", "-F", "x"]), value(format));
        assert_eq!(parse_line(&["a", "-qP"]), value("cannot specify both -P/--progress and -q/--quiet"));
        assert_eq!(parse_line(&["-h"]), usage("invalid option -- 'h'"));
    }

    #[test]
    fn bb_217_older_programs_know_less() {
        let as_15 = |line: &[&str]| {
            let line = std::iter::once("pg_verifybackup").chain(line.iter().copied()).map(OsString::from);
            let claim = ClaimedVersion::newest_of(15).unwrap();
            parse(line.collect(), claim, false)
        };
        assert_eq!(as_15(&["d"]).unwrap().options.format, Some(BackupFormat::Plain));
        assert_eq!(as_15(&["-Ft", "d"]), Err(Refusal::Usage("invalid option -- 'F'".to_owned())));
        assert_eq!(as_15(&["-P", "d"]), Err(Refusal::Usage("invalid option -- 'P'".to_owned())));
    }
}

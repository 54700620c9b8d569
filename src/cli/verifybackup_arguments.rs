//! The command line of `pg_verifybackup`: what was typed, and what it means (BB-217).
//!
//! Values are judged by themselves and in the order of the line, what they mean together afterwards. Nothing
//! outside is touched.

use std::ffi::OsString;
use std::path::PathBuf;

use super::claimed_version::ClaimedVersion;
use super::getopt::{Grammar, OptionSpec, Refusal, refuse_operands};
use super::values::{InvalidValue, invalid};
use crate::verify::{BackupFormat, VerifyOptions};

/// The first major version whose program reads archives; those before take every directory for a data directory.
const ARCHIVES_SINCE: u32 = 18;

/// What the command line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) directory: PathBuf,
    pub(super) options: VerifyOptions,
    pub(super) exit_on_error: bool,
    pub(super) progress: bool,
    pub(super) quiet: bool,
}

#[derive(Debug, Default)]
struct Typed {
    options: VerifyOptions,
    exit_on_error: bool,
    progress: bool,
    quiet: bool,
}

const OPTIONS: [OptionSpec<Typed>; 11] = [
    OptionSpec::flag(b'e', "exit-on-error", |typed| typed.exit_on_error = true),
    OptionSpec::value(b'i', "ignore", |typed, value| typed.options.ignored_paths.push(value.into())),
    OptionSpec::value(b'm', "manifest-path", |typed, value| typed.options.manifest = Some(path(value))),
    OptionSpec::judged(b'F', "format", |typed: &mut Typed, value| {
        format(&value.to_string_lossy()).map(|format| typed.options.format = Some(format))
    })
    .since(ARCHIVES_SINCE),
    OptionSpec::flag(b'n', "no-parse-wal", |typed| typed.options.read_wal = false),
    OptionSpec::flag(b'P', "progress", |typed: &mut Typed| typed.progress = true).since(16),
    OptionSpec::flag(b'q', "quiet", |typed| typed.quiet = true),
    OptionSpec::flag(b's', "skip-checksums", |typed| typed.options.read_contents = false),
    OptionSpec::value(b'w', "wal-directory", |typed, value| typed.options.wal_directory = Some(path(value))),
    OptionSpec::refused("help", "--help is understood as the first argument only"),
    OptionSpec::refused("version", "--version is understood as the first argument only"),
];

/// Reads a command line; the first argument is the program's name.
pub(super) fn parse(
    line: Vec<OsString>,
    claim: ClaimedVersion,
    operands_end_options: bool,
) -> Result<Plan, Refusal> {
    let mut typed = Typed::default();
    let grammar = Grammar { options: &OPTIONS, own_options: &[], major: claim.major(), operands_end_options };
    let mut operands = grammar.read(line, &mut typed)?.into_iter();
    let directory = operands.next();
    let directory = directory.ok_or_else(|| Refusal::Usage("no backup directory specified".to_owned()))?;
    refuse_operands(operands.as_slice())?;
    if typed.progress && typed.quiet {
        return Err(Refusal::Value("cannot specify both -P/--progress and -q/--quiet".to_owned()));
    }
    if claim.major() < ARCHIVES_SINCE {
        typed.options.format = Some(BackupFormat::Plain);
    }
    let Typed { options, exit_on_error, progress, quiet } = typed;
    Ok(Plan { directory: path(directory), options, exit_on_error, progress, quiet })
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

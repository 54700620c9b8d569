//! Reads a command line that is written as the C library's `getopt_long` allows it.
//!
//! In: the arguments as they were typed, and options that are declared for clap. Out: the typed values of clap; or
//! what is wrong first on the line, in getopt's words or in those of the value's judge. Each option is handed to
//! clap by its full name, with its value attached, so that only values are left for clap to judge.
//!
//! Long options may be abbreviated as long as that is unambiguous, short ones bundled; a value may be attached
//! or be the next argument, whatever it looks like. Operands may stand between options, unless
//! `POSIXLY_CORRECT` is set: then everything after the first one is an operand. `--` has that effect always.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::iter;
use std::os::unix::ffi::OsStrExt;
use std::vec::IntoIter;

use clap::{Arg, Args, Command};

use super::values::InvalidValue;

/// The heading of options that the original does not have. They are known by their full names only, so that
/// abbreviations of the original's options mean what they always meant.
pub(super) const OWN_OPTIONS: &str = "Options of our own";

/// A command line that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The options make no sense: the message and, after it, where to find help.
    Usage(String),
    /// The value of an option makes no sense, or asks for what cannot be done.
    Value(String),
}

/// Options that are answered where they are the first argument, and refused elsewhere.
#[derive(Debug, Args)]
pub(super) struct FirstArgumentOnly {
    #[arg(long)]
    help: bool,
    #[arg(long)]
    version: bool,
}

/// What a command line is read by, beside the options.
pub(super) struct Dialect<'a> {
    /// The full names of options that only later programs have, each with the first major version of PostgreSQL
    /// that has it.
    pub(super) later_options: &'a [(&'a str, u32)],
    /// The major version of PostgreSQL whose options count.
    pub(super) major: u32,
    /// Whether the first operand ends the options (`POSIXLY_CORRECT`).
    pub(super) operands_end_options: bool,
}

/// Reads a line whose first argument is the program's name. Each option of `T` has a long name; operands are its
/// positional.
pub(super) fn read<T: Args>(line: Vec<OsString>, dialect: &Dialect<'_>) -> Result<T, Refusal> {
    let command = T::augment_args(Command::new(""))
        .no_binary_name(true)
        .disable_help_flag(true)
        .args_override_self(true);
    let mut line = Line::new(&command, dialect, line);
    let end = line.read_all();
    let canonical = line.canonical();
    let matches = command.try_get_matches_from(canonical);
    // A value that is wrong is told before the end of what can be read.
    let typed = matches.and_then(|matches| T::from_arg_matches(&matches)).map_err(|error| refusal(&error))?;
    end.map(|()| typed)
}

fn refusal(error: &clap::Error) -> Refusal {
    match error.source().and_then(|source| source.downcast_ref::<InvalidValue>()) {
        Some(invalid) => Refusal::Value(invalid.to_string()),
        None => Refusal::Usage(error.to_string()),
    }
}

/// A line that is being read.
struct Line<'a> {
    command: &'a Command,
    dialect: &'a Dialect<'a>,
    arguments: iter::Skip<IntoIter<OsString>>,
    /// Each as `--name` or `--name=value`.
    options: Vec<OsString>,
    operands: Vec<OsString>,
}

impl<'a> Line<'a> {
    fn new(command: &'a Command, dialect: &'a Dialect<'a>, line: Vec<OsString>) -> Self {
        let arguments = line.into_iter().skip(1);
        Self { command, dialect, arguments, options: Vec::new(), operands: Vec::new() }
    }

    /// What clap can read.
    fn canonical(self) -> impl Iterator<Item = OsString> + use<> {
        self.options.into_iter().chain(iter::once("--".into())).chain(self.operands)
    }

    fn read_all(&mut self) -> Result<(), Refusal> {
        while let Some(argument) = self.arguments.next() {
            let bytes = argument.as_bytes();
            if bytes == b"--" {
                break;
            }
            if let Some(long) = bytes.strip_prefix(b"--") {
                self.take_long(long)?;
            } else if bytes.len() > 1 && bytes[0] == b'-' {
                self.take_bundle(&bytes[1..])?;
            } else {
                self.operands.push(argument);
                if self.dialect.operands_end_options {
                    break;
                }
            }
        }
        self.operands.extend(&mut self.arguments);
        Ok(())
    }

    /// `--name` or `--name=value`, without its dashes.
    fn take_long(&mut self, text: &[u8]) -> Result<(), Refusal> {
        let mut parts = text.splitn(2, |&byte| byte == b'=');
        let name = parts.next().unwrap_or_default();
        let attached = parts.next();
        let (long, option) = self.find_long(name, text)?;
        if attached.is_some() && !takes_value(option) {
            return usage(format!("option '--{long}' doesn't allow an argument"));
        }
        self.take(long, option, attached, || format!("option '--{long}' requires an argument"))
    }

    fn find_long(&self, name: &[u8], typed: &[u8]) -> Result<(&'a str, &'a Arg), Refusal> {
        if let Some(exact) = self.known().find(|(long, _)| long.as_bytes() == name) {
            return Ok(exact);
        }
        let is_own = |option: &Arg| option.get_help_heading() == Some(OWN_OPTIONS);
        let candidates: Vec<_> = self
            .known()
            .filter(|(long, option)| long.as_bytes().starts_with(name) && !is_own(option))
            .collect();
        let typed = String::from_utf8_lossy(typed);
        match candidates[..] {
            [only] => Ok(only),
            [] => usage(format!("unrecognized option '--{typed}'")),
            _ => {
                let names: Vec<_> = candidates.iter().map(|(long, _)| *long).collect();
                let names = names.join("' '--");
                usage(format!("option '--{typed}' is ambiguous; possibilities: '--{names}'"))
            }
        }
    }

    /// Short options without their dash; what follows one that takes a value is its value.
    fn take_bundle(&mut self, bundle: &[u8]) -> Result<(), Refusal> {
        for (index, &short) in bundle.iter().enumerate() {
            let has_name = |option: &Arg| option.get_short() == Some(char::from(short));
            let Some((long, option)) = self.known().find(|(_, option)| has_name(option)) else {
                return usage(format!("invalid option -- '{}'", String::from_utf8_lossy(&[short])));
            };
            let attached = Some(&bundle[index + 1..]).filter(|attached| !attached.is_empty());
            let missing = || format!("option requires an argument -- '{}'", char::from(short));
            self.take(long, option, attached, missing)?;
            if takes_value(option) {
                break;
            }
        }
        Ok(())
    }

    /// The options that there are, with their long names.
    fn known(&self) -> impl Iterator<Item = (&'a str, &'a Arg)> + use<'a> {
        let Dialect { later_options, major, .. } = *self.dialect;
        let is_known =
            move |long: &str| later_options.iter().all(|&(name, since)| name != long || since <= major);
        let options = self.command.get_arguments().filter_map(|option| Some((option.get_long()?, option)));
        options.filter(move |(long, _)| is_known(long))
    }

    /// Writes down an option with its value, if it takes one: the attached one or the next argument.
    fn take(
        &mut self,
        long: &str,
        option: &Arg,
        attached: Option<&[u8]>,
        missing: impl FnOnce() -> String,
    ) -> Result<(), Refusal> {
        if matches!(long, "help" | "version") {
            return usage(format!("--{long} is understood as the first argument only"));
        }
        let mut canonical = OsString::from(format!("--{long}"));
        if takes_value(option) {
            let attached = attached.map(|value| OsStr::from_bytes(value).to_owned());
            let value = attached.or_else(|| self.arguments.next());
            canonical.push("=");
            canonical.push(value.ok_or_else(|| Refusal::Usage(missing()))?);
        }
        self.options.push(canonical);
        Ok(())
    }
}

fn takes_value(option: &Arg) -> bool {
    option.get_action().takes_values()
}

fn usage<T>(message: String) -> Result<T, Refusal> {
    Err(Refusal::Usage(message))
}

/// The first operand is one too many for programs without any.
pub(super) fn refuse_operands(operands: &[OsString]) -> Result<(), Refusal> {
    match operands.first() {
        None => Ok(()),
        Some(first) => {
            let first = first.to_string_lossy();
            usage(format!("too many command-line arguments (first is \"{first}\")"))
        }
    }
}

/// Refuses a combination of options.
pub(super) fn refuse_if(condition: bool, message: &str) -> Result<(), Refusal> {
    if condition { Err(Refusal::Usage(message.to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::value_parsers::text;
    use crate::cli::values;

    #[derive(Debug, Args)]
    struct Typed {
        #[command(flatten)]
        first_argument_only: FirstArgumentOnly,
        #[arg(short = 'D', long)]
        pgdata: Option<OsString>,
        #[arg(short = 'P', long)]
        progress: bool,
        #[arg(short, long)]
        verbose: bool,
        #[arg(long)]
        waldir: Option<OsString>,
        #[arg(short = 'X', long, value_parser = text(values::wal_method))]
        wal_method: Option<values::WalMethod>,
        #[arg(long, help_heading = OWN_OPTIONS)]
        promote: bool,
        operands: Vec<OsString>,
    }

    fn dialect(major: u32, operands_end_options: bool) -> Dialect<'static> {
        Dialect { later_options: &[("waldir", 17)], major, operands_end_options }
    }

    fn line(arguments: &[&str]) -> Vec<OsString> {
        iter::once(&"program").chain(arguments).map(OsString::from).collect()
    }

    /// The options that clap gets, and the operands.
    fn read_as(major: u32, posixly: bool, arguments: &[&str]) -> Result<(String, Vec<String>), String> {
        let command = Typed::augment_args(Command::new(""));
        let dialect = dialect(major, posixly);
        let mut line = Line::new(&command, &dialect, line(arguments));
        match line.read_all() {
            Ok(()) => {
                let [options, operands] = [line.options, line.operands].map(|arguments| {
                    arguments.iter().map(|argument| argument.display().to_string()).collect::<Vec<_>>()
                });
                Ok((options.join(" "), operands))
            }
            Err(Refusal::Usage(message) | Refusal::Value(message)) => Err(message),
        }
    }

    fn read(line: &[&str]) -> (String, Vec<String>) {
        read_as(18, false, line).unwrap()
    }

    fn refused(line: &[&str]) -> String {
        read_as(18, false, line).unwrap_err()
    }

    #[test]
    fn bb_001_forms_that_getopt_knows() {
        for (line, canonical) in [
            (&["-Dd", "-vP"][..], "--pgdata=d --verbose --progress"),
            (&["-D", "d", "-PvXs"], "--pgdata=d --progress --verbose --wal-method=s"),
            (&["-D=d", "--pgdata=", "--pgdata=a=b"], "--pgdata==d --pgdata= --pgdata=a=b"),
            (&["-D", "-P", "--pgdata", "--verbose"], "--pgdata=-P --pgdata=--verbose"),
            (&["-D", "--", "--wald", "x", "--wal-m=s"], "--pgdata=-- --waldir=x --wal-method=s"),
            (&["-D", "", "--promote"], "--pgdata= --promote"),
            (&["--pro", "--pg=d"], "--progress --pgdata=d"),
        ] {
            assert_eq!(read(line), (canonical.to_owned(), vec![]), "{line:?}");
        }
    }

    #[test]
    fn bb_005_operands_stand_anywhere() {
        let operands = |line: &[&str]| read(line).1;
        assert_eq!(
            operands(&["a", "-P", "-", "-D", "d", "--", "-v", "--bogus"]),
            ["a", "-", "-v", "--bogus"]
        );
        assert_eq!(read(&["a", "-P"]).0, "--progress");
        let posixly = read_as(18, true, &["-v", "a", "-P", "--bogus"]).unwrap();
        assert_eq!(posixly, ("--verbose".to_owned(), ["a", "-P", "--bogus"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn bb_004_lines_that_cannot_be_read() {
        for (line, message) in [
            (&["--bogus"][..], "unrecognized option '--bogus'"),
            (&["--bogus=1"], "unrecognized option '--bogus=1'"),
            (&["--prom"], "unrecognized option '--prom'"),
            (&["-Pk"], "invalid option -- 'k'"),
            (&["-P-c"], "invalid option -- '-'"),
            (&["-P "], "invalid option -- ' '"),
            (&["-D"], "option requires an argument -- 'D'"),
            (&["-PD"], "option requires an argument -- 'D'"),
            (&["--pg"], "option '--pgdata' requires an argument"),
            (&["--prog=1"], "option '--progress' doesn't allow an argument"),
            (&["--hel"], "--help is understood as the first argument only"),
            (&["--wal", "x"], "option '--wal' is ambiguous; possibilities: '--waldir' '--wal-method'"),
            (&["--wal=x"], "option '--wal=x' is ambiguous; possibilities: '--waldir' '--wal-method'"),
        ] {
            assert_eq!(refused(line), message, "{line:?}");
        }
    }

    #[test]
    fn bb_014_options_of_later_versions_are_unknown() {
        assert_eq!(read_as(16, false, &["--waldir=x"]).unwrap_err(), "unrecognized option '--waldir=x'");
        assert_eq!(read_as(16, false, &["--wal=s"]).unwrap().0, "--wal-method=s");
    }

    #[test]
    fn bb_006_clap_has_the_values() {
        let arguments =
            ["o", "-D", "x", "-D=y", "--waldir=", "-X", "n", "-Xs", "-vv", "--promote", "--", "-p", ""];
        let typed: Typed = super::read(line(&arguments), &dialect(18, false)).unwrap();
        assert_eq!((typed.pgdata, typed.waldir), (Some("=y".into()), Some("".into())));
        assert_eq!(typed.wal_method, Some(values::WalMethod::Stream));
        assert!(typed.verbose && typed.promote && !typed.progress);
        assert_eq!(typed.operands, ["o", "-p", ""]);
    }

    #[test]
    fn bb_007_what_is_wrong_first_is_told() {
        let refusal =
            |arguments: &[&str]| super::read::<Typed>(line(arguments), &dialect(18, false)).unwrap_err();
        let value = |text| Refusal::Value(values::wal_method(text).unwrap_err().to_string());
        let usage = |message: &str| Refusal::Usage(message.to_owned());
        assert_eq!(refusal(&["o", "-X", "a", "--bogus", "-X", "b"]), value("a"));
        assert_eq!(refusal(&["-Xa", "-Xs"]), value("a"));
        assert_eq!(refusal(&["-Xs", "--bogus", "-X", "b"]), usage("unrecognized option '--bogus'"));
        assert_eq!(refusal(&["--help", "-Xb"]), usage("--help is understood as the first argument only"));
        assert_eq!(refusal(&["-Xb", "-X"]), value("b"));
    }
}

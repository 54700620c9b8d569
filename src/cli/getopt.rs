//! Reads a command line as the C library's `getopt_long` does.
//!
//! In: a table of options and the arguments as they were typed. Out, one at a time and in their order: each
//! option with its value, and each operand; or what cannot be read, in getopt's words. Values are bytes that
//! nobody has looked at.
//!
//! Long options may be abbreviated as long as that is unambiguous, short ones bundled; a value may be attached
//! or be the next argument, whatever it looks like. Operands may stand between options, unless
//! `POSIXLY_CORRECT` is set: then everything after the first one is an operand. `--` has that effect always.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::values::InvalidValue;

/// A command line that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The options make no sense: the message and, after it, where to find help.
    Usage(String),
    /// The value of an option makes no sense, or asks for what cannot be done.
    Value(String),
}

impl From<InvalidValue> for Refusal {
    fn from(invalid: InvalidValue) -> Self {
        Self::Value(invalid.to_string())
    }
}

/// An option and what it does to `T`, where everything that was typed is gathered.
pub(super) struct OptionSpec<T> {
    short: Option<u8>,
    long: &'static str,
    effect: Effect<T>,
    /// The first major version of PostgreSQL whose program has it.
    since: u32,
}

enum Effect<T> {
    Flag(fn(&mut T)),
    Value(fn(&mut T, OsString)),
    Judged(fn(&mut T, OsString) -> Result<(), InvalidValue>),
    Refused(&'static str),
}

/// Stands where an option has no short name.
pub(super) const LONG_ONLY: u8 = b' ';

impl<T> OptionSpec<T> {
    /// An option without a value.
    pub(super) const fn flag(short: u8, long: &'static str, effect: fn(&mut T)) -> Self {
        Self::new(short, long, Effect::Flag(effect))
    }

    /// An option with a value that may be anything.
    pub(super) const fn value(short: u8, long: &'static str, effect: fn(&mut T, OsString)) -> Self {
        Self::new(short, long, Effect::Value(effect))
    }

    /// An option with a value that may be wrong.
    pub(super) const fn judged(
        short: u8,
        long: &'static str,
        effect: fn(&mut T, OsString) -> Result<(), InvalidValue>,
    ) -> Self {
        Self::new(short, long, Effect::Judged(effect))
    }

    /// A long option without a value that is understood elsewhere, and refused here with these words.
    pub(super) const fn refused(long: &'static str, message: &'static str) -> Self {
        Self::new(LONG_ONLY, long, Effect::Refused(message))
    }

    const fn new(short: u8, long: &'static str, effect: Effect<T>) -> Self {
        let short = if short == LONG_ONLY { None } else { Some(short) };
        Self { short, long, effect, since: 0 }
    }

    /// The same, unknown to programs before that major version.
    pub(super) const fn since(mut self, major: u32) -> Self {
        self.since = major;
        self
    }

    /// Takes a value for the option, if it needs one, and does what the option does.
    fn apply(&self, typed: &mut T, value: impl FnOnce() -> Result<OsString, Refusal>) -> Result<(), Refusal> {
        match self.effect {
            Effect::Flag(effect) => effect(typed),
            Effect::Value(effect) => effect(typed, value()?),
            Effect::Judged(effect) => effect(typed, value()?)?,
            Effect::Refused(message) => return usage(message.to_owned()),
        }
        Ok(())
    }

    const fn takes_value(&self) -> bool {
        matches!(self.effect, Effect::Value(_) | Effect::Judged(_))
    }
}

/// What a command line is read by.
pub(super) struct Grammar<'a, T> {
    /// The options, in the order in which they are named where a name is ambiguous.
    pub(super) options: &'a [OptionSpec<T>],
    /// Further options that the original does not have, without short names. They are known by their full names
    /// only, so that abbreviations of the original's options mean what they always meant.
    pub(super) own_options: &'a [OptionSpec<T>],
    /// The major version of PostgreSQL whose options count.
    pub(super) major: u32,
    /// Whether the first operand ends the options (`POSIXLY_CORRECT`).
    pub(super) operands_end_options: bool,
}

impl<T> Grammar<'_, T> {
    /// Gathers the options of a line in `typed`, in their order, and returns the operands. The first argument is
    /// the program's name.
    pub(super) fn read(&self, line: Vec<OsString>, typed: &mut T) -> Result<Vec<OsString>, Refusal> {
        let mut arguments = line.into_iter().skip(1);
        let mut operands = Vec::new();
        while let Some(argument) = arguments.next() {
            let bytes = argument.as_bytes();
            if bytes == b"--" {
                break;
            }
            if let Some(long) = bytes.strip_prefix(b"--") {
                self.take_long(long, &mut arguments, typed)?;
            } else if bytes.len() > 1 && bytes[0] == b'-' {
                self.take_bundle(&bytes[1..], &mut arguments, typed)?;
            } else {
                operands.push(argument);
                if self.operands_end_options {
                    break;
                }
            }
        }
        operands.extend(arguments);
        Ok(operands)
    }

    fn known(&self) -> impl Iterator<Item = &OptionSpec<T>> {
        self.options.iter().filter(|option| option.since <= self.major)
    }

    /// `--name` or `--name=value`, without its dashes.
    fn take_long(
        &self,
        text: &[u8],
        following: &mut impl Iterator<Item = OsString>,
        typed: &mut T,
    ) -> Result<(), Refusal> {
        let mut parts = text.splitn(2, |&byte| byte == b'=');
        let name = parts.next().unwrap_or_default();
        let attached = parts.next().map(|value| OsStr::from_bytes(value).to_owned());
        let option = self.find_long(name, text)?;
        let long = option.long;
        if attached.is_some() && !option.takes_value() {
            return usage(format!("option '--{long}' doesn't allow an argument"));
        }
        option.apply(typed, || {
            let missing = || Refusal::Usage(format!("option '--{long}' requires an argument"));
            attached.or_else(|| following.next()).ok_or_else(missing)
        })
    }

    fn find_long(&self, name: &[u8], typed: &[u8]) -> Result<&OptionSpec<T>, Refusal> {
        let has_name = |option: &&OptionSpec<T>| option.long.as_bytes() == name;
        if let Some(exact) = self.known().chain(self.own_options).find(has_name) {
            return Ok(exact);
        }
        let candidates: Vec<_> =
            self.known().filter(|option| option.long.as_bytes().starts_with(name)).collect();
        let typed = String::from_utf8_lossy(typed);
        match candidates[..] {
            [only] => Ok(only),
            [] => usage(format!("unrecognized option '--{typed}'")),
            _ => {
                let names: Vec<_> = candidates.iter().map(|option| option.long).collect();
                let names = names.join("' '--");
                usage(format!("option '--{typed}' is ambiguous; possibilities: '--{names}'"))
            }
        }
    }

    /// Short options without their dash; what follows one that takes a value is its value.
    fn take_bundle(
        &self,
        bundle: &[u8],
        following: &mut impl Iterator<Item = OsString>,
        typed: &mut T,
    ) -> Result<(), Refusal> {
        for (index, &short) in bundle.iter().enumerate() {
            let Some(option) = self.known().find(|option| option.short == Some(short)) else {
                return usage(format!("invalid option -- '{}'", String::from_utf8_lossy(&[short])));
            };
            let attached = Some(&bundle[index + 1..]).filter(|attached| !attached.is_empty());
            option.apply(typed, || {
                let missing =
                    || Refusal::Usage(format!("option requires an argument -- '{}'", char::from(short)));
                let attached = attached.map(|value| OsStr::from_bytes(value).to_owned());
                attached.or_else(|| following.next()).ok_or_else(missing)
            })?;
            if option.takes_value() {
                break;
            }
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::values;

    /// Each option that was met, with its value.
    type Met = Vec<(&'static str, OsString)>;

    const OPTIONS: [OptionSpec<Met>; 6] = [
        OptionSpec::refused("help", "not here"),
        OptionSpec::value(b'D', "pgdata", |met, value| met.push(("pgdata", value))),
        OptionSpec::flag(b'P', "progress", |met| met.push(("progress", OsString::new()))),
        OptionSpec::flag(b'v', "verbose", |met| met.push(("verbose", OsString::new()))),
        OptionSpec::value(LONG_ONLY, "waldir", |met: &mut Met, value| met.push(("waldir", value))).since(17),
        OptionSpec::judged(b'X', "wal-method", |met, value| {
            values::wal_method(&value.to_string_lossy()).map(|_| met.push(("wal-method", value)))
        }),
    ];

    const OWN_OPTIONS: [OptionSpec<Met>; 1] =
        [OptionSpec::flag(LONG_ONLY, "promote", |met| met.push(("promote", OsString::new())))];

    fn read_as(major: u32, posixly: bool, line: &[&str]) -> Result<(String, Vec<String>), String> {
        let grammar =
            Grammar { options: &OPTIONS, own_options: &OWN_OPTIONS, major, operands_end_options: posixly };
        let mut met = Met::new();
        let line = std::iter::once("program").chain(line.iter().copied()).map(OsString::from).collect();
        match grammar.read(line, &mut met) {
            Ok(operands) => {
                let met: Vec<String> =
                    met.iter().map(|(name, value)| format!("{name}={}", value.display())).collect();
                Ok((met.join(" "), operands.iter().map(|operand| operand.display().to_string()).collect()))
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
        for (line, met) in [
            (&["-Dd", "-vP"][..], "pgdata=d verbose= progress="),
            (&["-D", "d", "-PvXs"], "pgdata=d progress= verbose= wal-method=s"),
            (&["-D=d", "--pgdata=", "--pgdata=a=b"], "pgdata==d pgdata= pgdata=a=b"),
            (&["-D", "-P", "--pgdata", "--verbose"], "pgdata=-P pgdata=--verbose"),
            (&["-D", "--", "--wald", "x", "--wal-m=s"], "pgdata=-- waldir=x wal-method=s"),
            (&["-D", "", "--promote"], "pgdata= promote="),
            (&["--pro", "--pg=d"], "progress= pgdata=d"),
        ] {
            assert_eq!(read(line), (met.to_owned(), vec![]), "{line:?}");
        }
    }

    #[test]
    fn bb_005_operands_stand_anywhere() {
        let operands = |line: &[&str]| read(line).1;
        assert_eq!(
            operands(&["a", "-P", "-", "-D", "d", "--", "-v", "--bogus"]),
            ["a", "-", "-v", "--bogus"]
        );
        assert_eq!(read(&["a", "-P"]).0, "progress=");
        let posixly = read_as(18, true, &["-v", "a", "-P", "--bogus"]).unwrap();
        assert_eq!(posixly, ("verbose=".to_owned(), ["a", "-P", "--bogus"].map(str::to_owned).to_vec()));
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
            (&["--hel"], "not here"),
            (&["--wal", "x"], "option '--wal' is ambiguous; possibilities: '--waldir' '--wal-method'"),
            (&["--wal=x"], "option '--wal=x' is ambiguous; possibilities: '--waldir' '--wal-method'"),
        ] {
            assert_eq!(refused(line), message, "{line:?}");
        }
    }

    #[test]
    fn bb_014_options_of_later_versions_are_unknown() {
        assert_eq!(read_as(16, false, &["--waldir=x"]).unwrap_err(), "unrecognized option '--waldir=x'");
        assert_eq!(read_as(16, false, &["--wal=s"]).unwrap().0, "wal-method=s");
    }
}

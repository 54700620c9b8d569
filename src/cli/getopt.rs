//! What remains to make clap read a command line as `getopt_long` does.
//!
//! clap knows bundled flags, attached values, abbreviations and repetition. Two things differ: after a short
//! option it drops an `=`, and its refusals have other words and another exit status.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

/// A command line that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The options make no sense: the message and, after it, where to find help.
    Usage(String),
    /// The value of an option makes no sense.
    Value(String),
}

/// Splits the attached value from a short option, so that clap takes it as it is: `-D=x` gives `=x`.
pub(super) fn separate_short_values(command: &Command, arguments: Vec<OsString>) -> Vec<OsString> {
    let mut separated = Vec::with_capacity(arguments.len());
    let mut arguments = arguments.into_iter();
    separated.extend(arguments.next());
    while let Some(argument) = arguments.next() {
        let bytes = argument.as_bytes();
        if bytes == b"--" {
            separated.push(argument);
            separated.extend(arguments.by_ref());
        } else if let Some(long) = bytes.strip_prefix(b"--") {
            let wants_next = !long.contains(&b'=') && long_takes_value(command, long);
            separated.push(argument);
            if wants_next {
                separated.extend(arguments.next());
            }
        } else if bytes.len() > 1 && bytes[0] == b'-' {
            let value_at = bytes[1..].iter().position(|&short| short_takes_value(command, short));
            match value_at.map(|index| index + 2) {
                Some(at) if at < bytes.len() => {
                    separated.push(OsStr::from_bytes(&bytes[..at]).to_owned());
                    separated.push(OsString::from_vec(bytes[at..].to_vec()));
                }
                Some(_) => {
                    separated.push(argument);
                    separated.extend(arguments.next());
                }
                None => separated.push(argument),
            }
        } else {
            separated.push(argument);
        }
    }
    separated
}

fn takes_value(argument: &Arg) -> bool {
    argument.get_action().takes_values()
}

fn short_takes_value(command: &Command, short: u8) -> bool {
    command.get_arguments().any(|arg| arg.get_short() == Some(char::from(short)) && takes_value(arg))
}

fn long_takes_value(command: &Command, name: &[u8]) -> bool {
    let candidates = matching_longs(command, &String::from_utf8_lossy(name));
    matches!(candidates[..], [arg] if takes_value(arg))
}

/// The options that a long name can mean: the one of that name, or all that begin with it.
fn matching_longs<'a>(command: &'a Command, name: &str) -> Vec<&'a Arg> {
    let with = |matches: &dyn Fn(&str) -> bool| {
        command.get_arguments().filter(|arg| arg.get_long().is_some_and(matches)).collect::<Vec<_>>()
    };
    let exact = with(&|long| long == name);
    if exact.is_empty() { with(&|long| long.starts_with(name)) } else { exact }
}

/// Says in getopt's words what clap refuses.
pub(super) fn refusal(command: &Command, error: &clap::Error) -> Refusal {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let argument = context(ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::ValueValidation => {
            let message = std::error::Error::source(error).map(ToString::to_string);
            Refusal::Value(message.unwrap_or_else(|| format!("invalid value for option {argument}")))
        }
        ErrorKind::InvalidUtf8 => Refusal::Value("a value on the command line is not valid UTF-8".to_owned()),
        ErrorKind::InvalidValue => Refusal::Usage(missing_value(&argument)),
        ErrorKind::TooManyValues => {
            Refusal::Usage(format!("option '{}' doesn't allow an argument", name_of(&argument)))
        }
        _ => Refusal::Usage(unknown_option(command, &argument)),
    }
}

/// clap shows an option as `--pgdata <DIR>`, or `-D <DIR>` where it has no long name.
fn name_of(argument: &str) -> &str {
    argument.split([' ', '=']).next().unwrap_or(argument)
}

fn missing_value(argument: &str) -> String {
    format!("option '{}' requires an argument", name_of(argument))
}

fn unknown_option(command: &Command, argument: &str) -> String {
    let name = name_of(argument);
    match name.strip_prefix("--").filter(|long| !long.is_empty()) {
        // A dash among bundled options is one that does not exist.
        None if name == "--" => "invalid option -- '-'".to_owned(),
        None => format!("invalid option -- '{}'", name.trim_start_matches('-')),
        Some(long) => match &matching_longs(command, long)[..] {
            candidates @ [_, _, ..] => {
                let longs: Vec<_> = candidates.iter().filter_map(|arg| arg.get_long()).collect();
                format!("option '{name}' is ambiguous; possibilities: '--{}'", longs.join("' '--"))
            }
            _ => format!("unrecognized option '{name}'"),
        },
    }
}

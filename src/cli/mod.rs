//! The programs: which one the binary is, its options, its messages and its exit status.
//!
//! The drop-in behaviour of PostgreSQL's own programs lives here, as a thin layer on the library. Nothing
//! else in the crate uses this module.

mod basebackup;
mod basebackup_arguments;
mod basebackup_help;
mod basebackup_plan;
mod basebackup_report;
mod basebackup_retries;
mod basebackup_slot;
mod claimed_version;
mod colors;
mod compression;
mod connection_arguments;
mod getopt;
mod help;
mod limits;
mod messages;
mod password_prompt;
mod patient_writer;
mod receiver_status;
mod receivewal;
mod receivewal_arguments;
mod receivewal_help;
mod receivewal_plan;
mod receivewal_report;
mod receivewal_slots;
mod recovery_arguments;
mod signals;
mod status_file;
mod value_parsers;
mod values;
mod verifybackup;
mod verifybackup_arguments;
mod verifybackup_help;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use claimed_version::ClaimedVersion;
use messages::Messages;

/// What the binary does.
enum Personality {
    /// `pg_basebackup`, by that name or as `pgsiphon basebackup`.
    BaseBackup,
    /// `pg_receivewal`, by that name or as `pgsiphon receivewal`.
    ReceiveWal,
    /// `pg_verifybackup`, by that name or as `pgsiphon verifybackup`.
    VerifyBackup,
    /// `pgsiphon` without a command, or with an option that only it has.
    Overview,
}

/// Runs the program that the command line names and returns its exit status.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let program = program_name(&arguments);
    let claim = ClaimedVersion::of_process(arguments.first().map_or(OsStr::new(""), OsString::as_os_str));
    let (personality, command, arguments) = personality(&program, arguments);
    let messages = Messages::new(&program, &command);
    let claim = match claim {
        Ok(claim) => claim,
        Err(error) => {
            messages.error(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    match personality {
        Personality::BaseBackup => basebackup::main(&program, &command, claim, arguments, &messages),
        Personality::ReceiveWal => receivewal::main(&program, &command, claim, arguments, &messages),
        Personality::VerifyBackup => verifybackup::main(&command, claim, arguments, &messages),
        Personality::Overview => overview(&program, &arguments, &messages),
    }
}

/// The base name of the first argument (BB-009).
fn program_name(arguments: &[OsString]) -> String {
    let first = arguments.first().map_or(OsStr::new("pgsiphon"), OsString::as_os_str);
    Path::new(first).file_name().unwrap_or(first).to_string_lossy().into_owned()
}

/// Picks by the name of the program, and failing that by its first argument, which is taken out. What a user
/// types to run the personality comes with it.
fn personality(program: &str, mut arguments: Vec<OsString>) -> (Personality, String, Vec<OsString>) {
    match program {
        "pg_basebackup" => return (Personality::BaseBackup, program.to_owned(), arguments),
        "pg_receivewal" => return (Personality::ReceiveWal, program.to_owned(), arguments),
        "pg_verifybackup" => return (Personality::VerifyBackup, program.to_owned(), arguments),
        _ => {}
    }
    let command = arguments.get(1).and_then(|command| command.to_str()).unwrap_or_default();
    let personality = match command {
        "basebackup" => Personality::BaseBackup,
        "receivewal" => Personality::ReceiveWal,
        "verifybackup" => Personality::VerifyBackup,
        _ => return (Personality::Overview, program.to_owned(), arguments),
    };
    let command = format!("{program} {command}");
    arguments.remove(1);
    (personality, command, arguments)
}

fn overview(program: &str, arguments: &[OsString], messages: &Messages) -> ExitCode {
    match arguments.get(1).and_then(|argument| argument.to_str()) {
        Some("--help" | "-?" | "-h" | "help") => messages.print(&help::overview(program)),
        Some("--version" | "-V") => messages.print(&format!("pgsiphon {}\n", env!("CARGO_PKG_VERSION"))),
        Some(other) => {
            messages.error(&format!("unrecognized command \"{other}\""));
            messages.try_help();
            ExitCode::FAILURE
        }
        None => {
            messages.error("no command specified");
            messages.try_help();
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_named_as_it_is_typed() {
        let command = |line: &[&str]| personality(line[0], line.iter().map(OsString::from).collect()).1;
        assert_eq!(command(&["pg_basebackup", "-P"]), "pg_basebackup");
        assert_eq!(command(&["pgsiphon", "basebackup", "-P"]), "pgsiphon basebackup");
        assert_eq!(command(&["pg_receivewal", "-D", "d"]), "pg_receivewal");
        assert_eq!(command(&["pgsiphon", "receivewal", "-D", "d"]), "pgsiphon receivewal");
        assert_eq!(command(&["pg_verifybackup", "basebackup"]), "pg_verifybackup");
        assert_eq!(command(&["pgsiphon", "verifybackup", "d"]), "pgsiphon verifybackup");
        assert_eq!(command(&["pgsiphon"]), "pgsiphon");
    }
}

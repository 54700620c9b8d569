//! The texts of `--version` and of the overview.

use super::claimed_version::ClaimedVersion;

/// The line that tools read the version from.
pub(super) fn version(name: &str, claim: ClaimedVersion) -> String {
    format!("{name} (PostgreSQL) {claim} (pgsiphon {})\n", env!("CARGO_PKG_VERSION"))
}

/// The overview of the commands.
pub(super) fn overview(program: &str) -> String {
    format!(
        "{program} speaks PostgreSQL's physical replication protocol.

Usage:
  {program} basebackup [OPTION]...
  {program} receivewal [OPTION]...
  {program} verifybackup [OPTION]... BACKUPDIR

Commands:
  basebackup     take a base backup of a running server (the options of pg_basebackup)
  receivewal     receive the write-ahead log into a directory (the options of pg_receivewal)
  verifybackup   compare a backup with its manifest (the options of pg_verifybackup)

Options:
  -V, --version  output version information, then exit
  -?, --help     show this help, then exit

\"{program} basebackup --help\" lists the options of a command.
Under the name pg_basebackup, pg_receivewal or pg_verifybackup the program is that command.

It stands in for the programs of PostgreSQL {newest}, in a directory such as
/usr/lib/postgresql/15/bin for those of that version. The variable {variable}
names another version.
",
        newest = ClaimedVersion::NEWEST.major(),
        variable = super::claimed_version::VARIABLE,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{Args, Command};

    use super::*;
    use crate::cli::{
        basebackup_arguments, basebackup_help, receivewal_arguments, receivewal_help, verifybackup_arguments,
        verifybackup_help,
    };

    #[track_caller]
    fn assert_lists_the_options<T: Args>(text: &str) {
        let command = T::augment_args(Command::new(""));
        let options: BTreeSet<_> = command.get_arguments().filter_map(|option| option.get_long()).collect();
        let listed: BTreeSet<_> = text
            .lines()
            .filter(|line| line.starts_with("  -") || line.starts_with("      --"))
            .filter_map(|line| line.split("--").nth(1)?.split(['=', ' ']).next())
            .collect();
        assert_eq!(listed, options);
        for option in command.get_arguments() {
            if let (Some(short), Some(long)) = (option.get_short(), option.get_long()) {
                assert!(text.contains(&format!("\n  -{short}, --{long}")), "{long}");
            }
        }
    }

    #[test]
    fn bb_002_rw_004_the_help_of_each_program_lists_its_options() {
        let newest = ClaimedVersion::NEWEST;
        assert_lists_the_options::<basebackup_arguments::Typed>(&basebackup_help::text("x", newest));
        assert_lists_the_options::<receivewal_arguments::Typed>(&receivewal_help::text("x", newest));
        assert_lists_the_options::<verifybackup_arguments::Typed>(&verifybackup_help::text("x", newest));
    }

    #[test]
    fn bb_002_lines_of_the_overview_fit_a_terminal() {
        for line in overview("pgsiphon").lines() {
            assert!(line.len() <= 95, "{line}");
        }
    }

    #[test]
    fn bb_003_version_has_the_form_that_tools_read() {
        let version = version("pg_basebackup", ClaimedVersion::NEWEST);
        assert!(version.starts_with("pg_basebackup (PostgreSQL) 18.6 (pgsiphon "), "{version}");
        assert!(version.ends_with(")\n"), "{version}");
    }
}

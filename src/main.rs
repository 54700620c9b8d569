//! Picks the personality; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    pgsiphon::cli::main(std::env::args_os().collect())
}

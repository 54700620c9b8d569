//! The one place that prints.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// Prints messages in the form of PostgreSQL's programs (BB-234).
///
/// A message is `PROGRAM: error: text`, with `warning`, `detail` or `hint` in place of `error`, or nothing for
/// information. Standard output gets only what was asked for.
#[derive(Clone, Debug)]
pub(super) struct Messages {
    program: String,
    /// What a user types to run it.
    command: String,
    colors: bool,
}

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[01;31m";
const PURPLE: &str = "\x1b[01;35m";
const CYAN: &str = "\x1b[01;36m";
const RESET: &str = "\x1b[0m";

impl Messages {
    /// Messages of the program; coloured if `PG_COLOR` says so.
    pub(super) fn new(program: &str, command: &str) -> Self {
        let colors = match std::env::var("PG_COLOR").as_deref() {
            Ok("always") => true,
            Ok("auto") => std::io::stderr().is_terminal(),
            _ => false,
        };
        Self { program: program.to_owned(), command: command.to_owned(), colors }
    }

    /// Something failed. Lines after the first belong to the message.
    pub(super) fn error(&self, text: &str) {
        self.tagged("error", RED, text);
    }

    /// Something is odd.
    pub(super) fn warning(&self, text: &str) {
        self.tagged("warning", PURPLE, text);
    }

    /// More about the error before it.
    pub(super) fn detail(&self, text: &str) {
        self.tagged("detail", BOLD, text);
    }

    /// What to do about the error before it.
    pub(super) fn hint(&self, text: &str) {
        self.tagged("hint", CYAN, text);
    }

    /// Something happened.
    pub(super) fn information(&self, text: &str) {
        print_raw(&format!("{}: {text}\n", self.emphasized(&self.program, BOLD)));
    }

    /// Where to read about the options.
    pub(super) fn try_help(&self) {
        self.hint(&format!("Try \"{} --help\" for more information.", self.command));
    }

    /// Text for standard output; the exit status says whether it got there.
    pub(super) fn print(&self, text: &str) -> ExitCode {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                self.error(&format!("could not write to stdout: {}", crate::types::OsError(error)));
                ExitCode::FAILURE
            }
        }
    }

    fn tagged(&self, tag: &str, color: &str, text: &str) {
        let program = self.emphasized(&self.program, BOLD);
        let tag = self.emphasized(&format!("{tag}:"), color);
        print_raw(&format!("{program}: {tag} {text}\n"));
    }

    fn emphasized(&self, text: &str, color: &str) -> String {
        if self.colors { format!("{color}{text}{RESET}") } else { text.to_owned() }
    }
}

/// Prints text on standard error as it is.
pub(super) fn print_raw(text: &str) {
    // Where standard error is closed there is nobody to tell.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

//! The one place that prints.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::colors::{Colors, set_off};
use super::getopt::Refusal;
use super::patient_writer::{PatientWriter, standard_output};
use crate::types::OsError;

/// How long a reader of messages may take nothing before the backup goes on without it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Prints messages in the form of PostgreSQL's programs (BB-234).
///
/// A message is `PROGRAM: error: text`, with `warning`, `detail` or `hint` in place of `error`, or nothing for
/// information. Standard output gets only what was asked for.
#[derive(Clone, Debug)]
pub(super) struct Messages {
    program: String,
    /// What a user types to run it.
    command: String,
    colors: Colors,
    /// Standard error is a terminal, which control characters could drive.
    is_terminal: bool,
    /// Nobody seems to read any more; until a message gets through, no time is spent on them.
    unread: Arc<AtomicBool>,
}

impl Messages {
    /// Messages of the program, in the colours that the environment asks for.
    pub(super) fn new(program: &str, command: &str) -> Self {
        let colors = Colors::of_environment();
        let unread = Arc::new(AtomicBool::new(false));
        let is_terminal = std::io::stderr().is_terminal();
        Self { program: program.to_owned(), command: command.to_owned(), colors, is_terminal, unread }
    }

    /// Something failed. Lines after the first belong to the message.
    pub(super) fn error(&self, text: &str) {
        self.tagged("error", self.colors.error.as_ref(), text);
    }

    /// Something is odd.
    pub(super) fn warning(&self, text: &str) {
        self.tagged("warning", self.colors.warning.as_ref(), text);
    }

    /// More about the error before it.
    pub(super) fn detail(&self, text: &str) {
        self.tagged("detail", self.colors.note.as_ref(), text);
    }

    /// What to do about the error before it.
    pub(super) fn hint(&self, text: &str) {
        self.tagged("hint", self.colors.note.as_ref(), text);
    }

    /// Something happened.
    pub(super) fn information(&self, text: &str) {
        self.print_raw(&format!("{}{}\n", self.program(), self.shown(text)));
    }

    /// What a server has to say.
    pub(super) fn notice(&self, text: &str) {
        self.print_raw(&format!("{}\n", self.shown(text)));
    }

    /// Text as it may be printed: names and messages come from servers, and must not drive a terminal. Programs that
    /// read it get every byte.
    pub(super) fn shown<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_terminal { without_control(text) } else { Cow::Borrowed(text) }
    }

    /// Where to read about the options.
    pub(super) fn try_help(&self) {
        self.hint(&format!("Try \"{} --help\" for more information.", self.command));
    }

    /// Why the command line cannot be followed.
    pub(super) fn refuse(&self, refusal: &Refusal) -> ExitCode {
        match refusal {
            Refusal::Value(message) => self.error(message),
            Refusal::Usage(message) => {
                self.error(message);
                self.try_help();
            }
        }
        ExitCode::FAILURE
    }

    /// Text for standard output; the exit status says whether it got there.
    pub(super) fn print(&self, text: &str) -> ExitCode {
        match standard_output().and_then(|mut out| out.write_all(text.as_bytes())) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                self.error(&format!("could not write to stdout: {}", OsError(error)));
                ExitCode::FAILURE
            }
        }
    }

    fn tagged(&self, tag: &str, color: Option<&String>, text: &str) {
        let (program, tag) = (self.program(), set_off(&format!("{tag}: "), color));
        self.print_raw(&format!("{program}{tag}{}\n", self.shown(text)));
    }

    /// What every message begins with.
    fn program(&self) -> String {
        set_off(&format!("{}: ", self.program), self.colors.locus.as_ref())
    }

    /// Prints text on standard error as it is.
    ///
    /// A pipe that is non-blocking and full is waited for, but not for ever: where standard error is not read, or
    /// closed, there is nobody to tell.
    pub(super) fn print_raw(&self, text: &str) {
        let patience = if self.unread.load(Ordering::Relaxed) { Duration::ZERO } else { PATIENCE };
        let mut writer = PatientWriter::with_patience(std::io::stderr().lock(), patience);
        let unread = writer.write_all(text.as_bytes()).is_err();
        self.unread.store(unread, Ordering::Relaxed);
    }
}

/// The text with a sign in place of each control character, but for ends of lines and tabulators.
fn without_control(text: &str) -> Cow<'_, str> {
    let drives = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if text.contains(drives) { text.replace(drives, "\u{fffd}").into() } else { text.into() }
}

/// Seconds with at most one decimal, which says something unless there is nothing to say.
pub(super) fn seconds(duration: Duration) -> String {
    let tenths = duration.as_millis().div_ceil(100);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => whole.to_string(),
        (whole, tenth) => format!("{whole}.{tenth}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_gets_to_a_terminal() {
        for (text, expected) in [
            ("plain\n\ttext: größer", "plain\n\ttext: größer"),
            ("\u{1b}]0;title\u{7}x\r\u{7f}", "\u{fffd}]0;title\u{fffd}x\u{fffd}\u{fffd}"),
            ("C1: \u{9b}31m", "C1: \u{fffd}31m"),
        ] {
            assert_eq!(without_control(text), expected);
        }
    }

    #[test]
    fn rw_055_pauses_are_told_in_seconds() {
        for (millis, text) in
            [(0, "0"), (1, "0.1"), (99, "0.1"), (400, "0.4"), (401, "0.5"), (4950, "5"), (5000, "5")]
        {
            assert_eq!(seconds(Duration::from_millis(millis)), text);
        }
    }
}

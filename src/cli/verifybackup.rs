//! `pg_verifybackup`.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::claimed_version::ClaimedVersion;
use super::messages::Messages;
use super::verifybackup_arguments::{self, Plan};
use super::{help, verifybackup_help};
use crate::manifest::ManifestError;
use crate::types::WithCauses;
use crate::verify::{Observer, Problem, Progress, VerifyError, verify};

/// The first major version whose program says why a manifest is no JSON.
const JSON_ERRORS_SINCE: u32 = 17;

/// How often progress is shown (BB-230).
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the program; `command` is what a user types to run it.
pub(super) fn main(
    command: &str,
    claim: ClaimedVersion,
    arguments: Vec<OsString>,
    messages: &Messages,
) -> ExitCode {
    match arguments.get(1).and_then(|argument| argument.to_str()) {
        Some("--help" | "-?") => return messages.print(&verifybackup_help::text(command, claim)),
        Some("--version" | "-V") => return messages.print(&help::version("pg_verifybackup", claim)),
        _ => {}
    }
    let operands_end_options = std::env::var_os("POSIXLY_CORRECT").is_some();
    let plan = match verifybackup_arguments::parse(arguments, claim, operands_end_options) {
        Ok(plan) => plan,
        Err(refusal) => return messages.refuse(&refusal),
    };
    let mut printer = Printer::new(messages, &plan);
    match verify(&plan.directory, &plan.options, &mut printer) {
        Ok(report) if !report.is_verified() => ExitCode::FAILURE,
        Ok(_) if plan.quiet => ExitCode::SUCCESS,
        Ok(_) => messages.print("backup successfully verified\n"),
        Err(error) => {
            report_failure(&error, claim, messages);
            ExitCode::FAILURE
        }
    }
}

fn report_failure(error: &VerifyError, claim: ClaimedVersion, messages: &Messages) {
    match error {
        VerifyError::Manifest(ManifestError::Json(_)) if claim.major() < JSON_ERRORS_SINCE => {
            messages.error("could not parse backup manifest: parsing failed");
        }
        // What is wrong with an archive is said first, as the original says it, and then with which.
        VerifyError::Tar { source, .. } => {
            messages.error(&source.to_string());
            messages.detail(&error.to_string());
        }
        VerifyError::Decompress { source, .. } => {
            messages.error(&source.to_string());
            messages.detail(&error.to_string());
        }
        error => messages.error(&WithCauses(error).to_string()),
    }
    if let Some(hint) = error.hint() {
        messages.hint(hint);
    }
}

/// Prints problems and progress.
struct Printer<'a> {
    messages: &'a Messages,
    exit_on_error: bool,
    progress: bool,
    last_progress: Option<Instant>,
    /// The end of a progress line that another one will replace.
    line_end: char,
}

impl<'a> Printer<'a> {
    fn new(messages: &'a Messages, plan: &Plan) -> Self {
        let line_end = if std::io::stderr().is_terminal() { '\r' } else { '\n' };
        let Plan { exit_on_error, progress, .. } = *plan;
        Self { messages, exit_on_error, progress, last_progress: None, line_end }
    }
}

impl Observer for Printer<'_> {
    fn problem(&mut self, problem: &Problem) -> ControlFlow<()> {
        self.messages.error(&WithCauses(problem).to_string());
        if let Problem::Wal { fault, .. } = problem {
            self.messages.detail(&WithCauses(fault).to_string());
        }
        if self.exit_on_error { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn progress(&mut self, progress: Progress) {
        let is_due = self.last_progress.is_none_or(|last| last.elapsed() >= PROGRESS_INTERVAL);
        if self.progress && (is_due || progress.finished) {
            self.last_progress = Some(Instant::now());
            let end = if progress.finished { '\n' } else { self.line_end };
            self.messages.print_raw(&format!("{}{end}", progress_line(progress.done, progress.total)));
        }
    }
}

/// `done/total kB (n%) verified`.
fn progress_line(done: u64, total: u64) -> String {
    let [done_kb, total_kb] = [done, total].map(|bytes| (bytes / 1024).to_string());
    let percent = match total {
        0 => 0,
        total => u128::from(done) * 100 / u128::from(total),
    };
    format!("{done_kb:>width$}/{total_kb} kB ({percent}%) verified", width = total_kb.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bb_230_progress_lines() {
        assert_eq!(progress_line(0, 0), "0/0 kB (0%) verified");
        assert_eq!(progress_line(0, 22418 * 1024 + 5), "    0/22418 kB (0%) verified");
        assert_eq!(progress_line(22418 * 1024, 22418 * 1024), "22418/22418 kB (100%) verified");
    }
}

//! `pg_receivewal`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use rustix::fs::Mode;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::claimed_version::ClaimedVersion;
use super::connection_arguments::PasswordPrompt;
use super::messages::Messages;
use super::receivewal_plan::{self, Action, Plan, Receiving};
use super::receivewal_report::{Report, wants_password};
use super::signals::{EndingSignal, report_file_size_limit, run_unless_signal, run_until_one_of};
use super::status_file::StatusFile;
use super::{help, password_prompt, receivewal_help, receivewal_slots};
use crate::conninfo::Config;
use crate::receive::{self, Observer, ReceiveError, SegmentArchive};
use crate::storage::{StorageError, SyncPolicy};
use crate::types::{OsError, WithCauses};

/// The first major version whose program ends in good order when it is asked to terminate.
const TERMINATES_IN_ORDER_SINCE: u32 = 16;

/// The exit status when the server has removed WAL that the directory lacks.
const GAP: u8 = 3;

/// Runs the program; `command` is what a user types to run it.
pub(super) fn main(
    program: &str,
    command: &str,
    claim: ClaimedVersion,
    arguments: Vec<OsString>,
    messages: &Messages,
) -> ExitCode {
    match arguments.get(1).and_then(|argument| argument.to_str()) {
        Some("--help" | "-?") => return messages.print(&receivewal_help::text(command, claim)),
        Some("--version" | "-V") => return messages.print(&help::version("pg_receivewal", claim)),
        _ => {}
    }
    report_file_size_limit();
    // What is created gets its permissions at once; until then it is nobody else's.
    let umask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let operands_end_options = std::env::var_os("POSIXLY_CORRECT").is_some();
    let plan = match receivewal_plan::parse(arguments, claim, operands_end_options) {
        Ok(plan) => plan,
        Err(refusal) => return messages.refuse(&refusal),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            messages.error(&format!("could not start: {}", OsError(error)));
            return ExitCode::FAILURE;
        }
    };
    let report = Arc::new(Report::new(messages.clone(), &plan));
    Program { name: program, claim, plan, umask, messages, report, runtime }
        .run()
        .unwrap_or_else(|status| status)
}

/// The program and what its command line means.
struct Program<'a> {
    name: &'a str,
    claim: ClaimedVersion,
    plan: Plan,
    /// What the user would have of new files.
    umask: Mode,
    messages: &'a Messages,
    report: Arc<Report>,
    runtime: Runtime,
}

impl Program<'_> {
    /// Asks for the password where that is wanted, and does the work, for a second time if the first one only showed
    /// that a password is needed (CN-275 … CN-282). Gives the exit status, either way.
    fn run(&self) -> Result<ExitCode, ExitCode> {
        // Where nothing can be kept, no server is troubled (RW-039).
        let mut archive = self.open_archive()?;
        let (_, mut config) = self.plan.connection.configure(self.name, self.claim, self.messages)?;
        if let Action::Receive(receiving) = &self.plan.action {
            config.connect_timeout = config.connect_timeout.or(receiving.connect_timeout);
        }
        self.create_status_file()?;
        self.warn_of_early_removal();
        let mut may_ask = self.plan.connection.prompt() == PasswordPrompt::OnDemand;
        if self.plan.connection.prompt() == PasswordPrompt::First {
            config.password = password_prompt::ask().or(config.password);
        }
        loop {
            let (outcome, signal) = self.work(&config, archive);
            let Some(error) = outcome.err().filter(|error| signal.is_none() || is_of_interest(error)) else {
                self.report.ended(None);
                return Ok(ExitCode::SUCCESS);
            };
            // Nothing typed, or nobody there to type, is the end of it (OP-30).
            let password = if may_ask && wants_password(&error) { password_prompt::ask() } else { None };
            let Some(password) = password else { return Err(self.fail(&error)) };
            may_ask = false;
            config.password = Some(password);
            archive = self.open_archive()?;
        }
    }

    /// The directory, if there is to be one.
    fn open_archive(&self) -> Result<Option<SegmentArchive>, ExitCode> {
        let Action::Receive(receiving) = &self.plan.action else { return Ok(None) };
        let Receiving { directory, compression, sync_policy, .. } = &**receiving;
        let opened = SegmentArchive::open(directory, *compression, *sync_policy, self.observer());
        opened.map(Some).map_err(|error: StorageError| {
            self.messages.error(&WithCauses(&error).to_string());
            ExitCode::FAILURE
        })
    }

    fn create_status_file(&self) -> Result<(), ExitCode> {
        let Action::Receive(receiving) = &self.plan.action else { return Ok(()) };
        let Some(path) = receiving.status_file.clone() else { return Ok(()) };
        let mode = 0o666 & !self.umask.bits();
        let messages = self.messages.clone();
        let complaint = |path: &Path, error| {
            format!("could not write status file \"{}\": {}", path.display(), OsError(error))
        };
        let place = path.clone();
        let complain = move |error| messages.warning(&complaint(&place, error));
        match StatusFile::create(&path, mode, complain) {
            Ok(file) => {
                self.report.keep_status_file(file);
                Ok(())
            }
            Err(error) => {
                self.messages.error(&complaint(&path, error));
                Err(ExitCode::FAILURE)
            }
        }
    }

    fn observer(&self) -> Arc<dyn Observer> {
        Arc::<Report>::clone(&self.report)
    }

    /// A slot lets the server remove what it was told to be durable (OP-09).
    fn warn_of_early_removal(&self) {
        if let Action::Receive(receiving) = &self.plan.action
            && receiving.sync_policy == SyncPolicy::Never
            && let Some(slot) = &receiving.options.slot
        {
            self.messages.warning(&format!(
                "with --no-sync, replication slot \"{slot}\" lets the server remove WAL that is not on disk here yet"
            ));
        }
    }

    /// Does what the command line says. A signal that came is returned with the outcome.
    fn work(
        &self,
        config: &Config,
        archive: Option<SegmentArchive>,
    ) -> (Result<(), ReceiveError>, Option<EndingSignal>) {
        let cancel = CancellationToken::new();
        match (&self.plan.action, archive) {
            (Action::Receive(receiving), Some(archive)) => {
                let work = receive::run(
                    config,
                    &receiving.options,
                    Box::new(archive),
                    self.observer(),
                    cancel.clone(),
                );
                let (outcome, signal) =
                    self.runtime.block_on(run_until_one_of(self.orderly_signals(), &cancel, work));
                (outcome.map(drop), signal)
            }
            (action, _) => {
                let work = receivewal_slots::perform(action, config, &self.report);
                self.runtime.block_on(run_unless_signal(&cancel, work))
            }
        }
    }

    /// The signals that end receiving in good order; others do what they do by default (RW-201).
    fn orderly_signals(&self) -> &'static [EndingSignal] {
        if self.claim.major() >= TERMINATES_IN_ORDER_SINCE {
            &[EndingSignal::INTERRUPT, EndingSignal::TERMINATE]
        } else {
            &[EndingSignal::INTERRUPT]
        }
    }

    fn fail(&self, error: &ReceiveError) -> ExitCode {
        self.report.ended(Some(error));
        if error.is_gap() { ExitCode::from(GAP) } else { ExitCode::FAILURE }
    }
}

/// Whether the failure says something to somebody who ended the program meanwhile: not all that came is on disk, or
/// there is no point in going on later.
fn is_of_interest(error: &ReceiveError) -> bool {
    match error {
        ReceiveError::Cancelled => false,
        ReceiveError::Disk(_) => true,
        error => !error.may_pass(),
    }
}

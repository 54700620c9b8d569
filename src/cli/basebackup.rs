//! `pg_basebackup`.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use rustix::fs::Mode;
use tokio_util::sync::CancellationToken;

use super::basebackup_plan::{self, Output, Plan};
use super::basebackup_report::{Report, Verbosity, wants_password};
use super::basebackup_retries::{Course, Retries};
use super::basebackup_slot::SlotWatch;
use super::claimed_version::ClaimedVersion;
use super::connection_arguments::PasswordPrompt;
use super::limits::raise_descriptor_limit;
use super::messages::Messages;
use super::patient_writer::standard_output;
use super::signals::{EndingSignal, report_file_size_limit, run_unless_signal, run_until_signal};
use super::{basebackup_help, help, password_prompt};
use crate::backup::{
    self, BackupError, BackupOptions, Destination, DirectoryDestination, NoDestination, TarFilesDestination,
    TarStreamDestination, WalMethod,
};
use crate::conninfo::{Config, Settings};
use crate::storage::SyncPolicy;
use crate::types::OsError;

/// Runs the program; `command` is what a user types to run it.
pub(super) fn main(
    program: &str,
    command: &str,
    claim: ClaimedVersion,
    arguments: Vec<OsString>,
    messages: &Messages,
) -> ExitCode {
    match arguments.get(1).and_then(|argument| argument.to_str()) {
        Some("--help" | "-?") => return messages.print(&basebackup_help::text(command, claim)),
        Some("--version" | "-V") => return messages.print(&help::version("pg_basebackup", claim)),
        _ => {}
    }
    report_file_size_limit();
    raise_descriptor_limit();
    // What is created gets its permissions at once; until then it is nobody else's.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let operands_end_options = std::env::var_os("POSIXLY_CORRECT").is_some();
    let plan = match basebackup_plan::parse(arguments, claim, operands_end_options) {
        Ok(plan) => plan,
        Err(refusal) => return messages.refuse(&refusal),
    };
    match plan.connection.configure(program, claim, messages) {
        Ok((settings, config)) => with_password(plan, settings, config, messages),
        Err(status) => status,
    }
}

/// Asks for the password where that is wanted, and takes the backup, for a second time if the first one only
/// showed that a password is needed (CN-275 … CN-282).
fn with_password(mut plan: Plan, settings: Settings, mut config: Config, messages: &Messages) -> ExitCode {
    let mut may_ask = plan.connection.prompt() == PasswordPrompt::OnDemand;
    if plan.connection.prompt() == PasswordPrompt::First {
        config.password = password_prompt::ask().or(config.password);
    }
    if let Some(recovery) = plan.options.recovery.as_mut().filter(|_| plan.standby) {
        recovery.primary = Some(settings);
    }
    let mut retries = Retries::new(&plan, messages);
    let slot: Arc<SlotWatch> = Arc::default();
    loop {
        match take(&plan, &config, may_ask, &mut retries, &slot, messages) {
            Ok((Ok(()), signal)) => {
                slot.settle_success(messages);
                return signal.map_or(ExitCode::SUCCESS, |signal| end_complete(signal, &slot, messages));
            }
            Ok((Err(error), None)) if may_ask && wants_password(&error) => {
                may_ask = false;
                config.password = password_prompt::ask();
            }
            Ok((Err(_), signal)) => {
                slot.settle_failure(messages);
                return signal.map_or(ExitCode::FAILURE, EndingSignal::end_process);
            }
            Err(error) => {
                messages.error(&format!("could not start: {}", OsError(error)));
                return ExitCode::FAILURE;
            }
        }
    }
}

/// Ends by a signal that came too late: the backup is there, and it is said, because whoever sent the signal will not
/// think so.
fn end_complete(signal: EndingSignal, slot: &SlotWatch, messages: &Messages) -> ExitCode {
    let slot = slot.of_backup().map(|name| format!(", and so does replication slot \"{name}\""));
    messages.information(&format!("base backup was complete and stays{}", slot.unwrap_or_default()));
    signal.end_process()
}

type Outcome = (Result<(), BackupError>, Option<EndingSignal>);

/// Takes the backup, and takes it again where that is wanted, until a signal comes.
fn take(
    plan: &Plan,
    config: &Config,
    asks_for_password: bool,
    retries: &mut Retries,
    slot: &Arc<SlotWatch>,
    messages: &Messages,
) -> io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cancel = CancellationToken::new();
    let report = report(plan, asks_for_password, messages);
    let work = Tries { plan, config, report, slot, cancel: cancel.clone() }.run(retries);
    let (outcome, signal) = runtime.block_on(async {
        match plan.output {
            // A reader of standard output that does not read holds up everything but the end of the process.
            Output::Stdout => run_unless_signal(&cancel, work).await,
            _ => run_until_signal(&cancel, || slot.report_at_once(messages), work).await,
        }
    });
    Ok((outcome?, signal))
}

fn report(plan: &Plan, asks_for_password: bool, messages: &Messages) -> Report {
    let verbosity = Verbosity {
        steps: plan.verbose,
        progress: plan.progress,
        includes_wal: plan.options.wal != WalMethod::None,
        syncs: plan.sync_policy != SyncPolicy::Never && plan.output != Output::Target,
        asks_for_password,
    };
    Report::new(messages.clone(), verbosity)
}

/// A backup that is about to be taken.
struct Tries<'a> {
    plan: &'a Plan,
    config: &'a Config,
    report: Report,
    slot: &'a Arc<SlotWatch>,
    cancel: CancellationToken,
}

impl Tries<'_> {
    async fn run(self, retries: &mut Retries) -> io::Result<Result<(), BackupError>> {
        loop {
            let options = self.slot.options(&self.plan.options);
            let course = Arc::new(Course::new(self.slot.observer(self.report.clone())));
            let Err(error) = self.once(&options, Arc::clone(&course)).await? else { return Ok(Ok(())) };
            let Some(pause) = retries.after(&error, &course, self.plan) else { return Ok(Err(error)) };
            if self.cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(Err(BackupError::Cancelled));
            }
        }
    }

    async fn once(
        &self,
        options: &BackupOptions,
        course: Arc<Course>,
    ) -> io::Result<Result<(), BackupError>> {
        let (policy, clean_up) = (self.plan.sync_policy, self.plan.clean_up);
        Ok(match &self.plan.output {
            Output::Directory { path, wal_directory, tablespace_mappings } => {
                let mut destination = DirectoryDestination::new(path, policy, clean_up)
                    .with_tablespace_mappings(tablespace_mappings.clone());
                if let Some(path) = wal_directory {
                    destination = destination.with_wal_directory(path);
                }
                self.into(destination, options, course).await
            }
            Output::TarFiles(path) => {
                self.into(TarFilesDestination::new(path, policy, clean_up), options, course).await
            }
            Output::Stdout => self.into(TarStreamDestination::new(standard_output()?), options, course).await,
            Output::Target => self.into(NoDestination, options, course).await,
        })
    }

    async fn into<D: Destination + 'static>(
        &self,
        destination: D,
        options: &BackupOptions,
        course: Arc<Course>,
    ) -> Result<(), BackupError> {
        backup::run(self.config, options, destination, course, self.cancel.clone()).await.map(drop)
    }
}

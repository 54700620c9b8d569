//! `pg_basebackup`.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use rustix::fs::Mode;
use tokio_util::sync::CancellationToken;

use super::basebackup_plan::{self, Output, Plan};
use super::basebackup_report::{Report, Verbosity, wants_password};
use super::basebackup_slot::SlotWatch;
use super::claimed_version::ClaimedVersion;
use super::connection_arguments::PasswordPrompt;
use super::limits::raise_descriptor_limit;
use super::messages::Messages;
use super::patient_writer::standard_output;
use super::signals::{EndingSignal, report_file_size_limit, run_unless_signal, run_until_signal};
use super::{basebackup_help, help, password_prompt};
use crate::backup::{
    self, BackupError, BackupOptions, Destination, DirectoryDestination, NoDestination, Observer,
    TarFilesDestination, TarStreamDestination, WalMethod,
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
    let slot = Arc::default();
    loop {
        match take(&plan, &config, may_ask, &slot, messages) {
            Ok((Ok(()), None)) => return ExitCode::SUCCESS,
            Ok((Ok(()), Some(signal))) => return signal.end_process(),
            Ok((Err(error), None)) if may_ask && wants_password(&error) => {
                may_ask = false;
                config.password = password_prompt::ask();
            }
            Ok((Err(error), signal)) => {
                let later_signal = slot.settle(&error, &config, messages);
                return signal.or(later_signal).map_or(ExitCode::FAILURE, EndingSignal::end_process);
            }
            Err(error) => {
                messages.error(&format!("could not start: {}", OsError(error)));
                return ExitCode::FAILURE;
            }
        }
    }
}

type Outcome = (Result<(), BackupError>, Option<EndingSignal>);

fn take(
    plan: &Plan,
    config: &Config,
    asks_for_password: bool,
    slot: &Arc<SlotWatch>,
    messages: &Messages,
) -> io::Result<Outcome> {
    let (policy, clean_up) = (plan.sync_policy, plan.clean_up);
    let options = slot.options(&plan.options);
    let observer = slot.observer(&options, report(plan, asks_for_password, messages));
    let run = Run { config, options, observer, output: &plan.output };
    match &plan.output {
        Output::Directory { path, wal_directory, tablespace_mappings } => {
            let mut destination = DirectoryDestination::new(path, policy, clean_up)
                .with_tablespace_mappings(tablespace_mappings.clone());
            if let Some(path) = wal_directory {
                destination = destination.with_wal_directory(path);
            }
            run.into(destination)
        }
        Output::TarFiles(path) => run.into(TarFilesDestination::new(path, policy, clean_up)),
        Output::Stdout => run.into(TarStreamDestination::new(standard_output()?)),
        Output::Target => run.into(NoDestination),
    }
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
struct Run<'a> {
    config: &'a Config,
    options: BackupOptions,
    observer: Arc<dyn Observer>,
    output: &'a Output,
}

impl Run<'_> {
    fn into<D: Destination + 'static>(self, destination: D) -> io::Result<Outcome> {
        let cancel = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let token = cancel.clone();
        let work = async {
            backup::run(self.config, &self.options, destination, self.observer, token).await.map(drop)
        };
        Ok(runtime.block_on(async {
            match self.output {
                // A reader of standard output that does not read holds up everything but the end of the process.
                Output::Stdout => run_unless_signal(&cancel, work).await,
                _ => run_until_signal(&cancel, work).await,
            }
        }))
    }
}

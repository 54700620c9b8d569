//! `pg_basebackup`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::sync::Arc;

use rustix::fs::Mode;
use tokio_util::sync::CancellationToken;

use super::basebackup_arguments::{self, PasswordPrompt, Plan};
use super::basebackup_report::{Report, Verbosity, wants_password};
use super::getopt::Refusal;
use super::limits::raise_descriptor_limit;
use super::messages::Messages;
use super::signals::{EndingSignal, report_file_size_limit, run_until_signal};
use super::values::{Format, WalMethod};
use super::{help, password_prompt};
use crate::backup::{
    self, BackupError, BackupOptions, CleanUpPolicy, DirectoryDestination, RecoveryOptions,
    TarFilesDestination,
};
use crate::conninfo::{Config, ConninfoError, Environment, Keyword, Settings};
use crate::storage::SyncPolicy;
use crate::types::{OsError, WithCauses};

/// Runs the program; `command` is what a user types to run it.
pub(super) fn main(program: &str, command: &str, arguments: Vec<OsString>, messages: &Messages) -> ExitCode {
    match arguments.get(1).and_then(|argument| argument.to_str()) {
        Some("--help" | "-?") => return messages.print(&help::basebackup(command)),
        Some("--version" | "-V") => return messages.print(&help::version("pg_basebackup")),
        _ => {}
    }
    report_file_size_limit();
    raise_descriptor_limit();
    // What is created gets its permissions at once; until then it is nobody else's.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let plan = match basebackup_arguments::parse(arguments) {
        Ok(plan) => plan,
        Err(refusal) => return refuse(refusal, messages),
    };
    match settings(program, &plan) {
        Ok((settings, config)) => {
            for warning in settings.warnings() {
                messages.warning(&warning.to_string());
            }
            with_password(&plan, settings, config, messages)
        }
        Err(error) => {
            messages.error(&WithCauses(&error).to_string());
            if let Some(hint) = error.hint() {
                messages.hint(&hint);
            }
            ExitCode::FAILURE
        }
    }
}

fn refuse(refusal: Refusal, messages: &Messages) -> ExitCode {
    match refusal {
        Refusal::Value(message) => messages.error(&message),
        Refusal::Usage(message) => {
            messages.error(&message);
            messages.try_help();
        }
    }
    ExitCode::FAILURE
}

fn settings(program: &str, plan: &Plan) -> Result<(Settings, Config), ConninfoError> {
    let mut builder = Settings::builder()
        .option(Keyword::FallbackApplicationName, program)
        .environment(Environment::of_process());
    if let Some(text) = &plan.connection.connection_string {
        builder = builder.connection_string(text.as_bytes());
    }
    for (keyword, value) in [
        (Keyword::Host, &plan.connection.host),
        (Keyword::Port, &plan.connection.port),
        (Keyword::User, &plan.connection.user),
    ] {
        if let Some(value) = value {
            builder = builder.option(keyword, value.as_bytes());
        }
    }
    let settings = builder.build()?;
    let config = Config::from_settings(&settings)?;
    Ok((settings, config))
}

/// Asks for the password where that is wanted, and takes the backup, for a second time if the first one only
/// showed that a password is needed (CN-275 … CN-282).
fn with_password(plan: &Plan, settings: Settings, mut config: Config, messages: &Messages) -> ExitCode {
    let mut may_ask = plan.connection.prompt == PasswordPrompt::OnDemand;
    if plan.connection.prompt == PasswordPrompt::First {
        config.password = password_prompt::ask().or(config.password);
    }
    let options = options(plan, settings);
    loop {
        match take(plan, &options, &config, may_ask, messages) {
            Ok((Ok(()), None)) => return ExitCode::SUCCESS,
            Ok((_, Some(signal))) => return signal.end_process(),
            Ok((Err(error), None)) if may_ask && wants_password(&error) => {
                may_ask = false;
                config.password = password_prompt::ask();
            }
            Ok((Err(_), None)) => return ExitCode::FAILURE,
            Err(error) => {
                messages.error(&format!("could not start: {}", OsError(error)));
                return ExitCode::FAILURE;
            }
        }
    }
}

fn options(plan: &Plan, settings: Settings) -> BackupOptions {
    BackupOptions {
        label: plan.label.clone(),
        checkpoint: plan.checkpoint,
        wal: match plan.wal_method {
            WalMethod::None => backup::WalMethod::None,
            WalMethod::Fetch => backup::WalMethod::Fetch,
            WalMethod::Stream => {
                backup::WalMethod::Stream { slot: plan.slot.clone(), status_interval: plan.status_interval }
            }
        },
        max_rate: plan.max_rate,
        estimate_size: plan.estimate_size,
        verify_page_checksums: plan.verify_page_checksums,
        manifest: plan.manifest,
        manifest_checksums: plan.manifest_checksums.clone(),
        incremental: plan.incremental.clone(),
        recovery: plan
            .write_recovery_conf
            .then(|| RecoveryOptions { primary: Some(settings), ..RecoveryOptions::default() }),
        ..BackupOptions::default()
    }
}

type Outcome = (Result<(), BackupError>, Option<EndingSignal>);

fn take(
    plan: &Plan,
    options: &BackupOptions,
    config: &Config,
    asks_for_password: bool,
    messages: &Messages,
) -> std::io::Result<Outcome> {
    let verbosity = Verbosity {
        steps: plan.verbose,
        progress: plan.progress,
        includes_wal: plan.wal_method != WalMethod::None,
        syncs: plan.sync,
        asks_for_password,
    };
    let report = Arc::new(Report::new(messages.clone(), verbosity));
    let cancel = CancellationToken::new();
    let sync_policy = if plan.sync { SyncPolicy::Durable } else { SyncPolicy::Never };
    let clean_up = if plan.clean_up { CleanUpPolicy::Undo } else { CleanUpPolicy::Keep };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let token = cancel.clone();
    let work = async {
        match plan.format {
            Format::Plain => {
                let mut destination = DirectoryDestination::new(&plan.directory, sync_policy, clean_up)
                    .with_tablespace_mappings(plan.tablespace_mappings.clone());
                if let Some(path) = &plan.wal_directory {
                    destination = destination.with_wal_directory(path);
                }
                backup::run(config, options, destination, report, token).await.map(drop)
            }
            Format::Tar => {
                let destination = TarFilesDestination::new(&plan.directory, sync_policy, clean_up);
                backup::run(config, options, destination, report, token).await.map(drop)
            }
        }
    };
    Ok(runtime.block_on(run_until_signal(&cancel, work)))
}

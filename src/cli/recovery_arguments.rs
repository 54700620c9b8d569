//! Options of our own: what a server of the backup shall recover, beside what `-R` says.
//!
//! In: the values as they were typed. Out: the recovery settings that go into the backup, if any. Their words are
//! those of the server's own settings.

use std::ffi::OsString;

use clap::Args;

use super::getopt::{OWN_OPTIONS, Refusal};
use super::value_parsers::Named;
use super::values::{InvalidValue, invalid, text};
use crate::backup::{RecoveryOptions, RecoveryTarget, RecoveryTargetAction};

/// What was typed.
#[derive(Debug, Args)]
#[command(next_help_heading = OWN_OPTIONS)]
pub(super) struct RecoveryArguments {
    #[arg(long)]
    no_password_in_conninfo: bool,
    #[arg(long, value_parser = Named(not_empty))]
    primary_slot_name: Option<String>,
    #[arg(long, value_parser = Named(not_empty))]
    promote_trigger_file: Option<String>,
    #[arg(long, value_parser = Named(not_empty))]
    restore_command: Option<String>,
    #[arg(long, value_parser = Named(restore_point))]
    recovery_target_name: Option<RecoveryTarget>,
    #[arg(long, value_parser = Named(time))]
    recovery_target_time: Option<RecoveryTarget>,
    #[arg(long, value_parser = Named(transaction))]
    recovery_target_xid: Option<RecoveryTarget>,
    #[arg(long, value_parser = Named(position))]
    recovery_target_lsn: Option<RecoveryTarget>,
    #[arg(long, value_parser = Named(immediate))]
    recovery_target: Option<RecoveryTarget>,
    #[arg(long, value_parser = Named(timeline))]
    recovery_target_timeline: Option<String>,
    #[arg(long, value_parser = Named(inclusive))]
    recovery_target_inclusive: Option<bool>,
    #[arg(long, value_parser = Named(action))]
    recovery_target_action: Option<RecoveryTargetAction>,
}

impl RecoveryArguments {
    /// The settings for a standby (`-R`) or for recovery from an archive, or none. The primary is still missing.
    pub(super) fn options(self, standby: bool) -> Result<Option<RecoveryOptions>, Refusal> {
        let mut targets = [
            ("--recovery-target-name", self.recovery_target_name),
            ("--recovery-target-time", self.recovery_target_time),
            ("--recovery-target-xid", self.recovery_target_xid),
            ("--recovery-target-lsn", self.recovery_target_lsn),
            ("--recovery-target", self.recovery_target),
        ]
        .into_iter()
        .filter_map(|(option, target)| Some((option, target?)));
        let target = targets.next();
        if let (Some((first, _)), Some((second, _))) = (&target, targets.next()) {
            return Err(Refusal::Usage(format!("{first} and {second} are incompatible options")));
        }
        let target = target.map(|(_, target)| target);
        for (option, is_given) in [
            ("--no-password-in-conninfo", self.no_password_in_conninfo),
            ("--primary-slot-name", self.primary_slot_name.is_some()),
            ("--promote-trigger-file", self.promote_trigger_file.is_some()),
        ] {
            if is_given && !standby {
                return Err(Refusal::Usage(format!("{option} can only be used with --write-recovery-conf")));
            }
        }
        for (option, is_given) in [
            ("--recovery-target-inclusive", self.recovery_target_inclusive.is_some()),
            ("--recovery-target-action", self.recovery_target_action.is_some()),
        ] {
            if is_given && target.is_none() {
                return Err(Refusal::Usage(format!("{option} can only be used with a recovery target")));
            }
        }
        let recovers =
            self.restore_command.is_some() || target.is_some() || self.recovery_target_timeline.is_some();
        Ok((standby || recovers).then_some(RecoveryOptions {
            primary: None,
            no_password: self.no_password_in_conninfo,
            primary_slot_name: self.primary_slot_name,
            restore_command: self.restore_command,
            trigger_file: self.promote_trigger_file,
            target,
            target_timeline: self.recovery_target_timeline,
            target_inclusive: self.recovery_target_inclusive,
            target_action: self.recovery_target_action,
        }))
    }
}

fn must_be<T>(option: &str, value: &str, what: &str) -> Result<T, InvalidValue> {
    invalid(format!("invalid value \"{value}\" for option {option}, must be {what}"))
}

fn not_empty(option: &str, value: OsString) -> Result<String, InvalidValue> {
    let value = text(option, value)?;
    if value.is_empty() { must_be(option, "", "something") } else { Ok(value) }
}

fn immediate(option: &str, value: OsString) -> Result<RecoveryTarget, InvalidValue> {
    match text(option, value)?.as_str() {
        "immediate" => Ok(RecoveryTarget::Immediate),
        other => must_be(option, other, "\"immediate\""),
    }
}

fn restore_point(option: &str, value: OsString) -> Result<RecoveryTarget, InvalidValue> {
    const LONGEST: usize = 63;
    let name = text(option, value)?;
    if name.is_empty() || name.len() > LONGEST {
        return must_be(option, &name, "the name of a restore point, of at most 63 bytes");
    }
    Ok(RecoveryTarget::Name(name))
}

fn time(option: &str, value: OsString) -> Result<RecoveryTarget, InvalidValue> {
    not_empty(option, value).map(RecoveryTarget::Time)
}

fn transaction(option: &str, value: OsString) -> Result<RecoveryTarget, InvalidValue> {
    let value = text(option, value)?;
    let id = value.parse().ok().filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()));
    id.map_or_else(|| must_be(option, &value, "a transaction ID"), |id| Ok(RecoveryTarget::TransactionId(id)))
}

fn position(option: &str, value: OsString) -> Result<RecoveryTarget, InvalidValue> {
    let value = text(option, value)?;
    let lsn = value.parse().map(RecoveryTarget::Lsn);
    lsn.or_else(|_| must_be(option, &value, "a WAL location such as 0/3000028"))
}

fn timeline(option: &str, value: OsString) -> Result<String, InvalidValue> {
    let value = text(option, value)?;
    let is_number = value.parse::<u32>().is_ok_and(|id| id > 0) && !value.starts_with('+');
    if is_number || matches!(value.as_str(), "current" | "latest") {
        return Ok(value);
    }
    must_be(option, &value, "\"current\", \"latest\", or a timeline ID")
}

fn inclusive(option: &str, value: OsString) -> Result<bool, InvalidValue> {
    match text(option, value)?.as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        other => must_be(option, other, "\"on\" or \"off\""),
    }
}

fn action(option: &str, value: OsString) -> Result<RecoveryTargetAction, InvalidValue> {
    match text(option, value)?.as_str() {
        "pause" => Ok(RecoveryTargetAction::Pause),
        "promote" => Ok(RecoveryTargetAction::Promote),
        "shutdown" => Ok(RecoveryTargetAction::Shutdown),
        other => must_be(option, other, "\"pause\", \"promote\", or \"shutdown\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::basebackup_arguments;
    use crate::cli::claimed_version::ClaimedVersion;
    use crate::types::Lsn;

    fn options(line: &[&str]) -> Result<Option<RecoveryOptions>, String> {
        let line = std::iter::once("pg_basebackup").chain(line.iter().copied()).map(OsString::from).collect();
        let options = basebackup_arguments::read(line, ClaimedVersion::NEWEST, false)
            .and_then(|typed| typed.recovery.options(typed.write_recovery_conf));
        options.map_err(|refusal| match refusal {
            Refusal::Usage(message) | Refusal::Value(message) => message,
        })
    }

    #[test]
    fn recovery_targets() {
        for (option, target) in [
            ("--recovery-target=immediate", RecoveryTarget::Immediate),
            ("--recovery-target-name=before", RecoveryTarget::Name("before".to_owned())),
            ("--recovery-target-time=2026-01-01 00:00", RecoveryTarget::Time("2026-01-01 00:00".to_owned())),
            ("--recovery-target-xid=777", RecoveryTarget::TransactionId(777)),
            ("--recovery-target-lsn=1/2A", RecoveryTarget::Lsn(Lsn::new(0x1_0000_002A))),
        ] {
            let options = options(&[option]).unwrap().unwrap();
            assert_eq!(options.target, Some(target), "{option}");
            assert!(options.primary.is_none());
        }
        let later = options(&["--recovery-target-xid=3", "--recovery-target-xid=4"]).unwrap().unwrap();
        assert_eq!(later.target, Some(RecoveryTarget::TransactionId(4)));
    }

    #[test]
    fn other_recovery_settings() {
        let options = options(&[
            "-R",
            "--restore-command=cp /a/%f %p",
            "--recovery-target=immediate",
            "--recovery-target-inclusive=off",
            "--recovery-target-timeline=latest",
            "--recovery-target-action=promote",
            "--primary-slot-name=s",
            "--promote-trigger-file=/t",
            "--no-password-in-conninfo",
        ])
        .unwrap()
        .unwrap();
        assert_eq!(options.restore_command.as_deref(), Some("cp /a/%f %p"));
        assert_eq!(options.target_inclusive, Some(false));
        assert_eq!(options.target_timeline.as_deref(), Some("latest"));
        assert_eq!(options.target_action, Some(RecoveryTargetAction::Promote));
        assert_eq!(options.primary_slot_name.as_deref(), Some("s"));
        assert_eq!(options.trigger_file.as_deref(), Some("/t"));
        assert!(options.no_password);
    }

    #[test]
    fn nothing_is_recovered_unless_it_is_said() {
        assert!(options(&[]).unwrap().is_none());
        assert!(options(&["-R"]).unwrap().is_some());
        assert!(options(&["--restore-command=x"]).unwrap().is_some());
    }

    #[test]
    fn settings_that_make_no_sense() {
        let must_be = |option: &str, value: &str, what: &str| {
            format!("invalid value \"{value}\" for option {option}, must be {what}")
        };
        let lsn = "a WAL location such as 0/3000028";
        let timeline = "\"current\", \"latest\", or a timeline ID";
        for (line, message) in [
            (
                &["--recovery-target-xid=3", "--recovery-target=immediate"][..],
                "--recovery-target-xid and --recovery-target are incompatible options".to_owned(),
            ),
            (
                &["--primary-slot-name=s"],
                "--primary-slot-name can only be used with --write-recovery-conf".to_owned(),
            ),
            (
                &["-R", "--recovery-target-action=pause"],
                "--recovery-target-action can only be used with a recovery target".to_owned(),
            ),
            (&["--recovery-target=x"], must_be("--recovery-target", "x", "\"immediate\"")),
            (&["--recovery-target-xid=+3"], must_be("--recovery-target-xid", "+3", "a transaction ID")),
            (&["--recovery-target-xid="], must_be("--recovery-target-xid", "", "a transaction ID")),
            (&["--recovery-target-lsn=12"], must_be("--recovery-target-lsn", "12", lsn)),
            (&["--recovery-target-timeline=0"], must_be("--recovery-target-timeline", "0", timeline)),
            (&["--recovery-target-timeline=+1"], must_be("--recovery-target-timeline", "+1", timeline)),
            (
                &["--recovery-target-inclusive=yes"],
                must_be("--recovery-target-inclusive", "yes", "\"on\" or \"off\""),
            ),
            (&["--restore-command="], must_be("--restore-command", "", "something")),
        ] {
            assert_eq!(options(line).unwrap_err(), message);
        }
        let long = format!("--recovery-target-name={}", "x".repeat(64));
        assert!(options(&[&long]).unwrap_err().ends_with("of at most 63 bytes"));
    }
}

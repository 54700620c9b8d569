//! The settings with which a server that starts on the backup recovers: what `-R` writes, and more.
//!
//! In: the wishes, and the version of the server, which will be that of the one that reads the settings. Out: the lines
//! for `postgresql.auto.conf` or `recovery.conf`, or the wish that no server of that version could follow. The names of
//! settings and files are those of that version.

use zeroize::Zeroizing;

use super::recovery_options::{RecoveryOptions, RecoveryRole, RecoveryTarget, RecoveryTargetAction};
use crate::conninfo::PrimaryConninfo;
use crate::protocol::ServerFeatures;
use crate::types::{Password, ServerVersion};

/// Recovery settings that a server of the backup's version could not follow, or would not start with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecovery {
    /// A trigger file, of which servers from 16 on know nothing.
    #[error("server version {0} has no setting for a trigger file")]
    TriggerFileUnknown(ServerVersion),
    /// A trigger file, which promotes a standby, without a primary.
    #[error("a trigger file can only be set for a standby")]
    TriggerFileWithoutPrimary,
    /// A slot, which a standby streams from, without a primary.
    #[error("a primary slot name can only be set for a standby")]
    SlotWithoutPrimary,
    /// Neither a primary nor an archive to recover from, in a file that is the only place to name them.
    #[error("recovery needs a restore command")]
    NoSource,
    /// A value that a configuration file cannot hold.
    #[error("value of \"{0}\" contains a NUL byte")]
    NulByte(&'static str),
}

impl InvalidRecovery {
    /// What a person can do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TriggerFileUnknown(_) => {
                Some("Promote the standby with \"pg_ctl promote\" or pg_promote().")
            }
            Self::TriggerFileWithoutPrimary | Self::SlotWithoutPrimary => {
                Some("A backup becomes a standby with --write-recovery-conf.")
            }
            Self::NoSource | Self::NulByte(_) => None,
        }
    }
}

/// The lines for the configuration file (BB-166 … BB-168, BB-174): first those that `pg_basebackup` writes, then the
/// others.
///
/// `password` is what somebody typed, and `slot` the permanent one that the backup's own WAL comes by.
pub(super) fn recovery_settings(
    recovery: &RecoveryOptions,
    password: Option<&Password>,
    slot: Option<&str>,
    server: &ServerVersion,
) -> Result<Zeroizing<Vec<u8>>, InvalidRecovery> {
    let features = ServerFeatures::of(server);
    check(recovery, server, features)?;
    let mut lines = Lines::default();
    if let Some(settings) = &recovery.primary {
        if !features.signal_files {
            lines.add("standby_mode", b"on")?;
        }
        let conninfo = if recovery.no_password {
            PrimaryConninfo::without_secrets(settings, server.major())
        } else {
            PrimaryConninfo::new(settings, password, server.major())
        };
        lines.add("primary_conninfo", conninfo.as_bytes())?;
        lines.add_text("primary_slot_name", recovery.primary_slot_name.as_deref().or(slot))?;
    }
    lines.add_text("restore_command", recovery.restore_command.as_deref())?;
    if let Some(target) = &recovery.target {
        lines.add_target(target, features)?;
    }
    // Servers with recovery.conf stay on the current timeline unless told otherwise, and have no word for it.
    let is_implied = |timeline: &&str| *timeline == "current" && !features.signal_files;
    let timeline = recovery.target_timeline.as_deref().filter(|timeline| !is_implied(timeline));
    lines.add_text("recovery_target_timeline", timeline)?;
    let inclusive = recovery.target_inclusive.map(|inclusive| if inclusive { "on" } else { "off" });
    lines.add_text("recovery_target_inclusive", inclusive)?;
    lines.add_text("recovery_target_action", recovery.target_action.map(RecoveryTargetAction::as_str))?;
    if let Some(name) = features.trigger_file_setting {
        lines.add_text(name, recovery.trigger_file.as_deref())?;
    }
    Ok(lines.0)
}

fn check(
    recovery: &RecoveryOptions,
    server: &ServerVersion,
    features: ServerFeatures,
) -> Result<(), InvalidRecovery> {
    if recovery.trigger_file.is_some() && features.trigger_file_setting.is_none() {
        return Err(InvalidRecovery::TriggerFileUnknown(server.clone()));
    }
    if recovery.role() == RecoveryRole::Standby {
        return Ok(());
    }
    if recovery.trigger_file.is_some() {
        return Err(InvalidRecovery::TriggerFileWithoutPrimary);
    }
    if recovery.primary_slot_name.is_some() {
        return Err(InvalidRecovery::SlotWithoutPrimary);
    }
    // Where settings stand in postgresql.conf, the backup may bring the command along.
    if recovery.restore_command.is_none() && !features.signal_files {
        return Err(InvalidRecovery::NoSource);
    }
    Ok(())
}

/// The settings that name a target; a server takes one of them.
const TARGET_SETTINGS: [&str; 5] = [
    "recovery_target",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_target_lsn",
];

/// The text of a configuration file, which may hold a password.
#[derive(Default)]
struct Lines(Zeroizing<Vec<u8>>);

impl Lines {
    fn add_target(
        &mut self,
        target: &RecoveryTarget,
        features: ServerFeatures,
    ) -> Result<(), InvalidRecovery> {
        let (name, value) = match target {
            RecoveryTarget::Immediate => ("recovery_target", "immediate".to_owned()),
            RecoveryTarget::Name(name) => ("recovery_target_name", name.clone()),
            RecoveryTarget::Time(time) => ("recovery_target_time", time.clone()),
            RecoveryTarget::TransactionId(id) => ("recovery_target_xid", id.to_string()),
            RecoveryTarget::Lsn(lsn) => ("recovery_target_lsn", lsn.to_string()),
        };
        if features.signal_files {
            // A server that was itself restored has its old target still in the file, and two targets are an error. The
            // server takes the lines in order: the one that counts comes last.
            for other in TARGET_SETTINGS.into_iter().filter(|&other| other != name) {
                self.add(other, b"")?;
            }
        }
        self.add(name, value.as_bytes())
    }

    fn add_text(&mut self, name: &'static str, value: Option<&str>) -> Result<(), InvalidRecovery> {
        value.map_or(Ok(()), |value| self.add(name, value.as_bytes()))
    }

    fn add(&mut self, name: &'static str, value: &[u8]) -> Result<(), InvalidRecovery> {
        let text = &mut self.0;
        // It never grows while it holds a password: what is left behind would not be overwritten.
        let mut longer = Zeroizing::new(Vec::with_capacity(text.len() + name.len() + 2 * value.len() + 8));
        longer.extend_from_slice(text);
        *text = longer;
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b" = '");
        for &byte in value {
            match byte {
                0 => return Err(InvalidRecovery::NulByte(name)),
                // The file is read line by line.
                b'\n' => text.extend_from_slice(b"\\n"),
                b'\'' | b'\\' => text.extend_from_slice(&[byte, byte]),
                _ => text.push(byte),
            }
        }
        text.extend_from_slice(b"'\n");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conninfo::Settings;
    use crate::types::Lsn;

    fn written(recovery: &RecoveryOptions, slot: Option<&str>, version: &str) -> Result<String, String> {
        let settings = recovery_settings(recovery, None, slot, &ServerVersion::parse(version));
        settings.map(|text| String::from_utf8(text.to_vec()).unwrap()).map_err(|error| error.to_string())
    }

    fn primary(conninfo: &str) -> RecoveryOptions {
        let settings = Settings::builder().connection_string(conninfo).build().unwrap();
        RecoveryOptions { primary: Some(settings), ..RecoveryOptions::default() }
    }

    /// What is written for a standby behind the first line or two.
    fn further_lines(recovery: &RecoveryOptions, slot: Option<&str>, version: &str) -> String {
        let text = written(recovery, slot, version).unwrap();
        let lines = text.split_inclusive('\n').skip_while(|line| !line.starts_with("primary_conninfo"));
        lines.skip(1).collect()
    }

    fn everything() -> RecoveryOptions {
        RecoveryOptions {
            primary_slot_name: Some("given".into()),
            restore_command: Some("cp /a/%f '%p'".into()),
            trigger_file: Some("/t".into()),
            target: Some(RecoveryTarget::Lsn(Lsn::new(0x1_0000_0028))),
            target_timeline: Some("latest".into()),
            target_inclusive: Some(false),
            target_action: Some(RecoveryTargetAction::Promote),
            ..primary("user=u")
        }
    }

    #[test]
    fn bb_167_and_168_one_line_each() {
        let text = written(&primary("user=u port=5433"), Some("s"), "18.0").unwrap();
        let (conninfo, slot) = text.split_once('\n').unwrap();
        assert!(conninfo.starts_with("primary_conninfo = 'user=u ") && conninfo.ends_with('\''), "{text}");
        assert!(conninfo.contains(" port=5433 "), "{text}");
        assert_eq!(slot, "primary_slot_name = 's'\n");
        assert_eq!(further_lines(&primary("user=u"), None, "18.0"), "");
        let named = RecoveryOptions { primary_slot_name: Some("it's".into()), ..primary("user=u") };
        assert_eq!(further_lines(&named, Some("s"), "18.0"), "primary_slot_name = 'it''s'\n");
    }

    #[test]
    fn bb_166_servers_before_12_get_standby_mode() {
        let first_line = |version| {
            let text = written(&primary("user=u"), None, version).unwrap();
            text.lines().next().unwrap().to_owned()
        };
        assert_eq!(first_line("11.22"), "standby_mode = 'on'");
        assert!(first_line("12.0").starts_with("primary_conninfo = '"));
    }

    #[test]
    fn a_line_break_in_a_value_does_not_end_the_line() {
        let text = written(&primary("user=u password='a\nb'"), None, "18.0").unwrap();
        assert!(text.starts_with("primary_conninfo = 'user=u password=''a\\nb'' "), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn bb_174_quotes_and_backslashes_are_doubled() {
        let text = written(&primary(r"user=u password='sek ret\'\\x'"), None, "18.0").unwrap();
        assert!(text.starts_with(r"primary_conninfo = 'user=u password=''sek ret\\''\\\\x'' "), "{text}");
    }

    #[test]
    fn bb_172_passwords_are_written_unless_they_shall_not() {
        let typed = Password::from("typed");
        let server = ServerVersion::parse("18.0");
        let with = primary("user=u sslpassword=phrase");
        let without = RecoveryOptions { no_password: true, ..with.clone() };
        for (recovery, secrets) in [(with, true), (without, false)] {
            let text = recovery_settings(&recovery, Some(&typed), None, &server).unwrap();
            let text = str::from_utf8(&text).unwrap();
            assert_eq!(text.contains(" password=typed "), secrets);
            assert_eq!(text.contains(" sslpassword=phrase "), secrets);
        }
    }

    #[test]
    fn every_setting_has_the_name_of_its_version() {
        let before = "primary_slot_name = 'given'\nrestore_command = 'cp /a/%f ''%p'''\n";
        let after = "recovery_target_lsn = '1/28'\nrecovery_target_timeline = 'latest'\n\
                     recovery_target_inclusive = 'off'\nrecovery_target_action = 'promote'\n";
        let cleared = "recovery_target = ''\nrecovery_target_name = ''\nrecovery_target_time = ''\n\
                       recovery_target_xid = ''\n";
        for (version, expected) in [
            ("10.23", format!("{before}{after}trigger_file = '/t'\n")),
            ("11.22", format!("{before}{after}trigger_file = '/t'\n")),
            ("12.22", format!("{before}{cleared}{after}promote_trigger_file = '/t'\n")),
            ("15.18", format!("{before}{cleared}{after}promote_trigger_file = '/t'\n")),
        ] {
            assert_eq!(further_lines(&everything(), Some("s"), version), expected, "{version}");
        }
        let expected = format!("{before}{cleared}{after}");
        let without_trigger = RecoveryOptions { trigger_file: None, ..everything() };
        assert_eq!(further_lines(&without_trigger, None, "18.6"), expected);
    }

    #[test]
    fn each_target_has_its_setting() {
        let time = "2026-01-02 03:04:05+00";
        for (target, line) in [
            (RecoveryTarget::Immediate, "recovery_target = 'immediate'".to_owned()),
            (RecoveryTarget::Name("it's".into()), "recovery_target_name = 'it''s'".to_owned()),
            (RecoveryTarget::Time(time.into()), format!("recovery_target_time = '{time}'")),
            (RecoveryTarget::TransactionId(742), "recovery_target_xid = '742'".to_owned()),
            (RecoveryTarget::Lsn(Lsn::new(0x10)), "recovery_target_lsn = '0/10'".to_owned()),
        ] {
            let recovery = RecoveryOptions {
                restore_command: Some("true".into()),
                target: Some(target),
                ..RecoveryOptions::default()
            };
            let old = written(&recovery, Some("s"), "11.22").unwrap();
            assert_eq!(old, format!("restore_command = 'true'\n{line}\n"));
            let new = written(&recovery, Some("s"), "12.22").unwrap();
            assert!(new.ends_with(&format!(" = ''\n{line}\n")), "{new}");
            assert_eq!(new.matches(" = ''\n").count(), 4, "{new}");
        }
    }

    #[test]
    fn the_current_timeline_has_a_name_from_12_on() {
        let recovery = RecoveryOptions {
            restore_command: Some("true".into()),
            target_timeline: Some("current".into()),
            ..RecoveryOptions::default()
        };
        let command = "restore_command = 'true'\n";
        assert_eq!(written(&recovery, None, "11.22").as_deref(), Ok(command));
        let both = format!("{command}recovery_target_timeline = 'current'\n");
        assert_eq!(written(&recovery, None, "12.0"), Ok(both));
    }

    #[test]
    fn what_a_server_could_not_follow_is_refused() {
        let alone = RecoveryOptions::default;
        let slot = || RecoveryOptions { primary_slot_name: Some("s".into()), ..alone() };
        let trigger = || RecoveryOptions { trigger_file: Some("/t".into()), ..alone() };
        let name = RecoveryTarget::Name("a\0b".into());
        for (recovery, version, reason) in [
            (everything(), "16.1", "server version 16.1 has no setting for a trigger file"),
            (trigger(), "15.1", "a trigger file can only be set for a standby"),
            (slot(), "18.0", "a primary slot name can only be set for a standby"),
            (alone(), "11.22", "recovery needs a restore command"),
            (
                RecoveryOptions { target: Some(name), ..alone() },
                "18.0",
                "value of \"recovery_target_name\" contains a NUL byte",
            ),
        ] {
            assert_eq!(written(&recovery, None, version), Err(reason.to_owned()));
        }
        assert_eq!(written(&alone(), None, "12.0").as_deref(), Ok(""));
    }
}

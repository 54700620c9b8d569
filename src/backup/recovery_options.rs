use crate::conninfo::Settings;
use crate::types::Lsn;

/// How a server that starts on the backup shall recover; for all but `primary`, `no_password` and the slot of the
/// backup there is no counterpart in `pg_basebackup`.
///
/// With a primary it becomes a standby; a target then ends its recovery all the same. Without a primary it recovers
/// from an archive, up to the target or to the end, and is no standby any more if the server of the backup was one.
/// What is not set here is as in the server that the backup is taken from.
#[derive(Clone, Debug, Default)]
pub struct RecoveryOptions {
    /// The settings that the backup was taken with: the server becomes a standby that streams from the same
    /// place (`-R`).
    pub primary: Option<Settings>,
    /// Leaves everything secret out of `primary_conninfo`: the password, which the standby then has to find in a
    /// password file, and also `sslpassword`, `scram_client_key`, `scram_server_key` and `oauth_client_secret`, which it
    /// will not find.
    pub no_password: bool,
    /// `primary_slot_name`; without it the permanent slot that the backup's own WAL came by, if any. Only with a
    /// primary.
    pub primary_slot_name: Option<String>,
    /// `restore_command`: how to get a segment from an archive. Servers before 12 without a primary need it; later ones
    /// too, but there it may stand in the configuration that the backup brings along.
    pub restore_command: Option<String>,
    /// The file whose appearance promotes a standby: `trigger_file` before 12, `promote_trigger_file` from 12 on;
    /// servers from 16 on know none. Only with a primary.
    pub trigger_file: Option<String>,
    /// Where recovery ends. From version 12 on, any target that the backup brings along is unset.
    pub target: Option<RecoveryTarget>,
    /// `recovery_target_timeline`: a number, `current` or `latest`. What a server does without it depends on its
    /// version: from 12 on it follows the latest timeline, before that it stays on the backup's.
    pub target_timeline: Option<String>,
    /// `recovery_target_inclusive`: whether to end just after the target and not just before it, where it is a time, a
    /// transaction or a position.
    pub target_inclusive: Option<bool>,
    /// `recovery_target_action`.
    pub target_action: Option<RecoveryTargetAction>,
}

/// What a server is while it recovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryRole {
    /// It follows a primary, and goes on until it is promoted or at its target.
    Standby,
    /// It recovers from an archive and ends where that, or the target, does.
    Restored,
}

impl RecoveryOptions {
    /// What the server will be.
    pub fn role(&self) -> RecoveryRole {
        if self.primary.is_some() { RecoveryRole::Standby } else { RecoveryRole::Restored }
    }
}

/// Where recovery ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryTarget {
    /// As soon as the server is consistent.
    Immediate,
    /// At a restore point of that name.
    Name(String),
    /// At a time, in a form that the server reads.
    Time(String),
    /// At the end of a transaction.
    TransactionId(u64),
    /// At a position of the log.
    Lsn(Lsn),
}

/// What a server does at its recovery target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryTargetAction {
    /// It waits.
    Pause,
    /// It begins to take writes.
    Promote,
    /// It stops.
    Shutdown,
}

impl RecoveryTargetAction {
    /// The word for it in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Promote => "promote",
            Self::Shutdown => "shutdown",
        }
    }
}

use crate::conninfo::Settings;
use crate::types::Lsn;

/// How a server that starts on the backup shall recover.
///
/// With a primary it becomes a standby; without one it recovers from an archive up to a target.
#[derive(Clone, Debug, Default)]
pub struct RecoveryOptions {
    /// The settings that the backup was taken with: the server becomes a standby that streams from the same
    /// place (`-R`).
    pub primary: Option<Settings>,
    /// Leaves passwords out of `primary_conninfo`: the standby has to find one in a password file.
    pub no_password: bool,
    /// `primary_slot_name`; without it the permanent slot that the backup's own WAL came by, if any.
    pub primary_slot_name: Option<String>,
    /// `restore_command`: how to get a segment from an archive.
    pub restore_command: Option<String>,
    /// The file whose appearance promotes a standby; servers before 16 know one.
    pub trigger_file: Option<String>,
    /// Where recovery ends.
    pub target: Option<RecoveryTarget>,
    /// `recovery_target_timeline`: a number, `current` or `latest`.
    pub target_timeline: Option<String>,
    /// `recovery_target_inclusive`.
    pub target_inclusive: Option<bool>,
    /// `recovery_target_action`.
    pub target_action: Option<RecoveryTargetAction>,
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

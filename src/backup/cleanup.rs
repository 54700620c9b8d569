//! What becomes of the directories of a backup that failed.

use super::observer::{CleanUp, DirectoryRole, Event, Observer};
use crate::storage::ClaimedDirectory;

/// Whether a failed backup is taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CleanUpPolicy {
    /// What was there before is there again, but for the directories of tablespaces, which keep what was written.
    #[default]
    Undo,
    /// The same, and the directories of tablespaces are as they were too: the backup can be taken again.
    UndoEverything,
    /// What was written stays, for a person to look at (`--no-clean`).
    Keep,
}

/// Brings a directory back to what it was, or says that it stays.
pub(super) fn undo(
    directory: &ClaimedDirectory,
    role: DirectoryRole,
    policy: CleanUpPolicy,
    observer: &dyn Observer,
) {
    let path = directory.path();
    let observe = |what| observer.observe(&Event::CleanUp(what));
    match policy {
        CleanUpPolicy::Keep => return observe(CleanUp::Keeping(role, path)),
        _ if directory.was_created() => observe(CleanUp::Removing(role, path)),
        CleanUpPolicy::Undo | CleanUpPolicy::UndoEverything => observe(CleanUp::Emptying(role, path)),
    }
    if let Err(error) = directory.undo() {
        observe(CleanUp::Failed(role, path, crate::types::OsError(error).to_string()));
    }
}

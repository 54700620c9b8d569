/// Whether the user wants files to survive a power failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Everything is synced before it counts as durable.
    #[default]
    Durable,
    /// As soon as nothing is written any more, the whole file system that holds the files is synced at once, with
    /// everything else on it (`--sync-method=syncfs`, BB-261).
    FileSystem,
    /// Nothing is synced, and what was written counts as durable: the user took the promise back
    /// (`--no-sync`).
    Never,
}

impl SyncPolicy {
    /// Whether each file and directory is synced by itself.
    pub(super) fn syncs_each(self) -> bool {
        self == Self::Durable
    }

    /// The policy for what cannot wait for, or comes after, the sync of the whole file system.
    pub fn for_single_files(self) -> Self {
        match self {
            Self::FileSystem => Self::Durable,
            other => other,
        }
    }
}

/// Whether the user wants files to survive a power failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Everything is synced before it counts as durable.
    #[default]
    Durable,
    /// Nothing is synced, and what was written counts as durable: the user took the promise back
    /// (`--no-sync`).
    Never,
}

use crate::storage::Durable;
use crate::types::Lsn;

/// How far the disk has come. Invariant while one timeline streams: `flushed <= written`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskProgress {
    /// The end of what the kernel has taken.
    pub written: Lsn,
    /// The end of what is durable.
    pub flushed: Durable<Lsn>,
}

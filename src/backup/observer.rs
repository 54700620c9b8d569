use std::path::Path;

use super::error::BackupError;
use super::options::SlotOrigin;
use super::own_slot::SlotStays;
use super::space::LittleSpace;
use crate::connection::Notice;
use crate::protocol::{EndPoint, StartPoint};
use crate::types::ServerVersion;

/// Watches a backup: the progress line, the log and any metrics are observers.
///
/// It is called from several threads, and the backup waits while it runs.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn observe(&self, event: &Event<'_>);
}

/// What happens during a backup, in the order in which it usually happens.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A notice or warning; it can come at any time (BB-096).
    Notice(&'a Notice),
    /// The server is newer than all that are known, and is taken for the newest of those.
    NewerServer(&'a ServerVersion),
    /// The backup was asked for; the server writes its checkpoint first.
    WaitingForCheckpoint,
    /// The checkpoint is complete.
    CheckpointCompleted,
    /// Where the backup starts.
    StartPoint(StartPoint),
    /// The second connection is about to be made.
    StartingReceiver,
    /// The second connection asks for a replication slot that outlives it. Until something else is said of that slot, or
    /// the backup has failed, nobody knows whether there is one.
    CreatingSlot {
        /// Its name.
        name: &'a str,
        /// Where it is going to be.
        origin: &'a SlotOrigin,
    },
    /// The second connection made a replication slot.
    SlotCreated {
        /// Its name.
        name: &'a str,
        /// Whether it goes with the connection. One that does not stays whatever becomes of the backup.
        temporary: bool,
        /// Where it is.
        origin: &'a SlotOrigin,
    },
    /// The second connection asked for a replication slot that outlives it, and got no answer: there may be one, and
    /// it may have been there before.
    SlotInDoubt {
        /// Its name.
        name: &'a str,
        /// Where it is, if it is.
        origin: &'a SlotOrigin,
    },
    /// A slot of that name exists where an earlier backup had to leave the one that it had created
    /// ([`ReceiveSlot::CreateAgain`](super::ReceiveSlot::CreateAgain)). It stays as it is.
    SlotLeftAlone {
        /// Its name.
        name: &'a str,
        /// Where it is.
        origin: &'a SlotOrigin,
    },
    /// The backup failed, and the replication slot that it had created is gone again. This comes after
    /// [`Event::Failed`], or before it.
    SlotDropped {
        /// Its name.
        name: &'a str,
    },
    /// The backup failed, and leaves a replication slot on the server that outlives it. This comes after
    /// [`Event::Failed`], or before it.
    SlotStays {
        /// Its name.
        name: &'a str,
        /// Why.
        why: &'a SlotStays,
    },
    /// A file system has less room than the backup is going to take there, if the server's estimate is right.
    LittleSpace(&'a LittleSpace),
    /// The state of the transfer.
    Progress(Progress<'a>),
    /// Where the backup ends.
    EndPoint(EndPoint),
    /// All data is here except WAL that the second connection is still receiving.
    WaitingForReceiver,
    /// Everything is here and is being made durable.
    Syncing,
    /// The manifest is about to get its name, which says that the backup is complete.
    RenamingManifest,
    /// The backup is complete.
    Completed,
    /// The backup failed. What was written is about to be taken away or left, as the following events say.
    Failed(&'a BackupError),
    /// Something of a failed backup is taken away, or left on purpose.
    CleanUp(CleanUp<'a>),
}

/// How far a transfer has come.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The bytes processed, before compression.
    pub done: u64,
    /// The bytes estimated by the server, at least `done`; equal to it where nothing was estimated.
    pub total: u64,
    /// The tablespaces that are complete, the main data directory counted as one.
    pub tablespaces_done: usize,
    /// The tablespaces in all.
    pub tablespaces_total: usize,
    /// The file that is being written, if any.
    pub current: Option<&'a Path>,
}

/// What becomes of the traces of a failed backup (BB-241 … BB-246).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CleanUp<'a> {
    /// A directory that the backup made is removed with its contents.
    Removing(DirectoryRole, &'a Path),
    /// A directory that was there before is emptied.
    Emptying(DirectoryRole, &'a Path),
    /// The user wants to keep what there is.
    Keeping(DirectoryRole, &'a Path),
    /// What was written into tablespaces outside the data directory stays.
    KeepingTablespaces,
    /// A directory could not be removed or emptied.
    Failed(DirectoryRole, &'a Path, String),
}

/// What a directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryRole {
    /// The data directory, or the one of the archives.
    Data,
    /// The directory of the write-ahead log, where it is a separate one.
    Wal,
    /// The directory of a tablespace.
    Tablespace,
}

/// Observes nothing.
impl Observer for () {
    fn observe(&self, _: &Event<'_>) {}
}

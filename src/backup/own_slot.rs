//! What becomes of the replication slot of a backup that outlives its connection.
//!
//! In come the connection that used the slot and how the backup ended; out goes an event that says what became of the
//! slot. A slot is dropped by the connection that created it and by no other: only that one is known to lead to the same
//! server. Nothing waits for a slot that somebody else uses, and nothing takes longer than the deadline.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::error::BackupError;
use super::observer::{Event, Observer};
use crate::client::{ClientError, ReplicationClient};
use crate::connection::sqlstate;
use crate::receive::ReceiveError;

/// How long a run that ends waits for the server in all.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Why a failed backup leaves a slot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlotStays {
    /// It was there before.
    #[error("it was there before")]
    WasThere,
    /// It belongs to the files of this backup, which stay too ([`BackupError::leaves_something_worth_keeping`]).
    #[error("the backup is kept")]
    BackupIsKept,
    /// The connection that created it is lost, or in no state to be used.
    #[error("the connection that created it can no longer be used")]
    ConnectionLost,
    /// The server did not drop it.
    #[error(transparent)]
    Refused(ClientError),
    /// The server was not heard of in time. It was not told to drop it.
    #[error("no answer from the server within {} seconds", PATIENCE.as_secs())]
    Silent,
    /// The server was told to drop it, and may still do so.
    #[error("the server was told to drop it, but has not answered")]
    Unanswered,
}

/// How a backup ended, as far as its slot is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Complete,
    /// It is not complete, but it stays.
    Kept,
    Failed,
}

impl Ending {
    pub(super) fn of<T>(result: &Result<T, BackupError>) -> Self {
        match result {
            Ok(_) => Self::Complete,
            Err(error) if error.leaves_something_worth_keeping() => Self::Kept,
            Err(_) => Self::Failed,
        }
    }
}

/// Ends the use of a slot that this connection has created.
pub(super) async fn settle(
    mut client: ReplicationClient,
    name: &str,
    ending: Ending,
    deadline: Instant,
    observer: &dyn Observer,
) {
    let dropped = match ending {
        Ending::Complete => {
            // A server that does not even take leave is left as it is.
            let _ = timeout_at(deadline, client.close()).await;
            return;
        }
        Ending::Kept => Err(SlotStays::BackupIsKept),
        Ending::Failed => undo(&mut client, name, deadline).await,
    };
    match &dropped {
        Ok(()) => observer.observe(&Event::SlotDropped { name }),
        Err(why) => observer.observe(&Event::SlotStays { name, why }),
    }
    if dropped.is_ok() {
        let _ = timeout_at(deadline, client.close()).await;
    }
}

/// Drops the slot, which this connection no longer uses once its command has ended.
async fn undo(client: &mut ReplicationClient, name: &str, deadline: Instant) -> Result<(), SlotStays> {
    let ended = timeout_at(deadline, client.end_command()).await.map_err(|_| SlotStays::Silent)?;
    ended.map_err(|error| {
        tracing::debug!(%error, "the connection of the slot cannot be used");
        SlotStays::ConnectionLost
    })?;
    match timeout_at(deadline, client.drop_replication_slot(name)).await {
        Ok(Ok(())) => Ok(()),
        // Somebody else has dropped it.
        Ok(Err(error)) if says_that_there_is_none(&error) => Ok(()),
        Ok(Err(error)) if is_an_answer(&error) => Err(SlotStays::Refused(error)),
        Ok(Err(_)) | Err(_) => Err(SlotStays::Unanswered),
    }
}

/// Whether it is an answer to the command. A server that was told to end a session says so in its place, also when it has
/// done what it was asked for (class 57).
fn is_an_answer(error: &ClientError) -> bool {
    error.server_message().is_some_and(|message| !message.sqlstate().starts_with("57"))
}

fn says_that_there_is_none(error: &ClientError) -> bool {
    error.server_message().is_some_and(|message| message.sqlstate() == sqlstate::UNDEFINED_OBJECT)
}

/// Whether the server says that the slot is there, but in use.
pub(super) fn says_that_it_is_in_use(error: &ReceiveError) -> bool {
    let ReceiveError::Client(error) = error else { return false };
    error.server_message().is_some_and(|message| message.sqlstate() == sqlstate::OBJECT_IN_USE)
}

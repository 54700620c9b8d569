//! Where a replication slot begins, and whether it still has the WAL that it promised to keep.
//!
//! In comes the name; out comes a position, or nothing where the slot was never used and so has promised nothing.

use std::time::Duration;

use super::error::{ReceiveError, SlotError};
use super::observer::{Event, Observer, Warning};
use super::patience::within;
use crate::client::{QueryClient, ReplicationClient};
use crate::conninfo::Config;
use crate::protocol::RecordedSlot;
use crate::types::{Lsn, TimelineId, WithCauses};
use crate::wal::TimelineHistory;

/// How long everything may take that the second session is for. Without its answer receiving goes on.
const SECOND_SESSION: Duration = Duration::from_secs(10);

/// The position from which on the slot keeps WAL, and the timeline of that.
///
/// Where the replication command does not tell, or does not tell a slot that was never used from one that has lost its
/// WAL, an ordinary session is asked (OP-03). Where that cannot be had either, it is a warning.
pub(super) async fn start(
    client: &mut ReplicationClient,
    history: &TimelineHistory,
    config: &Config,
    name: &str,
    limit: Option<Duration>,
    observer: &dyn Observer,
) -> Result<Option<(Lsn, TimelineId)>, ReceiveError> {
    let features = client.features();
    if features.read_replication_slot {
        let state = within(limit, client.read_replication_slot(name)).await?;
        let state = state.ok_or_else(|| SlotError::Missing(name.to_owned()))?;
        require_physical(&state.slot_type)?;
        if state.restart.is_some() || features.refuses_lost_slots {
            return Ok(state.restart);
        }
    }
    let asked = tokio::time::timeout(SECOND_SESSION, ask(client, config, name)).await;
    let slot = match asked.unwrap_or(Err(ReceiveError::Silent(SECOND_SESSION))) {
        Ok(slot) => slot.ok_or_else(|| SlotError::Missing(name.to_owned()))?,
        Err(error) => {
            let reason = WithCauses(&error).to_string();
            observer.observe(&Event::Warning(&Warning::SlotUnknown { slot: name.to_owned(), reason }));
            return Ok(None);
        }
    };
    require_physical(&slot.slot_type)?;
    if slot.is_lost {
        return Err(SlotError::Invalidated(name.to_owned()).into());
    }
    Ok(slot.restart.map(|position| (position, history.timeline_at(position))))
}

fn require_physical(slot_type: &str) -> Result<(), SlotError> {
    if slot_type == "physical" { Ok(()) } else { Err(SlotError::NotPhysical(slot_type.to_owned())) }
}

/// Asks the same server in an ordinary session.
async fn ask(
    client: &ReplicationClient,
    config: &Config,
    name: &str,
) -> Result<Option<RecordedSlot>, ReceiveError> {
    let mut session = QueryClient::connect(config, client.host()).await?;
    let slot = session.slot(name).await?;
    session.close().await;
    Ok(slot)
}

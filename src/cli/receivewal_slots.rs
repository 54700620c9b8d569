//! What `pg_receivewal` does to replication slots instead of receiving (section 1.5 of the receiver's behaviours).

use std::sync::Arc;

use super::receivewal_plan::Action;
use super::receivewal_report::Report;
use crate::client::{ClientError, ReplicationClient};
use crate::connection::{Notice, sqlstate};
use crate::conninfo::Config;
use crate::protocol::CreateSlot;
use crate::receive::{ReceiveError, SlotError};

/// The type of the slots that WAL is received from.
const PHYSICAL: &str = "physical";

/// Creates or drops a slot, over a connection of its own. There is nothing to do here for a receiver.
pub(super) async fn perform(
    action: &Action,
    config: &Config,
    report: &Arc<Report>,
) -> Result<(), ReceiveError> {
    let notices = Arc::clone(report);
    let notices = Arc::new(move |notice: &Notice| notices.notice(notice));
    let mut client = ReplicationClient::connect_with(config, notices).await?;
    client.require_integer_datetimes()?;
    client.data_directory_mode().await?;
    let is_database_specific = client.identify_system().await?.dbname.is_some();
    match action {
        Action::CreateSlot { name, .. } | Action::DropSlot(name) if is_database_specific => {
            return Err(ReceiveError::DatabaseSpecific { slot: Some(name.clone()) });
        }
        Action::CreateSlot { name, if_not_exists } => {
            report.step(&format!("creating replication slot \"{name}\""));
            create(&mut client, name, *if_not_exists).await?;
        }
        Action::DropSlot(name) => {
            report.step(&format!("dropping replication slot \"{name}\""));
            client.drop_replication_slot(name).await?;
        }
        Action::Receive(_) => {}
    }
    client.close().await;
    Ok(())
}

async fn create(client: &mut ReplicationClient, name: &str, if_not_exists: bool) -> Result<(), ReceiveError> {
    let slot = CreateSlot { name: name.to_owned(), temporary: false, reserve_wal: false };
    match client.create_physical_slot(&slot).await {
        Err(error) if if_not_exists && says_that_it_exists(&error) => check_type(client, name, error).await,
        created => Ok(created?),
    }
}

fn says_that_it_exists(error: &ClientError) -> bool {
    error.server_message().is_some_and(|message| message.sqlstate() == sqlstate::DUPLICATE_OBJECT)
}

/// A slot of another type is none to receive from (RW-044). Servers before 15 do not tell.
async fn check_type(
    client: &mut ReplicationClient,
    name: &str,
    exists: ClientError,
) -> Result<(), ReceiveError> {
    if !client.features().read_replication_slot {
        return Ok(());
    }
    match client.read_replication_slot(name).await {
        Ok(Some(slot)) if slot.slot_type == PHYSICAL => Ok(()),
        Ok(Some(slot)) => Err(SlotError::NotPhysical(slot.slot_type).into()),
        // It has gone in between.
        Ok(None) => Err(exists.into()),
        // There is only one type about which the server refuses to tell.
        Err(error) if error.server_message().is_some() => {
            Err(SlotError::NotPhysical("logical".to_owned()).into())
        }
        Err(error) => Err(error.into()),
    }
}

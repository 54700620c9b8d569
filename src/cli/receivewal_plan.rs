//! What a command line of `pg_receivewal` means.
//!
//! In: what was typed. Out: a [`Plan`], or the first of the combinations that make no sense, in the order in which
//! people know the refusals (section 1.4 of the receiver's behaviours). Nothing outside is touched.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::claimed_version::ClaimedVersion;
use super::compression::client_compression;
use super::connection_arguments::ConnectionArguments;
use super::getopt::{Refusal, refuse_if};
use super::receivewal_arguments::{self, OwnArguments, Typed};
use crate::compress::{CompressionArgument, CompressionSpec};
use crate::receive::{Reconnect, RunOptions};
use crate::storage::SyncPolicy;
use crate::types::Lsn;

const DEFAULT_STATUS_INTERVAL: u32 = 10;

/// A server that is silent for so long, although it was asked, counts as dead.
const DEFAULT_RECEIVE_TIMEOUT: u32 = 60;

/// The first major version whose program knows methods, and not only levels of gzip.
const METHODS_SINCE: u32 = 15;

/// What the command line means.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) connection: ConnectionArguments,
    pub(super) action: Action,
    pub(super) verbose: bool,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Receive(Box<Receiving>),
    CreateSlot {
        name: String,
        /// A slot that is there already will do.
        if_not_exists: bool,
    },
    DropSlot(String),
}

/// Receiving WAL into a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Receiving {
    pub(super) directory: PathBuf,
    pub(super) compression: Option<CompressionSpec>,
    pub(super) sync_policy: SyncPolicy,
    pub(super) options: RunOptions,
    /// How long connecting may take where the connection string does not say: as long as any other silence that the
    /// user has set a limit to.
    pub(super) connect_timeout: Option<Duration>,
    /// Where the state of the receiver is told.
    pub(super) status_file: Option<PathBuf>,
}

/// Reads a command line; the first argument is the program's name.
pub(super) fn parse(
    line: Vec<OsString>,
    claim: ClaimedVersion,
    operands_end_options: bool,
) -> Result<Plan, Refusal> {
    plan(receivewal_arguments::read(line, claim, operands_end_options)?, claim)
}

fn plan(typed: Typed, claim: ClaimedVersion) -> Result<Plan, Refusal> {
    check_slot_modes(&typed)?;
    refuse_if(typed.synchronous && typed.no_sync, "cannot use --synchronous together with --no-sync")?;
    let streams = !typed.create_slot && !typed.drop_slot;
    refuse_if(streams && typed.directory.is_none(), "no target directory specified")?;
    let compression = typed.compress.as_deref().map_or(Ok(None), |text| compression(text, claim))?;
    let own = &typed.own;
    refuse_if(typed.no_loop && own.wait_for_server, "cannot use --no-loop together with --wait-for-server")?;
    refuse_if(
        typed.no_loop && own.give_up_after.is_some(),
        "cannot use --no-loop together with --give-up-after",
    )?;
    Ok(Plan {
        verbose: typed.verbose,
        connection: typed.connection.clone(),
        action: action(typed, compression),
    })
}

fn check_slot_modes(typed: &Typed) -> Result<(), Refusal> {
    refuse_if(typed.create_slot && typed.drop_slot, "cannot use --create-slot together with --drop-slot")?;
    for (is_given, option) in [(typed.create_slot, "--create-slot"), (typed.drop_slot, "--drop-slot")] {
        refuse_if(
            is_given && typed.slot.is_none(),
            &format!("{option} needs a slot to be specified using --slot"),
        )?;
    }
    Ok(())
}

/// `-Z` (RW-018): a method with its detail, or a level.
fn compression(text: &str, claim: ClaimedVersion) -> Result<Option<CompressionSpec>, Refusal> {
    let CompressionArgument { method, detail, .. } = CompressionArgument::parse_without_location(text);
    let spec = client_compression(&method, detail.as_deref(), claim);
    let is_number = detail.as_deref() == Some(text);
    let is_level = matches!(spec, Ok(Some(CompressionSpec { level: Some(_), .. })));
    if claim.major() < METHODS_SINCE && is_number && !is_level {
        return Err(Refusal::Value(format!("invalid compression level \"{text}\"")));
    }
    spec.map_err(|error| Refusal::Value(error.to_string()))
}

fn action(typed: Typed, compression: Option<CompressionSpec>) -> Action {
    let positive_seconds = |number: u32| Some(seconds(number)).filter(|timeout| !timeout.is_zero());
    let receive_timeout = typed.own.receive_timeout;
    match (typed.directory, typed.slot) {
        (_, Some(name)) if typed.create_slot => {
            Action::CreateSlot { name, if_not_exists: typed.if_not_exists }
        }
        (_, Some(name)) if typed.drop_slot => Action::DropSlot(name),
        (directory, slot) => Action::Receive(Box::new(Receiving {
            directory: directory.unwrap_or_default(),
            compression,
            sync_policy: if typed.no_sync { SyncPolicy::Never } else { SyncPolicy::Durable },
            options: RunOptions {
                slot,
                status_interval: seconds(typed.status_interval.unwrap_or(DEFAULT_STATUS_INTERVAL)),
                synchronous: typed.synchronous,
                durable: !typed.no_sync,
                // That one means "none" (RW-024).
                end: typed.endpos.filter(|&end| end != Lsn::ZERO),
                reconnect: reconnect(typed.no_loop, &typed.own),
                receive_timeout: positive_seconds(receive_timeout.unwrap_or(DEFAULT_RECEIVE_TIMEOUT)),
                ..RunOptions::default()
            },
            connect_timeout: receive_timeout.and_then(positive_seconds),
            status_file: typed.own.status_file,
        })),
    }
}

fn reconnect(no_loop: bool, own: &OwnArguments) -> Reconnect {
    if no_loop {
        return Reconnect::Never;
    }
    let give_up_after = own.give_up_after.map(seconds);
    Reconnect::Always { even_first: own.wait_for_server, give_up_after }
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}

#[cfg(test)]
mod tests;

//! What a synchronous receiver does while it keeps up with the server: commits wait for each turn of this loop.
//!
//! It is the work of [`Pump`] and of the disk, on one thread and without a runtime: take what has come, write and sync
//! it, tell the server. As soon as there is anything else to do, it is left to those two.

use tokio_util::sync::CancellationToken;

use super::doorbell::{Doorbell, Woken};
use super::error::ReceiveError;
use super::own_thread::Aside;
use super::pump::Pump;
use super::stand_in::StandIn;
use crate::client::PhysicalStream;
use crate::types::OsError;

/// What is read at once: many commits.
const ROOM: usize = 64 << 10;

/// What it takes to work for the disk and be alive to the server.
pub(super) struct Beside {
    aside: Aside,
    stand_in: StandIn,
}

impl Beside {
    /// For this stream, if its connection is a plain one. Once `cancel` is cancelled, nobody stands in for a thread that
    /// waits for the disk. Where no thread can be started for that, the disk's thread does everything.
    pub(super) fn new(
        aside: &Aside,
        stream: &mut PhysicalStream<'_>,
        cancel: &CancellationToken,
    ) -> Option<Self> {
        let stand_in = StandIn::spawn(stream.status_sender()?, cancel.clone());
        let told = |error: &OsError| tracing::debug!(%error, "nobody stands in for the thread that receives");
        Some(Self { aside: aside.clone(), stand_in: stand_in.inspect_err(told).ok()? })
    }

    /// Makes durable what waits, and goes on for as long as the receiver keeps up.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn keep_up(
        &self,
        pump: &mut Pump<'_>,
        stream: &mut PhysicalStream<'_>,
    ) -> Result<(), ReceiveError> {
        self.aside.block(|bell| self.work(pump, stream, bell)).await
    }

    fn work(
        &self,
        pump: &mut Pump<'_>,
        stream: &mut PhysicalStream<'_>,
        bell: &Doorbell,
    ) -> Result<(), ReceiveError> {
        let mut room = vec![0; ROOM];
        while self.is_synced(pump) {
            if let (_, Some(status)) = pump.look_around()? {
                stream.send_status_now(status)?;
            }
            // A run that was cancelled a moment before the thread left its runtime rings no bell here.
            if stream.has_unsent() || pump.is_enough() {
                break;
            }
            let mut message = stream.try_next()?;
            if message.is_none() {
                let Some(socket) = stream.plain_socket().filter(|_| !stream.has_ended()) else { break };
                match bell.wait(socket, pump.due()) {
                    Woken::Rung => break,
                    Woken::Due => {}
                    Woken::Readable => {
                        stream.receive_now(&mut room)?;
                        message = stream.try_next()?;
                    }
                }
            }
            if let Some(message) = message {
                pump.take_round(message, stream)?;
            }
            pump.pace_flush();
        }
        Ok(())
    }

    /// Makes durable what waits, if that is wanted by now. Gives false where the disk's thread has to do something.
    fn is_synced(&self, pump: &mut Pump<'_>) -> bool {
        if pump.disk.is_quickly_synced() {
            let told = pump.feedback.repeated();
            return self.stand_in.over(told, || pump.disk.sync_here());
        }
        // The rest of what is wanted together is on its way.
        pump.disk.is_idle() || pump.disk.is_little()
    }
}

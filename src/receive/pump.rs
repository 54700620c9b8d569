//! The loop of one stream: takes what the server sends, hands it to the disk, and tells the server.
//!
//! In come messages, positions of the disk, and the position where it is enough; out go checked pieces of segments to
//! the disk and status updates to the server. Nothing here waits for the disk.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::disk_thread::DiskThread;
use super::error::ReceiveError;
use super::feedback::Feedback;
use super::overlap::Overlap;
use crate::client::{ClientError, PhysicalStream};
use crate::protocol::{StandbyStatus, WalMessage};
use crate::types::Lsn;
use crate::wal::{RecordReader, SegmentCutter};

/// Received bytes that may wait for the disk before reading pauses. While it does, the kernel's buffer of
/// the socket takes over; more than this was not faster, but only more memory.
const WAITING_FOR_DISK: u64 = 2 << 20;

/// Bytes taken from the receive buffer before the loop looks at everything else again.
const ROUND: u64 = 512 << 10;

/// How long an update may wait for a server that does not read.
const SENDING: Duration = Duration::from_secs(1);

/// Who ended the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum EndedBy {
    Us,
    Server,
}

/// The position where it is enough, as far as known.
pub(super) struct StopPosition {
    known: watch::Receiver<Option<Lsn>>,
    /// Whether somebody is left who could change it.
    may_change: bool,
}

impl StopPosition {
    pub(super) fn new(known: watch::Receiver<Option<Lsn>>) -> Self {
        Self { known, may_change: true }
    }

    pub(super) fn reached(&self, position: Lsn) -> bool {
        self.known.borrow().is_some_and(|stop| position >= stop)
    }

    async fn changed(&mut self) {
        self.may_change = self.known.changed().await.is_ok();
    }
}

/// The loop of one stream.
pub(super) struct Pump<'a> {
    pub(super) cutter: SegmentCutter,
    pub(super) overlap: Overlap,
    /// The end of what was checked and goes to the disk.
    pub(super) reached: Lsn,
    pub(super) records: RecordReader,
    pub(super) feedback: Feedback,
    pub(super) synchronous: bool,
    pub(super) disk: &'a mut DiskThread,
    pub(super) stop: &'a mut StopPosition,
}

impl Pump<'_> {
    /// Runs until the stop position is reached or the server ends the stream.
    pub(super) async fn run(&mut self, stream: &mut PhysicalStream<'_>) -> Result<EndedBy, ReceiveError> {
        loop {
            if self.stop.reached(self.reached) {
                return Ok(EndedBy::Us);
            }
            self.disk.try_hand_over();
            let may_read = self.waiting_for_disk() < WAITING_FOR_DISK;
            let now = now();
            self.feedback.set_reading_paused(!may_read, now);
            if self.feedback.is_server_silent(now) {
                return Err(ReceiveError::Silent(self.feedback.receive_timeout()));
            }
            if let Some(status) = self.feedback.poll(now) {
                send_status(stream, status).await?;
            }
            tokio::select! {
                biased;
                progress = self.disk.progress_changed() => self.feedback.progress(progress?),
                () = self.stop.changed(), if self.stop.may_change => {}
                () = until(self.feedback.due()) => {}
                message = stream.next(), if may_read => match message? {
                    Some(message) => self.take_round(message, stream)?,
                    None => return Ok(EndedBy::Server),
                },
            }
        }
    }

    fn waiting_for_disk(&self) -> u64 {
        self.reached.checked_sub(self.disk.progress().written).unwrap_or(0)
    }

    /// Takes the message and those that are already here after it.
    fn take_round(&mut self, first: WalMessage, stream: &mut PhysicalStream<'_>) -> Result<(), ReceiveError> {
        self.feedback.heard(now());
        let end = self.cutter.position() + ROUND;
        let mut message = Some(first);
        while let Some(taken) = message {
            self.take(taken)?;
            if self.cutter.position() >= end || self.stop.reached(self.reached) {
                break;
            }
            message = stream.try_next()?;
        }
        Ok(())
    }

    fn take(&mut self, message: WalMessage) -> Result<(), ReceiveError> {
        match message {
            WalMessage::Data { start, data, .. } => {
                for cut in self.cutter.push(start, data)? {
                    let Some(cut) = self.overlap.strip(cut)? else { continue };
                    self.records.push(&cut.data)?;
                    self.reached = cut.end();
                    let completes = cut.completes;
                    self.disk.push(cut);
                    // What the message has beyond the end of the segment is not wanted any more (RW-197).
                    if completes && self.stop.reached(self.reached) {
                        break;
                    }
                }
                if self.synchronous {
                    self.disk.request_sync();
                }
            }
            WalMessage::Keepalive { reply_requested: true, .. } => {
                self.feedback.requested(self.reached, now());
                if self.feedback.wants_flush() {
                    self.disk.request_sync();
                }
            }
            WalMessage::Keepalive { .. } => {}
        }
        Ok(())
    }
}

/// Sends the update, or leaves it to be sent with the next one where the server does not read: WAL must
/// go on coming, and the stop position be noticed.
pub(super) async fn send_status(
    stream: &mut PhysicalStream<'_>,
    status: StandbyStatus,
) -> Result<(), ClientError> {
    tracing::trace!(written = %status.written, flushed = %status.flushed, "status update");
    tokio::time::timeout(SENDING, stream.send_status(status)).await.unwrap_or(Ok(()))
}

/// The clock that timers run by.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(super) async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

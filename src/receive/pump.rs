//! The loop of one stream: takes what the server sends, hands it to the disk, and tells the server.
//!
//! In come messages, positions of the disk, and the position where it is enough; out go checked pieces of segments to
//! the disk and status updates to the server. Nothing here waits for the disk.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::alarm::Alarm;
use super::beside::Beside;
use super::disk::Disk;
use super::error::ReceiveError;
use super::feedback::Feedback;
use super::flush_pace::FlushPace;
use super::overlap::Overlap;
use super::progress_channel::Wake;
use super::progress_events::ProgressEvents;
use crate::client::{ClientError, PhysicalStream};
use crate::protocol::{StandbyStatus, WalMessage};
use crate::types::Lsn;
use crate::wal::{RecordReader, SegmentCutter};

/// Received bytes that may wait for the disk before reading pauses. While it does, the kernel's buffer of
/// the socket takes over; more than this was not faster, but only more memory.
const WAITING_FOR_DISK: u64 = 2 << 20;

/// How much of it is left when reading goes on: one wake-up for many messages, and time for it to come.
const READ_ON: u64 = WAITING_FOR_DISK / 2;

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
    /// What a synchronous receiver asks the disk for.
    pub(super) flush_pace: Option<FlushPace>,
    pub(super) events: ProgressEvents,
    pub(super) disk: &'a mut Disk,
    pub(super) stop: &'a mut StopPosition,
}

impl Pump<'_> {
    /// Runs until the stop position is reached or the server ends the stream. What can be done `beside` is done there.
    pub(super) async fn run(
        &mut self,
        stream: &mut PhysicalStream<'_>,
        beside: Option<&Beside>,
    ) -> Result<EndedBy, ReceiveError> {
        let mut alarm = Alarm::default();
        loop {
            if self.is_enough() {
                return Ok(EndedBy::Us);
            }
            self.pace_flush();
            if let Some(beside) = beside.filter(|_| self.keeps_up(stream)) {
                beside.keep_up(self, stream).await?;
                if stream.has_unsent() {
                    patiently(stream.flush()).await?;
                }
                continue;
            }
            self.disk.hand_over();
            let (may_read, status) = self.look_around()?;
            if let Some(status) = status {
                send_status(stream, status).await?;
            }
            let due = self.due();
            tokio::select! {
                biased;
                progress = self.disk.progress_changed() => progress.map(drop)?,
                () = self.stop.changed(), if self.stop.may_change => {}
                () = alarm.at(due) => {}
                message = stream.next(), if may_read => match message? {
                    Some(message) => self.take_round(message, stream)?,
                    None => return Ok(EndedBy::Server),
                },
            }
        }
    }

    /// Whether there is nothing to do but to wait for a commit, or to make one durable.
    fn keeps_up(&self, stream: &PhysicalStream<'_>) -> bool {
        let is_durable = self.disk.is_idle() && self.disk.progress().flushed.value() >= self.reached;
        (is_durable || self.disk.is_quickly_synced()) && !stream.has_unsent() && !stream.has_ended()
    }

    /// Whether the stop position is reached.
    pub(super) fn is_enough(&self) -> bool {
        self.stop.reached(self.reached)
    }

    /// Asks the disk for a sync if it is time.
    pub(super) fn pace_flush(&mut self) {
        if self.flush_pace.as_mut().is_some_and(|pace| pace.poll(now())) {
            self.disk.request_sync();
        }
    }

    /// Looks at the disk and at the clock. Gives whether there is room for more, and what the server is to be told.
    pub(super) fn look_around(&mut self) -> Result<(bool, Option<StandbyStatus>), ReceiveError> {
        let now = now();
        let may_read = self.look_at_disk(now);
        self.events.note(self.reached, self.disk.progress(), now);
        if self.feedback.is_server_silent(now) {
            return Err(ReceiveError::Silent(self.feedback.receive_timeout()));
        }
        Ok((may_read, self.feedback.poll(now)))
    }

    /// When there is something to be done even if nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        let flush_due = self.flush_pace.as_ref().and_then(FlushPace::due);
        [self.feedback.due(), flush_due, self.events.due()].into_iter().flatten().min()
    }

    /// Notes how far the disk has come, and says what is waited for. Gives whether there is room for more.
    fn look_at_disk(&mut self, now: Instant) -> bool {
        let written = self.disk.progress().written;
        let waiting = self.reached.checked_sub(written).unwrap_or(0);
        let may_read = waiting < if self.feedback.is_reading_paused() { READ_ON } else { WAITING_FOR_DISK };
        self.feedback.set_reading_paused(!may_read, now);
        let room = (!may_read).then(|| Lsn::new(self.reached.as_u64().saturating_sub(READ_ON) + 1));
        let awaited = self.feedback.awaited().filter(|&awaited| awaited > written);
        let wake = Wake {
            written: [room, awaited].into_iter().flatten().min(),
            flushed: self.feedback.tells_flush(),
        };
        self.feedback.progress(self.disk.wake_at(wake));
        may_read
    }

    /// Takes the message and those that are already here after it.
    pub(super) fn take_round(
        &mut self,
        first: WalMessage,
        stream: &mut PhysicalStream<'_>,
    ) -> Result<(), ReceiveError> {
        self.feedback.heard(now());
        let end = self.cutter.position() + ROUND;
        let mut message = Some(first);
        while let Some(taken) = message {
            self.take(taken)?;
            if self.cutter.position() >= end || self.is_enough() {
                break;
            }
            message = stream.try_next()?;
        }
        Ok(())
    }

    fn take(&mut self, message: WalMessage) -> Result<(), ReceiveError> {
        match message {
            WalMessage::Data { start, data, server_end } => {
                let length = data.len() as u64;
                for cut in self.cutter.push(start, data)? {
                    let Some(cut) = self.overlap.strip(cut)? else { continue };
                    self.records.push(&cut.data)?;
                    self.reached = cut.end();
                    let completes = cut.completes;
                    self.disk.push(cut);
                    // What the message has beyond the end of the segment is not wanted any more (RW-197).
                    if completes && self.is_enough() {
                        break;
                    }
                }
                if let Some(pace) = &mut self.flush_pace {
                    pace.received(length, start + length, server_end, now());
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

/// Sends the update, or leaves it to be sent with the next one where the server does not read.
pub(super) async fn send_status(
    stream: &mut PhysicalStream<'_>,
    status: StandbyStatus,
) -> Result<(), ClientError> {
    patiently(stream.send_status(status)).await
}

/// Waits a while for what can be left for the next time: WAL must go on coming, and the stop position be noticed.
async fn patiently(sending: impl Future<Output = Result<(), ClientError>>) -> Result<(), ClientError> {
    let mut sending = pin!(sending);
    // A timer costs more than sending does, and is mostly not needed.
    match poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await {
        Poll::Ready(sent) => sent,
        Poll::Pending => tokio::time::timeout(SENDING, sending).await.unwrap_or(Ok(())),
    }
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

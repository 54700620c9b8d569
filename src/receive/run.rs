//! Receives WAL over one connection, from a start position to where the caller says it is enough.
//!
//! In come a client, the options, an archive and the end, once somebody knows it; out comes a report
//! of what is durable. However it ends, everything received has been handed to the archive, the
//! archive has been told, and its thread is gone.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::archive::WalArchive;
use super::batch::Batch;
use super::disk_thread::DiskThread;
use super::error::ReceiveError;
use super::feedback::{Feedback, FlushReport};
use super::options::{ReceiveOptions, ReceiveReport};
use crate::client::{ClientError, PhysicalStream, ReplicationClient, StartReplication};
use crate::protocol::{NextTimeline, PhysicalStart, StandbyStatus, WalMessage};
use crate::storage::Durable;
use crate::types::{Lsn, SystemId, TimelineId};
use crate::wal::{RecordReader, SegmentCutter};

/// Received bytes that may wait for the disk before reading pauses. While it does, the kernel's buffer of
/// the socket takes over; more than this was not faster, but only more memory.
const WAITING_FOR_DISK: u64 = 2 << 20;

/// Bytes taken from the receive buffer before the loop looks at everything else again.
const ROUND: u64 = 512 << 10;

/// How long the server may take to end its side after ours has ended. By then everything wanted is
/// here, so a server that hangs costs only this.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long an update may wait for a server that does not read.
const SENDING: Duration = Duration::from_secs(1);

/// Receives WAL into the archive until `stop` holds a position that was reached.
///
/// WAL that no server can have written there is refused and not given to the archive: pages of another place,
/// timeline or cluster, and records whose checksums are wrong.
///
/// [`Lsn::ZERO`] as the stop position stops at once and in good order. Where the sender of `stop` is
/// dropped, its last value stays. `cancel` stops too, without taking leave of the server, and ends in
/// [`ReceiveError::Cancelled`].
///
/// The client can be used again after a report, except if the server did not take leave in time;
/// after an error it cannot.
///
/// # Cancel safety
/// When the future is dropped, what has not been written yet is dropped with it. The drop waits for
/// what the disk is doing at that moment, so that nothing is written after it.
pub async fn stream(
    client: &mut ReplicationClient,
    options: &ReceiveOptions,
    archive: Box<dyn WalArchive>,
    stop: watch::Receiver<Option<Lsn>>,
    cancel: CancellationToken,
) -> Result<ReceiveReport, ReceiveError> {
    let mut receiver = Receiver {
        client,
        options,
        disk: DiskThread::spawn(archive)?,
        waiting: Batch::default(),
        stop: StopPosition { known: stop, may_change: true },
    };
    let outcome = match cancel.run_until_cancelled(receiver.receive()).await {
        Some(outcome) => outcome,
        None => Err(ReceiveError::Cancelled),
    };
    match (outcome, receiver.keep_rest().await) {
        // The disk has told its error already.
        (Err(error @ ReceiveError::Disk(_)), _) => Err(error),
        // What was lost on this side weighs more than why the other side was lost.
        (outcome, Err(error)) => {
            tracing::debug!(?outcome, "the archive failed at the end");
            Err(error)
        }
        (outcome, Ok(())) => outcome,
    }
}

/// One run over one connection.
struct Receiver<'a> {
    client: &'a mut ReplicationClient,
    options: &'a ReceiveOptions,
    disk: DiskThread,
    /// What was received and not yet handed to the disk.
    waiting: Batch,
    stop: StopPosition,
}

/// How the stream of one timeline ended.
enum StreamEnd {
    /// The stop position was reached.
    Stopped { durable: Durable<Lsn>, end_of_records: Lsn },
    /// The timeline has ended, and goes on in another one. Where nothing of it came, there are no records either.
    Switched { reached: Lsn, end_of_records: Option<Lsn>, next: NextTimeline },
}

/// Who ended the stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EndedBy {
    Us,
    Server,
}

impl Receiver<'_> {
    async fn receive(&mut self) -> Result<ReceiveReport, ReceiveError> {
        let system_id = self.check_system().await?;
        let mut timeline = self.options.timeline;
        let mut start = self.options.start.segment_start(self.options.segment_size);
        loop {
            self.fetch_history(timeline).await?;
            if self.stop.reached(start) {
                let end = Durable::nothing_before(start);
                return Ok(ReceiveReport { timeline, end, end_of_records: start });
            }
            match self.stream_timeline(system_id, timeline, start).await? {
                StreamEnd::Stopped { durable: end, end_of_records } => {
                    return Ok(ReceiveReport { timeline, end, end_of_records });
                }
                StreamEnd::Switched { reached, end_of_records, next } => {
                    check_switch(timeline, reached, next)?;
                    check_records(end_of_records, next)?;
                    tracing::debug!(from = %timeline, to = %next.timeline, at = %next.start, "timeline switch");
                    timeline = next.timeline;
                    start = next.start.segment_start(self.options.segment_size);
                }
            }
        }
    }

    async fn check_system(&mut self) -> Result<SystemId, ReceiveError> {
        let system = self.client.identify_system().await?;
        if let Some(expected) = self.options.system_id
            && expected != system.system_id
        {
            return Err(ReceiveError::ForeignSystem { expected, found: system.system_id });
        }
        if self.options.timeline > system.timeline {
            return Err(ReceiveError::TimelineNotPresent(self.options.timeline));
        }
        Ok(system.system_id)
    }

    async fn fetch_history(&mut self, timeline: TimelineId) -> Result<(), ReceiveError> {
        if timeline == TimelineId::FIRST || self.disk.has_history(timeline).await? {
            return Ok(());
        }
        let file = self.client.timeline_history(timeline).await?;
        Ok(self.disk.store_history(file).await?)
    }

    #[tracing::instrument(name = "wal_stream", level = "debug", skip_all, fields(%timeline, %start))]
    async fn stream_timeline(
        &mut self,
        system_id: SystemId,
        timeline: TimelineId,
        start: Lsn,
    ) -> Result<StreamEnd, ReceiveError> {
        self.disk.begin(start).await?;
        let size = self.options.segment_size;
        let records = RecordReader::new(start, self.first_record(start), size, timeline);
        let request = PhysicalStart { slot: self.options.slot.clone(), lsn: start, timeline };
        let mut stream = match self.client.start_physical(&request).await? {
            StartReplication::Streaming(stream) => stream,
            StartReplication::NothingOnTimeline(next) => {
                return Ok(StreamEnd::Switched { reached: start, end_of_records: None, next });
            }
        };
        let mut pump = Pump {
            cutter: SegmentCutter::new(timeline, start.segment_number(size), size),
            records: records.expect_system_id(system_id),
            feedback: Feedback::new(self.options.status_interval, flush_report(self.options), start, now()),
            synchronous: self.options.synchronous,
            disk: &mut self.disk,
            waiting: &mut self.waiting,
            stop: &mut self.stop,
        };
        let ended_by = pump.run(&mut stream).await?;
        let (reached, end_of_records) = (pump.cutter.position(), pump.records.end_of_records());
        let next = take_leave(stream, ended_by).await?;
        self.disk.hand_over(std::mem::take(&mut self.waiting)).await?;
        let durable = self.disk.close_segment().await?;
        match next {
            _ if ended_by == EndedBy::Us || self.stop.reached(reached) => {
                Ok(StreamEnd::Stopped { durable, end_of_records })
            }
            Some(next) => Ok(StreamEnd::Switched { reached, end_of_records: Some(end_of_records), next }),
            None => Err(ReceiveError::Terminated),
        }
    }

    /// Where records are checked from on: what comes before the start of a backup in its first segment is never
    /// replayed.
    fn first_record(&self, segment_start: Lsn) -> Lsn {
        let asked_for = self.options.start;
        let is_in_segment = asked_for.segment_start(self.options.segment_size) == segment_start;
        if is_in_segment { asked_for } else { segment_start }
    }

    /// Hands the disk what it does not have yet and waits for all of it.
    async fn keep_rest(mut self) -> Result<(), ReceiveError> {
        let handed_over = self.disk.hand_over(self.waiting).await;
        let finished = self.disk.finish().await;
        handed_over?;
        Ok(finished?)
    }
}

fn flush_report(options: &ReceiveOptions) -> FlushReport {
    match (options.synchronous, &options.slot) {
        (true, _) => FlushReport::Synchronous,
        (false, Some(_)) => FlushReport::WhenDurable,
        (false, None) => FlushReport::Nothing,
    }
}

fn check_switch(current: TimelineId, reached: Lsn, next: NextTimeline) -> Result<(), ReceiveError> {
    if next.timeline <= current {
        return Err(ReceiveError::UnexpectedNextTimeline { current, next: next.timeline });
    }
    if next.start > reached {
        let NextTimeline { timeline: next, start } = next;
        return Err(ReceiveError::GapBeforeNextTimeline { current, reached, next, start });
    }
    Ok(())
}

/// Timelines part where a record ends. One that is missing before that would be missed by nobody: the records of the
/// next timeline are only checked from the start of the segment in which it begins.
fn check_records(reached: Option<Lsn>, next: NextTimeline) -> Result<(), ReceiveError> {
    match reached {
        Some(reached) if reached < next.start => {
            Err(ReceiveError::RecordsMissing { reached, wanted: next.start })
        }
        _ => Ok(()),
    }
}

/// Ends the stream on both sides. A server that we left may hang or fail: nothing more is wanted of it.
async fn take_leave(
    stream: PhysicalStream<'_>,
    ended_by: EndedBy,
) -> Result<Option<NextTimeline>, ClientError> {
    let goodbye = tokio::time::timeout(GOODBYE, stream.finish()).await;
    match (ended_by, goodbye) {
        (EndedBy::Server, Ok(next)) => next,
        (EndedBy::Us, Ok(Ok(_))) => Ok(None),
        (EndedBy::Us, Ok(Err(error))) => {
            tracing::debug!(%error, "the server did not take leave");
            Ok(None)
        }
        (_, Err(_)) => {
            tracing::debug!("the server did not take leave in time");
            Ok(None)
        }
    }
}

/// The position where it is enough, as far as known.
struct StopPosition {
    known: watch::Receiver<Option<Lsn>>,
    /// Whether somebody is left who could change it.
    may_change: bool,
}

impl StopPosition {
    fn reached(&self, position: Lsn) -> bool {
        self.known.borrow().is_some_and(|stop| position >= stop)
    }

    async fn changed(&mut self) {
        self.may_change = self.known.changed().await.is_ok();
    }
}

/// The loop of one stream.
struct Pump<'a> {
    cutter: SegmentCutter,
    records: RecordReader,
    feedback: Feedback,
    synchronous: bool,
    disk: &'a mut DiskThread,
    waiting: &'a mut Batch,
    stop: &'a mut StopPosition,
}

impl Pump<'_> {
    /// Runs until the stop position is reached or the server ends the stream.
    async fn run(&mut self, stream: &mut PhysicalStream<'_>) -> Result<EndedBy, ReceiveError> {
        loop {
            if self.stop.reached(self.cutter.position()) {
                return Ok(EndedBy::Us);
            }
            self.disk.try_hand_over(self.waiting);
            let may_read = self.waiting_for_disk() < WAITING_FOR_DISK;
            self.feedback.set_reading_paused(!may_read);
            if let Some(status) = self.feedback.poll(now()) {
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
        self.cutter.position().checked_sub(self.disk.progress().written).unwrap_or(0)
    }

    /// Takes the message and those that are already here after it.
    fn take_round(&mut self, first: WalMessage, stream: &mut PhysicalStream<'_>) -> Result<(), ReceiveError> {
        let end = self.cutter.position() + ROUND;
        let mut message = Some(first);
        while let Some(taken) = message {
            self.take(taken)?;
            if self.cutter.position() >= end || self.stop.reached(self.cutter.position()) {
                break;
            }
            message = stream.try_next()?;
        }
        Ok(())
    }

    fn take(&mut self, message: WalMessage) -> Result<(), ReceiveError> {
        match message {
            WalMessage::Data { start, data, .. } => {
                let cuts = self.cutter.push(start, data.clone())?;
                self.records.push(&data)?;
                cuts.for_each(|cut| self.waiting.push(cut));
                self.waiting.sync |= self.synchronous;
            }
            WalMessage::Keepalive { reply_requested: true, .. } => {
                self.feedback.requested(self.cutter.position(), now());
                self.waiting.sync |= self.feedback.wants_flush();
            }
            WalMessage::Keepalive { .. } => {}
        }
        Ok(())
    }
}

/// Sends the update, or leaves it to be sent with the next one where the server does not read: WAL must
/// go on coming, and the stop position be noticed.
async fn send_status(stream: &mut PhysicalStream<'_>, status: StandbyStatus) -> Result<(), ClientError> {
    tracing::trace!(written = %status.written, flushed = %status.flushed, "status update");
    tokio::time::timeout(SENDING, stream.send_status(status)).await.unwrap_or(Ok(()))
}

/// The clock that timers run by.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

//! Receives WAL over one connection, from a start position to where the caller says it is enough.
//!
//! In come a client, the options, an archive and the end, once somebody knows it; out comes a report
//! of what is durable. However it ends, everything received has been handed to the archive, the
//! archive has been told, and its thread is gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::archive::{ArchiveEnd, WalArchive};
use super::beside::Beside;
use super::disk::Disk;
use super::error::ReceiveError;
use super::feedback::{Feedback, FlushReport};
use super::flush_pace::FlushPace;
use super::observer::{Event, Observer};
use super::options::{ReceiveOptions, ReceiveReport};
use super::overlap::Overlap;
use super::own_thread::Aside;
use super::patience::within;
use super::progress_events::ProgressEvents;
use super::pump::{EndedBy, Pump, StopPosition, now};
use crate::client::{ClientError, PhysicalStream, ReplicationClient, StartReplication};
use crate::protocol::{NextTimeline, PhysicalStart, TimelineHistoryFile};
use crate::storage::Durable;
use crate::types::{Lsn, SegmentSize, SystemId, TimelineId};
use crate::wal::{RecordReader, SegmentCutter, TimelineHistory};

/// How long the server may take to end its side after ours has ended. By then everything wanted is
/// here, so a server that hangs costs only this.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);

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
    stream_and_note(client, options, archive, stop, cancel, &mut false).await
}

/// As [`stream`], and notes whether the server agreed to stream, however it ended.
pub(crate) async fn stream_and_note(
    client: &mut ReplicationClient,
    options: &ReceiveOptions,
    archive: Box<dyn WalArchive>,
    stop: watch::Receiver<Option<Lsn>>,
    cancel: CancellationToken,
    has_agreed: &mut bool,
) -> Result<ReceiveReport, ReceiveError> {
    let settings = StreamSettings::from(options);
    let mut under_way = UnderWay::default();
    let mut disk = Disk::spawn(archive)?;
    let mut receiver = Receiver {
        client,
        settings: &settings,
        disk: &mut disk,
        stop: &mut StopPosition::new(stop),
        told: &mut ToldFlush::default(),
        under_way: &mut under_way,
    };
    let outcome = match cancel.run_until_cancelled(receiver.receive(options)).await {
        Some(outcome) => outcome,
        None => Err(ReceiveError::Cancelled),
    };
    *has_agreed = under_way.since.is_some();
    match (outcome, disk.finish().await) {
        // The disk has told its error already.
        (Err(error @ ReceiveError::Disk(_)), _) => Err(error),
        // What was lost on this side weighs more than why the other side was lost.
        (outcome, Err(error)) => {
            tracing::debug!(?outcome, "the archive failed at the end");
            Err(error.into())
        }
        (outcome, Ok(())) => outcome,
    }
}

/// What is the same for all timelines of a connection.
pub(super) struct StreamSettings {
    pub(super) segment_size: SegmentSize,
    pub(super) slot: Option<String>,
    pub(super) status_interval: Option<Duration>,
    pub(super) flush_report: FlushReport,
    pub(super) receive_timeout: Option<Duration>,
    /// Where this thread may wait for the disk of a synchronous receiver, if nothing else is done on it.
    pub(super) aside: Option<Aside>,
    /// Once this is cancelled, nobody stands in for a thread that waits.
    pub(super) cancel: CancellationToken,
    pub(super) observer: Arc<dyn Observer>,
}

impl StreamSettings {
    fn beside(&self, stream: &mut PhysicalStream<'_>) -> Option<Beside> {
        let aside = self.aside.as_ref().filter(|_| self.flush_report == FlushReport::Synchronous)?;
        Beside::new(aside, stream, &self.cancel)
    }
}

impl From<&ReceiveOptions> for StreamSettings {
    fn from(options: &ReceiveOptions) -> Self {
        let flush_report = match (options.synchronous, &options.slot) {
            (true, _) => FlushReport::Synchronous,
            (false, Some(_)) => FlushReport::WhenDurable,
            (false, None) => FlushReport::Nothing,
        };
        Self {
            segment_size: options.segment_size,
            slot: options.slot.clone(),
            status_interval: options.status_interval,
            flush_report,
            receive_timeout: options.receive_timeout,
            aside: None,
            cancel: CancellationToken::new(),
            observer: Arc::new(()),
        }
    }
}

/// Where receiving starts on a timeline.
pub(super) struct StreamStart {
    pub(super) timeline: TimelineId,
    pub(super) position: Durable<Lsn>,
    /// Has read the segment of the position up to there.
    pub(super) records: RecordReader,
    /// What the archive has before the position.
    pub(super) overlap: Bytes,
}

impl StreamStart {
    /// Starts with the first byte of the segment that holds `position`.
    pub(super) fn at_segment(position: Lsn, size: SegmentSize, timeline: TimelineId) -> Self {
        Self::at_record(position.segment_start(size), size, timeline)
    }

    /// Starts with the segment that holds the record: what comes before it there is not checked.
    fn at_record(record: Lsn, size: SegmentSize, timeline: TimelineId) -> Self {
        let start = record.segment_start(size);
        let records = RecordReader::new(start, record, size, timeline);
        Self { timeline, position: Durable::nothing_before(start), records, overlap: Bytes::new() }
    }
}

impl From<ArchiveEnd> for StreamStart {
    fn from(end: ArchiveEnd) -> Self {
        let ArchiveEnd { timeline, position, records, overlap } = end;
        Self { timeline, position, records, overlap }
    }
}

/// One run over one connection.
pub(super) struct Receiver<'a> {
    pub(super) client: &'a mut ReplicationClient,
    pub(super) settings: &'a StreamSettings,
    pub(super) disk: &'a mut Disk,
    pub(super) stop: &'a mut StopPosition,
    pub(super) told: &'a mut ToldFlush,
    pub(super) under_way: &'a mut UnderWay,
}

/// What is to be known of a run when it has failed.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    /// The timeline that was asked for last.
    pub(super) timeline: Option<TimelineId>,
    /// When the server first agreed to stream.
    pub(super) since: Option<Instant>,
}

/// The flush position that was told last, and on which timeline. It outlives the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ToldFlush(Option<(TimelineId, Lsn)>);

impl ToldFlush {
    fn on(self, timeline: TimelineId) -> Lsn {
        self.0.filter(|(told_on, _)| *told_on == timeline).map_or(Lsn::ZERO, |(_, flushed)| flushed)
    }
}

/// How the stream of one timeline ended.
enum StreamEnd {
    /// The stop position was reached.
    Stopped { durable: Durable<Lsn>, end_of_records: Lsn },
    /// The timeline has ended, and goes on in another one. Where nothing of it came, there are no records either.
    Switched { reached: Lsn, end_of_records: Option<Lsn>, next: NextTimeline },
}

impl Receiver<'_> {
    async fn receive(&mut self, options: &ReceiveOptions) -> Result<ReceiveReport, ReceiveError> {
        let system_id = identify(self.client, options.system_id, options.timeline).await?;
        let start = StreamStart::at_record(options.start, options.segment_size, options.timeline);
        self.follow(system_id, start).await
    }

    /// Receives from the start on, through all timelines that follow, until it is enough.
    pub(super) async fn follow(
        &mut self,
        system_id: SystemId,
        mut start: StreamStart,
    ) -> Result<ReceiveReport, ReceiveError> {
        let size = self.settings.segment_size;
        loop {
            self.fetch_history(start.timeline).await?;
            let (timeline, position) = (start.timeline, start.position);
            if self.stop.reached(position.value()) {
                let end_of_records = start.records.end_of_records();
                return Ok(ReceiveReport { timeline, end: position, end_of_records });
            }
            match self.stream_timeline(system_id, start).await? {
                StreamEnd::Stopped { durable: end, end_of_records } => {
                    return Ok(ReceiveReport { timeline, end, end_of_records });
                }
                StreamEnd::Switched { reached, end_of_records, next } => {
                    check_switch(timeline, reached, next)?;
                    check_records(end_of_records, next)?;
                    self.check_fork_point(timeline, next).await?;
                    let event = Event::TimelineSwitched { timeline: next.timeline, position: reached };
                    self.settings.observer.observe(&event);
                    start = StreamStart::at_segment(next.start, size, next.timeline);
                }
            }
        }
    }

    async fn fetch_history(&mut self, timeline: TimelineId) -> Result<(), ReceiveError> {
        if timeline == TimelineId::FIRST || self.disk.has_history(timeline).await? {
            return Ok(());
        }
        let file = self.ask_for_history(timeline).await?.0;
        Ok(self.disk.store_history(file).await?)
    }

    async fn ask_for_history(
        &mut self,
        timeline: TimelineId,
    ) -> Result<(TimelineHistoryFile, TimelineHistory), ReceiveError> {
        let file = within(self.settings.receive_timeout, self.client.timeline_history(timeline)).await?;
        let history = TimelineHistory::parse(timeline, &file.content)?;
        Ok((file, history))
    }

    /// The next timeline must have begun where the server says that it did, according to its own history, which is
    /// kept.
    async fn check_fork_point(
        &mut self,
        current: TimelineId,
        next: NextTimeline,
    ) -> Result<(), ReceiveError> {
        let NextTimeline { timeline: next, start } = next;
        let (file, history) = self.ask_for_history(next).await?;
        let switch_point = history.switch_point(current);
        if switch_point != Some(start) {
            return Err(ReceiveError::ForkPoint { current, next, start, switch_point });
        }
        if !self.disk.has_history(next).await? {
            self.disk.store_history(file).await?;
        }
        Ok(())
    }

    #[tracing::instrument(name = "wal_stream", level = "debug", skip_all, fields(timeline = %start.timeline, position = %start.position.value()))]
    async fn stream_timeline(
        &mut self,
        system_id: SystemId,
        start: StreamStart,
    ) -> Result<StreamEnd, ReceiveError> {
        self.disk.begin(start.position).await?;
        let StreamStart { timeline, position, records, overlap } = start;
        let overlap = Overlap::before(position.value(), overlap, timeline);
        let settings = self.settings;
        let request = PhysicalStart { slot: settings.slot.clone(), lsn: overlap.start(), timeline };
        self.under_way.timeline = Some(timeline);
        let mut stream = match within(settings.receive_timeout, self.client.start_physical(&request)).await? {
            StartReplication::Streaming(stream) => stream,
            StartReplication::NothingOnTimeline(next) => {
                let reached = position.value();
                return Ok(StreamEnd::Switched { reached, end_of_records: None, next });
            }
        };
        self.under_way.since.get_or_insert_with(now);
        let is_synchronous = settings.flush_report == FlushReport::Synchronous;
        let beside = settings.beside(&mut stream);
        let mut pump = Pump {
            cutter: SegmentCutter::new(timeline, overlap.start(), settings.segment_size),
            overlap,
            reached: position.value(),
            records: records.expect_system_id(system_id),
            feedback: Feedback::new(settings.status_interval, settings.flush_report, position, now())
                .with_receive_timeout(settings.receive_timeout, now())
                .with_known_flushed(self.told.on(timeline)),
            flush_pace: is_synchronous.then(FlushPace::default),
            events: ProgressEvents::new(Arc::clone(&settings.observer), timeline, position.value(), now()),
            disk: &mut *self.disk,
            stop: &mut *self.stop,
        };
        let ended_by = pump.run(&mut stream, beside.as_ref()).await;
        *self.told = ToldFlush(Some((timeline, pump.feedback.known_flushed())));
        drop(beside);
        let ended_by = ended_by?;
        let (reached, end_of_records) = (pump.reached, pump.records.end_of_records());
        let next = take_leave(stream, ended_by).await?;
        let durable = self.disk.close_segment().await?;
        match next {
            _ if ended_by == EndedBy::Us || self.stop.reached(reached) => {
                Ok(StreamEnd::Stopped { durable, end_of_records })
            }
            Some(next) => Ok(StreamEnd::Switched { reached, end_of_records: Some(end_of_records), next }),
            None => Err(ReceiveError::Terminated),
        }
    }
}

/// Asks the server which cluster it belongs to, which must be the expected one and have come to the timeline.
pub(super) async fn identify(
    client: &mut ReplicationClient,
    expected: Option<SystemId>,
    timeline: TimelineId,
) -> Result<SystemId, ReceiveError> {
    let system = client.identify_system().await?;
    if let Some(expected) = expected
        && expected != system.system_id
    {
        return Err(ReceiveError::ForeignSystem { expected, found: system.system_id });
    }
    if timeline > system.timeline {
        return Err(ReceiveError::TimelineNotPresent(timeline));
    }
    Ok(system.system_id)
}

pub(super) fn check_switch(
    current: TimelineId,
    reached: Lsn,
    next: NextTimeline,
) -> Result<(), ReceiveError> {
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
pub(super) fn check_records(reached: Option<Lsn>, next: NextTimeline) -> Result<(), ReceiveError> {
    match reached {
        Some(reached) if reached < next.start => {
            Err(ReceiveError::RecordsMissing { reached, wanted: next.start })
        }
        _ => Ok(()),
    }
}

/// Ends the stream on both sides. A server that we left may hang or fail: nothing more is wanted of it.
pub(super) async fn take_leave(
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

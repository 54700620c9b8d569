//! WAL as a stream, for those who keep it their own way.
//!
//! In come a client, a start position and what the caller says of its progress; out come checked pieces of segments,
//! and status updates to the server. The server never hears of a position as flushed that the caller has not
//! acknowledged, and the caller cannot acknowledge what it was not given.

use std::time::Duration;

use bytes::{Buf, Bytes};

use super::disk_progress::DiskProgress;
use super::error::ReceiveError;
use super::feedback::{Feedback, FlushReport};
use super::pump::{EndedBy, now, send_status, until};
use super::stream::{check_records, check_switch, identify, take_leave};
use crate::client::{ClientError, PhysicalStream, ReplicationClient, StartReplication};
use crate::connection::ConnectionError;
use crate::protocol::{NextTimeline, PhysicalStart, WalMessage};
use crate::storage::Durable;
use crate::types::{Lsn, SegmentSize, SystemId, TimelineId, WalFileName};
use crate::wal::{Cut, Cuts, RecordReader, SegmentCutter};

/// What a [`WalStream`] is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalStreamOptions {
    /// The position of the first byte that is wanted. It may be anywhere in a record.
    pub start: Lsn,
    /// The timeline to stream.
    pub timeline: TimelineId,
    /// The cluster that the WAL must come from; `None` takes any.
    pub system_id: Option<SystemId>,
    /// The replication slot to stream from. It lets go of WAL as that is acknowledged.
    pub slot: Option<String>,
    /// The time between status updates; zero sends none but those that have a reason.
    pub status_interval: Duration,
    /// How long a server may be silent, although asked for an answer after half of it, until it counts as dead; none
    /// waits for ever.
    pub receive_timeout: Option<Duration>,
}

impl WalStreamOptions {
    /// From a position of a timeline on, without a slot and with the intervals of PostgreSQL's own receiver.
    pub fn new(timeline: TimelineId, start: Lsn) -> Self {
        Self {
            start,
            timeline,
            system_id: None,
            slot: None,
            status_interval: Duration::from_secs(10),
            receive_timeout: Some(Duration::from_mins(1)),
        }
    }
}

/// The next bytes of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalChunk {
    /// The timeline.
    pub timeline: TimelineId,
    /// The position of the first byte: the end of the chunk before.
    pub start: Lsn,
    /// The bytes; at least one. They share memory with what was received around them: who keeps small chunks for long
    /// should copy them.
    pub data: Bytes,
    /// The segment that all of them belong to.
    pub segment: WalFileName,
    /// Whether the last byte is the last of the segment.
    pub completes_segment: bool,
}

impl WalChunk {
    /// The position after the last byte.
    pub fn end(&self) -> Lsn {
        self.start + self.data.len() as u64
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalStreamEnd {
    /// The end of what was received. Where the timeline has ended that may lie after its end: of a record that was
    /// never finished there is a part.
    pub reached: Lsn,
    /// Up to where it is complete and sound records.
    pub end_of_records: Lsn,
    /// The timeline that follows and where it begins, if this one has ended.
    pub next: Option<NextTimeline>,
}

/// A position was acknowledged that the stream has not come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("WAL up to {position} cannot have been kept: it was received up to {received} only")]
pub struct NotReceived {
    /// The position that was acknowledged.
    pub position: Lsn,
    /// The end of what was given to the caller.
    pub received: Lsn,
}

/// WAL of one timeline under way from a server. It borrows the client until it is finished.
///
/// Nothing happens while nobody waits in [`next`](Self::next): there requests of the server are answered and updates
/// sent. So it must be called again within the server's `wal_sender_timeout`, 60 seconds unless configured otherwise.
///
/// What the server learns:
///
/// | position | value |
/// |---|---|
/// | write | the highest of the start and what was [`written`](Self::written) or acknowledged |
/// | flush | what was last [acknowledged](Self::acknowledge); before that nothing, and a slot stays as it is |
/// | apply | nothing |
///
/// A client that acknowledges is a candidate for a synchronous standby, where `synchronous_standby_names` has its
/// `application_name`.
///
/// ```no_run
/// use pgsiphon::ReplicationClient;
/// use pgsiphon::receive::{WalStream, WalStreamOptions};
/// use pgsiphon::storage::Durable;
/// use pgsiphon::types::{Lsn, TimelineId};
///
/// # struct Store;
/// # impl Store {
/// #     fn end(&self) -> (TimelineId, Lsn) { (TimelineId::FIRST, Lsn::ZERO) }
/// #     async fn put(&mut self, _: &pgsiphon::receive::WalChunk) -> std::io::Result<()> { Ok(()) }
/// #     async fn commit(&mut self) -> std::io::Result<()> { Ok(()) }
/// # }
/// # async fn example(mut store: Store) -> Result<(), Box<dyn std::error::Error>> {
/// let mut client = ReplicationClient::connect(&"host=db1 user=replicator".parse()?).await?;
/// let (mut timeline, mut start) = store.end();
/// loop {
///     let slot = Some("archive".to_owned());
///     let options = WalStreamOptions { slot, ..WalStreamOptions::new(timeline, start) };
///     let mut wal = WalStream::start(&mut client, &options).await?;
///     while let Some(chunk) = wal.next().await? {
///         store.put(&chunk).await?;
///         wal.written(chunk.end())?;
///         if chunk.completes_segment {
///             store.commit().await?;
///             wal.acknowledge(Durable::vouched_for(chunk.end()))?;
///         }
///     }
///     let Some(next) = wal.finish().await?.next else { break };
///     (timeline, start) = (next.timeline, next.start);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct WalStream<'a> {
    source: Source<'a>,
    timeline: TimelineId,
    segment_size: SegmentSize,
    /// Pieces that came and were not looked at.
    cuts: Option<Cuts>,
    cutter: SegmentCutter,
    records: RecordReader,
    /// The end of what the caller was given. Before that there is what only the check of records needs.
    received: Lsn,
    progress: DiskProgress,
    feedback: Feedback,
    state: State,
}

/// Where WAL comes from.
#[derive(Debug)]
enum Source<'a> {
    Server(PhysicalStream<'a>),
    /// The start is the end of the timeline.
    Nothing(NextTimeline),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Streaming,
    /// The server has ended its side.
    Ended,
    Failed,
}

impl<'a> WalStream<'a> {
    /// Asks the server for WAL, from the start of the segment that holds the start position: the check of records
    /// begins there. The caller is given what comes from the start position on.
    ///
    /// # Cancel safety
    /// A dropped future leaves a client that can only be closed.
    pub async fn start(
        client: &'a mut ReplicationClient,
        options: &WalStreamOptions,
    ) -> Result<Self, ReceiveError> {
        let WalStreamOptions { start, timeline, .. } = *options;
        let system_id = identify(client, options.system_id, timeline).await?;
        let segment_size = client.wal_segment_size().await?;
        let segment_start = start.segment_start(segment_size);
        let request = PhysicalStart { slot: options.slot.clone(), lsn: segment_start, timeline };
        let source = match client.start_physical(&request).await? {
            StartReplication::Streaming(stream) => Source::Server(stream),
            StartReplication::NothingOnTimeline(next) => Source::Nothing(next),
        };
        let from = Durable::nothing_before(start);
        let interval = Some(options.status_interval);
        Ok(Self {
            state: if matches!(source, Source::Server(_)) { State::Streaming } else { State::Ended },
            source,
            timeline,
            segment_size,
            cuts: None,
            cutter: SegmentCutter::new(timeline, segment_start, segment_size),
            records: RecordReader::new(segment_start, segment_start, segment_size, timeline)
                .expect_system_id(system_id),
            received: start,
            progress: DiskProgress { written: start, flushed: from },
            feedback: Feedback::new(interval, FlushReport::Nothing, from, now())
                .with_receive_timeout(options.receive_timeout, now()),
        })
    }

    /// The next bytes, waiting for them if need be; none when the server has ended the stream.
    /// [`finish`](Self::finish) says why.
    ///
    /// They continue those before, and pages and records are those that a server writes there, each one checked as
    /// soon as its last byte has come.
    ///
    /// # Errors
    /// What cannot be WAL of this place is not given out. After an error there is nothing but errors, and the client
    /// can only be closed.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped. An update that was being sent then goes out with the next one.
    pub async fn next(&mut self) -> Result<Option<WalChunk>, ReceiveError> {
        let next = match self.state {
            State::Streaming => self.advance().await,
            State::Ended => return Ok(None),
            State::Failed => return Err(ClientError::WalStream(ConnectionError::NotIdle).into()),
        };
        match &next {
            Ok(Some(_)) => {}
            Ok(None) => self.state = State::Ended,
            Err(_) => self.state = State::Failed,
        }
        next
    }

    async fn advance(&mut self) -> Result<Option<WalChunk>, ReceiveError> {
        loop {
            if let Some(chunk) = self.next_chunk()? {
                return Ok(Some(chunk));
            }
            let Source::Server(stream) = &mut self.source else { return Ok(None) };
            let now = now();
            if self.feedback.is_server_silent(now) {
                return Err(ReceiveError::Silent(self.feedback.receive_timeout()));
            }
            if let Some(status) = self.feedback.poll(now) {
                send_status(stream, status).await?;
            }
            tokio::select! {
                biased;
                () = until(self.feedback.due()) => {}
                message = stream.next() => match message? {
                    Some(message) => self.take(message)?,
                    None => return Ok(None),
                },
            }
        }
    }

    /// Checks what came, up to the next piece that the caller wants.
    fn next_chunk(&mut self) -> Result<Option<WalChunk>, ReceiveError> {
        while let Some(mut cut) = self.cuts.as_mut().and_then(Iterator::next) {
            self.records.push(&cut.data)?;
            let end = cut.end();
            if end <= self.received {
                continue;
            }
            // Less than the piece has, which is shorter than 4 GiB.
            cut.data.advance(self.received.checked_sub(cut.start).unwrap_or(0) as usize);
            let Cut { segment, data, completes: completes_segment, .. } = cut;
            let (timeline, start) = (self.timeline, self.received);
            self.received = end;
            return Ok(Some(WalChunk { timeline, start, data, segment, completes_segment }));
        }
        self.cuts = None;
        Ok(None)
    }

    fn take(&mut self, message: WalMessage) -> Result<(), ReceiveError> {
        self.feedback.heard(now());
        match message {
            WalMessage::Data { start, data, .. } => self.cuts = Some(self.cutter.push(start, data)?),
            WalMessage::Keepalive { reply_requested: true, .. } => {
                self.feedback.requested(self.received, now());
            }
            WalMessage::Keepalive { .. } => {}
        }
        Ok(())
    }

    /// Says how far WAL is out of the caller's hands, for example with the kernel. The server is told so as the write
    /// position; a smaller one than before changes nothing.
    pub fn written(&mut self, position: Lsn) -> Result<(), NotReceived> {
        self.check_received(position)?;
        self.progress.written = self.progress.written.max(position);
        self.feedback.progress(self.progress);
        Ok(())
    }

    /// Says how far WAL is kept for good. The server is told so as the flush position, when [`next`](Self::next) or
    /// [`finish`](Self::finish) is called next: it may remove that WAL then, and confirm commits in it. A smaller
    /// position than before changes nothing.
    pub fn acknowledge(&mut self, position: Durable<Lsn>) -> Result<(), NotReceived> {
        self.check_received(position.value())?;
        self.progress.flushed = self.progress.flushed.max(position);
        self.progress.written = self.progress.written.max(position.value());
        self.feedback.set_report(FlushReport::WhenDurable);
        self.feedback.progress(self.progress);
        Ok(())
    }

    fn check_received(&self, position: Lsn) -> Result<(), NotReceived> {
        let received = self.received;
        if position <= received { Ok(()) } else { Err(NotReceived { position, received }) }
    }

    /// The end of what the caller was given.
    pub fn received(&self) -> Lsn {
        self.received
    }

    /// Up to where it is complete and sound records.
    pub fn end_of_records(&self) -> Lsn {
        self.records.end_of_records()
    }

    /// The size of the server's segments.
    pub fn segment_size(&self) -> SegmentSize {
        self.segment_size
    }

    /// Ends the stream from this side, after a last update, and takes leave of the server. Then the client can be used
    /// again, unless the server did not answer within a few seconds.
    ///
    /// # Errors
    /// [`ReceiveError::Terminated`] if the server ended the stream although the timeline goes on: it shuts down.
    ///
    /// # Cancel safety
    /// A dropped future leaves a client that can only be closed.
    pub async fn finish(mut self) -> Result<WalStreamEnd, ReceiveError> {
        let end_of_records = self.records.end_of_records();
        let mut end = WalStreamEnd { reached: self.received, end_of_records, next: None };
        let mut stream = match self.source {
            Source::Nothing(next) => {
                check_switch(self.timeline, self.received, next)?;
                return Ok(WalStreamEnd { next: Some(next), ..end });
            }
            Source::Server(stream) => stream,
        };
        let ended_by = match self.state {
            State::Streaming => EndedBy::Us,
            State::Ended => EndedBy::Server,
            State::Failed => return Err(ClientError::WalStream(ConnectionError::NotIdle).into()),
        };
        if ended_by == EndedBy::Us
            && let Some(status) = self.feedback.poll(now())
        {
            send_status(&mut stream, status).await?;
        }
        end.next = take_leave(stream, ended_by).await?;
        match (ended_by, end.next) {
            (EndedBy::Us, _) => Ok(WalStreamEnd { next: None, ..end }),
            (EndedBy::Server, None) => Err(ReceiveError::Terminated),
            (EndedBy::Server, Some(next)) => {
                check_switch(self.timeline, self.received, next)?;
                check_records(Some(end_of_records), next)?;
                Ok(end)
            }
        }
    }
}

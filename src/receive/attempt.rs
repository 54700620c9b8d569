//! One connection of a run: from connecting to everything that came being in the archive.
//!
//! In come the archive and what the run knows from earlier connections; out come the archive, in which everything that
//! came is written, and how it ended.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::archive::WalArchive;
use super::backoff::Backoff;
use super::disk::Disk;
use super::error::ReceiveError;
use super::feedback::FlushReport;
use super::gap;
use super::observer::{Event, Observer, Warning};
use super::options::{ReceiveReport, Reconnect, RunOptions};
use super::own_thread::Aside;
use super::pump::StopPosition;
use super::server::Server;
use super::start::{Reached, StartSearch};
use super::stream::{GOODBYE, Receiver, StreamSettings, StreamStart, ToldFlush, UnderWay};
use crate::client::{ClientError, ReplicationClient};
use crate::connection::Notice;
use crate::conninfo::{Config, Host};
use crate::types::Lsn;

/// What does not change in a run, and what it remembers from one connection to the next.
pub(super) struct Attempts<'a> {
    options: &'a RunOptions,
    observer: Arc<dyn Observer>,
    cancel: CancellationToken,
    /// Where this thread may wait for the disk, if nothing else is done on it.
    aside: Option<Aside>,
    /// What the first server said. Before that no connection was good.
    known: Option<Server>,
    /// How far the last stream came.
    reached: Option<Reached>,
    told: ToldFlush,
    was_warned_of_version: bool,
}

/// How an attempt ended.
pub(super) struct Attempted {
    /// The archive, unless its thread has died.
    pub(super) archive: Option<Box<dyn WalArchive>>,
    pub(super) outcome: Result<ReceiveReport, ReceiveError>,
    /// The host that it was an attempt with, once connected.
    pub(super) host: Option<Host>,
    /// Whether the server sent WAL.
    pub(super) got_wal: bool,
    /// Whether there was a stream that was more than a false start.
    pub(super) was_good: bool,
}

/// What is known of an attempt while it lasts.
#[derive(Default)]
struct Course {
    host: Option<Host>,
    under_way: UnderWay,
    /// Where the stream began.
    start: Option<Lsn>,
    /// The end of what was written.
    written: Option<Lsn>,
}

impl Course {
    /// How far the run has come, with what was known of that before.
    fn reached(&self, before: Option<Reached>) -> Option<Reached> {
        let (Some(timeline), Some(position)) = (self.under_way.timeline, self.written) else { return before };
        let has_wal = self.got_wal() || before.is_some_and(|before| before.has_wal);
        Some(Reached { timeline, position, has_wal })
    }

    fn got_wal(&self) -> bool {
        self.under_way.since.is_some() && self.written > self.start
    }

    fn ended(
        self,
        archive: Option<Box<dyn WalArchive>>,
        outcome: Result<ReceiveReport, ReceiveError>,
    ) -> Attempted {
        let (since, got_wal) = (self.under_way.since, self.got_wal());
        Attempted {
            archive,
            outcome,
            got_wal,
            was_good: since.is_some_and(|since| since.elapsed() >= Backoff::GOOD),
            host: self.host,
        }
    }
}

/// A connection that is ready to stream.
struct Prepared {
    client: ReplicationClient,
    server: Server,
    start: StreamStart,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(
        options: &'a RunOptions,
        observer: Arc<dyn Observer>,
        cancel: CancellationToken,
        aside: Option<Aside>,
    ) -> Self {
        Self {
            options,
            observer,
            cancel,
            aside,
            known: None,
            reached: None,
            told: ToldFlush::default(),
            was_warned_of_version: false,
        }
    }

    /// Whether no server has said yet what it is.
    pub(super) fn is_first(&self) -> bool {
        self.known.is_none()
    }

    /// Receives over one connection.
    pub(super) async fn attempt(&mut self, config: &Config, archive: Box<dyn WalArchive>) -> Attempted {
        let mut course = Course::default();
        let mut disk = match Disk::spawn(archive) {
            Ok(disk) => disk,
            Err(error) => return course.ended(None, Err(error.into())),
        };
        let outcome = Box::pin(self.receive(config, &mut disk, &mut course)).await;
        let closed = match &outcome {
            Err(error) if !error.is_end_of_stream() => Ok(()),
            _ => disk.close_segment().await.map(drop),
        };
        course.written = Some(disk.progress().written);
        let (archive, released) = disk.release().await;
        self.reached = course.reached(self.reached);
        let outcome = match (outcome, closed.and(released)) {
            // What was lost on this side weighs more than why the other side was lost.
            (Err(ReceiveError::Disk(error)), _) | (_, Err(error)) => Err(error.into()),
            (Err(ReceiveError::Client(error)), Ok(())) => {
                Err(Box::pin(self.explain(config, error, &course)).await)
            }
            (outcome, Ok(())) => outcome,
        };
        course.ended(archive, outcome)
    }

    async fn receive(
        &mut self,
        config: &Config,
        disk: &mut Disk,
        course: &mut Course,
    ) -> Result<ReceiveReport, ReceiveError> {
        let (cancel, observer) = (self.cancel.clone(), Arc::clone(&self.observer));
        let (stop, known) = watch::channel(self.options.end.map(|end| end + 1));
        let work = self.connect_and_stream(config, disk, known, course);
        tokio::pin!(work);
        tokio::select! {
            biased;
            // The work may notice it, too, but does not say so.
            () = cancel.cancelled() => {}
            outcome = &mut work => return outcome,
        }
        observer.observe(&Event::Cancelled);
        stop.send_replace(Some(Lsn::ZERO));
        // The server has as long as it takes to say goodbye, and nothing else.
        tokio::time::timeout(GOODBYE + Duration::from_secs(1), work)
            .await
            .unwrap_or(Err(ReceiveError::Cancelled))
    }

    async fn connect_and_stream(
        &mut self,
        config: &Config,
        disk: &mut Disk,
        stop: watch::Receiver<Option<Lsn>>,
        course: &mut Course,
    ) -> Result<ReceiveReport, ReceiveError> {
        let cancel = self.cancel.clone();
        let prepared =
            cancel.run_until_cancelled(Box::pin(self.prepare(config, disk, &mut course.host))).await;
        let Prepared { mut client, server, start } = prepared.unwrap_or(Err(ReceiveError::Cancelled))?;
        course.start = Some(start.position.value());
        let settings = self.settings(&server);
        let mut receiver = Receiver {
            client: &mut client,
            settings: &settings,
            disk,
            stop: &mut StopPosition::new(stop),
            told: &mut self.told,
            under_way: &mut course.under_way,
        };
        let position = start.position.value();
        self.observer.observe(&Event::Starting { position, timeline: start.timeline });
        let report = receiver.follow(server.identity.system_id, start).await?;
        let (position, timeline) = (report.end.value(), report.timeline);
        if self.options.end.is_some_and(|end| position > end) {
            self.observer.observe(&Event::Stopped { position, timeline });
        }
        // A server that does not even take that is left as it is.
        let _ = tokio::time::timeout(Duration::from_secs(1), client.close()).await;
        Ok(report)
    }

    /// Connects, and finds out about the server and where to start.
    async fn prepare(
        &mut self,
        config: &Config,
        disk: &mut Disk,
        host: &mut Option<Host>,
    ) -> Result<Prepared, ReceiveError> {
        let (options, limit) = (self.options, self.options.receive_timeout);
        let observer = Arc::clone(&self.observer);
        let notices = Arc::new(move |notice: &Notice| observer.observe(&Event::Notice(notice)));
        let mut client = ReplicationClient::connect_with(&self.with_timeout(config), notices).await?;
        *host = Some(client.host().clone());
        let server = Server::identify(&mut client, options.slot.as_deref(), limit).await?;
        self.accept(&server)?;
        self.warn_of_version(&client);
        let history = server.history(&mut client, limit).await?;
        let search = StartSearch {
            client: &mut client,
            server: &server,
            history: &history,
            disk,
            config,
            options,
            observer: &*self.observer,
            reached: self.reached,
        };
        let start = search.find().await?;
        Ok(Prepared { client, server, start })
    }

    /// How to connect. A server that hangs must not keep a run from the next try for ever. Where there is none, because the
    /// very first connection decides, that takes what time the user lets it.
    fn with_timeout<'c>(&self, config: &'c Config) -> Cow<'c, Config> {
        let mut config = Cow::Borrowed(config);
        let is_tried_again =
            !self.is_first() || matches!(self.options.reconnect, Reconnect::Always { even_first: true, .. });
        if is_tried_again && config.connect_timeout.is_none() && self.options.receive_timeout.is_some() {
            config.to_mut().connect_timeout = self.options.receive_timeout;
        }
        config
    }

    /// All servers of a run must be alike.
    fn accept(&mut self, server: &Server) -> Result<(), ReceiveError> {
        let known = self.known.get_or_insert_with(|| server.clone());
        let (expected, found) = (known.identity.system_id, server.identity.system_id);
        if expected != found {
            return Err(ReceiveError::OtherSystem { expected, found });
        }
        let (expected, found) = (known.segment_size, server.segment_size);
        if expected != found {
            return Err(ReceiveError::SegmentSizeChanged { expected, found });
        }
        Ok(())
    }

    fn warn_of_version(&mut self, client: &ReplicationClient) {
        if !client.features().known && !self.was_warned_of_version {
            let warning = Warning::NewerServer(client.server_version().to_string());
            self.observer.observe(&Event::Warning(&warning));
            self.was_warned_of_version = true;
        }
    }

    fn settings(&self, server: &Server) -> StreamSettings {
        let flush_report = match (self.options.synchronous, self.options.durable, &self.options.slot) {
            (true, true, _) => FlushReport::Synchronous,
            (false, true, Some(_)) => FlushReport::WhenDurable,
            (_, false, Some(_)) => FlushReport::Segments(server.segment_size),
            (_, _, None) => FlushReport::Nothing,
        };
        StreamSettings {
            segment_size: server.segment_size,
            slot: self.options.slot.clone(),
            status_interval: Some(self.options.status_interval),
            flush_report,
            receive_timeout: self.options.receive_timeout,
            aside: self.aside.clone(),
            cancel: self.cancel.clone(),
            observer: Arc::clone(&self.observer),
        }
    }

    /// Says what it means that the server has removed WAL, or refuses a slot.
    async fn explain(&self, config: &Config, error: ClientError, course: &Course) -> ReceiveError {
        if gap::is_lost_slot(&error) {
            return ReceiveError::SlotInvalidated(Box::new(error));
        }
        let (Some(Reached { timeline, position: from, .. }), Some(host), true) =
            (self.reached, &course.host, gap::is_removed(&error))
        else {
            return error.into();
        };
        let search = tokio::time::timeout(gap::SEARCH, gap::first_kept(config, host, from));
        let to = self.cancel.run_until_cancelled(search).await.and_then(Result::ok).flatten();
        ReceiveError::Gap { from, to, timeline, source: Box::new(error) }
    }
}

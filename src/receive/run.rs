//! Receives WAL for as long as wanted: connects, goes on where the archive ends, and begins again when that breaks.
//!
//! In come the configuration of the connection, the options and an archive; out comes a report of what is durable, or
//! why there is no point in going on. What happens on the way is for the observer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::archive::WalArchive;
use super::backoff::Backoff;
use super::disk_thread::{DiskError, DiskThread};
use super::error::ReceiveError;
use super::feedback::FlushReport;
use super::observer::{Event, Observer};
use super::options::{ReceiveReport, Reconnect, RunOptions};
use super::pump::StopPosition;
use super::start::{self, Server};
use super::stream::{GOODBYE, Receiver, StreamSettings, StreamStart, ToldFlush};
use crate::client::ReplicationClient;
use crate::connection::Notice;
use crate::conninfo::Config;
use crate::types::{Lsn, SegmentSize};

/// Receives WAL into the archive until the end position, or until it is cancelled. Then too everything received is
/// durable in the archive; a stream that was under way ends in a report of how far that is, anything else in
/// [`ReceiveError::Cancelled`].
///
/// It goes on where the archive ends; failing that where the slot begins; failing that at the server's current
/// position (section 2 of the receiver's behaviours). The timeline that the server is on may be newer than that of
/// the archive: it is followed along the server's history.
///
/// # Errors
/// What cannot pass by itself: a failed sync, an archive of another cluster, a gap. What may pass ends the run only
/// with [`Reconnect::Never`], or where it is the first connection that fails.
///
/// # Cancel safety
/// When the future is dropped, what has not been written yet is dropped with it, as if the process had been killed.
pub async fn run(
    config: &Config,
    options: &RunOptions,
    archive: Box<dyn WalArchive>,
    observer: Arc<dyn Observer>,
    cancel: CancellationToken,
) -> Result<ReceiveReport, ReceiveError> {
    let (segment_size, last_stream, told) = (None, Instant::now(), ToldFlush::default());
    let mut run = Run { config, options, observer, cancel, segment_size, last_stream, told };
    let mut backoff = Backoff::default();
    let mut archive = Some(archive);
    loop {
        let Some(current) = archive.take() else { return Err(DiskError::Died.into()) };
        let began = Instant::now();
        let (attempted, outcome) = run.attempt(current).await;
        archive = attempted;
        let outcome = match outcome {
            Err(error) if run.goes_on_after(&error) => error,
            ended => return finish(archive, ended).await,
        };
        run.observer.observe(&Event::Failed(&outcome));
        if run.last_stream > began && run.last_stream.elapsed() >= Backoff::GOOD {
            backoff.reset();
        }
        let pause = backoff.after_failure(chance());
        run.observer.observe(&Event::Disconnected { retry_in: pause });
        if run.cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return finish(archive, Err(ReceiveError::Cancelled)).await;
        }
    }
}

/// Tells the archive that nothing more comes. What it says weighs more than a good end.
async fn finish(
    archive: Option<Box<dyn WalArchive>>,
    outcome: Result<ReceiveReport, ReceiveError>,
) -> Result<ReceiveReport, ReceiveError> {
    let finished = match archive {
        Some(archive) if !matches!(outcome, Err(ReceiveError::Disk(_))) => {
            DiskThread::spawn(archive)?.finish().await
        }
        _ => Ok(()),
    };
    let report = outcome?;
    finished?;
    Ok(report)
}

/// A run, over all of its connections.
struct Run<'a> {
    config: &'a Config,
    options: &'a RunOptions,
    observer: Arc<dyn Observer>,
    cancel: CancellationToken,
    /// The size of segments, once a server has told it. Before that no connection was good.
    segment_size: Option<SegmentSize>,
    /// When the last stream began.
    last_stream: Instant,
    told: ToldFlush,
}

impl Run<'_> {
    /// Receives over one connection. Gives back the archive, in which everything that came is durable.
    async fn attempt(
        &mut self,
        archive: Box<dyn WalArchive>,
    ) -> (Option<Box<dyn WalArchive>>, Result<ReceiveReport, ReceiveError>) {
        let mut disk = match DiskThread::spawn(archive) {
            Ok(disk) => disk,
            Err(error) => return (None, Err(error.into())),
        };
        let outcome = self.receive(&mut disk).await;
        let closed = match &outcome {
            Err(error) if !error.is_end_of_stream() => Ok(()),
            _ => disk.close_segment().await.map(drop),
        };
        let (archive, released) = disk.release().await;
        let outcome = match (outcome, closed.and(released)) {
            // What was lost on this side weighs more than why the other side was lost.
            (Err(ReceiveError::Disk(error)), _) | (_, Err(error)) => Err(error.into()),
            (outcome, Ok(())) => outcome,
        };
        (archive, outcome)
    }

    async fn receive(&mut self, disk: &mut DiskThread) -> Result<ReceiveReport, ReceiveError> {
        let cancel = self.cancel.clone();
        let (stop, known) = watch::channel(self.options.end.map(|end| end + 1));
        let work = self.connect_and_stream(disk, known);
        tokio::pin!(work);
        tokio::select! {
            outcome = &mut work => return outcome,
            () = cancel.cancelled() => {}
        }
        stop.send_replace(Some(Lsn::ZERO));
        // The server has as long as it takes to say goodbye, and nothing else.
        match tokio::time::timeout(GOODBYE + Duration::from_secs(1), work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ReceiveError::Cancelled),
        }
    }

    async fn connect_and_stream(
        &mut self,
        disk: &mut DiskThread,
        stop: watch::Receiver<Option<Lsn>>,
    ) -> Result<ReceiveReport, ReceiveError> {
        let cancel = self.cancel.clone();
        let prepared = cancel.run_until_cancelled(self.prepare(disk)).await;
        let (mut client, server, start) = prepared.unwrap_or(Err(ReceiveError::Cancelled))?;
        let settings = self.settings(&server);
        let (stop, told) = (&mut StopPosition::new(stop), &mut self.told);
        let mut receiver = Receiver { client: &mut client, settings: &settings, disk, stop, told };
        let position = start.position.value();
        self.observer.observe(&Event::Starting { position, timeline: start.timeline });
        self.last_stream = Instant::now();
        let report = receiver.follow(server.identity.system_id, start).await?;
        client.close().await;
        Ok(report)
    }

    /// Connects, and finds out about the server and where to start.
    async fn prepare(
        &mut self,
        disk: &mut DiskThread,
    ) -> Result<(ReplicationClient, Server, StreamStart), ReceiveError> {
        let observer = Arc::clone(&self.observer);
        let notices = Arc::new(move |notice: &Notice| observer.observe(&Event::Notice(notice)));
        let mut client = ReplicationClient::connect_with(self.config, notices).await?;
        let server = Server::identify(&mut client).await?;
        let expected = *self.segment_size.get_or_insert(server.segment_size);
        if expected != server.segment_size {
            return Err(ReceiveError::SegmentSizeChanged { expected, found: server.segment_size });
        }
        let start =
            start::find(&mut client, &server, disk, self.config, self.options, &*self.observer).await?;
        Ok((client, server, start))
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
            observer: Arc::clone(&self.observer),
        }
    }

    /// Whether there will be another attempt.
    fn goes_on_after(&self, error: &ReceiveError) -> bool {
        let Reconnect::Always { even_first, give_up_after } = self.options.reconnect else { return false };
        let is_first = self.segment_size.is_none();
        let wants_password = matches!(error, ReceiveError::Connect(error) if error.needs_password());
        let too_long = give_up_after.is_some_and(|bound| self.last_stream.elapsed() >= bound);
        error.may_pass() && !too_long && (!is_first || (even_first && !wants_password))
    }
}

/// A number from 0 up to 1.
fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

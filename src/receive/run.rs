//! Receives WAL for as long as wanted: connects, goes on where the archive ends, and begins again when that breaks.
//!
//! In come the configuration of the connection, the options and an archive; out comes a report of what is durable, or
//! why there is no point in going on. What happens on the way is for the observer.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::archive::WalArchive;
use super::attempt::Attempts;
use super::disk::{Disk, DiskError};
use super::error::ReceiveError;
use super::observer::{Event, Observer};
use super::options::{ReceiveReport, RunOptions};
use super::own_thread::{Aside, OwnThread};
use super::retries::Retries;
use crate::conninfo::Config;

/// Receives WAL into the archive until the end position, or until it is cancelled. Then too everything received is
/// durable in the archive; a stream that was under way ends in a report of how far that is, anything else in
/// [`ReceiveError::Cancelled`].
///
/// It goes on where the archive ends; failing that where the slot begins; failing that at the server's current
/// position (section 2 of the receiver's behaviours). The timeline that the server is on may be newer than that of
/// the archive: it is followed along the server's history.
///
/// Of several hosts, one that lacks the WAL that is wanted, or is behind the archive, is passed over until the others
/// were tried.
///
/// A synchronous run has a thread and a runtime of its own, on which the observer is called too. The thread leaves that
/// runtime to wait for the disk and for the server, so what an observer spawns there may wait for hours.
///
/// # Errors
/// What cannot pass by itself: a failed sync, an archive of another cluster, a gap. What may pass ends the run only
/// with [`Reconnect::Never`](super::Reconnect::Never), or where it is the first connection that fails.
///
/// # Cancel safety
/// When the future is dropped, what has not been written yet is dropped with it, as if the process had been killed. The
/// drop waits for what the disk is doing at that moment.
pub async fn run(
    config: &Config,
    options: &RunOptions,
    archive: Box<dyn WalArchive>,
    observer: Arc<dyn Observer>,
    cancel: CancellationToken,
) -> Result<ReceiveReport, ReceiveError> {
    if !options.synchronous {
        return run_here(config, options, archive, observer, cancel, None).await;
    }
    let (config, options) = (config.clone(), options.clone());
    let work = async move |aside| run_here(&config, &options, archive, observer, cancel, Some(aside)).await;
    OwnThread::spawn(work)?.outcome().await.unwrap_or(Err(DiskError::Died.into()))
}

/// Receives on this thread, which may wait for the disk `aside`.
async fn run_here(
    config: &Config,
    options: &RunOptions,
    archive: Box<dyn WalArchive>,
    observer: Arc<dyn Observer>,
    cancel: CancellationToken,
    aside: Option<Aside>,
) -> Result<ReceiveReport, ReceiveError> {
    let mut attempts = Attempts::new(options, Arc::clone(&observer), cancel.clone(), aside);
    let mut retries = Retries::new(config, options, Arc::clone(&observer));
    let mut archive = Some(archive);
    loop {
        let Some(current) = archive.take() else { return Err(DiskError::Died.into()) };
        let attempted = Box::pin(attempts.attempt(&retries.hosts_left(), current)).await;
        archive = attempted.archive;
        if attempted.was_good {
            retries.was_good_stream();
        }
        if attempted.got_wal {
            retries.got_wal();
        }
        let error = match attempted.outcome {
            Err(error) => error,
            report => return finish(archive, report).await,
        };
        let pause = match retries.after(error, attempted.host.as_ref(), attempts.is_first()) {
            Ok(pause) => pause,
            Err(last) => return finish(archive, Err(last)).await,
        };
        observer.observe(&Event::Disconnected { retry_in: pause });
        if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            observer.observe(&Event::Cancelled);
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
            Disk::spawn(archive)?.finish().await
        }
        _ => Ok(()),
    };
    match (outcome, finished) {
        // An end in good order needs both.
        (Ok(_) | Err(ReceiveError::Cancelled), Err(error)) => Err(error.into()),
        (outcome, _) => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::super::SegmentArchive;
    use super::*;
    use crate::storage::SyncPolicy;

    #[test]
    fn a_run_can_be_spawned() {
        fn check(_: impl Send) {}
        let (config, options): (Config, _) = ("host=nowhere".parse().unwrap(), RunOptions::default());
        let (directory, observer) = (tempfile::tempdir().unwrap(), Arc::new(()));
        let archive =
            SegmentArchive::open(directory.path(), None, SyncPolicy::Never, observer.clone()).unwrap();
        check(run(&config, &options, Box::new(archive), observer, CancellationToken::new()));
    }
}

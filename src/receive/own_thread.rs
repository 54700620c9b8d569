//! Async work on a thread of its own, where it keeps nobody else waiting when it blocks.

use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::disk::DiskError;

/// The work. Dropping it drops the work, and waits until it notices.
#[derive(Debug)]
pub(super) struct OwnThread<T> {
    outcome: oneshot::Receiver<T>,
    dropped: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> OwnThread<T> {
    /// Starts it.
    pub(super) fn spawn(work: impl AsyncFnOnce() -> T + Send + 'static) -> Result<Self, DiskError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| DiskError::Start(error.into()))?;
        let (tell, outcome) = oneshot::channel();
        let dropped = CancellationToken::new();
        let give_up = dropped.clone();
        let work = move || {
            let outcome = runtime.block_on(give_up.run_until_cancelled(work()));
            // Nobody listens where this was dropped.
            let _ = outcome.map(|outcome| tell.send(outcome));
        };
        let thread = std::thread::Builder::new().name("wal-receiver".to_owned()).spawn(work);
        let thread = thread.map_err(|error| DiskError::Start(error.into()))?;
        Ok(Self { outcome, dropped, thread: Some(thread) })
    }

    /// Waits for the outcome; nothing where the work panicked.
    pub(super) async fn outcome(mut self) -> Option<T> {
        (&mut self.outcome).await.ok()
    }
}

impl<T> Drop for OwnThread<T> {
    fn drop(&mut self) {
        self.dropped.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic over there has been found out already, or nobody is left who could be told.
            let _ = thread.join();
        }
    }
}

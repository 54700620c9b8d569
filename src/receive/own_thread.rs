//! Async work on a thread of its own, which may block there without keeping anybody else waiting.
//!
//! The work is a future, as everywhere. Where a part of it blocks, it asks for that [`Aside`]: the thread leaves its
//! runtime, does that part as any thread would, and polls the work again. So what blocks may do anything, also wait
//! for another runtime; and whoever cancels the work is heard between two such parts.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{Span, dispatcher};

use super::disk::DiskError;

/// The work. Dropping it drops the work, and waits until it notices.
#[derive(Debug)]
pub(super) struct OwnThread<T> {
    outcome: oneshot::Receiver<T>,
    dropped: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> OwnThread<T> {
    /// Starts it. It tells its events to whom the caller tells them.
    pub(super) fn spawn(work: impl AsyncFnOnce(Aside) -> T + Send + 'static) -> Result<Self, DiskError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| DiskError::Start(error.into()))?;
        let (tell, outcome) = oneshot::channel();
        let dropped = CancellationToken::new();
        let give_up = dropped.clone();
        let (dispatch, span) = (dispatcher::get_default(Clone::clone), Span::current());
        let on_thread = move || {
            let aside = Aside::default();
            let outcome = {
                let work = pin!(work(aside.clone()));
                dispatcher::with_default(&dispatch, || {
                    span.in_scope(|| drive(&runtime, work, &aside, &give_up))
                })
            };
            // A name that is still being looked up must hold up nobody.
            runtime.shutdown_background();
            // Nobody listens where this was dropped.
            let _ = outcome.map(|outcome| tell.send(outcome));
        };
        let thread = std::thread::Builder::new().name("wal-receiver".to_owned()).spawn(on_thread);
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

/// Polls the work to its end, and does aside what it asks for; nothing where it is given up.
fn drive<T>(
    runtime: &Runtime,
    mut work: Pin<&mut impl Future<Output = T>>,
    aside: &Aside,
    give_up: &CancellationToken,
) -> Option<T> {
    loop {
        let turn = async {
            tokio::select! {
                biased;
                () = give_up.cancelled() => Turn::GivenUp,
                turn = poll_fn(|context| match work.as_mut().poll(context) {
                    Poll::Ready(outcome) => Poll::Ready(Turn::Over(outcome)),
                    Poll::Pending => aside.take().map_or(Poll::Pending, |action| Poll::Ready(Turn::Block(action))),
                }) => turn,
            }
        };
        match runtime.block_on(turn) {
            Turn::Over(outcome) => return Some(outcome),
            Turn::Block(action) => action(),
            Turn::GivenUp => return None,
        }
    }
}

enum Turn<T> {
    Over(T),
    Block(Action),
    GivenUp,
}

type Action = Box<dyn FnOnce() + Send>;

/// A way to do something on the thread itself, outside of the runtime.
#[derive(Clone, Default)]
pub(super) struct Aside {
    action: Arc<Mutex<Option<Action>>>,
}

impl Aside {
    /// Does something that may block, once the rest of the work has nothing to do for the moment.
    ///
    /// # Cancel safety
    /// When the future is dropped, it is not done any more, or done already.
    pub(super) async fn block<T: Send + 'static>(&self, action: impl FnOnce() -> T + Send + 'static) -> T {
        let outcome = Arc::new(Mutex::new(None));
        let place = Arc::clone(&outcome);
        let mut action: Option<Action> = Some(Box::new(move || *locked(&place) = Some(action())));
        let _withdraw = Withdraw(self);
        poll_fn(|_| {
            if let Some(action) = action.take() {
                *locked(&self.action) = Some(action);
            }
            locked(&outcome).take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    fn take(&self) -> Option<Action> {
        locked(&self.action).take()
    }
}

impl std::fmt::Debug for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aside").finish_non_exhaustive()
    }
}

/// Takes back what was asked for and not begun.
struct Withdraw<'a>(&'a Aside);

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

fn locked<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    fn here<T>(future: impl Future<Output = T>) -> T {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn what_blocks_is_done_outside_of_the_runtime_and_in_order() {
        let thread = OwnThread::spawn(async |aside: Aside| {
            let mut found = Vec::new();
            for number in 0..3 {
                tokio::task::yield_now().await;
                // This would panic inside of a runtime.
                found.push(aside.block(move || here(async { number })).await);
            }
            found
        });
        assert_eq!(here(thread.unwrap().outcome()), Some(vec![0, 1, 2]));
    }

    #[test]
    fn work_that_is_dropped_begins_nothing_more() {
        let (begun, begins) = mpsc::channel();
        let thread = OwnThread::spawn(async move |aside: Aside| {
            loop {
                let begun = begun.clone();
                aside.block(move || begun.send(()).unwrap()).await;
            }
        });
        begins.recv().unwrap();
        drop::<OwnThread<()>>(thread.unwrap());
        while begins.try_recv().is_ok() {}
        assert_eq!(begins.try_recv(), Err(mpsc::TryRecvError::Disconnected), "it still works");
    }

    #[test]
    fn what_was_asked_for_by_a_dropped_future_is_not_done() {
        let thread = OwnThread::spawn(async |aside: Aside| {
            tokio::select! {
                biased;
                () = aside.block(|| panic!("nobody wants this any more")) => {}
                () = std::future::ready(()) => {}
            }
            true
        });
        assert_eq!(here(thread.unwrap().outcome()), Some(true));
    }

    #[test]
    fn nothing_that_still_runs_in_its_runtime_is_waited_for() {
        let (hold, end) = mpsc::channel::<()>();
        let started = Instant::now();
        let thread = OwnThread::spawn(async move |_| {
            drop(tokio::task::spawn_blocking(move || end.recv_timeout(Duration::from_mins(5))));
        });
        assert_eq!(here(thread.unwrap().outcome()), Some(()));
        assert!(started.elapsed() < Duration::from_mins(4));
        drop(hold);
    }

    #[test]
    fn a_panic_is_no_outcome() {
        let thread = OwnThread::spawn(async |_| panic!("it fell over"));
        assert_eq!(here(OwnThread::<()>::outcome(thread.unwrap())), None);
    }
}

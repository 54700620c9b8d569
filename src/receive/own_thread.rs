//! Async work on a thread of its own, which may block there without keeping anybody else waiting.
//!
//! The work is a future, as everywhere. Where a part of it blocks, it asks for that [`Aside`]: the thread leaves its
//! runtime and polls the work there once, which does that part as any thread would. So what blocks may do anything, also
//! wait for another runtime. Whoever cancels the work is heard between two such parts, and within one that waits by
//! means of its [`Doorbell`].

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{Span, dispatcher};

use super::disk::DiskError;
use super::doorbell::Doorbell;
use crate::types::OsError;

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
        let failed = |error: std::io::Error| DiskError::Start(error.into());
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let aside = Aside::new().map_err(DiskError::Start)?;
        let (tell, outcome) = oneshot::channel();
        let dropped = CancellationToken::new();
        let give_up = dropped.clone();
        let (dispatch, span) = (dispatcher::get_default(Clone::clone), Span::current());
        let on_thread = move || {
            let outcome = {
                let work = work(aside.clone());
                dispatcher::with_default(&dispatch, || {
                    span.in_scope(|| drive(&runtime, work, &aside, &give_up))
                })
            };
            // A name that is still being looked up must hold up nobody.
            runtime.shutdown_background();
            // Nobody listens where this was dropped.
            let _ = outcome.map(|outcome| tell.send(outcome));
        };
        let thread =
            std::thread::Builder::new().name("wal-receiver".to_owned()).spawn(on_thread).map_err(failed)?;
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

/// Polls the work to its end, in the runtime and, whenever it asks for that, once outside; nothing where it is given up.
fn drive<T>(
    runtime: &Runtime,
    work: impl Future<Output = T>,
    aside: &Aside,
    give_up: &CancellationToken,
) -> Option<T> {
    let (mut work, mut end) = (pin!(work), pin!(give_up.cancelled()));
    let mut poll = |context: &mut Context<'_>| {
        if end.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(context).map(Some)
    };
    let bell = Waker::from(Arc::clone(&aside.bell));
    loop {
        let inside = poll_fn(|context| match poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Poll::Ready(outcome)),
            Poll::Pending if aside.is_wanted() => Poll::Ready(Poll::Pending),
            Poll::Pending => Poll::Pending,
        });
        if let Poll::Ready(outcome) = runtime.block_on(inside) {
            return outcome;
        }
        // What was woken meanwhile may go on before the part that blocks, and use timers.
        let _timers = runtime.enter();
        aside.set(Place::Outside);
        let outside = poll(&mut Context::from_waker(&bell));
        aside.set(Place::Inside);
        if let Poll::Ready(outcome) = outside {
            return outcome;
        }
    }
}

/// A way to do something on the thread itself, outside of the runtime.
#[derive(Clone, Debug)]
pub(super) struct Aside {
    place: Arc<Mutex<Place>>,
    bell: Arc<Doorbell>,
}

/// Where the thread polls the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Inside,
    /// In the runtime, but the work wants to be polled outside.
    Leaving,
    Outside,
}

impl Aside {
    fn new() -> Result<Self, OsError> {
        Ok(Self { place: Arc::new(Mutex::new(Place::Inside)), bell: Arc::new(Doorbell::new()?) })
    }

    /// Does something that may block, once the rest of the work has nothing to do for the moment. The bell rings for
    /// whatever else the work waits for.
    ///
    /// # Cancel safety
    /// When the future is dropped, it is not done any more, or done already.
    pub(super) async fn block<T>(&self, action: impl FnOnce(&Doorbell) -> T) -> T {
        let (mut action, mut outcome) = (Some(action), None);
        let _withdraw = Withdraw(self);
        poll_fn(|_| {
            let mut place = self.locked();
            match (*place, outcome.take()) {
                (Place::Inside | Place::Leaving, Some(outcome)) => return Poll::Ready(outcome),
                (Place::Inside | Place::Leaving, None) => *place = Place::Leaving,
                (Place::Outside, done) => {
                    drop(place);
                    outcome = done.or_else(|| action.take().map(|action| action(&self.bell)));
                }
            }
            Poll::Pending
        })
        .await
    }

    fn is_wanted(&self) -> bool {
        *self.locked() == Place::Leaving
    }

    fn set(&self, place: Place) {
        *self.locked() = place;
    }

    fn locked(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes back what was asked for and not begun.
struct Withdraw<'a>(&'a Aside);

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        let mut place = self.0.locked();
        if *place == Place::Leaving {
            *place = Place::Inside;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
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
                found.push(aside.block(|_| here(async { number })).await);
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
                aside.block(move |_| begun.send(()).unwrap()).await;
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
                () = aside.block(|_| panic!("nobody wants this any more")) => {}
                () = std::future::ready(()) => {}
            }
            true
        });
        assert_eq!(here(thread.unwrap().outcome()), Some(true));
    }

    #[test]
    fn whoever_gives_it_up_is_heard_where_it_waits() {
        let (near, _far) = UnixStream::pair().unwrap();
        let (begun, begins) = mpsc::channel();
        let thread = OwnThread::spawn(async move |aside: Aside| {
            aside.block(|_| begun.send(()).unwrap()).await;
            aside.block(|bell| bell.wait(near.as_fd(), None)).await
        });
        begins.recv().unwrap();
        drop(thread.unwrap());
    }

    #[test]
    fn what_else_the_work_waits_for_ends_the_wait() {
        let (near, _far) = UnixStream::pair().unwrap();
        let (tell, told) = oneshot::channel();
        let (begun, begins) = mpsc::channel();
        let thread = OwnThread::spawn(async move |aside: Aside| {
            tokio::select! {
                biased;
                told = told => told.unwrap(),
                () = async {
                    loop {
                        begun.send(()).unwrap();
                        aside.block(|bell| bell.wait(near.as_fd(), None)).await;
                    }
                } => {}
            }
        });
        begins.recv().unwrap();
        tell.send(()).unwrap();
        assert_eq!(here(thread.unwrap().outcome()), Some(()));
    }

    #[test]
    fn what_goes_on_outside_may_use_timers() {
        let thread = OwnThread::spawn(async |aside: Aside| {
            let mut polls = 0;
            let outside = poll_fn(|_| {
                polls += 1;
                if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
            });
            tokio::select! {
                biased;
                () = outside => tokio::time::sleep(Duration::from_millis(1)).await,
                () = aside.block(|_| panic!("the other was first")) => {}
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

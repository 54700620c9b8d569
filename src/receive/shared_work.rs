//! Work that two threads take turns at: its own, and whoever wants it done at once and can wait.
//!
//! In comes a future that blocks while it is polled and wakes nobody: it waits only for commands, and whoever gives it
//! one sees to it that somebody goes on with it.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A handle of the work. Of several, one goes on with it at a time.
#[derive(Clone)]
pub(super) struct SharedWork {
    /// Nothing once it has ended.
    work: Arc<Mutex<Option<Work>>>,
}

impl SharedWork {
    pub(super) fn new(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { work: Arc::new(Mutex::new(Some(Box::pin(work)))) }
    }

    /// Does what there is to do whenever the thread is unparked, until the work has ended.
    pub(super) fn run_parked(&self) {
        while go_on(&mut self.work.lock().unwrap_or_else(PoisonError::into_inner)) {
            std::thread::park();
        }
    }

    /// Does what there is to do. Gives false if another thread is at it, which may have looked for the last time.
    pub(super) fn try_go_on(&self) -> bool {
        match self.work.try_lock() {
            Ok(mut work) => go_on(&mut work),
            Err(TryLockError::Poisoned(_) | TryLockError::WouldBlock) => return false,
        };
        true
    }
}

impl fmt::Debug for SharedWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedWork").finish_non_exhaustive()
    }
}

/// Gives whether there may be more. Work that panics has ended: it is taken out meanwhile.
fn go_on(place: &mut Option<Work>) -> bool {
    if let Some(mut work) = place.take()
        && work.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending
    {
        *place = Some(work);
    }
    place.is_some()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn either_thread_goes_on_and_the_end_is_the_end_for_both() {
        let left = Arc::new(AtomicU32::new(2));
        let counter = Arc::clone(&left);
        let work = SharedWork::new(poll_fn(move |_| {
            if counter.fetch_sub(1, Ordering::SeqCst) == 0 { Poll::Ready(()) } else { Poll::Pending }
        }));
        assert!(work.try_go_on());
        let theirs = work.clone();
        let thread = std::thread::spawn(move || theirs.run_parked());
        while left.load(Ordering::SeqCst) != 0 {
            std::thread::yield_now();
        }
        thread.thread().unpark();
        thread.join().unwrap();
        assert!(work.try_go_on());
    }

    #[test]
    fn nobody_waits_for_the_other_who_would_rather_not() {
        let (begun, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let work = SharedWork::new(async move {
            begun.send(()).unwrap();
            ends.recv().unwrap();
        });
        let theirs = work.clone();
        let thread = std::thread::spawn(move || theirs.run_parked());
        begins.recv().unwrap();
        assert!(!work.try_go_on());
        end.send(()).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn work_that_panicked_has_ended() {
        let work = SharedWork::new(async { panic!("the disk fell over") });
        assert!(catch_unwind(AssertUnwindSafe(|| work.try_go_on())).is_err());
        work.run_parked();
    }
}

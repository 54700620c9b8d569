//! The way from the disk to the network: how far it has come, and a wake-up where the network waits for that.
//!
//! In come positions from the disk, after every step; out come the latest ones, whenever the network looks.
//! A wake-up costs both sides more than the rest of a small write, so there is one only for what the network said that
//! it waits for, and when the disk will come no further.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::disk_progress::DiskProgress;
use crate::types::Lsn;

/// What the network waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wake {
    /// Everything up to here is written.
    pub(super) written: Option<Lsn>,
    /// More is durable than before.
    pub(super) flushed: bool,
}

#[derive(Debug)]
struct State {
    progress: DiskProgress,
    wake: Wake,
    /// What the network waits for has come, and it has not been told yet.
    has_news: bool,
    /// Of the network, while it waits.
    waker: Option<Waker>,
    ended: bool,
}

/// The end that the disk holds. Dropping it says that it will come no further.
#[derive(Debug)]
pub(super) struct ProgressSender {
    state: Arc<Mutex<State>>,
}

/// The end that the network holds.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct ProgressReceiver {
    state: Arc<Mutex<State>>,
}

/// A new channel, from a disk that has come this far to a network that waits for durable positions.
pub(super) fn progress_channel(progress: DiskProgress) -> (ProgressSender, ProgressReceiver) {
    let wake = Wake { written: None, flushed: true };
    let state = State { progress, wake, has_news: false, waker: None, ended: false };
    let state = Arc::new(Mutex::new(state));
    (ProgressSender { state: Arc::clone(&state) }, ProgressReceiver { state })
}

impl ProgressSender {
    /// The disk has come this far.
    pub(super) fn publish(&self, progress: DiskProgress) {
        let mut state = locked(&self.state);
        let news = (state.wake.flushed && progress.flushed != state.progress.flushed)
            || state.wake.written.is_some_and(|wanted| progress.written >= wanted);
        state.progress = progress;
        if news {
            state.has_news = true;
            wake(state);
        }
    }
}

impl Drop for ProgressSender {
    fn drop(&mut self) {
        let mut state = locked(&self.state);
        state.ended = true;
        wake(state);
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl ProgressReceiver {
    /// How far the disk has come.
    pub(super) fn latest(&self) -> DiskProgress {
        locked(&self.state).progress
    }

    /// Waits for nothing but the end for now: whoever holds this looks by itself before it waits again.
    pub(super) fn look_later(&self) {
        locked(&self.state).wake = Wake { written: None, flushed: false };
    }

    /// Says what to wait for from now on, which may have come already, and gives how far the disk has come by now.
    pub(super) fn wake_at(&self, wake: Wake) -> DiskProgress {
        let mut state = locked(&self.state);
        state.wake = wake;
        state.has_news |= wake.written.is_some_and(|wanted| state.progress.written >= wanted);
        state.progress
    }

    /// Waits for what was said; nothing when that will not come any more. There may be a wake-up too many.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn changed(&self) -> Option<DiskProgress> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    fn poll_changed(&self, context: &Context<'_>) -> Poll<Option<DiskProgress>> {
        let mut state = locked(&self.state);
        if state.ended {
            return Poll::Ready(None);
        }
        if std::mem::take(&mut state.has_news) {
            return Poll::Ready(Some(state.progress));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::storage::Durable;

    fn progress(written: u64, flushed: u64) -> DiskProgress {
        DiskProgress { written: Lsn::new(written), flushed: Durable::nothing_before(Lsn::new(flushed)) }
    }

    fn woken(receiver: &ProgressReceiver) -> Poll<Option<DiskProgress>> {
        pin!(receiver.changed()).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn the_network_is_woken_for_what_it_waits_for_and_sees_everything() {
        let (sender, receiver) = progress_channel(progress(0, 0));
        for (wake, written, flushed, wakes) in [
            (Wake { written: None, flushed: false }, 10, 10, false),
            (Wake { written: Some(Lsn::new(20)), flushed: false }, 19, 19, false),
            (Wake { written: Some(Lsn::new(20)), flushed: false }, 20, 19, true),
            (Wake { written: Some(Lsn::new(30)), flushed: true }, 29, 19, false),
            (Wake { written: Some(Lsn::new(30)), flushed: true }, 29, 25, true),
        ] {
            receiver.wake_at(wake);
            assert_eq!(woken(&receiver), Poll::Pending);
            sender.publish(progress(written, flushed));
            assert_eq!(receiver.latest(), progress(written, flushed));
            let expected = if wakes { Poll::Ready(Some(progress(written, flushed))) } else { Poll::Pending };
            assert_eq!(woken(&receiver), expected, "{wake:?}");
        }
    }

    #[test]
    fn what_has_come_already_and_the_end_are_not_missed() {
        let (sender, receiver) = progress_channel(progress(0, 0));
        sender.publish(progress(10, 0));
        receiver.wake_at(Wake { written: Some(Lsn::new(10)), flushed: false });
        assert_eq!(woken(&receiver), Poll::Ready(Some(progress(10, 0))));
        drop(sender);
        assert_eq!(woken(&receiver), Poll::Ready(None));
        assert_eq!(woken(&receiver), Poll::Ready(None));
        assert_eq!(receiver.latest(), progress(10, 0));
    }
}

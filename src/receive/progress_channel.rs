//! The way from the disk to the network: how far it has come, and a wake-up where the network waits for that.
//!
//! In come positions from the thread of the disk, after every step; out come the latest ones, whenever the network looks.
//! A wake-up costs both sides more than the rest of a small write, so there is one only for what the network said that
//! it waits for, and when the disk will come no further.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

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
    ended: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    woken: Notify,
}

/// The end that the thread of the disk holds. Dropping it says that it will come no further.
#[derive(Debug)]
pub(super) struct ProgressSender {
    shared: Arc<Shared>,
}

/// The end that the network holds.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct ProgressReceiver {
    shared: Arc<Shared>,
}

/// A new channel, from a disk that has come this far to a network that waits for durable positions.
pub(super) fn progress_channel(progress: DiskProgress) -> (ProgressSender, ProgressReceiver) {
    let state = Mutex::new(State { progress, wake: Wake { written: None, flushed: true }, ended: false });
    let shared = Arc::new(Shared { state, woken: Notify::new() });
    (ProgressSender { shared: Arc::clone(&shared) }, ProgressReceiver { shared })
}

impl ProgressSender {
    /// The disk has come this far.
    pub(super) fn publish(&self, progress: DiskProgress) {
        let mut state = locked(&self.shared.state);
        let news = (state.wake.flushed && progress.flushed != state.progress.flushed)
            || state.wake.written.is_some_and(|wanted| progress.written >= wanted);
        state.progress = progress;
        drop(state);
        if news {
            self.shared.woken.notify_one();
        }
    }
}

impl Drop for ProgressSender {
    fn drop(&mut self) {
        locked(&self.shared.state).ended = true;
        self.shared.woken.notify_one();
    }
}

impl ProgressReceiver {
    /// How far the disk has come.
    pub(super) fn latest(&self) -> DiskProgress {
        locked(&self.shared.state).progress
    }

    /// Says what to wait for from now on, which may have come already, and gives how far the disk has come by now.
    pub(super) fn wake_at(&self, wake: Wake) -> DiskProgress {
        let mut state = locked(&self.shared.state);
        state.wake = wake;
        if wake.written.is_some_and(|wanted| state.progress.written >= wanted) {
            self.shared.woken.notify_one();
        }
        state.progress
    }

    /// Waits for what was said; nothing when that will not come any more. There may be a wake-up too many.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn changed(&self) -> Option<DiskProgress> {
        if !self.has_ended() {
            self.shared.woken.notified().await;
        }
        (!self.has_ended()).then(|| self.latest())
    }

    fn has_ended(&self) -> bool {
        locked(&self.shared.state).ended
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

//! A timer for a loop that sets it anew in every round, mostly for later.
//!
//! In come instants; out comes a wake-up not before the last of them. Setting a timer of the runtime costs more than a
//! round of the loop does, so one that would go off too early is left as it is until it does.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// The timer.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Waits until then; for ever, if that is never.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn at(&mut self, due: Option<Instant>) {
        match due {
            Some(due) => poll_fn(|context| self.poll(due.into(), context)).await,
            None => std::future::pending().await,
        }
    }

    fn poll(&mut self, due: tokio::time::Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.is_elapsed() || sleep.as_mut().poll(context).is_ready() {
            if tokio::time::Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// As far as the runtime has noticed by now.
    async fn goes_off(alarm: &mut Alarm, due: Option<Instant>) -> bool {
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            () = alarm.at(due) => true,
            () = tokio::time::sleep(Duration::from_millis(2)) => false,
        }
    }

    #[tokio::test]
    async fn it_goes_off_then_and_not_before_however_it_was_set() {
        let (now, hour) = (Instant::now(), Duration::from_hours(1));
        let mut alarm = Alarm::default();
        for (due, expected) in [
            (Some(now + hour), false),
            (Some(now + 2 * hour), false),
            (None, false),
            (Some(now), true),
            // Set for an instant that has passed.
            (Some(now + hour), false),
            (Some(now), true),
            (Some(now), true),
            (None, false),
        ] {
            assert_eq!(goes_off(&mut alarm, due).await, expected, "{due:?}");
        }
    }

    #[tokio::test]
    async fn one_that_would_go_off_too_early_still_goes_off() {
        let (start, mut alarm) = (Instant::now(), Alarm::default());
        assert!(!goes_off(&mut alarm, Some(start + Duration::from_hours(1))).await);
        let _ = goes_off(&mut alarm, Some(start + Duration::from_millis(10))).await;
        alarm.at(Some(start + Duration::from_millis(20))).await;
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}

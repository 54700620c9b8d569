//! Tells an observer how far receiving has come, when that has changed, and not more often than is of use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::disk_progress::DiskProgress;
use super::observer::{Event, Observer};
use crate::types::{Lsn, TimelineId};

/// The time between two events.
const INTERVAL: Duration = Duration::from_secs(1);

/// The events of the stream of one timeline.
pub(super) struct ProgressEvents {
    observer: Arc<dyn Observer>,
    timeline: TimelineId,
    current: Progress,
    told: Option<Progress>,
    /// Not before then.
    next: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Progress {
    received: Lsn,
    flushed: Lsn,
}

impl ProgressEvents {
    /// Of a stream that begins at `start`; everything before that is durable.
    pub(super) fn new(observer: Arc<dyn Observer>, timeline: TimelineId, start: Lsn, now: Instant) -> Self {
        let current = Progress { received: start, flushed: start };
        Self { observer, timeline, current, told: None, next: now }
    }

    /// Notes how far it is now, and tells if it is time.
    pub(super) fn note(&mut self, received: Lsn, disk: DiskProgress, now: Instant) {
        self.current = Progress { received, flushed: disk.flushed.value() };
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        let Progress { received, flushed } = self.current;
        self.observer.observe(&Event::Progress { timeline: self.timeline, received, flushed });
        self.told = Some(self.current);
        self.next = now + INTERVAL;
    }

    /// When to come back even if nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.told != Some(self.current)).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::storage::Durable;

    #[derive(Default)]
    struct Told(Mutex<Vec<(u64, u64)>>);

    impl Observer for Told {
        fn observe(&self, event: &Event<'_>) {
            if let Event::Progress { received, flushed, .. } = event {
                self.0.lock().unwrap().push((received.as_u64(), flushed.as_u64()));
            }
        }
    }

    #[test]
    fn what_changes_is_told_once_a_second_and_in_the_end() {
        let told = Arc::new(Told::default());
        let start = Instant::now();
        let observer: Arc<dyn Observer> = Arc::<Told>::clone(&told);
        let mut events = ProgressEvents::new(observer, TimelineId::FIRST, Lsn::new(1), start);
        let disk =
            |end| DiskProgress { written: Lsn::new(9), flushed: Durable::nothing_before(Lsn::new(end)) };
        let at = |millis| start + Duration::from_millis(millis);
        for (received, flushed, millis) in [(1, 1, 0), (2, 1, 10), (3, 1, 999), (4, 2, 1000), (4, 3, 1500)] {
            events.note(Lsn::new(received), disk(flushed), at(millis));
        }
        assert_eq!(*told.0.lock().unwrap(), [(1, 1), (4, 2)]);
        // The last change is not forgotten.
        assert_eq!(events.due(), Some(at(2000)));
        events.note(Lsn::new(4), disk(3), at(2000));
        assert_eq!((told.0.lock().unwrap().last(), events.due()), (Some(&(4, 3)), None));
    }
}

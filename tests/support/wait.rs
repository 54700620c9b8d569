//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

/// How long anything may take that is expected to happen, with room for a busy machine.
pub const DEADLINE: Duration = Duration::from_mins(2);

/// The pause between two looks grows between these, so that waiting takes little from what is waited for.
const POLL_INTERVALS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// Returns once `condition` holds.
///
/// # Panics
///
/// Naming `what`, when the deadline has passed and the condition still does not hold.
#[track_caller]
pub fn wait_for(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    wait_for_some(what, deadline, || condition().then_some(()));
}

/// Returns what `condition` gives, once it gives something.
///
/// # Panics
///
/// Naming `what`, when the deadline has passed and there is still nothing.
#[track_caller]
pub fn wait_for_some<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    let (mut pause, longest) = POLL_INTERVALS;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(started.elapsed() < deadline, "waited {deadline:?} in vain for {what}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(longest);
    }
}

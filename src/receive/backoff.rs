//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// The first failure after a stream costs nothing, each one after it a longer pause (OP-35).
#[derive(Debug)]
pub(crate) struct Backoff {
    /// The first pause that is one.
    shortest: Duration,
    /// No pause is longer.
    longest: Duration,
    /// The failures since the last stream that lasted.
    failures: u32,
}

impl Backoff {
    /// The pause after the second failure in a row.
    const SHORTEST: Duration = Duration::from_millis(100);

    /// A stream that lasted so long was a good one.
    pub(super) const GOOD: Duration = Duration::from_secs(1);

    pub(super) const fn up_to(longest: Duration) -> Self {
        Self { shortest: Self::SHORTEST, longest, failures: 0 }
    }

    /// For what costs the server so much that the first failure, too, is followed by a pause.
    #[cfg(any(test, feature = "cli"))]
    pub(crate) const fn between(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, failures: 1 }
    }

    /// The pause before the next attempt. `chance`, from 0 up to 1, spreads clients that lost the same server.
    pub(crate) fn after_failure(&mut self, chance: f64) -> Duration {
        let doublings = self.failures.checked_sub(1);
        self.failures = self.failures.saturating_add(1);
        let Some(doublings) = doublings else { return Duration::ZERO };
        let pause = self.shortest.saturating_mul(1 << doublings.min(16)).min(self.longest);
        pause.mul_f64(1.0 - chance / 2.0)
    }

    /// There was a good stream.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A number from 0 up to 1.
pub(crate) fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rw_207_at_once_and_then_longer_and_longer_up_to_five_seconds() {
        let longest = Duration::from_secs(5);
        let mut backoff = Backoff::up_to(longest);
        let pauses = |backoff: &mut Backoff, chance| -> Vec<u128> {
            (0..9).map(|_| backoff.after_failure(chance).as_millis()).collect()
        };
        let full = [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000];
        assert_eq!(pauses(&mut backoff, 0.0), full);
        backoff.reset();
        assert_eq!(pauses(&mut backoff, 1.0), full.map(|pause| pause / 2));
        for _ in 0..1000 {
            assert_eq!(backoff.after_failure(0.0), longest);
        }
    }

    #[test]
    fn what_is_dear_is_never_tried_again_at_once() {
        let mut backoff = Backoff::between(Duration::from_secs(1), Duration::from_secs(6));
        let pauses: Vec<u64> = (0..5).map(|_| backoff.after_failure(0.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 6, 6]);
    }
}

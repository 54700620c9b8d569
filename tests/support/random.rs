//! Randomness that can be had again: everything follows from a seed, which the test prints.

use std::time::Duration;

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The seed is that of the environment variable `PGSIPHON_SEED`, or else a new one.
    #[allow(clippy::print_stderr, reason = "the test harness shows it together with a failure")]
    pub fn from_environment() -> Self {
        let seed = match std::env::var("PGSIPHON_SEED") {
            Ok(seed) => seed.parse().expect("PGSIPHON_SEED is a number"),
            Err(_) => getrandom::u64().unwrap(),
        };
        eprintln!("PGSIPHON_SEED={seed}");
        Self::of_seed(seed)
    }

    /// The same numbers each time.
    pub fn of_seed(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number: the generator "splitmix64".
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }

    /// A time shorter than `bound`, more often a short one.
    pub fn time_below(&mut self, bound: Duration) -> Duration {
        let share = u32::try_from(self.below(1000) * self.below(1000)).unwrap();
        bound * share / 1_000_000
    }
}

/// The number of seconds that an environment variable names, or else `usual`.
pub fn seconds_from_environment(variable: &str, usual: u64) -> Duration {
    let seconds = std::env::var(variable).ok().map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(usual))
}

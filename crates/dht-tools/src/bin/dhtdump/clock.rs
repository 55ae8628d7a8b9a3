//! Time and chance, as the system gives them.

use std::{
    thread,
    time::{Duration, Instant},
};

/// What the dumping thread knows of time and chance. The tests have one in which no time passes.
pub(crate) trait Clock {
    fn now(&self) -> Instant;
    /// Returns after so long.
    fn sleep(&mut self, wait: Duration);
    /// The local time after so long, for people.
    fn local_time_in(&self, wait: Duration) -> String;
    /// A random number from 0 to `bound` - 1; `bound` is at least 1.
    fn random_below(&mut self, bound: u64) -> u64;
}

/// The system's. A sleep ends early only with the process.
pub(crate) struct OsClock;

impl Clock for OsClock {
    #[expect(clippy::disallowed_methods, reason = "the program's clock, handed down from here")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&mut self, wait: Duration) {
        thread::sleep(wait);
    }

    fn local_time_in(&self, wait: Duration) -> String {
        let at = jiff::Zoned::now().saturating_add(wait);
        at.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    fn random_below(&mut self, bound: u64) -> u64 {
        // Not quite evenly distributed, which does not matter. Without random numbers everybody
        // starts at once, which is no reason not to start.
        getrandom::u64().unwrap_or(0) % bound
    }
}

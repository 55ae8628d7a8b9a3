//! How long to wait before the next attempt to connect.
//!
//! ```text
//! attempt   1   2   3      4    5    6     7     8     9     10 ...
//! wait ms   0   0   19.5   39   78   156   312   625   1250  2500 for ever
//! ```
//!
//! Source: spec `protocol-neo` 16.1, which says so of retries; the first attempt has no wait.

use std::time::Duration;

/// The first wait that is one.
const FIRST: Duration = Duration::from_micros(19_531);
/// Doubled so many times, to 2.5 s.
const DOUBLINGS_MAX: u32 = 7;

/// Counts attempts that failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    failed: u32,
}

impl Backoff {
    /// The wait after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        self.failed = self.failed.saturating_add(1);
        match self.failed {
            1 => Duration::ZERO,
            n => FIRST * (1 << (n - 2).min(DOUBLINGS_MAX)),
        }
    }

    /// An attempt has succeeded.
    pub(crate) const fn reset(&mut self) {
        self.failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_the_originals() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..11).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [0, 19, 39, 78, 156, 312, 624, 1249, 2499, 2499, 2499]);
        backoff.reset();
        assert_eq!(backoff.next(), Duration::ZERO);
    }
}

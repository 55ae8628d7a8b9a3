//! Whether the batches of a move are compressed: as more records go out, which is tried.
//!
//! On a fast net compression takes longer than to send what it saves, on a slow one less; and it
//! takes time of a processor that others may want. So nothing but the outcome tells.
//!
//! ```text
//! | settle | window, stored | settle | window, compressed | the better one ... | the other ...
//!                                                           TRIAL_WINDOWS
//! ```

use std::time::{Duration, Instant};

/// Bytes of records over which a way is measured.
const WINDOW_BYTES: usize = 32 * 1024 * 1024;

/// Bytes that go out after a change of the way before they count: as many may be on their way.
const SETTLE_BYTES: usize = 8 * 1024 * 1024;

/// The other way is tried again after so many windows: the net and the values may have changed.
const TRIAL_WINDOWS: u32 = 32;

/// How a batch goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Stored,
    /// If that makes it shorter.
    Compressed,
}

impl Way {
    const fn other(self) -> Self {
        match self {
            Self::Stored => Self::Compressed,
            Self::Compressed => Self::Stored,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct WayFinder {
    way: Way,
    /// Since when this window counts; `None` while what was sent before settles.
    since: Option<Instant>,
    /// Bytes since then.
    bytes: usize,
    /// Bytes a second of the other way, when it was last tried.
    other_rate: Option<f64>,
    windows: u32,
}

impl WayFinder {
    pub(super) const fn new() -> Self {
        Self { way: Way::Stored, since: None, bytes: 0, other_rate: None, windows: 0 }
    }

    /// The way for the next batches, which have so many bytes.
    pub(super) fn next(&mut self, bytes: usize, now: Instant) -> Way {
        match self.since {
            None if self.bytes >= SETTLE_BYTES => (self.since, self.bytes) = (Some(now), 0),
            Some(since) if self.bytes >= WINDOW_BYTES => {
                self.end_window(now.saturating_duration_since(since), now);
            }
            _ => {}
        }
        self.bytes += bytes;
        self.way
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    fn end_window(&mut self, took: Duration, now: Instant) {
        let rate = self.bytes as f64 / took.max(Duration::from_micros(1)).as_secs_f64();
        self.windows += 1;
        let is_trial_due = self.windows >= TRIAL_WINDOWS;
        let changes = is_trial_due || self.other_rate.is_none_or(|other| other > rate);
        (self.since, self.bytes) = (Some(now), 0);
        if changes {
            self.way = self.way.other();
            (self.since, self.other_rate) = (None, Some(rate));
        }
        if is_trial_due {
            self.windows = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCHES_BYTES: usize = 1024 * 1024;

    /// Sends so many batches with these bytes a second, stored and compressed; returns how many of
    /// them went out compressed.
    #[expect(clippy::cast_precision_loss, reason = "a time")]
    fn send(way: &mut WayFinder, now: &mut Instant, count: usize, rates: [f64; 2]) -> usize {
        let mut compressed = 0;
        for _ in 0..count {
            let [stored_rate, compressed_rate] = rates;
            let rate = match way.next(BATCHES_BYTES, *now) {
                Way::Stored => stored_rate,
                Way::Compressed => {
                    compressed += 1;
                    compressed_rate
                }
            };
            *now += Duration::from_secs_f64(BATCHES_BYTES as f64 / rate);
        }
        compressed
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "there is no other way to an Instant")]
    fn most_go_the_faster_way_and_a_change_is_noticed() {
        let (fast_net, slow_net) = ([1e9, 4e8], [1e8, 2e8]);
        let (mut way, mut now) = (WayFinder::new(), Instant::now());
        assert_eq!(send(&mut way, &mut now, 30, fast_net), 0, "a small move does not try");
        let compressed = send(&mut way, &mut now, 10_000, fast_net);
        assert!((40..600).contains(&compressed), "{compressed}: tried now and then");
        let compressed = send(&mut way, &mut now, 10_000, slow_net);
        assert!(compressed > 8_000, "{compressed}");
        let compressed = send(&mut way, &mut now, 10_000, fast_net);
        assert!(compressed < 2_000, "{compressed}");
    }
}

//! How far a long operation is, for the log: at most one line a second.

use std::time::{Duration, Instant};

use super::DUMP_LOG;
use crate::context::Clock;

/// Shortest time between two lines.
const PERIOD: Duration = Duration::from_secs(1);

/// So many steps pass before the clock is asked again.
const STEPS_PER_LOOK: u32 = 4096;

/// See the module.
pub(super) struct Percent<'a> {
    channel: &'a str,
    total: u64,
    clock: Clock,
    last: Instant,
    steps: u32,
}

impl<'a> Percent<'a> {
    /// Begins; `total` is what [`Percent::reached`] will reach.
    pub(super) fn new(channel: &'a str, total: u64, clock: Clock) -> Self {
        Self { channel, total, clock, last: clock(), steps: 0 }
    }

    /// One step more; says how far it is if a second has passed.
    pub(super) fn reached(&mut self, done: u64) {
        self.steps += 1;
        if !self.steps.is_multiple_of(STEPS_PER_LOOK) {
            return;
        }
        let now = (self.clock)();
        if now.saturating_duration_since(self.last) >= PERIOD {
            self.last = now;
            let percent = done.min(self.total) * 100 / self.total.max(1);
            log::trace!(target: DUMP_LOG, "{}: {percent}%", self.channel);
        }
    }
}

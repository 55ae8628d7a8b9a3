//! When the next request is due. Time is an argument.

use super::{Op, Pattern, Plan, stock::Stock};

/// The requests of one thread in one cycle.
#[derive(Debug)]
pub(super) struct Schedule {
    pattern: Pattern,
    stock: Stock,
    /// Of an open loop: of this thread, a second.
    rate: f64,
    /// Requests that may still be made, and until when.
    quota: u64,
    end: u64,
    /// When the next request or batch is due.
    due: u64,
    /// The batch that is being made: since when, and how many requests are missing.
    batch: (u64, u64),
}

impl Schedule {
    /// For thread `thread`: `quota` requests at most, made before `end`.
    pub(super) fn new(plan: &Plan, thread: usize, start: u64, quota: u64, end: u64) -> Self {
        let (rate, offset) = match plan.pattern {
            #[expect(clippy::cast_precision_loss, reason = "there are few threads")]
            // The threads of an open loop take turns.
            Pattern::Open { rate, .. } => (rate / plan.threads as f64, gap_ns(thread as f64, rate)),
            Pattern::LockStep { .. } | Pattern::Closed => (0.0, 0),
        };
        let stock = Stock::new(plan, thread);
        let due = start + offset;
        Self { pattern: plan.pattern, stock, rate, quota, end, due, batch: (0, 0) }
    }

    /// A schedule that makes nothing.
    pub(super) fn empty(plan: &Plan) -> Self {
        Self::new(plan, 0, 0, 0, 0)
    }

    /// The next request, if it is due, and the time from which its latency counts. `outstanding`
    /// have not ended; a closed loop keeps `window` of them.
    pub(super) fn next(&mut self, now: u64, outstanding: u64, window: u64) -> Option<(Op, u64)> {
        let start = match self.pattern {
            Pattern::Closed => (outstanding < window && self.makes_more(now)).then_some(now),
            Pattern::LockStep { batch, rate } => self.next_of_batch(now, outstanding, batch, rate),
            Pattern::Open { poisson, .. } => {
                let due = self.due;
                // Those that were due before the end are made, however late it is.
                (due <= now && self.makes_more(due)).then(|| {
                    self.due += gap_ns(if poisson { self.stock.gap() } else { 1.0 }, self.rate);
                    due
                })
            }
        }?;
        self.quota -= 1;
        Some((self.stock.next(), start))
    }

    fn next_of_batch(
        &mut self,
        now: u64,
        outstanding: u64,
        batch: u64,
        rate: Option<f64>,
    ) -> Option<u64> {
        if self.batch.1 == 0 && outstanding == 0 && now >= self.due && self.makes_more(now) {
            self.batch = (now, batch);
            #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
            if let Some(rate) = rate {
                // Counted from now: a batch that took too long is not made up for.
                self.due = now + gap_ns(batch as f64, rate);
            }
        }
        let (start, missing) = self.batch;
        if missing == 0 || !self.makes_more(start) {
            self.batch.1 = 0;
            return None;
        }
        self.batch.1 -= 1;
        Some(start)
    }

    /// Whether anything will be made at `now` or later.
    pub(super) const fn makes_more(&self, now: u64) -> bool {
        self.quota > 0 && now < self.end
    }

    /// How long it is until something is due; 0 if that does not depend on the time.
    pub(super) const fn wait(&self, now: u64) -> u64 {
        self.due.saturating_sub(now)
    }

    /// When the cycle is over.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }
}

/// So many gaps between requests, in nanoseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float saturates when it becomes an integer"
)]
fn gap_ns(gaps: f64, rate: f64) -> u64 {
    (gaps * 1e9 / rate) as u64
}

#[cfg(test)]
mod tests {
    use super::super::{Keys, Kind, tests::plan};
    use super::*;

    const END: u64 = u64::MAX;
    const NONE: [u64; 0] = [];

    fn schedule(pattern: Pattern, threads: usize, thread: usize, quota: u64, end: u64) -> Schedule {
        let mut plan = plan(Keys::Sequential { count: 100 }, &[(Kind::Get, 1)], threads);
        plan.pattern = pattern;
        Schedule::new(&plan, thread, 1000, quota, end)
    }

    /// Everything that is due at `now`: from when it counts.
    fn made(schedule: &mut Schedule, now: u64, mut outstanding: u64) -> Vec<u64> {
        let mut starts = Vec::new();
        while let Some((_, start)) = schedule.next(now, outstanding, 3) {
            starts.push(start);
            outstanding += 1;
        }
        starts
    }

    #[test]
    fn an_open_loop_counts_from_when_a_request_was_due() {
        let open = Pattern::Open { rate: 1e6, poisson: false };
        let mut late = schedule(open, 1, 0, 5, END);
        assert_eq!(made(&mut late, 999, 0), NONE);
        assert_eq!(made(&mut late, 3500, 0), [1000, 2000, 3000], "whatever is outstanding");
        assert_eq!(late.wait(3500), 500);
        assert_eq!(made(&mut late, 99_000, 7), [4000, 5000], "five at most");
        let mut ended = schedule(open, 1, 0, 100, 2500);
        assert_eq!(made(&mut ended, 99_000, 0), [1000, 2000], "due before the end");
        let mut second = schedule(open, 2, 1, 2, END);
        assert_eq!(made(&mut second, 99_000, 0), [2000, 4000], "each thread has every second");
    }

    #[test]
    fn a_closed_loop_fills_its_window() {
        let mut closed = schedule(Pattern::Closed, 1, 0, 4, END);
        assert_eq!(made(&mut closed, 1000, 1), [1000; 2]);
        assert_eq!(made(&mut closed, 2000, 3), NONE);
        assert_eq!(made(&mut closed, 3000, 0), [3000; 2], "four at most");
        assert!(!closed.makes_more(3000));
    }

    #[test]
    fn a_batch_waits_for_the_one_before_and_for_its_slot() {
        let lock_step = Pattern::LockStep { batch: 2, rate: Some(1e6) };
        let mut steps = schedule(lock_step, 1, 0, 5, END);
        assert_eq!(made(&mut steps, 1000, 0), [1000; 2]);
        assert_eq!(made(&mut steps, 1500, 1), NONE, "one has not ended");
        assert_eq!(made(&mut steps, 2000, 0), NONE, "its slot begins later");
        assert_eq!(made(&mut steps, 9000, 0), [9000; 2], "late: at once, and no sleep of ages");
        assert_eq!(steps.wait(9000), 2000);
        assert_eq!(made(&mut steps, 11_000, 0), [11_000], "the rest");
        assert_eq!(made(&mut steps, 99_000, 0), NONE);
    }
}

//! Times at which a worker has to wake one of its streams.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::driver::ConnId;

/// The alarms are looked through for those that nobody waits for any more when there are twice as
/// many as the last time, and at least so many.
const SWEEP_MIN: usize = 1024;

/// A time at which a stream has something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Alarm {
    pub(crate) at: Instant,
    pub(crate) conn: ConnId,
    pub(crate) stream: u64,
}

/// Alarms, the earliest first. A stream that ends leaves its alarm behind, and it may be set to a
/// time that is decades away; so the others are kept to at most [`SWEEP_MIN`], or as many as there
/// are streams that wait.
#[derive(Debug)]
pub(crate) struct Alarms {
    heap: BinaryHeap<Reverse<Alarm>>,
    sweep_at: usize,
}

impl Alarms {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), sweep_at: SWEEP_MIN }
    }

    /// When the next one rings.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(alarm)| alarm.at)
    }

    /// Takes one that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Alarm> {
        self.next().filter(|at| *at <= now)?;
        self.heap.pop().map(|Reverse(alarm)| alarm)
    }

    /// Adds some, and drops those that are not `awaited` when there are many.
    pub(crate) fn extend(
        &mut self,
        alarms: impl Iterator<Item = Alarm>,
        awaited: impl Fn(&Alarm) -> bool,
    ) {
        self.heap.extend(alarms.map(Reverse));
        if self.heap.len() >= self.sweep_at {
            self.heap.retain(|Reverse(alarm)| awaited(alarm));
            self.sweep_at = (2 * self.heap.len()).max(SWEEP_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// An alarm so many seconds from `start`, for a stream of that number.
    fn alarm(start: Instant, seconds: u64) -> Alarm {
        Alarm { at: start + Duration::from_secs(seconds), conn: 0, stream: seconds }
    }

    #[expect(clippy::disallowed_methods, reason = "an instant has no other origin")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn alarms_ring_in_the_order_of_their_times() {
        let (start, mut alarms) = (start(), Alarms::new());
        assert_eq!(alarms.next(), None);
        alarms.extend([3, 1, 2].map(|seconds| alarm(start, seconds)).into_iter(), |_| true);
        assert_eq!(alarms.pop_due(start), None);
        let now = start + Duration::from_secs(2);
        assert_eq!(alarms.pop_due(now), Some(alarm(start, 1)));
        assert_eq!(alarms.pop_due(now), Some(alarm(start, 2)));
        assert_eq!(alarms.pop_due(now), None);
        assert_eq!(alarms.next(), Some(alarm(start, 3).at));
    }

    #[test]
    fn alarms_that_nobody_waits_for_do_not_pile_up() {
        let (start, mut alarms) = (start(), Alarms::new());
        let awaited = |alarm: &Alarm| alarm.stream < 100;
        for seconds in 0..100_000 {
            alarms.extend(std::iter::once(alarm(start, seconds)), awaited);
            assert!(alarms.heap.len() < SWEEP_MIN);
        }
        let all = start + Duration::from_secs(100_000);
        let rung: Vec<u64> =
            std::iter::from_fn(|| alarms.pop_due(all)).map(|alarm| alarm.stream).collect();
        assert!(rung[..100].iter().copied().eq(0..100), "the awaited ones are all there");
    }

    #[test]
    fn all_that_are_awaited_are_kept_however_many() {
        let (start, mut alarms) = (start(), Alarms::new());
        for seconds in 0..10_000 {
            alarms.extend(std::iter::once(alarm(start, seconds)), |_| true);
        }
        assert_eq!(alarms.heap.len(), 10_000);
    }
}

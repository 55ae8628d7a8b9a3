//! What comes next, and when: a state machine without clock, random numbers or I/O of its own.
//!
//! ```text
//! start ----> handshake --------------------> cycle --------------> end, if one shot
//!             ^       |  random < period,     ^   |  period - duration,
//!             `-------'  or 0 if one shot     `---'  at least min_wait; retry_wait if it failed
//!             2 s, if it failed
//! ```
//!
//! Source: spec `tools` 1.3, 1.4.

use std::time::Duration;

/// Between two attempts at the handshake.
const HANDSHAKE_RETRY_WAIT: Duration = Duration::from_secs(2);
/// The least pause after a failed cycle, so that `retry_wait_s = 0` does not keep a node busy.
const RETRY_WAIT_MIN: Duration = Duration::from_secs(1);

/// The times that are configured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// One cycle that succeeds, then the end.
    pub(crate) oneshot: bool,
    /// From the start of a cycle to the start of the next.
    pub(crate) period: Duration,
    /// The least pause after a cycle.
    pub(crate) min_wait: Duration,
    /// The pause after a failed cycle.
    pub(crate) retry_wait: Duration,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    HandshakeFailed,
    HandshakeDone,
    /// Something in it failed, be it one channel.
    CycleFailed,
    CycleDone {
        took: Duration,
    },
}

/// What to do after a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Handshake,
    Cycle,
    End,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) wait: Duration,
    pub(crate) step: Step,
    /// The cycle took so long that `min_wait` is waited instead of the rest of the period.
    pub(crate) too_short: bool,
}

impl Next {
    const fn after(wait: Duration, step: Step) -> Self {
        Self { wait, step, too_short: false }
    }
}

impl Plan {
    /// The first thing to do.
    pub(crate) const START: Next = Next::after(Duration::ZERO, Step::Handshake);

    /// What follows an event. `random_below(n)` is a random number from 0 to n - 1.
    pub(crate) fn next(&self, event: Event, random_below: &mut dyn FnMut(u64) -> u64) -> Next {
        match event {
            Event::HandshakeFailed => Next::after(HANDSHAKE_RETRY_WAIT, Step::Handshake),
            Event::HandshakeDone if self.oneshot => Next::after(Duration::ZERO, Step::Cycle),
            // So that the instances of a server that started together do not dump together.
            Event::HandshakeDone => {
                let seconds = random_below(self.period.as_secs().max(1));
                Next::after(Duration::from_secs(seconds), Step::Cycle)
            }
            Event::CycleFailed => Next::after(self.retry_wait.max(RETRY_WAIT_MIN), Step::Cycle),
            Event::CycleDone { .. } if self.oneshot => Next::after(Duration::ZERO, Step::End),
            Event::CycleDone { took } => {
                let rest = self.period.saturating_sub(took);
                let too_short = rest < self.min_wait;
                Next { wait: rest.max(self.min_wait), step: Step::Cycle, too_short }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        oneshot: false,
        period: Duration::from_secs(100),
        min_wait: Duration::from_secs(10),
        retry_wait: Duration::from_secs(5),
    };

    fn next(plan: &Plan, event: Event) -> (u64, Step, bool) {
        let next = plan.next(event, &mut |below| below - 1);
        (next.wait.as_secs(), next.step, next.too_short)
    }

    fn done(seconds: u64) -> Event {
        Event::CycleDone { took: Duration::from_secs(seconds) }
    }

    #[test]
    fn cycles_start_a_period_apart_but_never_too_soon() {
        assert_eq!(next(&PLAN, done(0)), (100, Step::Cycle, false));
        assert_eq!(next(&PLAN, done(30)), (70, Step::Cycle, false));
        assert_eq!(next(&PLAN, done(90)), (10, Step::Cycle, false));
        assert_eq!(next(&PLAN, done(91)), (10, Step::Cycle, true));
        assert_eq!(next(&PLAN, done(1000)), (10, Step::Cycle, true));
    }

    #[test]
    fn the_first_cycle_comes_at_a_random_time_within_a_period() {
        assert_eq!(next(&PLAN, Event::HandshakeDone), (99, Step::Cycle, false));
        let no_period = Plan { period: Duration::ZERO, ..PLAN };
        assert_eq!(next(&no_period, Event::HandshakeDone), (0, Step::Cycle, false));
    }

    #[test]
    fn failures_are_repeated() {
        assert_eq!(Plan::START.step, Step::Handshake);
        assert_eq!(next(&PLAN, Event::HandshakeFailed), (2, Step::Handshake, false));
        assert_eq!(next(&PLAN, Event::CycleFailed), (5, Step::Cycle, false));
        let at_once = Plan { retry_wait: Duration::ZERO, ..PLAN };
        assert_eq!(next(&at_once, Event::CycleFailed), (1, Step::Cycle, false));
    }

    #[test]
    fn one_shot_is_one_cycle_that_succeeds() {
        let oneshot = Plan { oneshot: true, ..PLAN };
        assert_eq!(next(&oneshot, Event::HandshakeFailed), (2, Step::Handshake, false));
        assert_eq!(next(&oneshot, Event::HandshakeDone), (0, Step::Cycle, false));
        assert_eq!(next(&oneshot, Event::CycleFailed), (5, Step::Cycle, false));
        assert_eq!(next(&oneshot, done(1000)), (0, Step::End, false));
    }
}

//! The thread that dumps: does what the plan says, and tells about it.

use std::time::Duration;

use crate::{
    MAIN_LOG,
    clock::Clock,
    cycle::{CYCLE_LOG, Cycle},
    plan::{Event, Next, Plan, Step},
    size::grouped,
};

/// See the module.
pub(crate) struct Dumper<'a> {
    pub(crate) plan: Plan,
    pub(crate) cycle: Cycle,
    pub(crate) clock: &'a mut dyn Clock,
}

impl Dumper<'_> {
    /// Returns when a one-shot dump is done, else never.
    pub(crate) fn run(&mut self) {
        let mut next = Plan::START;
        loop {
            if !next.wait.is_zero() {
                self.clock.sleep(next.wait);
            }
            next = match next.step {
                Step::Handshake => self.handshake(),
                Step::Cycle => self.cycle(),
                Step::End => return,
            };
        }
    }

    fn handshake(&mut self) -> Next {
        let failed = self.cycle.source().handshake().err();
        let event = if failed.is_some() { Event::HandshakeFailed } else { Event::HandshakeDone };
        let next = self.next(event);
        let wait = next.wait.as_secs();
        match failed {
            Some(error) => log::error!(
                target: MAIN_LOG,
                "Error during dht handshake: {error}, retrying in {wait}s"
            ),
            None if self.plan.oneshot => {}
            None => log::info!(
                target: CYCLE_LOG,
                "Performing initial dump in {wait}s (randomized)"
            ),
        }
        next
    }

    fn cycle(&mut self) -> Next {
        let began = self.clock.now();
        let dumped = self.cycle.run(self.clock);
        let took = self.clock.now().saturating_duration_since(began);
        match dumped {
            Some(bytes) => {
                self.cycle.stats().cycle_done(took);
                let next = self.next(Event::CycleDone { took });
                self.tell_finished(took, bytes, next);
                next
            }
            None => {
                let next = self.next(Event::CycleFailed);
                log::warn!(
                    target: CYCLE_LOG,
                    "Dump not completed successfully. Retrying in {}s", next.wait.as_secs()
                );
                next
            }
        }
    }

    fn tell_finished(&self, took: Duration, bytes: u64, next: Next) {
        if next.too_short {
            log::warn!(
                target: CYCLE_LOG,
                "Calculated wait time too short -- either the channel dump took an unusually long \
                 time, or the dump period is set too low in config.ini."
            );
        }
        let (took, dumped) = (took.as_secs_f64(), grouped(bytes));
        if self.plan.oneshot {
            log::info!(
                target: CYCLE_LOG,
                "Finished dumping channels, took {took:.2}s, dumped {dumped}"
            );
        } else {
            log::info!(
                target: CYCLE_LOG,
                "Finished dumping channels, took {took:.2}s, dumped {dumped}, sleeping for {}s \
                 (next cycle scheduled at {})",
                next.wait.as_secs(),
                self.clock.local_time_in(next.wait)
            );
        }
    }

    fn next(&mut self, event: Event) -> Next {
        self.plan.next(event, &mut |bound| self.clock.random_below(bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_world::{Answer, World};

    fn run(plan: Plan, world: &mut World) {
        let (cycle, mut clock) = (world.cycle(), world.clock());
        Dumper { plan, cycle, clock: &mut clock }.run();
        world.slept = clock.slept;
    }

    const ONESHOT: Plan = Plan {
        oneshot: true,
        period: Duration::from_secs(100),
        min_wait: Duration::from_secs(10),
        retry_wait: Duration::from_secs(5),
    };

    #[test]
    fn a_node_that_is_away_is_waited_for() {
        let mut world = World::new();
        world.script(&[
            Answer::Away, // three handshakes
            Answer::Away,
            Answer::There,
            Answer::Away, // two lists of channels
            Answer::Away,
            Answer::Channels(&["a"]),
            Answer::Records(&[(1, "one")]),
            Answer::Channels(&["a"]),
        ]);
        run(ONESHOT, &mut world);
        assert_eq!(world.slept, [2, 2, 5, 5]);
        assert_eq!(world.dump("a"), [(1, b"one".to_vec())]);
        world.assert_all_asked();
    }

    #[test]
    fn the_whole_cycle_is_repeated_after_one_channel_failed() {
        let mut world = World::new();
        world.script(&[
            Answer::There,
            Answer::Channels(&["a", "b"]),
            Answer::BrokenRecords(&[(1, "one")]),
            Answer::Records(&[(2, "two")]),
            Answer::Channels(&["a", "b"]),
            // again
            Answer::Channels(&["a", "b"]),
            Answer::Records(&[(1, "one")]),
            Answer::Channels(&["a", "b"]),
            Answer::Records(&[(3, "three")]),
            Answer::Channels(&["a", "b"]),
        ]);
        run(ONESHOT, &mut world);
        assert_eq!(world.slept, [5]);
        assert_eq!(world.dump("a"), [(1, b"one".to_vec())]);
        assert_eq!(world.dump("b"), [(3, b"three".to_vec())]);
        world.assert_all_asked();
    }
}

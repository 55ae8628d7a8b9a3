//! When which channel is dumped. It knows nothing of disks and threads, and asks for no time.
//!
//! ```text
//! start + random part of a period     round: all channels there are, one after another
//! + period, + period, ...             the next rounds
//! a failure + retry                   that channel alone, between those of a round
//! ```
//!
//! A round that takes longer than a period is followed by the next one in the same rhythm; rounds
//! that are missed meanwhile do not pile up. Retries take turns with the channels of a round, so a
//! channel whose dumps fail, however slowly, does not keep the others from being dumped.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use dht_types::ChannelName;

/// See the module.
#[derive(Debug)]
pub(crate) struct Schedule {
    period: Duration,
    retry: Duration,
    next_round: Instant,
    /// Channels of this round that wait for their turn.
    round: VecDeque<ChannelName>,
    /// Channels that failed, and when each is tried again.
    retries: BTreeMap<ChannelName, Instant>,
    /// The last turn was a retry.
    retried: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Dump this channel now.
    Dump(ChannelName),
    /// Nothing, until then.
    WaitUntil(Instant),
}

impl Schedule {
    /// The first round is within a period after `start`; `random` chooses when, so that nodes that
    /// are started together do not dump together.
    ///
    /// # Panics
    ///
    /// With a period of 0.
    pub(crate) fn new(period: Duration, retry: Duration, start: Instant, random: u64) -> Self {
        assert!(!period.is_zero(), "a period of 0 is no schedule");
        let first = (u128::from(random) * period.as_nanos()) >> u64::BITS;
        Self {
            period,
            retry,
            next_round: start + duration(first),
            round: VecDeque::new(),
            retries: BTreeMap::new(),
            retried: false,
        }
    }

    /// How long after a failure a channel is tried again.
    pub(crate) const fn retry(&self) -> Duration {
        self.retry
    }

    /// What to do now. `channels` is asked at the begin of a round.
    pub(crate) fn turn(
        &mut self,
        now: Instant,
        channels: impl FnOnce() -> Vec<ChannelName>,
    ) -> Turn {
        if self.round.is_empty() && self.next_round <= now {
            self.round = channels().into();
            self.retries.clear(); // They are part of the round.
            let late = now.duration_since(self.next_round).as_nanos() % self.period.as_nanos();
            self.next_round = now + (self.period - duration(late));
        }
        let due = self.retries.iter().min_by_key(|(_, at)| **at);
        let due = due.filter(|(_, at)| **at <= now).map(|(name, _)| name.clone());
        let retry = due.filter(|_| !self.retried || self.round.is_empty());
        self.retried = retry.is_some();
        if let Some(name) = retry.or_else(|| self.round.pop_front()) {
            self.retries.remove(&name);
            return Turn::Dump(name);
        }
        let retry = self.retries.values().min().copied();
        Turn::WaitUntil(retry.map_or(self.next_round, |at| at.min(self.next_round)))
    }

    /// Whether channels of a round wait for their turn.
    pub(crate) fn is_in_round(&self) -> bool {
        !self.round.is_empty()
    }

    /// A round begins now, whatever the time; the rhythm goes on from here.
    pub(crate) fn begin_round(&mut self, now: Instant) {
        self.next_round = now;
    }

    /// The dump that [`Schedule::turn`] asked for has failed.
    pub(crate) fn failed(&mut self, name: ChannelName, now: Instant) {
        self.retries.insert(name, now + self.retry);
    }
}

/// Nanoseconds below a period.
fn duration(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).expect("2^32 seconds are 2^62 nanoseconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(100);
    const RETRY: Duration = Duration::from_secs(30);

    fn name(text: &str) -> ChannelName {
        text.parse().unwrap()
    }

    /// A schedule with channels, and its time in seconds.
    struct Plan {
        schedule: Schedule,
        start: Instant,
        channels: Vec<ChannelName>,
    }

    impl Plan {
        #[allow(clippy::disallowed_methods, reason = "any point of time will do")]
        fn new(random: u64, channels: &[&str]) -> Self {
            let start = Instant::now();
            let schedule = Schedule::new(PERIOD, RETRY, start, random);
            Self { schedule, start, channels: channels.iter().map(|text| name(text)).collect() }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        /// The channel to be dumped, or the second to wait for.
        fn turn(&mut self, seconds: u64) -> Result<String, u64> {
            let (now, channels) = (self.at(seconds), self.channels.clone());
            match self.schedule.turn(now, || channels) {
                Turn::Dump(name) => Ok(name.to_string()),
                Turn::WaitUntil(at) => Err((at - self.start).as_secs()),
            }
        }

        fn failed(&mut self, channel: &str, seconds: u64) {
            let now = self.at(seconds);
            self.schedule.failed(name(channel), now);
        }
    }

    fn dump(channel: &str) -> Result<String, u64> {
        Ok(channel.to_owned())
    }

    #[test]
    fn the_first_round_is_somewhere_in_the_first_period() {
        for (random, first) in [(0, 0), (u64::MAX / 4, 24), (1 << 63, 50), (u64::MAX, 99)] {
            let mut plan = Plan::new(random, &["a"]);
            let expected = if first == 0 { dump("a") } else { Err(first) };
            assert_eq!(plan.turn(0), expected);
            assert!(plan.at(first) - plan.start < PERIOD);
        }
    }

    #[test]
    fn each_round_dumps_every_channel_once() {
        let mut plan = Plan::new(1 << 63, &["a", "b"]);
        for round in [50, 150, 250] {
            assert_eq!(plan.turn(round - 1), Err(round));
            assert_eq!(plan.turn(round), dump("a"));
            assert_eq!(plan.turn(round + 20), dump("b"));
            assert_eq!(plan.turn(round + 40), Err(round + 100));
        }
        plan.channels = vec![name("b"), name("new")];
        assert_eq!(plan.turn(350), dump("b"));
        assert_eq!(plan.turn(350), dump("new"));
        plan.channels.clear();
        assert_eq!(plan.turn(450), Err(550), "a node without channels");
    }

    #[test]
    fn rounds_that_take_too_long_keep_the_rhythm_and_do_not_pile_up() {
        let mut plan = Plan::new(1 << 63, &["a", "b"]);
        assert_eq!(plan.turn(50), dump("a"));
        assert_eq!(plan.turn(410), dump("b"), "the round goes on");
        assert_eq!(plan.turn(420), dump("a"), "four rounds were missed, one is made up for");
        assert_eq!(plan.turn(421), dump("b"));
        assert_eq!(plan.turn(422), Err(450));
    }

    #[test]
    fn a_failed_channel_is_tried_again_and_others_are_not_disturbed() {
        let mut plan = Plan::new(0, &["a", "b", "c"]);
        assert_eq!(plan.turn(0), dump("a"));
        plan.failed("a", 1);
        assert_eq!(plan.turn(2), dump("b"));
        assert_eq!(plan.turn(3), dump("c"));
        assert_eq!(plan.turn(4), Err(31));
        for second in [31, 62] {
            assert_eq!(plan.turn(second), dump("a"));
            plan.failed("a", second + 1);
            assert_eq!(plan.turn(second + 2), Err(second + 31));
        }
        assert_eq!(plan.turn(93), dump("a"));
        // It went well this time.
        assert_eq!(plan.turn(94), Err(100));
    }

    #[test]
    fn retries_take_turns_with_the_channels_of_a_round() {
        let mut plan = Plan::new(0, &["a", "b", "c", "d"]);
        // Each try takes so long that both retries are due again at once.
        assert_eq!(plan.turn(0), dump("a"));
        plan.failed("a", 10);
        assert_eq!(plan.turn(11), dump("b"));
        plan.failed("b", 20);
        assert_eq!(plan.turn(60), dump("a"), "due since 40");
        plan.failed("a", 61);
        assert_eq!(plan.turn(91), dump("c"), "a turn for the round");
        assert_eq!(plan.turn(92), dump("b"), "due longer than the other");
        assert_eq!(plan.turn(93), dump("d"));
        assert_eq!(plan.turn(94), dump("a"));
        plan.failed("a", 95);
        assert_eq!(plan.turn(100), dump("a"), "a new round is a try, too");
        assert_eq!(plan.turn(100), dump("b"));
        assert_eq!(plan.turn(126), dump("c"), "the former retry is part of the round");
    }
}

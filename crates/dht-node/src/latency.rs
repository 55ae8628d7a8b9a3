//! How long requests take as their clients see it: from the moment at which the first byte of a
//! request was there to be received, to the moment at which the last byte of its answer was handed
//! to the system.
//!
//! ```text
//! turn: time --> requests end: Ended, by kind --> the connection keeps them with the length of
//!                                                 its output --> sent so far? time --> counted
//! ```
//!
//! It costs two looks at the clock for a turn, however many requests it brings, and one if nobody
//! can ask, as without the admin port: then nothing is kept. Requests that go on until their client
//! is satisfied (Listen, Mirror, GetHashRange and moves) are left out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dht_protocol::{legacy, neo};

use crate::context::Context;
use crate::counters::{Counter, Counters};
use crate::slow::{SlowWatch, Slowest};

/// Upper edges of the buckets, in microseconds; the last bucket is above them all.
pub(crate) const LATENCY_EDGES_MICROS: [u64; 18] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Buckets of a histogram.
pub(crate) const LATENCY_BUCKETS: usize = LATENCY_EDGES_MICROS.len() + 1;

/// A histogram that one worker fills.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    total_micros: Counter,
    buckets: [Counter; LATENCY_BUCKETS],
    /// Those that took longer than `[Admin] slow_request_ms`.
    pub(crate) slow: Counter,
}

/// A reading of [`Latency`], or a sum of such readings.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct LatencyCounts {
    pub(crate) total_micros: u64,
    pub(crate) buckets: [u64; LATENCY_BUCKETS],
    pub(crate) slow: u64,
}

impl Latency {
    /// So many requests took so long.
    fn record(&self, took: Duration, count: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.total_micros.add(micros.saturating_mul(count));
        self.buckets[LATENCY_EDGES_MICROS.partition_point(|edge| *edge < micros)].add(count);
    }

    /// Adds the counts so far.
    pub(crate) fn add_to(&self, sum: &mut LatencyCounts) {
        sum.total_micros += self.total_micros.get();
        for (sum, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
        sum.slow += self.slow.get();
    }
}

/// A kind of request, of either protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Legacy(legacy::Command),
    Neo(neo::Command),
}

impl Kind {
    pub(crate) const fn protocol(self) -> &'static str {
        match self {
            Self::Legacy(_) => "legacy",
            Self::Neo(_) => "neo",
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Legacy(command) => command.name(),
            Self::Neo(command) => command.name(),
        }
    }

    /// Whether its end is its client's choice, or that of another node.
    pub(crate) const fn is_open_ended(self) -> bool {
        match self {
            Self::Legacy(command) => matches!(
                command,
                legacy::Command::Listen | legacy::Command::Redistribute | legacy::Command::MovePart
            ),
            Self::Neo(command) => matches!(
                command,
                neo::Command::Mirror | neo::Command::GetHashRange | neo::Command::MovePart
            ),
        }
    }

    /// Whether it goes through a whole channel: then it may take long.
    const fn is_scan(self) -> bool {
        match self {
            Self::Legacy(command) => matches!(
                command,
                legacy::Command::GetAll
                    | legacy::Command::GetAllKeys
                    | legacy::Command::GetAllFilter
            ),
            Self::Neo(command) => matches!(command, neo::Command::GetAll),
        }
    }

    fn latency(self, counters: &Counters) -> &Latency {
        match self {
            Self::Legacy(command) => &counters.legacy(command).latency,
            Self::Neo(command) => &counters.neo(command).latency,
        }
    }
}

/// Requests of one kind that ended in one turn, and whose first bytes came together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ended {
    kind: Kind,
    since: Instant,
    count: u64,
}

/// What a worker knows of the turn that it is in.
#[derive(Debug)]
pub(crate) struct Timing {
    /// When what is served in this turn of the worker was found to be ready.
    pub(crate) turn_at: Instant,
    /// When the last bytes of the connection that is served were received.
    received_at: Instant,
    /// Since when the first bytes of its input have been waiting, if they are older.
    waits_since: Option<Instant>,
    /// Whether anybody can ask how long requests take.
    is_on: bool,
    ended: Vec<Ended>,
    pub(crate) slow: SlowWatch,
}

impl Timing {
    pub(crate) fn new(now: Instant, is_on: bool, slow: SlowWatch) -> Self {
        Self { turn_at: now, received_at: now, waits_since: None, is_on, ended: Vec::new(), slow }
    }

    /// A request is taken from the input: since when it has been there.
    pub(crate) const fn begin(&mut self) -> Instant {
        match self.waits_since.take() {
            Some(since) => since,
            None => self.received_at,
        }
    }

    /// A request is over, and its answer is in the output.
    #[inline]
    pub(crate) fn end(&mut self, kind: Kind, since: Instant) {
        if self.is_on {
            self.keep(kind, since);
        }
    }

    fn keep(&mut self, kind: Kind, since: Instant) {
        let same = |ended: &&mut Ended| ended.kind == kind && ended.since == since;
        match self.ended.iter_mut().rev().find(same) {
            Some(ended) => ended.count += 1,
            None => self.ended.push(Ended { kind, since, count: 1 }),
        }
    }
}

/// A connection's input by age, and its answers that are not sent yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// When the last bytes were received.
    received_at: Instant,
    /// Since when the bytes at the front of the input have been there; none if it is empty.
    input_since: Option<Instant>,
    /// Requests whose answers end at these lengths of the output. As each has at least a byte of
    /// it, the bound of the output bounds them.
    unsent: VecDeque<(usize, Ended)>,
    slowest: Option<Box<Slowest>>,
}

impl Waiting {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { received_at: now, input_since: None, unsent: VecDeque::new(), slowest: None }
    }

    /// Bytes were received that the session does not work on yet.
    pub(crate) fn received(&mut self, now: Instant, bytes: usize) {
        if bytes > 0 {
            self.received_at = now;
            self.input_since.get_or_insert(now);
        }
    }

    /// Nobody is there any more to send answers to.
    pub(crate) fn forget(&mut self) {
        self.unsent.clear();
    }

    /// Bytes were received, or none, and the session is about to work on the input.
    pub(crate) fn begin_turn(&mut self, timing: &mut Timing, received: usize) {
        if received > 0 {
            self.received_at = timing.turn_at;
        }
        timing.received_at = self.received_at;
        timing.waits_since = self.input_since;
        timing.ended.clear();
    }

    /// The session has worked: so much input waits on, and the output has this length.
    pub(crate) fn end_turn(
        &mut self,
        timing: &mut Timing,
        received: usize,
        waits: usize,
        output: usize,
    ) {
        // What waits is the end of what was received, or more than that: then nothing was taken
        // that came before.
        self.input_since = match waits {
            0 => None,
            waits if waits <= received || timing.waits_since.is_none() => Some(self.received_at),
            _ => self.input_since,
        };
        self.unsent.extend(timing.ended.drain(..).map(|ended| (output, ended)));
        timing.slow.hand_over(&mut self.slowest);
    }

    /// Bytes went from the front of the output.
    pub(crate) fn compact(&mut self, gone: usize) {
        for (end, _) in &mut self.unsent {
            *end = end.saturating_sub(gone);
        }
    }

    /// The output is sent up to here.
    pub(crate) fn sent(&mut self, sent: usize, cx: &mut Context, peer: SocketAddr) {
        if self.unsent.front().is_none_or(|(end, _)| *end > sent) {
            return;
        }
        let (now, slow) = ((cx.clock)(), &mut cx.timing.slow);
        while let Some((end, ended)) = self.unsent.front().copied()
            && end <= sent
        {
            self.unsent.pop_front();
            let Ended { kind, since, count } = ended;
            let latency = kind.latency(&cx.counters);
            let took = now.saturating_duration_since(since);
            latency.record(took, count);
            if slow.is_slow(took) && !kind.is_scan() {
                latency.slow.add(count);
                slow.tell(kind, took, count, self.slowest.as_deref(), peer, now);
            }
        }
        if self.unsent.is_empty()
            && let Some(slowest) = &mut self.slowest
        {
            slowest.forget();
        }
    }
}

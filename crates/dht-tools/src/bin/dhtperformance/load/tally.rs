//! What became of the requests of a cycle.

use hdrhistogram::Histogram;

use super::Kind;

/// Longest latency that is told from longer ones: an hour, in nanoseconds.
const LATENCY_MAX: u64 = 3_600_000_000_000;
/// Significant decimal digits of a latency.
const DIGITS: u8 = 3;

/// Requests of a sort.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    /// Answered without an error; how long each took, in nanoseconds.
    latency: Histogram<u64>,
    /// Longest of these, to the nanosecond.
    longest: u64,
    /// Of those: there was no such record.
    pub(crate) missing: u64,
    /// Of those: took longer than asked for.
    pub(crate) long: u64,
    /// Not answered, or with an error.
    pub(crate) failed: u64,
    /// Of those: timed out.
    pub(crate) timed_out: u64,
}

impl Counts {
    pub(crate) fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX, DIGITS).expect("valid bounds");
        Self { latency, longest: 0, missing: 0, long: 0, failed: 0, timed_out: 0 }
    }

    /// A request was answered after `ns`.
    pub(super) fn answered(&mut self, ns: u64, missing: bool, long: bool) {
        self.latency.saturating_record(ns.max(1));
        self.longest = self.longest.max(ns);
        self.missing += u64::from(missing);
        self.long += u64::from(long);
    }

    pub(super) fn failed(&mut self, timed_out: bool) {
        self.failed += 1;
        self.timed_out += u64::from(timed_out);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency).expect("the same bounds");
        self.longest = self.longest.max(other.longest);
        self.missing += other.missing;
        self.long += other.long;
        self.failed += other.failed;
        self.timed_out += other.timed_out;
    }

    /// Requests that were answered without an error.
    pub(crate) fn answered_len(&self) -> u64 {
        self.latency.len()
    }

    /// All requests.
    pub(crate) fn len(&self) -> u64 {
        self.latency.len() + self.failed
    }

    /// Mean latency in nanoseconds.
    pub(crate) fn mean_ns(&self) -> f64 {
        self.latency.mean()
    }

    /// The latency at a fraction of the sorted list, in nanoseconds: the value at index
    /// floor(fraction * (count - 1)). 0 if there is none. Source: spec `tools` 3.2.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "counts are far below 2^52"
    )]
    pub(crate) fn at(&self, fraction: f64) -> u64 {
        let count = self.latency.len();
        if count == 0 {
            return 0;
        }
        let index = (fraction * (count - 1) as f64).floor() as u64;
        if index + 1 >= count {
            return self.longest;
        }
        // Half a place below, so that rounding cannot lead to the next one.
        let value = self.latency.value_at_quantile((index as f64 + 0.5) / count as f64);
        value.min(self.longest)
    }

    /// The latencies themselves, in nanoseconds.
    pub(crate) const fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }
}

/// All of a cycle.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// By `Kind as usize`; `None` if there was no such request.
    by_kind: [Option<Box<Counts>>; Kind::ALL.len()],
    /// By number of the target; empty unless asked for.
    pub(crate) by_node: Vec<Counts>,
}

impl Tally {
    /// `nodes`: how many servers have counts of their own.
    pub(crate) fn new(nodes: usize) -> Self {
        Self { by_kind: [const { None }; Kind::ALL.len()], by_node: vec![Counts::new(); nodes] }
    }

    pub(super) fn of_kind(&mut self, kind: Kind) -> &mut Counts {
        self.by_kind[kind as usize].get_or_insert_with(|| Box::new(Counts::new()))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (kind, counts) in other.kinds() {
            self.of_kind(kind).add(counts);
        }
        for (ours, others) in self.by_node.iter_mut().zip(&other.by_node) {
            ours.add(others);
        }
    }

    /// The kinds of which there were requests.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (Kind, &Counts)> {
        let counts = |kind: Kind| self.by_kind[kind as usize].as_deref().map(|found| (kind, found));
        Kind::ALL.into_iter().filter_map(counts)
    }

    pub(crate) fn total(&self) -> Counts {
        let mut total = Counts::new();
        for (_, counts) in self.kinds() {
            total.add(counts);
        }
        total
    }
}

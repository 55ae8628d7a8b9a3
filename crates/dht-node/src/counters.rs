//! What a worker counts. Only the worker writes its counters, the stats line reads them all, so
//! nothing on the way of a request is shared between cores.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dht_protocol::{legacy, neo};

use crate::hot_keys::HotKeys;
use crate::latency::{Latency, LatencyCounts};

/// Upper edges of the time buckets, in microseconds; the last bucket is above them all.
/// Source: spec `node` 8.4.
pub(crate) const BUCKET_EDGES_MICROS: [u64; 5] = [10, 100, 1_000, 10_000, 100_000];

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning thread may.
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// Subtracts; only the owning thread may.
    pub(crate) fn sub(&self, less: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(less), Relaxed);
    }

    /// The value, as of some moment not long ago.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Remembers the greatest value; only the owning thread may.
    pub(crate) fn raise_to(&self, value: u64) {
        if self.get() < value {
            self.0.store(value, Relaxed);
        }
    }
}

/// Counts of one kind of request.
#[derive(Debug, Default)]
pub(crate) struct RequestCounters {
    active: Counter,
    max_active: Counter,
    handled: Counter,
    total_micros: Counter,
    buckets: [Counter; BUCKET_EDGES_MICROS.len() + 1],
    /// The same as its clients see it.
    pub(crate) latency: Latency,
}

impl RequestCounters {
    /// A request begins.
    pub(crate) fn begin(&self) {
        self.active.add(1);
        self.max_active.raise_to(self.active.get());
    }

    /// A request is over.
    pub(crate) fn end(&self) {
        self.active.sub(1);
        self.handled.add(1);
    }

    /// A request that is timed is over.
    pub(crate) fn end_after(&self, took: Duration) {
        self.active.sub(1);
        self.together(1, Some(took));
    }

    /// So many requests were executed, one after the other, at least one: in this time, if they are
    /// timed. They were never counted as active.
    pub(crate) fn together(&self, count: usize, took: Option<Duration>) {
        self.max_active.raise_to(self.active.get() + 1);
        let count = count as u64;
        self.handled.add(count);
        if let Some(took) = took {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            self.total_micros.add(micros);
            let share = micros / count;
            self.buckets[BUCKET_EDGES_MICROS.partition_point(|edge| *edge < share)].add(count);
        }
    }

    /// How many are over. Leaves what the stats line reads as it is.
    pub(crate) fn handled(&self) -> u64 {
        self.handled.get()
    }

    /// The counts so far; `max_active` starts again from what is active now.
    pub(crate) fn read(&self) -> RequestCounts {
        let active = self.active.get();
        let max_active = self.max_active.get().max(active);
        // The owner may raise it at this very moment; a stats line then misses one peak.
        self.max_active.0.store(active, Relaxed);
        RequestCounts {
            max_active,
            handled: self.handled.get(),
            total_micros: self.total_micros.get(),
            buckets: std::array::from_fn(|i| self.buckets[i].get()),
        }
    }

    /// Adds how many are active now, how many are over, and their latencies; changes nothing.
    pub(crate) fn add_to(&self, active: &mut u64, handled: &mut u64, latency: &mut LatencyCounts) {
        *active += self.active.get();
        *handled += self.handled.get();
        self.latency.add_to(latency);
    }
}

/// A reading of [`RequestCounters`], or a sum of such readings.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct RequestCounts {
    pub(crate) max_active: u64,
    pub(crate) handled: u64,
    pub(crate) total_micros: u64,
    pub(crate) buckets: [u64; BUCKET_EDGES_MICROS.len() + 1],
}

impl RequestCounts {
    /// Adds another worker's reading.
    pub(crate) fn add(&mut self, other: &Self) {
        self.max_active += other.max_active;
        self.handled += other.handled;
        self.total_micros += other.total_micros;
        for (sum, more) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += more;
        }
    }

    /// What came since an earlier reading.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            max_active: self.max_active,
            handled: self.handled - before.handled,
            total_micros: self.total_micros - before.total_micros,
            buckets: std::array::from_fn(|i| self.buckets[i] - before.buckets[i]),
        }
    }
}

/// Records and bytes of one kind of action. Bytes are those of the values.
#[derive(Debug, Default)]
pub(crate) struct ActionCounter {
    pub(crate) records: Counter,
    pub(crate) bytes: Counter,
}

impl ActionCounter {
    /// Counts one record.
    pub(crate) fn record(&self, value_bytes: usize) {
        self.add(1, value_bytes as u64);
    }

    /// Counts many.
    pub(crate) fn add(&self, records: u64, value_bytes: u64) {
        self.records.add(records);
        self.bytes.add(value_bytes);
    }
}

/// What was done with records. Source: spec `node` 8.4, group "actions".
#[derive(Debug, Default)]
pub(crate) struct Actions {
    pub(crate) written: ActionCounter,
    pub(crate) read: ActionCounter,
    pub(crate) forwarded: ActionCounter,
    pub(crate) iterated: ActionCounter,
    pub(crate) deleted: ActionCounter,
}

impl Actions {
    /// Name and counter of each, in the order of the stats line.
    pub(crate) fn all(&self) -> [(&'static str, &ActionCounter); 5] {
        [
            ("written", &self.written),
            ("read", &self.read),
            ("forwarded", &self.forwarded),
            ("iterated", &self.iterated),
            ("deleted", &self.deleted),
        ]
    }
}

/// How full the fullest queue of each kind has ever been, against its bound.
#[derive(Debug, Default)]
pub(crate) struct Peaks {
    /// Bytes of one connection's output that waited to be sent.
    pub(crate) output_bytes: Counter,
    /// Bytes that one connection had received and not taken.
    pub(crate) input_bytes: Counter,
    /// Changes that one Mirror found in its subscription.
    pub(crate) mirror_events: Counter,
    /// Changes that waited for one Mirror's client.
    pub(crate) mirror_changes: Counter,
    /// Keys that waited for one Listen's client.
    pub(crate) listen_keys: Counter,
}

impl Peaks {
    /// Name and peak of each.
    pub(crate) fn all(&self) -> [(&'static str, &Counter); 5] {
        [
            ("output_bytes", &self.output_bytes),
            ("input_bytes", &self.input_bytes),
            ("mirror_events", &self.mirror_events),
            ("mirror_changes", &self.mirror_changes),
            ("listen_keys", &self.listen_keys),
        ]
    }
}

/// Everything that one worker counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_sent: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) actions: Actions,
    pub(crate) peaks: Peaks,
    pub(crate) hot_keys: HotKeys,
    legacy: [RequestCounters; legacy::Command::ALL.len()],
    neo: [RequestCounters; neo::Command::ALL.len()],
}

impl Counters {
    /// The counters of a legacy request.
    pub(crate) fn legacy(&self, command: legacy::Command) -> &RequestCounters {
        &self.legacy[command.index()]
    }

    /// The counters of a neo request.
    pub(crate) fn neo(&self, command: neo::Command) -> &RequestCounters {
        &self.neo[command.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_the_bucket_whose_edge_they_do_not_pass() {
        let counters = RequestCounters::default();
        for micros in [0, 10, 11, 100, 101, 1_000, 10_000, 100_000, 100_001, 5_000_000] {
            counters.begin();
            counters.end_after(Duration::from_micros(micros));
        }
        let counts = counters.read();
        assert_eq!(counts.buckets, [2, 2, 2, 1, 1, 2]);
        assert_eq!((counts.handled, counts.max_active), (10, 1));
        assert_eq!(counts.total_micros, 5_211_223);
    }

    #[test]
    fn max_active_starts_each_period_from_what_is_active() {
        let counters = RequestCounters::default();
        for _ in 0..3 {
            counters.begin();
        }
        counters.end();
        assert_eq!(counters.read().max_active, 3);
        assert_eq!(counters.read().max_active, 2);
    }

    #[test]
    fn every_command_has_counters_of_its_own() {
        let counters = Counters::default();
        for command in legacy::Command::ALL {
            counters.legacy(*command).begin();
            counters.legacy(*command).end();
        }
        for command in neo::Command::ALL {
            counters.neo(*command).begin();
            counters.neo(*command).end();
        }
        let mut all = counters.legacy.iter().chain(&counters.neo);
        assert!(all.all(|one| one.read().handled == 1));
    }
}

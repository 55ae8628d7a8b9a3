//! The node's line in the stats log: what the workers have counted since the line before.
//!
//! Source: spec `node` 8.4, in the order of its table.

use std::sync::Arc;
use std::time::Instant;

use dht_daemon::log::Logs;
use dht_daemon::stats::StatsLine;
use dht_daemon::stats::process::ProcessMeter;
use dht_protocol::legacy::Command;
use dht_protocol::neo;

use crate::counters::{BUCKET_EDGES_MICROS, Counters, RequestCounts};
use crate::legacy::TIMED;
use crate::neo::TIMED as NEO_TIMED;
use crate::shared::{ConnectionCount, Shared};

/// The legacy requests that have figures, in the order of the specification.
const LEGACY: [Command; 10] = [
    Command::Put,
    Command::Get,
    Command::Exists,
    Command::Remove,
    Command::Listen,
    Command::GetAll,
    Command::GetAllKeys,
    Command::GetAllFilter,
    Command::PutBatch,
    Command::Redistribute,
];

/// The last words of the time buckets' names.
const BUCKET_NAMES: [&str; BUCKET_EDGES_MICROS.len() + 1] =
    ["10_micros", "100_micros", "1_ms", "10_ms", "100_ms", "over_100_ms"];

/// Remembers what the line before has told.
pub(crate) struct Stats {
    shared: Arc<Shared>,
    workers: Vec<Arc<Counters>>,
    process: ProcessMeter,
    before: Totals,
}

/// All workers' counts since the start.
#[derive(Debug, Default, Clone)]
struct Totals {
    bytes_sent: u64,
    bytes_received: u64,
    legacy: [RequestCounts; LEGACY.len()],
    neo: [RequestCounts; neo::Command::ALL.len()],
    /// Name, records and bytes of each action.
    actions: [(&'static str, u64, u64); 5],
}

impl Totals {
    fn read(workers: &[Arc<Counters>]) -> Self {
        let mut totals = Self::default();
        for worker in workers {
            totals.bytes_sent += worker.bytes_sent.get();
            totals.bytes_received += worker.bytes_received.get();
            for (sum, command) in totals.legacy.iter_mut().zip(LEGACY) {
                sum.add(&worker.legacy(command).read());
            }
            for (sum, command) in totals.neo.iter_mut().zip(neo::Command::ALL) {
                sum.add(&worker.neo(*command).read());
            }
            for (sum, (name, action)) in totals.actions.iter_mut().zip(worker.actions.all()) {
                *sum = (name, sum.1 + action.records.get(), sum.2 + action.bytes.get());
            }
        }
        totals
    }
}

impl Stats {
    pub(crate) fn new(shared: Arc<Shared>, workers: Vec<Arc<Counters>>, now: Instant) -> Self {
        Self { shared, workers, process: ProcessMeter::new(now), before: Totals::default() }
    }

    /// The line for the time since the last one.
    pub(crate) fn line(&mut self, now: Instant, logs: &Logs) -> StatsLine {
        let totals = Totals::read(&self.workers);
        let mut line = StatsLine::new();
        line.process(&self.process.figures(now));
        line.item("bytes_sent", totals.bytes_sent - self.before.bytes_sent);
        line.item("bytes_received", totals.bytes_received - self.before.bytes_received);
        connections(&mut line, "handling_connections", &self.shared.legacy_connections);
        connections(&mut line, "handling_neo_connections", &self.shared.neo_connections);
        self.storage(&mut line);
        // No version of a request that this node speaks is marked for removal.
        line.item("old_request_versions_in_use", 0_u32);
        for (i, command) in LEGACY.into_iter().enumerate() {
            let counts = totals.legacy[i].since(&self.before.legacy[i]);
            active_and_handled(&mut line, "request", command.name(), &counts);
            times(&mut line, "request", command.name(), TIMED.contains(&command), &counts);
        }
        for (i, command) in neo::Command::ALL.iter().enumerate() {
            // Compat: the line has the original's requests, no others.
            if *command == neo::Command::MovePart {
                continue;
            }
            let counts = totals.neo[i].since(&self.before.neo[i]);
            active_and_handled(&mut line, "neo_request", command.name(), &counts);
            if NEO_TIMED.contains(command) {
                times(&mut line, "neo_request", command.name(), true, &counts);
            }
        }
        for (now, before) in totals.actions.iter().zip(self.before.actions) {
            line.nested("action", now.0, "records", now.1 - before.1);
            line.nested("action", now.0, "bytes", now.2 - before.2);
        }
        line.log_counts(&logs.take_counts());
        self.before = totals;
        line
    }

    fn storage(&self, line: &mut StatsLine) {
        let (store, settings) = (&self.shared.store, &self.shared.settings);
        line.item("total_bytes", self.shared.bytes());
        line.item("total_records", store.usage().records);
        for channel in store.channels() {
            let usage = channel.usage();
            line.nested("channel", channel.name(), "bytes", settings.bytes(1, usage));
            line.nested("channel", channel.name(), "records", usage.records);
        }
    }
}

/// How many connections there are, and how many hundredths of the limit.
fn connections(line: &mut StatsLine, name: &str, count: &ConnectionCount) {
    line.item(name, count.open());
    let percent = (count.open() * 100).checked_div(count.max()).unwrap_or(0);
    line.item(format_args!("{name}_pcnt"), percent);
}

fn active_and_handled(line: &mut StatsLine, group: &str, name: &str, counts: &RequestCounts) {
    line.nested(group, name, "max_active", counts.max_active);
    line.nested(group, name, "handled", counts.handled);
}

fn times(line: &mut StatsLine, group: &str, name: &str, timed: bool, counts: &RequestCounts) {
    // Compat: without a request the mean is not a number. A worker may have counted a request and
    // not its time yet; then that time counts in the next line, be there a request or not.
    let mean = match counts.handled {
        handled if timed && handled > 0 => counts.total_micros as f64 / handled as f64,
        _ => f64::NAN,
    };
    line.nested(group, name, "mean_handled_time_micros", mean);
    for (bucket, count) in BUCKET_NAMES.iter().zip(counts.buckets) {
        line.item(format_args!("{group}/{name}/handled_{bucket}"), count);
    }
}

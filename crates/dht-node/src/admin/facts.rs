//! All figures of now, gathered once for whoever asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dht_protocol::{legacy, neo};
use dht_storage::{MemoryUse, Usage};
use dht_types::ChannelName;

use crate::counters::{Counters, Peaks};
use crate::durability::LogReport;
use crate::hot_keys::{self, HotReport};
use crate::latency::{Kind, LatencyCounts};
use crate::moves::MovesReport;
use crate::persist::DumpReport;
use crate::program::queue_bounds;
use crate::ranges::RangeView;
use crate::shared::{ConnectionCount, Shared};
use crate::streams::StreamFacts;

/// What the store says of its memory takes a look at every segment of every channel: it is done
/// again after so long.
const MEMORY_AGE_MAX: Duration = Duration::from_secs(5);

/// Where the figures come from.
pub(super) struct Source {
    pub(super) shared: Arc<Shared>,
    workers: Vec<Arc<Counters>>,
    memory: Mutex<Option<(Instant, MemoryUse)>>,
}

/// The figures.
pub(super) struct Facts {
    pub(super) workers: usize,
    pub(super) requests: Vec<RequestFacts>,
    /// Name, records and bytes of values of each action.
    pub(super) actions: Vec<(&'static str, u64, u64)>,
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) connections: [ConnectionFacts; 2],
    /// Name, peak and bound of each kind of queue.
    pub(super) queues: Vec<(&'static str, u64, u64)>,
    pub(super) usage: Usage,
    /// By name.
    pub(super) channels: Vec<ChannelFacts>,
    /// In the order of `channels`.
    pub(super) dumps: DumpReport,
    pub(super) log: Option<LogReport>,
    pub(super) memory: MemoryUse,
    pub(super) streams: Vec<Arc<StreamFacts>>,
    /// Changes that were lost on their way to streams, since the start.
    pub(super) stream_losses: u64,
    pub(super) view: Arc<RangeView>,
    pub(super) moves: MovesReport,
}

/// Of one kind of request.
pub(super) struct RequestFacts {
    pub(super) kind: Kind,
    pub(super) active: u64,
    pub(super) handled: u64,
    pub(super) latency: LatencyCounts,
}

/// Of one protocol.
pub(super) struct ConnectionFacts {
    pub(super) protocol: &'static str,
    pub(super) open: usize,
    pub(super) max: usize,
    pub(super) accepted: u64,
    pub(super) refused: u64,
}

/// Of one channel.
pub(super) struct ChannelFacts {
    pub(super) name: ChannelName,
    pub(super) usage: Usage,
    pub(super) subscribers: usize,
}

impl Source {
    pub(super) fn new(shared: Arc<Shared>, workers: Vec<Arc<Counters>>) -> Self {
        Self { shared, workers, memory: Mutex::new(None) }
    }

    pub(super) fn dump_report(&self, now: Instant) -> DumpReport {
        self.shared.dump_report(&self.shared.store.channels(), now)
    }

    /// Which keys are asked for most.
    pub(super) fn hot_keys(&self, now: Instant) -> HotReport {
        hot_keys::report(self.workers.iter().map(|worker| &worker.hot_keys), now)
    }

    pub(super) fn facts(&self, now: Instant) -> Facts {
        let Shared { store, streams, ranges, moves, keeper, .. } = &*self.shared;
        let channels = store.channels();
        let usages = store.usages(&channels);
        let dumps = self.shared.dump_report(&channels, now);
        let channels = channels.iter().zip(usages).map(|(channel, usage)| ChannelFacts {
            name: channel.name().clone(),
            usage,
            subscribers: channel.subscribers(),
        });
        let connections = [
            connections("legacy", &self.shared.legacy_connections),
            connections("neo", &self.shared.neo_connections),
        ];
        let sum = |of: fn(&Counters) -> u64| self.workers.iter().map(|worker| of(worker)).sum();
        Facts {
            workers: self.workers.len(),
            requests: self.requests(),
            actions: self.actions(),
            bytes_received: sum(|worker| worker.bytes_received.get()),
            bytes_sent: sum(|worker| worker.bytes_sent.get()),
            connections,
            queues: self.queues(),
            usage: store.usage(),
            channels: channels.collect(),
            dumps,
            log: keeper.as_ref().map(|keeper| keeper.report()),
            memory: self.memory(now),
            streams: streams.all(),
            stream_losses: streams.losses(),
            view: ranges.current().0,
            moves: moves.report(),
        }
    }

    fn requests(&self) -> Vec<RequestFacts> {
        let legacy = legacy::Command::ALL.iter().map(|command| Kind::Legacy(*command));
        let neo = neo::Command::ALL.iter().map(|command| Kind::Neo(*command));
        let facts = legacy.chain(neo).map(|kind| {
            let (mut active, mut handled, mut latency) = (0, 0, LatencyCounts::default());
            for worker in &self.workers {
                let counters = match kind {
                    Kind::Legacy(command) => worker.legacy(command),
                    Kind::Neo(command) => worker.neo(command),
                };
                counters.add_to(&mut active, &mut handled, &mut latency);
            }
            RequestFacts { kind, active, handled, latency }
        });
        facts.collect()
    }

    fn actions(&self) -> Vec<(&'static str, u64, u64)> {
        let mut sums: Vec<(&'static str, u64, u64)> = Vec::new();
        for worker in &self.workers {
            for (at, (name, action)) in worker.actions.all().into_iter().enumerate() {
                if at == sums.len() {
                    sums.push((name, 0, 0));
                }
                sums[at].1 += action.records.get();
                sums[at].2 += action.bytes.get();
            }
        }
        sums
    }

    fn queues(&self) -> Vec<(&'static str, u64, u64)> {
        let peak = |name: &str| {
            let peaks = self.workers.iter().flat_map(|worker| Peaks::all(&worker.peaks));
            peaks.filter(|(other, _)| *other == name).map(|(_, peak)| peak.get()).max()
        };
        let bounds = queue_bounds().into_iter();
        bounds.map(|(name, bound)| (name, peak(name).unwrap_or(0), bound as u64)).collect()
    }

    fn memory(&self, now: Instant) -> MemoryUse {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        match *memory {
            Some((at, known)) if now.saturating_duration_since(at) < MEMORY_AGE_MAX => known,
            _ => memory.insert((now, self.shared.store.memory())).1,
        }
    }
}

fn connections(protocol: &'static str, count: &ConnectionCount) -> ConnectionFacts {
    let (accepted, refused) = count.totals();
    ConnectionFacts { protocol, open: count.open(), max: count.max(), accepted, refused }
}

impl Facts {
    /// At most so many channels, in the order of their names: those whose dumps fail, however
    /// small, and the largest by bytes of their values.
    pub(super) fn channels_to_tell(&self, max: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..self.channels.len()).collect();
        if numbers.len() > max {
            let rank = |at: &usize| {
                let usage = self.channels[*at].usage;
                let is_failing = self.dumps.channels[*at].error.is_some();
                std::cmp::Reverse((is_failing, usage.value_bytes, usage.records))
            };
            numbers.sort_by_key(rank);
            numbers.truncate(max);
            numbers.sort_unstable();
        }
        numbers
    }
}

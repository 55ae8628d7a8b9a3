//! What all workers of a node share: the store, the settings, the number of open connections.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use dht_protocol::legacy;
use dht_protocol::neo::credentials::Credentials;
use dht_storage::{Channel, Store, Usage};

use crate::admission::CountQueries;
use crate::driver::DriverKind;
use crate::durability::{Keeper, Level};
use crate::moves::Moves;
use crate::persist::{DumpReport, Dumps};
use crate::ranges::Ranges;
use crate::slow::SlowRequests;
use crate::streams::Streams;

/// Shared by the workers and the control thread; immutable but for what is atomic inside.
pub(crate) struct Shared {
    /// All records.
    pub(crate) store: Store,
    /// The keys that this node is responsible for.
    pub(crate) ranges: Ranges,
    /// Records on their way to other nodes, and from them.
    pub(crate) moves: Moves,
    /// What is known of dumps; every removal of a channel goes through it.
    pub(crate) dumps: Dumps,
    /// The log of changes; none if no channel has a durability level above `memory`, and nothing is
    /// left of an earlier one.
    pub(crate) keeper: Option<Arc<Keeper>>,
    /// The streams that are under way.
    pub(crate) streams: Arc<Streams>,
    /// The last requests that took long.
    pub(crate) slow_requests: Arc<SlowRequests>,
    /// Settings that requests depend on.
    pub(crate) settings: Settings,
    /// Open legacy connections.
    pub(crate) legacy_connections: ConnectionCount,
    /// Open neo connections.
    pub(crate) neo_connections: ConnectionCount,
    /// Who wants them counted.
    pub(crate) count_queries: CountQueries,
    /// Who may connect by neo; replaced as a whole.
    pub(crate) credentials: RwLock<Arc<Credentials>>,
}

/// What the configuration says about requests.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The bind address as it was configured; some requests repeat it.
    pub(crate) address: String,
    /// The legacy port that is really bound.
    pub(crate) port: u16,
    /// The neo port that is really bound.
    pub(crate) neo_port: u16,
    /// Where dump files live.
    pub(crate) data_dir: PathBuf,
    /// Bytes of a legacy batch before compression; a legacy value may have 32 bytes less.
    pub(crate) batch_bytes_max: usize,
    /// Limit for [`Shared::bytes`], 0 for none.
    pub(crate) bytes_max: u64,
    /// What serves the sockets.
    pub(crate) driver: DriverKind,
    /// How often what a Listen has gathered is sent.
    pub(crate) listen_flush_period: Duration,
    /// How long a neo client may take to authenticate.
    pub(crate) neo_auth_timeout: Duration,
    /// Bytes that the original reports for a channel without records.
    pub(crate) channel_base_bytes: u64,
    /// While this node redistributes, PutBatch may fill it to so many times what it had.
    pub(crate) redist_memory_limit_multiplier: f64,
    /// Whether it is measured how long requests take: there is an admin port that tells it.
    pub(crate) times_requests: bool,
    /// A request that takes so long is told of; none: nobody watches.
    pub(crate) slow_request: Option<Duration>,
    /// One in so many requests about a record is in the sample of hot keys; 0: none.
    pub(crate) hot_key_sample: u32,
}

/// Bytes that the original reports for each record on top of its value: its library's 48 bytes of
/// bookkeeping and 8 of key.
const RECORD_BASE_BYTES: u64 = 56;

/// Bytes that the original reports for an empty channel with `bnum` buckets (0: its default).
///
/// Source: spec `node` 11.1.
pub(crate) fn channel_base_bytes(bnum: u32) -> u64 {
    let buckets = if bnum == 0 { 65_536 } else { u64::from(bnum) };
    8 * (buckets / 8 + 17) * 8
}

/// Bytes of a record in a legacy batch besides its value. Source: spec `protocol-legacy` 3.
const LEGACY_RECORD_OVERHEAD: usize = 32;

impl Settings {
    /// What the legacy protocol accepts.
    pub(crate) const fn legacy_limits(&self) -> legacy::Limits {
        legacy::Limits { put_value_bytes_max: self.batch_bytes_max - LEGACY_RECORD_OVERHEAD }
    }

    /// What a channel with so much in it is said to take.
    ///
    /// Compat: the estimate of the original's library. Limits and dashboards are set to it; what a
    /// record takes here is far less.
    pub(crate) fn bytes(&self, channels: u64, usage: Usage) -> u64 {
        channels * self.channel_base_bytes + usage.records * RECORD_BASE_BYTES + usage.value_bytes
    }
}

impl Shared {
    /// Who may connect by neo, as of now.
    pub(crate) fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on, these may. Open connections stay.
    pub(crate) fn replace_credentials(&self, credentials: Credentials) {
        let credentials = Arc::new(credentials);
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = credentials;
    }

    /// The highest durability level that a channel may have.
    pub(crate) fn greatest_level(&self) -> Level {
        self.keeper.as_ref().map_or(Level::Memory, |keeper| keeper.config().greatest())
    }

    /// How it stands with the dumps of these channels, and with the log.
    pub(crate) fn dump_report(&self, channels: &[Arc<Channel>], now: Instant) -> DumpReport {
        let trouble = self.keeper.as_ref().and_then(|log| log.trouble());
        self.dumps.report(channels, trouble, now)
    }

    /// What all channels together are said to take, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.settings.bytes(self.store.channel_count() as u64, self.store.usage())
    }
}

/// How many connections of a kind are open, and how many may be.
#[derive(Debug)]
pub(crate) struct ConnectionCount {
    open: AtomicUsize,
    max: usize,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl ConnectionCount {
    /// None open; `max` 0 means any number.
    pub(crate) const fn new(max: usize) -> Self {
        let (accepted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { open: AtomicUsize::new(0), max, accepted, refused }
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// The limit; 0 means none.
    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    /// Counts one more, unless there are as many as may be. Only the accepting thread calls it.
    pub(crate) fn try_open(&self) -> bool {
        let free = self.max == 0 || self.open() < self.max;
        if free {
            self.open.fetch_add(1, Relaxed);
            self.accepted.fetch_add(1, Relaxed);
        }
        free
    }

    /// Counts one that is closed at once, as there are too many.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// How many were accepted so far, and how many closed at once, as there were too many.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.accepted.load(Relaxed), self.refused.load(Relaxed))
    }

    /// Counts one less.
    pub(crate) fn close(&self) {
        self.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_original() {
        assert_eq!(channel_base_bytes(0), 525_376);
        assert_eq!(channel_base_bytes(65_536), 525_376);
        assert_eq!(channel_base_bytes(1_000), 8 * (125 + 17) * 8);
    }

    #[test]
    fn connections_are_counted_up_to_the_limit() {
        let count = ConnectionCount::new(2);
        assert!(count.try_open() && count.try_open() && !count.try_open());
        count.close();
        assert!(count.try_open());
        assert_eq!(count.open(), 2);
    }
}

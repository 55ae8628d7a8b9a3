//! The streams that are under way, for those who want to know which clients lag behind.
//!
//! Each Listen and Mirror has an entry here while it runs. Its worker writes the figures, whoever
//! asks reads them; the list is locked when a stream begins or ends, and when somebody asks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dht_storage::SubscriptionMeter;
use dht_types::ChannelName;
use slab::Slab;

use crate::context::Context;
use crate::counters::Counter;
use crate::latency::Kind;

/// All streams of a node.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    list: Mutex<Slab<Arc<StreamFacts>>>,
    /// Changes that found no room, of all streams since the start.
    losses: AtomicU64,
}

/// What is known of one.
#[derive(Debug)]
pub(crate) struct StreamFacts {
    pub(crate) kind: Kind,
    pub(crate) channel: ChannelName,
    pub(crate) peer: SocketAddr,
    pub(crate) began: Instant,
    /// Changes in the subscription, which the worker has not taken yet.
    meter: SubscriptionMeter,
    /// Changes that the worker has taken and not sent yet.
    taken: AtomicU64,
    /// Changes that found no room.
    dropped: Counter,
    /// Milliseconds from `began`, and 1, since when something has been waiting all the time; 0:
    /// nothing waits.
    behind_ms: AtomicU64,
}

impl StreamFacts {
    /// Changes that wait for the client.
    pub(crate) fn waiting(&self) -> u64 {
        self.taken.load(Relaxed) + self.meter.waiting() as u64
    }

    /// Changes that found no room.
    pub(crate) fn lost(&self) -> u64 {
        self.dropped.get() + self.meter.dropped()
    }

    /// For how long changes have been waiting without a pause.
    pub(crate) fn lag(&self, now: Instant) -> Duration {
        match self.behind_ms.load(Relaxed) {
            0 => Duration::ZERO,
            ms => now.saturating_duration_since(self.began + Duration::from_millis(ms - 1)),
        }
    }
}

/// A stream's place in the list; dropping it ends that.
pub(crate) struct StreamEntry {
    streams: Arc<Streams>,
    number: usize,
    facts: Arc<StreamFacts>,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, Slab<Arc<StreamFacts>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes that found no room, of all streams since the start.
    pub(crate) fn losses(&self) -> u64 {
        let untold = self.lock().iter().map(|(_, facts)| facts.meter.dropped()).sum::<u64>();
        self.losses.load(Relaxed) + untold
    }

    /// Those that are under way.
    pub(crate) fn all(&self) -> Vec<Arc<StreamFacts>> {
        self.lock().iter().map(|(_, facts)| Arc::clone(facts)).collect()
    }
}

impl StreamEntry {
    pub(crate) fn new(
        cx: &Context,
        kind: Kind,
        channel: ChannelName,
        meter: SubscriptionMeter,
    ) -> Self {
        let facts = Arc::new(StreamFacts {
            kind,
            channel,
            peer: cx.peer,
            began: cx.timing.turn_at,
            meter,
            taken: AtomicU64::new(0),
            dropped: Counter::default(),
            behind_ms: AtomicU64::new(0),
        });
        let streams = Arc::clone(&cx.shared.streams);
        let number = streams.lock().insert(Arc::clone(&facts));
        Self { streams, number, facts }
    }

    /// So many changes wait on, of those that the worker has taken.
    pub(crate) fn waits(&self, taken: usize, now: Instant) {
        let facts = &self.facts;
        facts.taken.store(taken as u64, Relaxed);
        if taken == 0 {
            facts.behind_ms.store(0, Relaxed);
        } else {
            self.lags(now);
        }
    }

    /// Something waits that cannot be sent.
    pub(crate) fn lags(&self, now: Instant) {
        let facts = &self.facts;
        if facts.behind_ms.load(Relaxed) == 0 {
            let since = now.saturating_duration_since(facts.began).as_millis();
            facts.behind_ms.store(u64::try_from(since).unwrap_or(u64::MAX - 1) + 1, Relaxed);
        }
    }

    /// So many changes were lost.
    pub(crate) fn dropped(&self, count: u64) {
        self.facts.dropped.add(count);
        self.streams.losses.fetch_add(count, Relaxed);
    }
}

impl Drop for StreamEntry {
    fn drop(&mut self) {
        self.streams.lock().remove(self.number);
    }
}

//! What a handler may use: the store and settings, and what its worker owns.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use dht_protocol::legacy::batch::Compressor;
use dht_protocol::neo::batch::RefreshBatch;
use dht_protocol::wire::Writer;
use dht_storage::{Change, Channel, Notify, PutError};
use dht_types::{ChannelName, Key};
use rustc_hash::FxHashMap;

use crate::alarms::Alarm;
use crate::counters::Counters;
use crate::driver::ConnId;
use crate::durability::{Journal, NotLogged};
use crate::hot_keys::Sampler;
use crate::latency::Timing;
use crate::mailbox::Mailbox;
use crate::ranges::RangeView;
use crate::session::BATCH_REQUESTS;
use crate::shared::Shared;
use crate::slow::SlowWatch;

/// Tells the time. Only the worker loop's may ask the system.
pub(crate) type Clock = fn() -> Instant;

/// Tells the seconds since 1970.
pub(crate) type UnixTime = fn() -> u64;

/// Handed down to handlers for one call; owned by the worker.
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) clock: Clock,
    pub(crate) unix_time: UnixTime,
    /// The connection that is being served.
    pub(crate) conn: ConnId,
    /// Who is on its other end.
    pub(crate) peer: SocketAddr,
    /// Whether the client may remove channels by neo.
    pub(crate) client_is_admin: bool,
    pub(crate) codec: Codec,
    /// Where changes are logged; none if no channel has a durability level above `memory`.
    pub(crate) journal: Option<Journal>,
    /// When which stream of which connection is to be woken; taken by the worker.
    pub(crate) alarms: Vec<Alarm>,
    /// How long the requests of this turn take.
    pub(crate) timing: Timing,
    sampler: Sampler,
    /// Which keys are whose, as this turn goes by.
    pub(crate) view: Arc<RangeView>,
    /// That of the view.
    generation: u64,
    channels: ChannelCache,
}

/// How long a request waits at most for a part that is changing hands. The taker answers within
/// milliseconds; a worker must not be held up by one that does not.
const FROZEN_WAIT_MAX: Duration = Duration::from_millis(500);

/// Where a record is to be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Here, and nowhere else.
    Ours,
    /// Another node gets it; if it is not here, it is there already.
    Leaving,
    /// It was here once.
    Gone,
    /// It never was ours.
    Elsewhere,
}

/// Buffers for compressed batches, reused from request to request.
#[derive(Debug)]
pub(crate) struct Codec {
    pub(crate) compressor: Compressor,
    /// The records of a batch that was received.
    pub(crate) records: Vec<u8>,
    /// The batch that a step of a Mirror's refresh fills; empty between steps.
    pub(crate) refresh_batch: RefreshBatch,
}

/// Largest buffer for received records that is kept for the next batch, in bytes.
const RECORDS_KEPT_BYTES: usize = 1024 * 1024;

/// How often a write is tried on a channel that is removed under its hands and made again.
pub(crate) const PUT_TRIES_MAX: usize = 8;

/// A write that could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    /// There are as many channels as the store holds.
    #[error("the channel cannot be created")]
    NoChannel,
    /// No memory, or a value that no store takes.
    #[error("no room for the record")]
    NoRoom,
    /// The log cannot be written, so the change would not be durable.
    #[error("the log cannot be written")]
    NotLogged,
}

impl From<NotLogged> for WriteError {
    fn from(_: NotLogged) -> Self {
        Self::NotLogged
    }
}

/// Why a record was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeError {
    /// The channel was removed a moment ago.
    Closed,
    /// It could not be done.
    Failed(WriteError),
}

impl Context {
    pub(crate) fn new(
        shared: Arc<Shared>,
        counters: Arc<Counters>,
        mailbox: Arc<Mailbox>,
        journal: Option<Journal>,
        clock: Clock,
        unix_time: UnixTime,
    ) -> Self {
        let codec = Codec {
            compressor: Compressor::new(),
            records: Vec::new(),
            refresh_batch: RefreshBatch::new(),
        };
        let peer = SocketAddr::from(([0, 0, 0, 0], 0));
        let channels = ChannelCache::default();
        let (view, generation) = shared.ranges.current();
        mailbox.saw(generation);
        let settings = &shared.settings;
        let slow =
            SlowWatch::new(settings.slow_request, Arc::clone(&shared.slow_requests), unix_time);
        let (timing, sampler) = (
            Timing::new(clock(), settings.times_requests, slow),
            Sampler::new(settings.hot_key_sample),
        );
        Self {
            shared,
            counters,
            mailbox,
            clock,
            unix_time,
            conn: 0,
            peer,
            client_is_admin: false,
            codec,
            journal,
            alarms: Vec::new(),
            timing,
            sampler,
            view,
            generation,
            channels,
        }
    }

    /// Has the stream woken at that time, if its connection still exists then.
    pub(crate) fn wake_at(&mut self, at: Instant, stream: u64) {
        self.alarms.push(Alarm { at, conn: self.conn, stream });
    }

    /// Whether anybody wants to know which records requests are about.
    pub(crate) fn watches(&self) -> bool {
        self.sampler.is_on() || self.timing.slow.is_on()
    }

    /// A request about a record begins: its key may be in the sample of hot keys.
    #[inline]
    pub(crate) fn sample(&mut self, channel: &str, key: Key) {
        if self.sampler.takes() {
            self.counters.hot_keys.note(channel, key, self.timing.turn_at);
        }
    }

    /// Goes by the view of now from here on; true if it is another one, or there is news for
    /// clients.
    pub(crate) fn refresh_view(&mut self) -> bool {
        let is_new = self.generation != self.shared.ranges.generation();
        if is_new {
            (self.view, self.generation) = self.shared.ranges.current();
            self.mailbox.saw(self.generation);
        }
        is_new
    }

    /// Waits while the key is changing hands, but not for ever; true if it had to.
    pub(crate) fn wait_if_frozen(&mut self, key: Key) -> bool {
        if !self.view.is_frozen(key) {
            return false;
        }
        let give_up = (self.clock)() + FROZEN_WAIT_MAX;
        // Others wait until this worker has seen the freeze: it has, and does nothing meanwhile.
        self.refresh_view();
        while self.view.is_frozen(key) {
            let left = give_up.saturating_duration_since((self.clock)());
            if left.is_zero() {
                break;
            }
            self.shared.ranges.wait_for_change(self.generation, left);
            self.refresh_view();
        }
        true
    }

    /// Whether this node is responsible for the key.
    pub(crate) fn owns(&mut self, key: Key) -> bool {
        self.wait_if_frozen(key);
        self.is_settled(key)
    }

    /// Whether the record of a key is here or nowhere, now and for the rest of this turn.
    pub(crate) fn is_settled(&self, key: Key) -> bool {
        self.view.owns(key) && !self.view.is_frozen(key)
    }

    /// Where the record of a key is to be read.
    pub(crate) fn place(&mut self, key: Key) -> Place {
        if self.owns(key) {
            Place::Ours
        } else if self.view.is_frozen(key) {
            Place::Gone
        } else if self.view.gives(key) {
            Place::Leaving
        } else if self.view.has_moved(key) {
            Place::Gone
        } else {
            Place::Elsewhere
        }
    }

    /// Fetches the first of these records into the cache, side by side.
    pub(crate) fn prefetch<'a>(&mut self, records: impl Iterator<Item = (&'a str, Key)>) {
        // Mostly they are of one channel: it is looked up once for each run.
        let mut channels = ArrayVec::<Arc<Channel>, BATCH_REQUESTS>::new();
        let mut keys = ArrayVec::<(usize, Key), BATCH_REQUESTS>::new();
        for (name, key) in records.take(BATCH_REQUESTS) {
            if channels.last().is_none_or(|channel| channel.name().as_str() != name) {
                let Some(channel) = self.channel(name) else { continue };
                channels.push(channel);
            }
            keys.push((channels.len() - 1, key));
        }
        let keys: ArrayVec<(&Channel, Key), BATCH_REQUESTS> =
            keys.iter().map(|&(at, key)| (&*channels[at], key)).collect();
        self.shared.store.prefetch(&keys);
    }

    /// The channel of that name, if there is one.
    pub(crate) fn channel(&mut self, name: &str) -> Option<Arc<Channel>> {
        self.channels.get(&self.shared, name)
    }

    /// The channel of that name, made if there is none.
    pub(crate) fn channel_or_create(&mut self, name: &str) -> Result<Arc<Channel>, WriteError> {
        if let Some(channel) = self.channel(name) {
            return Ok(channel);
        }
        let name = ChannelName::new(name.as_bytes()).map_err(|_| WriteError::NoChannel)?;
        self.shared.store.channel_or_create(&name).map_err(|_| WriteError::NoChannel)
    }

    /// Stores a record, making the channel if there is none, and counts it.
    pub(crate) fn put(
        &mut self,
        channel: &str,
        key: Key,
        value: &[u8],
        notify: Notify,
    ) -> Result<(), WriteError> {
        for _ in 0..PUT_TRIES_MAX {
            let channel = self.channel_or_create(channel)?;
            match self.change(&channel, key, notify, |_| Change::Put(value, ())) {
                Ok(()) => {
                    self.counters.actions.written.record(value.len());
                    return Ok(());
                }
                Err(ChangeError::Closed) => {} // The record goes into a new channel.
                Err(ChangeError::Failed(error)) => return Err(error),
            }
        }
        Err(WriteError::NoChannel)
    }

    /// Stores a record that another node had, unless a client has put or removed one of that key
    /// meanwhile. Nobody who listens is told.
    pub(crate) fn put_forwarded(
        &mut self,
        channel: &str,
        key: Key,
        value: &[u8],
    ) -> Result<(), WriteError> {
        let receiving = self.view.receiving.clone();
        for _ in 0..PUT_TRIES_MAX {
            let channel = self.channel_or_create(channel)?;
            let name = channel.name();
            let stored = self.change(&channel, key, Notify::No, |old| {
                let is_removed = || receiving.as_ref().is_some_and(|r| r.is_removed(name, key));
                if old.is_some() || is_removed() {
                    Change::Keep(false)
                } else {
                    Change::Put(value, true)
                }
            });
            match stored {
                Ok(stored) => {
                    if stored {
                        self.counters.actions.written.record(value.len());
                    }
                    return Ok(());
                }
                Err(ChangeError::Closed) => {}
                Err(ChangeError::Failed(error)) => return Err(error),
            }
        }
        Err(WriteError::NoChannel)
    }

    /// Changes a record, and logs that. Every change of a record goes through here,
    /// [`Context::put_many`] or [`Context::put_together`]; see [`Channel::update`] for `decide`.
    #[inline]
    pub(crate) fn change<'v, R>(
        &mut self,
        channel: &Channel,
        key: Key,
        notify: Notify,
        decide: impl FnOnce(Option<&[u8]>) -> Change<'v, R>,
    ) -> Result<R, ChangeError> {
        let Some(journal) = &mut self.journal else {
            return channel.update(key, notify, decide).map_err(change_error);
        };
        journal.admits(channel).map_err(|error| ChangeError::Failed(error.into()))?;
        let mut changed = None;
        let decide = |old: Option<&[u8]>| {
            let change = decide(old);
            changed = match &change {
                Change::Keep(_) => None,
                Change::Put(value, _) => Some(Some(*value)),
                Change::Remove(_) => old.map(|_| None),
            };
            change
        };
        let result = channel.update_numbered(key, notify, journal.sequence(), decide);
        let result = result.map_err(change_error)?;
        if let Some(value) = changed {
            journal.record(channel, key, value);
        }
        Ok(result)
    }

    /// Whether `more` bytes of value would exceed the node's limit.
    pub(crate) fn exceeds_limit(&self, more: u64) -> bool {
        let limit = self.shared.settings.bytes_max;
        limit > 0 && self.shared.bytes() + more > limit
    }
}

pub(crate) const fn change_error(error: PutError) -> ChangeError {
    match error {
        PutError::Closed => ChangeError::Closed,
        PutError::TooBig | PutError::Full => ChangeError::Failed(WriteError::NoRoom),
    }
}

impl Codec {
    /// Lets go of a buffer that one large batch needed.
    pub(crate) fn trim(&mut self) {
        if self.records.capacity() > RECORDS_KEPT_BYTES {
            self.records = Vec::new();
        }
    }
}

/// Channels that this worker has looked up, so that it need not ask what all share.
#[derive(Default)]
struct ChannelCache {
    /// The store's generation that the entries belong to.
    generation: u64,
    /// The one that was looked up last, and mostly is next.
    last: Option<Arc<Channel>>,
    channels: FxHashMap<ChannelName, Arc<Channel>>,
}

impl ChannelCache {
    fn get(&mut self, shared: &Shared, name: &str) -> Option<Arc<Channel>> {
        let generation = shared.store.generation();
        if self.generation != generation {
            self.generation = generation;
            self.last = None;
            self.channels.clear();
        }
        if let Some(channel) = &self.last
            && channel.name().as_str() == name
        {
            return Some(Arc::clone(channel));
        }
        let channel = match self.channels.get(name) {
            Some(channel) => Arc::clone(channel),
            None => {
                let channel = shared.store.channel(name)?;
                self.channels.insert(channel.name().clone(), Arc::clone(&channel));
                channel
            }
        };
        self.last = Some(Arc::clone(&channel));
        Some(channel)
    }
}

/// The output buffer of the connection being served, as the protocol's writer.
pub(crate) fn writer(out: &mut Vec<u8>) -> Writer<'_> {
    Writer::new(out)
}

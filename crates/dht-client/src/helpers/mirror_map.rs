//! A channel as a map in memory that stays in step: the original's ChannelMirror and record cache.
//!
//! ```text
//! listen     every change, at once                        wins over
//! get_all    at the start; whenever a change may have been missed; now and then
//! ```
//!
//! A record of a scan is older than a change that came since the scan began, so it is ignored then.
//! A scan that is complete tells which records are gone: those that it did not have, and that have
//! not changed since it began.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::{Channel, Key, MirrorEvent, ScanEvent, stream::ScanEvents};

/// How long to wait before another attempt when the channel was removed, or a scan has failed.
const RETRY: Duration = Duration::from_secs(3);

/// How often all records are read although nothing seems to be missing, as in the original.
const REFRESH: Duration = Duration::from_secs(360);

/// Turns a value into what the map keeps.
type Decode<T> = dyn Fn(Key, &[u8]) -> Result<T, String> + Send + Sync;

/// A channel as a map in memory. Reading it costs no request. Dropping it ends it.
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let node = dht_test::TestNode::start();
/// # let client = node.client().await;
/// let prices = client.channel("prices")?;
/// prices.put(1, "120").await?;
///
/// let map = prices.mirror_map_as(|_, value| String::from_utf8_lossy(value).parse::<u32>());
/// map.ready().await;
/// assert_eq!(map.get(1).as_deref(), Some(&120));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MirrorMap<T = Bytes> {
    shared: Arc<Shared<T>>,
    task: JoinHandle<()>,
    complete: watch::Receiver<u64>,
}

struct Shared<T> {
    records: RwLock<HashMap<Key, (Arc<T>, u64)>>,
    errors: RwLock<DecodeErrors>,
}

/// Values that could not be decoded; their records are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecodeErrors {
    /// How many there were.
    pub count: u64,
    /// The key of the last one, and what was wrong.
    pub last: Option<(Key, String)>,
}

impl<T> fmt::Debug for MirrorMap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorMap").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<T> Drop for MirrorMap<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Channel {
    /// The channel as a map in memory that stays in step. Must be called within a runtime.
    #[must_use]
    pub fn mirror_map(&self) -> MirrorMap<Bytes> {
        // A copy: one record must not hold the memory of the batch it came in.
        self.mirror_map_as(|_, value| Ok::<_, Infallible>(Bytes::copy_from_slice(value)))
    }

    /// The same with values of another type. Records that cannot be decoded are left out and
    /// counted. Must be called within a runtime.
    #[must_use]
    pub fn mirror_map_as<T: Send + Sync + 'static, E: fmt::Display>(
        &self,
        decode: impl Fn(Key, &[u8]) -> Result<T, E> + Send + Sync + 'static,
    ) -> MirrorMap<T> {
        let shared = Arc::new(Shared { records: RwLock::default(), errors: RwLock::default() });
        let (complete_tx, complete) = watch::channel(0);
        let decode = move |key, value: &[u8]| decode(key, value).map_err(|error| error.to_string());
        let follower = Follower {
            channel: self.clone(),
            shared: Arc::clone(&shared),
            decode: Box::new(decode),
            complete: complete_tx,
            scan: None,
            round: 0,
            touched: HashSet::new(),
            next_scan: None,
            scan_failed: false,
        };
        MirrorMap { shared, task: tokio::spawn(follower.run()), complete }
    }
}

impl<T> MirrorMap<T> {
    /// A record's value.
    #[must_use]
    pub fn get(&self, key: impl Into<Key>) -> Option<Arc<T>> {
        let records = self.shared.records.read().unwrap_or_else(PoisonError::into_inner);
        records.get(&key.into()).map(|(value, _)| Arc::clone(value))
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.records.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All records as they are now, in no order.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(Key, Arc<T>)> {
        let records = self.shared.records.read().unwrap_or_else(PoisonError::into_inner);
        records.iter().map(|(key, (value, _))| (*key, Arc::clone(value))).collect()
    }

    /// Values that could not be decoded.
    #[must_use]
    pub fn decode_errors(&self) -> DecodeErrors {
        self.shared.errors.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until all records have been read once, of all nodes.
    pub async fn ready(&self) {
        // The sender lives as long as the task, and that as long as this.
        let _ = self.complete.clone().wait_for(|rounds| *rounds > 0).await;
    }
}

struct Follower<T> {
    channel: Channel,
    shared: Arc<Shared<T>>,
    decode: Box<Decode<T>>,
    complete: watch::Sender<u64>,
    scan: Option<ScanEvents<(Key, Bytes)>>,
    /// Of the scan that runs, or of the last one.
    round: u64,
    /// What has changed since it began.
    touched: HashSet<Key>,
    next_scan: Option<Instant>,
    scan_failed: bool,
}

impl<T: Send + Sync + 'static> Follower<T> {
    async fn run(mut self) {
        loop {
            let mut mirror = self.channel.listen();
            loop {
                let scanning = self.scan.is_some();
                let next_scan = self.next_scan.filter(|_| !scanning);
                tokio::select! {
                    event = mirror.next() => match event {
                        Some(event) => self.change(event),
                        None => break,
                    },
                    event = next_of(&mut self.scan), if scanning => self.scanned(event),
                    () = at(next_scan) => self.start_scan(),
                }
            }
            // The channel was removed, or the client shut down.
            self.write().clear();
            self.scan = None;
            tokio::time::sleep(RETRY).await;
        }
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<Key, (Arc<T>, u64)>> {
        self.shared.records.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_scan(&mut self) {
        self.round += 1;
        self.touched.clear();
        self.scan_failed = false;
        self.scan = Some(self.channel.get_all().events());
        self.next_scan = None;
    }

    /// Something may have been missed. A scan that runs already may be past it.
    fn want_scan(&mut self) {
        self.next_scan = Some(Instant::now());
    }

    fn change(&mut self, event: MirrorEvent) {
        match event {
            MirrorEvent::Updated(key, value) => {
                self.touch(key);
                self.store(key, &value);
            }
            MirrorEvent::Deleted(key) => {
                self.touch(key);
                self.write().remove(&key);
            }
            MirrorEvent::Started
            | MirrorEvent::UpdatesLost(_)
            | MirrorEvent::NodeBack(_)
            | MirrorEvent::ChannelRemoved(_) => self.want_scan(),
            MirrorEvent::Refreshed(..) | MirrorEvent::NodeLost(_) | MirrorEvent::NodeFailed(_) => {}
        }
    }

    fn touch(&mut self, key: Key) {
        if self.scan.is_some() {
            self.touched.insert(key);
        }
    }

    fn store(&self, key: Key, value: &[u8]) {
        match (self.decode)(key, value) {
            Ok(value) => drop(self.write().insert(key, (Arc::new(value), self.round))),
            Err(error) => {
                self.write().remove(&key);
                let mut errors = self.shared.errors.write().unwrap_or_else(PoisonError::into_inner);
                errors.count += 1;
                errors.last = Some((key, error));
            }
        }
    }

    fn scanned(&mut self, event: Option<ScanEvent<(Key, Bytes)>>) {
        match event {
            Some(ScanEvent::Item((key, value))) => {
                if !self.touched.contains(&key) {
                    self.store(key, &value);
                }
            }
            Some(ScanEvent::NodeFailed(_)) => self.scan_failed = true,
            Some(_) => {}
            None => self.finish_scan(),
        }
    }

    fn finish_scan(&mut self) {
        self.scan = None;
        let now = Instant::now();
        if self.scan_failed {
            self.next_scan.get_or_insert(now + RETRY);
        } else {
            let (round, touched) = (self.round, &self.touched);
            self.write().retain(|key, (_, seen)| *seen == round || touched.contains(key));
            self.complete.send_modify(|rounds| *rounds += 1);
            self.next_scan.get_or_insert(now + REFRESH);
        }
        self.touched = HashSet::new();
    }
}

async fn next_of(scan: &mut Option<ScanEvents<(Key, Bytes)>>) -> Option<ScanEvent<(Key, Bytes)>> {
    match scan {
        Some(scan) => scan.next().await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

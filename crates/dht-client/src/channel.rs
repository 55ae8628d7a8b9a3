//! A channel: its records by key, all of them, and what changes in it.

use std::time::Duration;

use bytes::Bytes;
use dht_types::{ChannelName, Key};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::{
    Client, Error, ErrorKind, Keys, Mirror, NodeAddress, Outcomes, Records, RequestName,
    client::Inner,
    legacy,
    neo::{call::UpdateOutcome, stream::Spec},
    stream::{Scan, Source},
};

/// Puts of [`Channel::put_all`] that run at the same time.
const PUTS_AT_ONCE: usize = 256;

/// A channel of a client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Channel {
    client: Client,
    name: ChannelName,
    timeout: Option<Duration>,
}

/// What an update makes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The new value; at least one byte.
    Write(Bytes),
    /// Take the record away.
    Remove,
    /// Leave it as it is.
    Keep,
}

impl From<Bytes> for Change {
    fn from(value: Bytes) -> Self {
        Self::Write(value)
    }
}

impl From<Vec<u8>> for Change {
    fn from(value: Vec<u8>) -> Self {
        Self::Write(value.into())
    }
}

impl From<String> for Change {
    fn from(value: String) -> Self {
        Self::Write(value.into())
    }
}

/// How an update ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    /// The new value was written.
    Written,
    /// The record was taken away.
    Removed,
    /// The record was left as it is.
    Kept,
    /// There is no record. The closure was not called.
    NoRecord,
}

/// Whether there was a record to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// There was one; it is gone.
    Yes,
    /// There was none.
    No,
    /// There is none now. The legacy protocol does not tell whether there was one.
    NotTold,
}

/// What a [`Mirror`] brings besides changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorOptions {
    /// All records at the start.
    pub initial_refresh: bool,
    /// All records again with this period; zero: never. By neo whole seconds count, at least one.
    pub periodic_refresh: Duration,
}

impl Default for MirrorOptions {
    /// What the original's client asks for. Source: spec `client` B.2.
    fn default() -> Self {
        Self { initial_refresh: true, periodic_refresh: Duration::from_secs(360) }
    }
}

/// How much a node holds of a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelSize {
    /// Records.
    pub records: u64,
    /// Bytes, as the node counts them: an estimate that includes what a record takes besides its
    /// value.
    pub bytes: u64,
}

impl Channel {
    pub(crate) const fn new(client: Client, name: ChannelName) -> Self {
        Self { client, name, timeout: None }
    }

    /// The channel's name.
    #[must_use]
    pub const fn name(&self) -> &ChannelName {
        &self.name
    }

    /// The client.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The same channel with another limit for each of its requests. Zero: for ever.
    #[must_use]
    pub fn with_timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    fn timeout(&self) -> Option<Duration> {
        let limit = self.timeout.or(self.client.limits().request_timeout);
        limit.filter(|limit| !limit.is_zero())
    }

    /// A record's value; `None` if there is no record.
    pub async fn get(&self, key: impl Into<Key>) -> Result<Option<Bytes>, Error> {
        let (key, timeout) = (key.into(), self.timeout());
        match self.client.inner() {
            Inner::Neo(cluster) => cluster.get(&self.name, key, timeout).await,
            Inner::Legacy(cluster) => cluster.get(&self.name, key, timeout).await,
        }
    }

    /// Stores a record, replacing the one that is there. The value must have at least one byte and,
    /// by neo, at most 65,512.
    pub async fn put(&self, key: impl Into<Key>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        let (key, value, timeout) = (key.into(), value.as_ref(), self.timeout());
        match self.client.inner() {
            Inner::Neo(cluster) => cluster.put(&self.name, key, value, timeout).await,
            Inner::Legacy(cluster) => cluster.put(&self.name, key, value, timeout).await,
        }
    }

    /// Stores many records. The first error ends it; others may have been stored then.
    ///
    /// By neo that is as many puts, 256 at a time. By the legacy protocol it is batches, one for
    /// each node: those raise no events, so that nobody who listens is told of them.
    pub async fn put_all<K: Into<Key>, V: AsRef<[u8]>>(
        &self,
        records: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), Error> {
        let records = records.into_iter().map(|(key, value)| (key.into(), value));
        match self.client.inner() {
            Inner::Legacy(cluster) => cluster.put_all(&self.name, records, self.timeout()).await,
            Inner::Neo(_) => {
                let puts = records.map(|(key, value)| async move { self.put(key, value).await });
                stream::iter(puts).buffer_unordered(PUTS_AT_ONCE).try_collect().await
            }
        }
    }

    /// Whether there is a record.
    pub async fn exists(&self, key: impl Into<Key>) -> Result<bool, Error> {
        let (key, timeout) = (key.into(), self.timeout());
        match self.client.inner() {
            Inner::Neo(cluster) => cluster.exists(&self.name, key, timeout).await,
            Inner::Legacy(cluster) => cluster.exists(&self.name, key, timeout).await,
        }
    }

    /// Takes a record away.
    pub async fn remove(&self, key: impl Into<Key>) -> Result<Removed, Error> {
        let (key, timeout) = (key.into(), self.timeout());
        match self.client.inner() {
            Inner::Neo(cluster) => {
                let removed = cluster.remove(&self.name, key, timeout).await?;
                Ok(if removed { Removed::Yes } else { Removed::No })
            }
            Inner::Legacy(cluster) => {
                cluster.remove(&self.name, key, timeout).await.map(|()| Removed::NotTold)
            }
        }
    }

    /// Reads a record, has `change` look at it, and does what it says, if nobody else has changed
    /// the record meanwhile; else all of that again, [`crate::Limits::update_retries_max`] times at
    /// most. (Neo alone.)
    ///
    /// ```no_run
    /// # async fn example(channel: dht_client::Channel) -> Result<(), dht_client::Error> {
    /// channel.update(7, |value| [value, &b"!"[..]].concat()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update<C: Into<Change>>(
        &self,
        key: impl Into<Key>,
        mut change: impl FnMut(&Bytes) -> C + Send,
    ) -> Result<Updated, Error> {
        let (key, timeout) = (key.into(), self.timeout());
        let request = Some(RequestName::Neo(dht_protocol::neo::Command::Update));
        let Inner::Neo(cluster) = self.client.inner() else {
            return Err(Error { node: None, request, kind: ErrorKind::NotInProtocol("legacy") });
        };
        let retries_max = self.client.limits().update_retries_max;
        let mut decide = |value: &Bytes| change(value).into();
        for _ in 0..=retries_max {
            match cluster.update(&self.name, key, &mut decide, timeout).await? {
                UpdateOutcome::Done(updated) => return Ok(updated),
                UpdateOutcome::Conflict => {}
            }
        }
        Err(Error { node: None, request, kind: ErrorKind::Conflict(retries_max + 1) })
    }

    /// All records.
    #[must_use]
    pub fn get_all(&self) -> Records {
        self.scan(false, Bytes::new(), |key, value| (key, value))
    }

    /// All keys.
    #[must_use]
    pub fn keys(&self) -> Keys {
        self.scan(true, Bytes::new(), |key, _| key)
    }

    /// All records whose value contains these bytes; all records if there are none.
    #[must_use]
    pub fn filter(&self, bytes: impl Into<Bytes>) -> Records {
        self.scan(false, bytes.into(), |key, value| (key, value))
    }

    fn scan<T>(&self, keys_only: bool, filter: Bytes, read: fn(Key, Bytes) -> T) -> Scan<T> {
        let channel = self.name.clone();
        let source = match self.client.inner() {
            Inner::Neo(cluster) => {
                Source::Neo(cluster.start_stream(Spec::GetAll { channel, keys_only, filter }))
            }
            Inner::Legacy(cluster) => {
                Source::Legacy(legacy::stream::scan(cluster, &channel, keys_only, filter))
            }
        };
        Scan::new(source, self.client.clone(), read)
    }

    /// Every change from now on, and all records now and every six minutes. The legacy protocol
    /// does not tell of records that are removed.
    #[must_use]
    pub fn mirror(&self) -> Mirror {
        self.mirror_with(MirrorOptions::default())
    }

    /// The same with other refreshes.
    #[must_use]
    pub fn mirror_with(&self, options: MirrorOptions) -> Mirror {
        let MirrorOptions { initial_refresh, periodic_refresh } = options;
        let channel = self.name.clone();
        let source = match self.client.inner() {
            Inner::Neo(cluster) => {
                // What is less than a second must not become never.
                let seconds =
                    periodic_refresh.as_secs().max(u64::from(!periodic_refresh.is_zero()));
                let periodic_refresh_s = u32::try_from(seconds).unwrap_or(u32::MAX);
                let mirror = Spec::Mirror { channel, initial_refresh, periodic_refresh_s };
                Source::Neo(cluster.start_stream(mirror))
            }
            Inner::Legacy(cluster) => {
                Source::Legacy(legacy::stream::mirror(cluster, &channel, options))
            }
        };
        Mirror::new(source, self.client.clone())
    }

    /// Every change from now on, and nothing else.
    #[must_use]
    pub fn listen(&self) -> Mirror {
        self.mirror_with(MirrorOptions { initial_refresh: false, periodic_refresh: Duration::ZERO })
    }

    /// How much each node holds of the channel. Neo has no such request: its client asks the legacy
    /// port of the same node, 100 below.
    pub async fn size_by_node(&self) -> Outcomes<ChannelSize> {
        let nodes: Vec<NodeAddress> =
            self.client.nodes().into_iter().map(|node| node.address).collect();
        match self.client.inner() {
            Inner::Neo(cluster) => {
                legacy::cluster::channel_size_beside(nodes, &self.name, &cluster.limits).await
            }
            Inner::Legacy(cluster) => cluster.channel_size(&self.name).await,
        }
    }

    /// How much all nodes hold of the channel. An error if a node did not answer.
    pub async fn size(&self) -> Result<ChannelSize, Error> {
        let sizes = self.size_by_node().await.all()?;
        Ok(sizes.into_iter().fold(ChannelSize::default(), |sum, size| ChannelSize {
            records: sum.records + size.records,
            bytes: sum.bytes + size.bytes,
        }))
    }

    /// Takes the channel away with all its records, at every node. See
    /// [`Client::remove_channel`].
    pub async fn remove_channel(&self) -> Result<(), Error> {
        self.client.remove_channel(&self.name).await.all().map(drop)
    }
}

//! The client for programs without async: the same, and every call waits.
//!
//! A thread of its own runs the connections; the calls run on the threads that make them. They must
//! not be made from within async code.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::runtime::{self, Handle};

use crate::{
    BuildError, Builder, Change, ChannelName, ChannelNameError, ChannelSize, Error, Key,
    MirrorEvent, MirrorOptions, NodeStatus, NotReady, Outcomes, RangeReport, Removed, Stats,
    Updated, stream,
};

/// A client that waits. Cheap to clone, for any number of threads.
///
/// ```
/// # let node = dht_test::TestNode::start();
/// # let address = node.neo_address();
/// # let credentials = dht_test::TestNode::credentials();
/// use dht_client::blocking;
///
/// let builder = dht_client::Client::builder().node(address).credentials(credentials);
/// let client = blocking::Client::connect(builder)?;
/// let fruits = client.channel("fruits")?;
/// fruits.put(1, "apple")?;
/// assert_eq!(fruits.get(1)?.as_deref(), Some(&b"apple"[..]));
/// for record in fruits.get_all() {
///     let (key, value) = record?;
///     println!("{key} {}", String::from_utf8_lossy(&value));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    client: crate::Client,
    runtime: Arc<Runtime>,
}

/// The thread that runs the connections; it ends when this is dropped.
#[derive(Debug)]
struct Runtime {
    handle: Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    fn start() -> Result<Self, BuildError> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(BuildError::Runtime)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (running_tx, running_rx) = mpsc::channel();
        let thread = std::thread::Builder::new().name("dht-client".to_owned()).spawn(move || {
            runtime.block_on(async {
                // Nobody waits for it only if the process ends.
                let _ = running_tx.send(());
                let _ = stopped.await;
            });
        });
        let thread = Some(thread.map_err(BuildError::Runtime)?);
        let _ = running_rx.recv();
        Ok(Self { handle, stop: Some(stop), thread })
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It does not panic; and whoever drops us on that very thread must not wait for himself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Client {
    /// Makes a client and waits until every node is connected and has told its hash range, at most
    /// for the connect timeout.
    pub fn connect(builder: Builder) -> Result<Self, BuildError> {
        let runtime = Arc::new(Runtime::start()?);
        let client = runtime.handle.block_on(builder.connect())?;
        Ok(Self { client, runtime })
    }

    /// Makes a client and starts to connect; does not wait.
    pub fn build(builder: Builder) -> Result<Self, BuildError> {
        let runtime = Arc::new(Runtime::start()?);
        let client = runtime.handle.block_on(async { builder.build() })?;
        Ok(Self { client, runtime })
    }

    /// The asynchronous client beneath.
    #[must_use]
    pub const fn inner(&self) -> &crate::Client {
        &self.client
    }

    /// A channel. It need not exist: the first put makes it.
    pub fn channel(&self, name: &str) -> Result<Channel, ChannelNameError> {
        let runtime = Arc::clone(&self.runtime);
        Ok(Channel { channel: self.client.channel(name)?, runtime })
    }

    /// See [`crate::Client::ready`].
    pub fn ready(&self, limit: Duration) -> Result<(), NotReady> {
        self.runtime.handle.block_on(self.client.ready(limit))
    }

    /// See [`crate::Client::nodes_ready`].
    pub fn nodes_ready(&self, count: usize, limit: Duration) -> Result<(), NotReady> {
        self.runtime.handle.block_on(self.client.nodes_ready(count, limit))
    }

    /// See [`crate::Client::nodes`].
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.client.nodes()
    }

    /// See [`crate::Client::check_ranges`].
    #[must_use]
    pub fn check_ranges(&self) -> RangeReport {
        self.client.check_ranges()
    }

    /// See [`crate::Client::channels`].
    pub fn channels(&self) -> Result<Vec<String>, Error> {
        self.runtime.handle.block_on(self.client.channels())
    }

    /// See [`crate::Client::remove_channel`].
    pub fn remove_channel(&self, name: &ChannelName) -> Outcomes<()> {
        self.runtime.handle.block_on(self.client.remove_channel(name))
    }

    /// See [`crate::Client::stats`].
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.client.stats()
    }
}

/// A channel of a client that waits. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Channel {
    channel: crate::Channel,
    runtime: Arc<Runtime>,
}

impl Channel {
    /// The channel's name.
    #[must_use]
    pub const fn name(&self) -> &ChannelName {
        self.channel.name()
    }

    /// See [`crate::Channel::with_timeout`].
    #[must_use]
    pub fn with_timeout(mut self, limit: Duration) -> Self {
        self.channel = self.channel.with_timeout(limit);
        self
    }

    /// See [`crate::Channel::get`].
    pub fn get(&self, key: impl Into<Key>) -> Result<Option<Bytes>, Error> {
        self.runtime.handle.block_on(self.channel.get(key))
    }

    /// See [`crate::Channel::put`].
    pub fn put(&self, key: impl Into<Key>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.runtime.handle.block_on(self.channel.put(key, value))
    }

    /// See [`crate::Channel::put_all`].
    pub fn put_all<K: Into<Key>, V: AsRef<[u8]>>(
        &self,
        records: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), Error> {
        self.runtime.handle.block_on(self.channel.put_all(records))
    }

    /// See [`crate::Channel::exists`].
    pub fn exists(&self, key: impl Into<Key>) -> Result<bool, Error> {
        self.runtime.handle.block_on(self.channel.exists(key))
    }

    /// See [`crate::Channel::remove`].
    pub fn remove(&self, key: impl Into<Key>) -> Result<Removed, Error> {
        self.runtime.handle.block_on(self.channel.remove(key))
    }

    /// See [`crate::Channel::update`].
    pub fn update<C: Into<Change>>(
        &self,
        key: impl Into<Key>,
        change: impl FnMut(&Bytes) -> C + Send,
    ) -> Result<Updated, Error> {
        self.runtime.handle.block_on(self.channel.update(key, change))
    }

    /// See [`crate::Channel::get_all`].
    #[must_use]
    pub fn get_all(&self) -> Iter<stream::Records> {
        self.iter(self.channel.get_all())
    }

    /// See [`crate::Channel::keys`].
    #[must_use]
    pub fn keys(&self) -> Iter<stream::Keys> {
        self.iter(self.channel.keys())
    }

    /// See [`crate::Channel::filter`].
    #[must_use]
    pub fn filter(&self, bytes: impl Into<Bytes>) -> Iter<stream::Records> {
        self.iter(self.channel.filter(bytes))
    }

    /// See [`crate::Channel::mirror`].
    #[must_use]
    pub fn mirror(&self) -> Mirror {
        Mirror(self.iter(self.channel.mirror()))
    }

    /// See [`crate::Channel::mirror_with`].
    #[must_use]
    pub fn mirror_with(&self, options: MirrorOptions) -> Mirror {
        Mirror(self.iter(self.channel.mirror_with(options)))
    }

    /// See [`crate::Channel::listen`].
    #[must_use]
    pub fn listen(&self) -> Mirror {
        Mirror(self.iter(self.channel.listen()))
    }

    /// See [`crate::Channel::size`].
    pub fn size(&self) -> Result<ChannelSize, Error> {
        self.runtime.handle.block_on(self.channel.size())
    }

    /// See [`crate::Channel::remove_channel`].
    pub fn remove_channel(&self) -> Result<(), Error> {
        self.runtime.handle.block_on(self.channel.remove_channel())
    }

    fn iter<S>(&self, stream: S) -> Iter<S> {
        Iter { stream, runtime: Arc::clone(&self.runtime) }
    }
}

/// A stream as an iterator: each step waits for the next item.
#[derive(Debug)]
pub struct Iter<S> {
    stream: S,
    runtime: Arc<Runtime>,
}

impl<S: futures_core::Stream + Unpin> Iterator for Iter<S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        self.runtime.handle.block_on(self.stream.next())
    }
}

/// The changes of a channel: an iterator that waits for the next one.
#[derive(Debug)]
pub struct Mirror(Iter<stream::Mirror>);

impl Mirror {
    /// The next event, if one comes within the limit.
    pub fn next_within(&mut self, limit: Duration) -> Option<MirrorEvent> {
        let Iter { stream, runtime } = &mut self.0;
        runtime
            .handle
            .block_on(async { tokio::time::timeout(limit, stream.next()).await.ok().flatten() })
    }
}

impl Iterator for Mirror {
    type Item = MirrorEvent;

    fn next(&mut self) -> Option<MirrorEvent> {
        self.0.next()
    }
}

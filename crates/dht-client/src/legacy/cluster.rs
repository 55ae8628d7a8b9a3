//! Several nodes that share the hash space, by the legacy protocol.
//!
//! Each is asked for its version and its range, and those that fail again every few seconds until
//! all have passed. Ranges stay as they were learnt then: this protocol tells no changes.
//! Source: spec `protocol-legacy` 13.2, 13.3, `client` A.2, A.7.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use dht_protocol::{
    legacy::{
        API_VERSION, Answer, Arguments, Command,
        batch::{BatchWriter, Compressor},
        requests::{
            Exists, Get, GetChannelSize, GetChannels, GetResponsibleRange, GetVersion, NodeSize,
            Put, PutBatch, Remove, RemoveChannel, Value,
        },
    },
    wire::{Reader, Writer},
};
use dht_types::{ChannelName, HashRange, Key};
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use tokio::sync::{Notify, broadcast, watch};

use super::pool::Pool;
use crate::{
    ChannelSize, Error, ErrorKind, Limits, NodeAddress, NodeEvent, NodeStatus, Outcomes,
    RequestName, Stats, events::EVENTS_MAX,
};

/// Bytes of a batch of records before compression.
const BATCH_BYTES: usize = 64 * 1024;

/// The neo port of a node is so far above its legacy port. Source: spec `protocol-neo` 1.
const NEO_PORT_OFFSET: u16 = 100;

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) pool: Pool,
    state: Mutex<NodeState>,
}

#[derive(Debug, Default)]
struct NodeState {
    range: Option<HashRange>,
    last_error: Option<Arc<Error>>,
}

impl Node {
    fn state(&self) -> MutexGuard<'_, NodeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handshake, unless the node has passed it: nothing else is asked of a node whose version
    /// was not checked. `true`: it has passed only now. Source: spec `protocol-legacy` 13.3.
    async fn check(&self, limits: &Limits) -> Result<bool, Error> {
        if self.state().range.is_some() {
            return Ok(false);
        }
        match self.handshake(limits).await {
            Ok(range) => Ok(self.state().range.replace(range).is_none()),
            Err(error) => Err(error),
        }
    }

    async fn handshake(&self, limits: &Limits) -> Result<HashRange, Error> {
        let timeout = limits.connect_timeout;
        let version = self.pool.call(&GetVersion, timeout).await?;
        if version != API_VERSION {
            return Err(self.pool.error(Command::GetVersion, ErrorKind::Version(version)));
        }
        self.pool.call(&GetResponsibleRange, timeout).await
    }
}

/// All nodes.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) limits: Limits,
    pub(super) nodes: Vec<Arc<Node>>,
    events: broadcast::Sender<NodeEvent>,
    changes: watch::Sender<u64>,
    pub(super) shut_down: watch::Sender<bool>,
    handshake_now: Notify,
}

impl Cluster {
    /// Starts the handshake. Must be called within a runtime.
    pub(crate) fn start(nodes: Vec<NodeAddress>, limits: Limits) -> Arc<Self> {
        let node = |address| {
            Arc::new(Node { pool: Pool::new(address, limits.clone()), state: Mutex::default() })
        };
        let cluster = Arc::new(Self {
            nodes: nodes.into_iter().map(node).collect(),
            limits,
            events: broadcast::channel(EVENTS_MAX).0,
            changes: watch::channel(0).0,
            shut_down: watch::channel(false).0,
            handshake_now: Notify::new(),
        });
        tokio::spawn(Arc::clone(&cluster).handshakes());
        cluster
    }

    /// Greets the nodes that have not passed, again and again until all have.
    async fn handshakes(self: Arc<Self>) {
        let mut shut_down = self.shut_down.subscribe();
        loop {
            let missing = self.nodes.iter().filter(|node| node.state().range.is_none());
            let greeting = join_all(missing.map(|node| self.greet(node)));
            tokio::select! {
                results = greeting => if results.into_iter().all(|passed| passed) { return },
                _ = shut_down.wait_for(|over| *over) => return,
            }
            tokio::select! {
                () = tokio::time::sleep(self.limits.handshake_retry) => {}
                () = self.handshake_now.notified() => {}
                _ = shut_down.wait_for(|over| *over) => return,
            }
        }
    }

    async fn greet(&self, node: &Node) -> bool {
        let address = node.pool.address.clone();
        match self.check(node).await {
            Ok(()) => true,
            Err(error) => {
                let error = Arc::new(error);
                node.state().last_error = Some(Arc::clone(&error));
                self.tell(NodeEvent::ConnectionError(address, error));
                false
            }
        }
    }

    /// See [`Node::check`].
    pub(super) async fn check(&self, node: &Node) -> Result<(), Error> {
        if node.check(&self.limits).await?
            && let Some(range) = node.state().range
        {
            let address = node.pool.address.clone();
            self.tell(NodeEvent::Connected(address.clone()));
            self.tell(NodeEvent::HashRangeKnown(address, range));
        }
        Ok(())
    }

    fn tell(&self, event: NodeEvent) {
        // Nobody has to listen.
        let _ = self.events.send(event);
        self.changes.send_modify(|version| *version += 1);
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<NodeEvent> {
        self.events.subscribe()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn status(&self) -> Vec<NodeStatus> {
        let status = |node: &Arc<Node>| {
            let state = node.state();
            NodeStatus {
                address: node.pool.address.clone(),
                connected: state.range.is_some(),
                hash_range: state.range,
                last_error: state.last_error.clone(),
            }
        };
        self.nodes.iter().map(status).collect()
    }

    /// The counts of each node.
    pub(crate) fn stats(&self) -> Vec<(NodeAddress, Stats)> {
        let stats = |node: &Arc<Node>| {
            let known = usize::from(node.state().range.is_some());
            let mut stats = Stats {
                nodes: 1,
                nodes_connected: known,
                nodes_with_range: known,
                ..Stats::default()
            };
            node.pool.add_stats(&mut stats);
            (node.pool.address.clone(), stats)
        };
        self.nodes.iter().map(stats).collect()
    }

    pub(crate) fn reset_stats(&self) {
        self.nodes.iter().for_each(|node| node.pool.reset_counts());
    }

    pub(crate) fn reconnect(&self) {
        self.nodes.iter().for_each(|node| node.pool.drop_all());
        self.handshake_now.notify_one();
    }

    pub(crate) fn shut_down(&self) {
        self.shut_down.send_replace(true);
        self.nodes.iter().for_each(|node| node.pool.shut_down());
    }

    /// The first node of those given that has the key.
    fn node_of(&self, key: Key, command: Command) -> Result<&Node, Error> {
        let has = |node: &&Arc<Node>| node.state().range.is_some_and(|range| range.contains(key));
        self.nodes.iter().find(has).map(Arc::as_ref).ok_or(Error {
            node: None,
            request: Some(RequestName::Legacy(command)),
            kind: ErrorKind::NoNode(key),
        })
    }

    pub(crate) fn address_of(&self, key: Key) -> Option<NodeAddress> {
        self.node_of(key, Command::Get).ok().map(|node| node.pool.address.clone())
    }

    /// Boxed, as are all requests here: what a future borrows is no concern of its callers then.
    fn call<'a, R>(
        &'a self,
        key: Key,
        request: R,
        timeout: Option<Duration>,
    ) -> BoxFuture<'a, Result<R::Answer, Error>>
    where
        R: Arguments<'a> + Answer + Send + Sync + 'a,
        R::Answer: Send,
    {
        async move { self.node_of(key, R::COMMAND)?.pool.call(&request, timeout).await }.boxed()
    }

    pub(crate) async fn get<'a>(
        &'a self,
        channel: &'a ChannelName,
        key: Key,
        timeout: Option<Duration>,
    ) -> Result<Option<Bytes>, Error> {
        let value = self.call(key, Get { channel, key: key.into() }, timeout).await?;
        Ok(if value.is_empty() { None } else { Some(value.into()) })
    }

    pub(crate) async fn exists<'a>(
        &'a self,
        channel: &'a ChannelName,
        key: Key,
        timeout: Option<Duration>,
    ) -> Result<bool, Error> {
        self.call(key, Exists { channel, key: key.into() }, timeout).await
    }

    pub(crate) async fn put<'a>(
        &'a self,
        channel: &'a ChannelName,
        key: Key,
        value: &'a [u8],
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        check_value(value)?;
        self.call(key, Put { channel, key, value: Value::Bytes(value) }, timeout).await
    }

    pub(crate) async fn remove<'a>(
        &'a self,
        channel: &'a ChannelName,
        key: Key,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        self.call(key, Remove { channel, key }, timeout).await
    }

    /// Batches for each node, sent when they are full.
    pub(crate) async fn put_all<V: AsRef<[u8]>>(
        &self,
        channel: &ChannelName,
        records: impl IntoIterator<Item = (Key, V)>,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let mut batches: Vec<(NodeAddress, BatchWriter)> = Vec::new();
        let mut compressor = Compressor::new();
        for (key, value) in records {
            let value = value.as_ref();
            check_value(value)?;
            let node = self.node_of(key, Command::PutBatch)?;
            let address = &node.pool.address;
            let at = match batches.iter().position(|(known, _)| known == address) {
                Some(at) => at,
                None => {
                    batches.push((address.clone(), BatchWriter::new(BATCH_BYTES)));
                    batches.len() - 1
                }
            };
            let batch = &mut batches[at].1;
            if !batch.add(key, value) {
                put_batch(node, channel, batch, &mut compressor, timeout).await?;
                let fits = batch.add(key, value);
                debug_assert!(fits, "an empty batch takes any record");
            }
        }
        for (address, mut batch) in batches {
            let node = self.nodes.iter().find(|node| node.pool.address == address);
            if let Some(node) = node
                && !batch.is_empty()
            {
                put_batch(node, channel, &mut batch, &mut compressor, timeout).await?;
            }
        }
        Ok(())
    }

    fn on_all<'a, R>(&'a self, request: R) -> BoxFuture<'a, Outcomes<R::Answer>>
    where
        R: Arguments<'a> + Answer + Send + Sync + 'a,
        R::Answer: Send,
    {
        async move {
            let timeout = self.limits.request_timeout;
            let request = &request;
            let ask = async |node: &Arc<Node>| {
                let checked = self.check(node).await;
                checked.map_err(|error| node.pool.error(R::COMMAND, error.kind))?;
                node.pool.call(request, timeout).await
            };
            let answers = join_all(self.nodes.iter().map(ask)).await;
            let nodes = self.nodes.iter().map(|node| node.pool.address.clone());
            Outcomes::new(nodes.zip(answers).collect())
        }
        .boxed()
    }

    pub(crate) async fn channels(&self) -> Outcomes<Vec<String>> {
        self.on_all(GetChannels).await
    }

    pub(crate) async fn remove_channel<'a>(&'a self, channel: &'a ChannelName) -> Outcomes<()> {
        self.on_all(RemoveChannel { channel }).await
    }

    pub(crate) async fn channel_size<'a>(
        &'a self,
        channel: &'a ChannelName,
    ) -> Outcomes<ChannelSize> {
        let sizes = self.on_all(GetChannelSize { channel }).await;
        Outcomes::new(
            sizes.into_iter().map(|(node, size)| (node, size.map(|size| size_of(&size)))).collect(),
        )
    }
}

/// Asks the legacy ports beside these neo ports.
pub(crate) async fn channel_size_beside(
    neo_nodes: Vec<NodeAddress>,
    channel: &ChannelName,
    limits: &Limits,
) -> Outcomes<ChannelSize> {
    let ask = |neo: NodeAddress| {
        let pool = Pool::new(beside(&neo), limits.clone());
        async move {
            let size = pool.call(&GetChannelSize { channel }, limits.request_timeout).await;
            (neo, size.map(|size| size_of(&size)))
        }
        .boxed()
    };
    Outcomes::new(join_all(neo_nodes.into_iter().map(ask)).await)
}

/// The legacy port of the node with this neo port.
pub(super) fn beside(neo: &NodeAddress) -> NodeAddress {
    NodeAddress { host: neo.host.clone(), port: neo.port.saturating_sub(NEO_PORT_OFFSET) }
}

const fn size_of(size: &NodeSize) -> ChannelSize {
    ChannelSize { records: size.records, bytes: size.bytes }
}

async fn put_batch(
    node: &Node,
    channel: &ChannelName,
    batch: &mut BatchWriter,
    compressor: &mut Compressor,
    timeout: Option<Duration>,
) -> Result<(), Error> {
    let mut array = Vec::new();
    batch.finish(compressor, &mut Writer::new(&mut array));
    let packed = Reader::new(&array).array("batch", usize::MAX).expect("an array of our own");
    node.pool.call(&PutBatch { channel, batch: packed }, timeout).boxed().await
}

fn check_value(value: &[u8]) -> Result<(), Error> {
    if value.is_empty() {
        let request = Some(RequestName::Legacy(Command::Put));
        return Err(Error { node: None, request, kind: ErrorKind::EmptyValue });
    }
    Ok(())
}

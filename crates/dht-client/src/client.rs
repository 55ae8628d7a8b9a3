//! The client: a handle that is cheap to clone, and what can be asked of the cluster as a whole.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use dht_types::{ChannelName, ChannelNameError};
use futures_core::Stream;
use tokio::{sync::broadcast, time::Instant};

use crate::{
    Builder, Channel, ClientCredentials, Error, Key, Limits, NodeAddress, NodeEvent, NodeInfo,
    NodeStatus, NotReady, Outcomes, RangeReport, Stats, legacy, neo, ranges,
};

/// A client of a cluster. Clones share connections; the last one that is dropped, streams and
/// channels included, closes them.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) enum Inner {
    Neo(Arc<neo::cluster::Cluster>),
    Legacy(Arc<legacy::cluster::Cluster>),
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl Inner {
    fn shut_down(&self) {
        match self {
            Self::Neo(cluster) => cluster.shut_down(),
            Self::Legacy(cluster) => cluster.shut_down(),
        }
    }
}

impl Client {
    /// How clients are made.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn start(
        nodes: Vec<NodeAddress>,
        credentials: Option<ClientCredentials>,
        limits: Limits,
    ) -> Self {
        let inner = match credentials {
            Some(credentials) => {
                let cluster = neo::cluster::Cluster::new(credentials, limits);
                for node in nodes {
                    cluster.add(node);
                }
                Inner::Neo(cluster)
            }
            None => Inner::Legacy(legacy::cluster::Cluster::start(nodes, limits)),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn limits(&self) -> &Limits {
        match &*self.inner {
            Inner::Neo(cluster) => &cluster.limits,
            Inner::Legacy(cluster) => &cluster.limits,
        }
    }

    /// A channel. It need not exist: the first put makes it.
    pub fn channel(&self, name: &str) -> Result<Channel, ChannelNameError> {
        Ok(Channel::new(self.clone(), name.parse()?))
    }

    /// Whether the neo protocol is spoken, or else the legacy one.
    #[must_use]
    pub fn is_neo(&self) -> bool {
        matches!(&*self.inner, Inner::Neo(_))
    }

    /// Adds a node while the client runs (neo alone: a legacy client's nodes are fixed). `false`:
    /// it cannot be added. A node that is known already stays as it is.
    pub fn add_node(&self, address: NodeAddress) -> bool {
        match &*self.inner {
            Inner::Neo(cluster) => cluster.add(address),
            Inner::Legacy(_) => false,
        }
    }

    /// What is known of each node.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeStatus> {
        match &*self.inner {
            Inner::Neo(cluster) => cluster.status(),
            Inner::Legacy(cluster) => cluster.status(),
        }
    }

    /// The node that is asked for a key, if one is known; the newest of several.
    #[must_use]
    pub fn node_of(&self, key: impl Into<Key>) -> Option<NodeAddress> {
        let key = key.into();
        match &*self.inner {
            Inner::Neo(cluster) => {
                cluster.covering(key).ok().map(|nodes| nodes.newest.address.clone())
            }
            Inner::Legacy(cluster) => cluster.address_of(key),
        }
    }

    /// What is wrong with the hash ranges as they are known now: gaps, overlaps, nodes that have
    /// not told theirs.
    #[must_use]
    pub fn check_ranges(&self) -> RangeReport {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for node in self.nodes() {
            match node.hash_range {
                Some(range) => known.push((node.address, range)),
                None => unknown.push((node.address, node.last_error)),
            }
        }
        RangeReport { warnings: ranges::check(&known), unknown }
    }

    /// Waits until every node is connected and has told its hash range.
    pub async fn ready(&self, limit: Duration) -> Result<(), NotReady> {
        self.wait(limit, |nodes| nodes.iter().all(is_ready)).await
    }

    /// Waits until at least so many nodes are connected and have told their hash ranges.
    pub async fn nodes_ready(&self, count: usize, limit: Duration) -> Result<(), NotReady> {
        self.wait(limit, |nodes| nodes.iter().filter(|node| is_ready(node)).count() >= count).await
    }

    /// Waits until a condition holds. It is looked at whenever a node's state changes.
    async fn wait(
        &self,
        limit: Duration,
        holds: impl Fn(&[NodeStatus]) -> bool,
    ) -> Result<(), NotReady> {
        let mut changes = match &*self.inner {
            Inner::Neo(cluster) => cluster.changes(),
            Inner::Legacy(cluster) => cluster.changes(),
        };
        let begun = Instant::now();
        loop {
            changes.mark_unchanged();
            if holds(&self.nodes()) {
                return Ok(());
            }
            let left = limit.saturating_sub(begun.elapsed());
            let changed = tokio::time::timeout(left, changes.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return Err(NotReady { waited: limit, report: self.check_ranges() });
            }
        }
    }

    /// What happens to nodes from now on. Whoever takes events too slowly misses the oldest.
    pub fn events(&self) -> impl Stream<Item = NodeEvent> + Send + Unpin + use<> {
        let events = match &*self.inner {
            Inner::Neo(cluster) => cluster.subscribe(),
            Inner::Legacy(cluster) => cluster.subscribe(),
        };
        Box::pin(futures_util::stream::unfold(events, async |mut events| {
            loop {
                match events.recv().await {
                    Ok(event) => return Some((event, events)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        }))
    }

    /// What each node tells of itself. Neo has no such requests: its client asks the legacy port of
    /// the same node, 100 below.
    pub async fn info_by_node(&self) -> Outcomes<NodeInfo> {
        match &*self.inner {
            Inner::Neo(cluster) => {
                let nodes = self.nodes().into_iter().map(|node| node.address).collect();
                legacy::info::info_beside(nodes, &cluster.limits).await
            }
            Inner::Legacy(cluster) => cluster.info().await,
        }
    }

    /// The names of all channels of each node.
    pub async fn channels_by_node(&self) -> Outcomes<Vec<String>> {
        match &*self.inner {
            Inner::Neo(cluster) => cluster.channels(cluster.limits.request_timeout).await,
            Inner::Legacy(cluster) => cluster.channels().await,
        }
    }

    /// The names of all channels, each once, sorted. An error if a node did not answer.
    pub async fn channels(&self) -> Result<Vec<String>, Error> {
        let lists = self.channels_by_node().await.all()?;
        let names: BTreeSet<String> = lists.into_iter().flatten().collect();
        Ok(names.into_iter().collect())
    }

    /// Takes a channel away with all its records, at every node. By neo only the client named
    /// `admin` may; the nodes do not tell whether there was one.
    pub async fn remove_channel(&self, name: &ChannelName) -> Outcomes<()> {
        match &*self.inner {
            Inner::Neo(cluster) => {
                cluster.remove_channel(name, cluster.limits.request_timeout).await
            }
            Inner::Legacy(cluster) => cluster.remove_channel(name).await,
        }
    }

    /// What was counted so far, over all nodes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        self.stats_by_node().iter().for_each(|(_, stats)| sum.add(stats));
        sum
    }

    /// What was counted so far, of each node.
    #[must_use]
    pub fn stats_by_node(&self) -> Vec<(NodeAddress, Stats)> {
        match &*self.inner {
            Inner::Neo(cluster) => cluster.stats(),
            Inner::Legacy(cluster) => cluster.stats(),
        }
    }

    /// Counts from 0 again.
    pub fn reset_stats(&self) {
        match &*self.inner {
            Inner::Neo(cluster) => cluster.reset_stats(),
            Inner::Legacy(cluster) => cluster.reset_stats(),
        }
    }

    /// Drops all connections and makes them anew at once: what a lost network does, for tests.
    pub fn reconnect(&self) {
        match &*self.inner {
            Inner::Neo(cluster) => cluster.reconnect(),
            Inner::Legacy(cluster) => cluster.reconnect(),
        }
    }

    /// Closes all connections for good, whoever else has a clone of this client. What runs fails.
    pub fn shut_down(&self) {
        self.inner.shut_down();
    }
}

const fn is_ready(node: &NodeStatus) -> bool {
    node.connected && node.hash_range.is_some()
}

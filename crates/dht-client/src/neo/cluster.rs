//! The nodes of a neo client: their connections, their hash ranges, what happens to them.

use std::{
    net::{SocketAddr, SocketAddrV4},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
};

use dht_types::{HashRange, Key};
use tokio::sync::{Notify, broadcast, watch};

use super::{
    driver,
    link::{Link, RangeNews},
    routes::{NodeIndex, Routes},
    stream::{Core, Source, Spec},
};
use crate::{
    ClientCredentials, Error, ErrorKind, Limits, NodeAddress, NodeEvent, NodeStatus, RequestName,
    events::EVENTS_MAX, stats::Stats,
};

/// Most nodes, those included that other nodes have told of; news of further ones are ignored.
const NODES_MAX: usize = 4096;

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) index: NodeIndex,
    pub(crate) address: NodeAddress,
    pub(crate) link: Arc<Link>,
    /// Who answered last, whatever its name is in the nodes file.
    peer: Mutex<Option<SocketAddr>>,
    last_error: Mutex<Option<Arc<Error>>>,
    drop_connection: Notify,
    shut_down: watch::Receiver<bool>,
}

impl Node {
    /// Waits for the order to drop the connection.
    pub(crate) async fn drop_connection(&self) {
        self.drop_connection.notified().await;
    }

    /// Waits for the end of the client.
    pub(crate) async fn shut_down(&self) {
        let mut shut_down = self.shut_down.clone();
        // The sender is gone once nobody has the client any more.
        let _ = shut_down.wait_for(|over| *over).await;
    }

    pub(crate) fn set_peer(&self, peer: Option<SocketAddr>) {
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = peer;
    }

    fn is_at(&self, address: SocketAddr) -> bool {
        let peer = *self.peer.lock().unwrap_or_else(PoisonError::into_inner);
        peer == Some(address)
            || self.address.port == address.port() && self.address.host == address.ip().to_string()
    }
}

/// All nodes.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) credentials: ClientCredentials,
    pub(crate) limits: Limits,
    nodes: RwLock<Nodes>,
    streams: Mutex<Vec<Weak<Core>>>,
    events: broadcast::Sender<NodeEvent>,
    /// Changes whenever a node's state does.
    changes: watch::Sender<u64>,
    shut_down: watch::Sender<bool>,
    runtime: tokio::runtime::Handle,
}

#[derive(Debug, Default)]
struct Nodes {
    list: Vec<Arc<Node>>,
    routes: Routes,
}

/// The nodes of a key.
#[derive(Debug)]
pub(crate) struct Covering {
    pub(crate) newest: Arc<Node>,
    /// Newest first.
    pub(crate) older: Vec<Arc<Node>>,
    /// Of the ranges that this follows from.
    pub(crate) version: u64,
}

impl Cluster {
    /// A client without nodes. Must be called within a runtime.
    pub(crate) fn new(credentials: ClientCredentials, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            credentials,
            limits,
            nodes: RwLock::default(),
            streams: Mutex::default(),
            events: broadcast::channel(EVENTS_MAX).0,
            changes: watch::channel(0).0,
            shut_down: watch::channel(false).0,
            runtime: tokio::runtime::Handle::current(),
        })
    }

    /// Adds a node, unless it is known, and starts to connect to it. `false`: there are too many.
    pub(crate) fn add(self: &Arc<Self>, address: NodeAddress) -> bool {
        let node = {
            let mut nodes = self.write();
            if nodes.list.iter().any(|node| node.address == address) {
                return true;
            }
            if nodes.list.len() >= NODES_MAX {
                return false;
            }
            let node = Arc::new(Node {
                index: nodes.list.len(),
                address,
                link: Arc::new(Link::new(self.limits.clone())),
                peer: Mutex::default(),
                last_error: Mutex::default(),
                drop_connection: Notify::new(),
                shut_down: self.shut_down.subscribe(),
            });
            nodes.list.push(Arc::clone(&node));
            node
        };
        for stream in self.live_streams() {
            stream.attach(&node);
        }
        self.runtime.spawn(driver::run(Arc::clone(self), node));
        true
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Nodes> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Nodes> {
        self.nodes.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Weak<Core>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live_streams(&self) -> Vec<Arc<Core>> {
        let mut streams = self.streams();
        streams.retain(|stream| stream.strong_count() > 0);
        streams.iter().filter_map(Weak::upgrade).collect()
    }

    /// The nodes, those given first.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.read().list.clone()
    }

    /// The nodes of a key.
    pub(crate) fn covering(&self, key: Key) -> Result<Covering, ErrorKind> {
        let nodes = self.read();
        let (newest, older) = nodes.routes.covering(key).ok_or(ErrorKind::NoNode(key))?;
        let node = |index: NodeIndex| Arc::clone(&nodes.list[index]);
        Ok(Covering {
            newest: node(newest),
            older: older.into_iter().map(node).collect(),
            version: nodes.routes.version(),
        })
    }

    /// Changes whenever a range does.
    pub(crate) fn version(&self) -> u64 {
        self.read().routes.version()
    }

    /// Starts a request that runs on all nodes, those included that turn up later.
    pub(crate) fn start_stream(&self, spec: Spec) -> Source {
        // A scan ends at some time; a Mirror waits for its nodes for ever.
        let patience = match spec {
            Spec::GetAll { .. } => self.limits.stream_patience,
            Spec::Mirror { .. } => None,
        };
        let core = Arc::new(Core::new(spec, self.limits.clone()));
        // From here on, whoever connects starts it.
        self.streams().push(Arc::downgrade(&core));
        for node in self.nodes() {
            core.attach(&node);
        }
        Source::new(core, patience)
    }

    /// A node has been connected to.
    pub(crate) fn connected(self: &Arc<Self>, node: &Arc<Node>) {
        for stream in self.live_streams() {
            stream.attach(node);
        }
        self.tell(NodeEvent::Connected(node.address.clone()));
    }

    /// A connection, or an attempt at one, has failed; or what every connection begins with.
    pub(crate) fn failed(&self, node: &Node, request: Option<RequestName>, kind: ErrorKind) {
        let error = Arc::new(Error { node: Some(node.address.clone()), request, kind });
        *node.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&error));
        self.tell(NodeEvent::ConnectionError(node.address.clone(), error));
    }

    /// A node has told something about ranges.
    pub(crate) fn learn(self: &Arc<Self>, teller: &Arc<Node>, news: RangeNews) {
        match news {
            RangeNews::Own(range) => self.learn_range(teller.index, range),
            RangeNews::Other(address, range) => {
                if let Some(index) = self.known(address) {
                    self.learn_range(index, range);
                    return;
                }
                let host = address.ip().to_string();
                if self.add(NodeAddress { host, port: address.port() })
                    && let Some(index) = self.known(address)
                {
                    self.learn_range(index, range);
                }
            }
        }
    }

    fn known(&self, address: SocketAddrV4) -> Option<NodeIndex> {
        self.read().list.iter().position(|node| node.is_at(address.into()))
    }

    fn learn_range(&self, index: NodeIndex, range: HashRange) {
        let (first, address) = {
            let mut nodes = self.write();
            (nodes.routes.learn(index, range), nodes.list[index].address.clone())
        };
        if first {
            self.tell(NodeEvent::HashRangeKnown(address, range));
        } else {
            self.changes.send_modify(|version| *version += 1);
        }
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

    /// What is known of each node.
    pub(crate) fn status(&self) -> Vec<NodeStatus> {
        let nodes = self.read();
        let status = |node: &Arc<Node>| NodeStatus {
            address: node.address.clone(),
            connected: node.link.is_open(),
            hash_range: nodes.routes.range(node.index),
            last_error: node.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        nodes.list.iter().map(status).collect()
    }

    /// The counts of each node.
    pub(crate) fn stats(&self) -> Vec<(NodeAddress, Stats)> {
        self.status().into_iter().zip(self.nodes()).map(stats_of).collect()
    }

    pub(crate) fn reset_stats(&self) {
        self.nodes().iter().for_each(|node| node.link.reset_counts());
    }

    /// Drops all connections; they are made anew at once.
    pub(crate) fn reconnect(&self) {
        self.nodes().iter().for_each(|node| node.drop_connection.notify_one());
    }

    /// Ends all tasks and connections.
    pub(crate) fn shut_down(&self) {
        self.shut_down.send_replace(true);
        self.nodes().iter().for_each(|node| node.link.shut_down());
        self.live_streams().iter().for_each(|stream| stream.shut_down());
    }
}

fn stats_of((status, node): (NodeStatus, Arc<Node>)) -> (NodeAddress, Stats) {
    let mut stats = Stats {
        nodes: 1,
        nodes_connected: usize::from(status.connected),
        nodes_with_range: usize::from(status.hash_range.is_some()),
        ..Stats::default()
    };
    for (name, counts) in node.link.counts() {
        stats.add_request(name, &counts);
    }
    let state = node.link.lock();
    stats.bytes_sent = state.bytes_sent;
    stats.bytes_received = state.bytes_received;
    stats.connects = state.connects;
    (status.address, stats)
}

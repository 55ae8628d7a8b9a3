//! Several nodes that share the hash space.

use std::thread;

use dht_protocol::legacy::{Answer, Arguments};
use dht_types::{ChannelName, HashRange, Key};

use super::{Connection, Timeouts};
use crate::{
    Error, ErrorKind, NodeAddress,
    ranges::{self, RangeWarning},
};

/// Nodes that are asked at the same time in a handshake.
const HANDSHAKES_AT_ONCE: usize = 64;

/// The nodes that passed the handshake, and what was wrong with the others.
///
/// Which node has which range is learnt once, as in the original: after a redistribution, connect
/// anew.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    warnings: Vec<Warning>,
}

#[derive(Debug)]
struct Node {
    connection: Connection,
    range: HashRange,
}

/// Something that the handshake found; the rest of the cluster can be used.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    /// A node did not answer, or speaks another version. It is left out.
    #[error(transparent)]
    Failed(Error),
    /// The ranges do not tile the hash space.
    #[error(transparent)]
    Ranges(RangeWarning),
}

/// Why there is no cluster at all.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No node was given.
    #[error("no node was given")]
    NoNodes,
    /// A node was given twice.
    #[error("node {0} was given twice")]
    Duplicate(NodeAddress),
    /// No node passed the handshake; what happened at each of them.
    #[error("no node passed the handshake: {}", .0[0])]
    Failed(Vec<Error>),
}

impl Cluster {
    /// Asks every node for its version and its range, many at once.
    ///
    /// A node that fails is left out, with a warning; only if all fail, this does.
    pub fn connect(nodes: &[NodeAddress], timeouts: Timeouts) -> Result<Self, ClusterError> {
        for (at, node) in nodes.iter().enumerate() {
            if nodes[..at].contains(node) {
                return Err(ClusterError::Duplicate(node.clone()));
            }
        }
        let mut failed = Vec::new();
        let mut passed = Vec::new();
        for result in handshakes(nodes, timeouts) {
            match result {
                Ok(node) => passed.push(node),
                Err(error) => failed.push(error),
            }
        }
        match (passed.is_empty(), failed.is_empty()) {
            (true, true) => return Err(ClusterError::NoNodes),
            (true, false) => return Err(ClusterError::Failed(failed)),
            (false, _) => {}
        }
        let known: Vec<_> =
            passed.iter().map(|node| (node.connection.node().clone(), node.range)).collect();
        let failed = failed.into_iter().map(Warning::Failed);
        let warnings = failed.chain(ranges::check(&known).into_iter().map(Warning::Ranges));
        Ok(Self { nodes: passed, warnings: warnings.collect() })
    }

    /// The same cluster for another thread, without another handshake: connections are opened as
    /// they are needed. It has no warnings of its own.
    #[must_use]
    pub fn with_new_connections(&self) -> Self {
        let nodes = self.nodes.iter().map(|node| {
            let (address, timeouts) = (node.connection.node().clone(), node.connection.timeouts());
            Node { connection: Connection::new(address, timeouts), range: node.range }
        });
        Self { nodes: nodes.collect(), warnings: Vec::new() }
    }

    /// What the handshake found.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What the handshake found, for the caller to keep.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    /// The nodes that passed the handshake, in the order given.
    pub fn nodes(&mut self) -> impl ExactSizeIterator<Item = (&mut Connection, HashRange)> {
        self.nodes.iter_mut().map(|node| (&mut node.connection, node.range))
    }

    /// The first node whose range contains the key.
    pub fn node_for(&mut self, key: Key) -> Result<&mut Connection, Error> {
        let node = self.nodes.iter_mut().find(|node| node.range.contains(key));
        let no_node = || Error { node: None, request: None, kind: ErrorKind::NoNode(key) };
        node.map(|node| &mut node.connection).ok_or_else(no_node)
    }

    /// See [`Connection::get`].
    pub fn get(&mut self, channel: &ChannelName, key: Key) -> Result<Option<Vec<u8>>, Error> {
        self.node_for(key)?.get(channel, key)
    }

    /// See [`Connection::exists`].
    pub fn exists(&mut self, channel: &ChannelName, key: Key) -> Result<bool, Error> {
        self.node_for(key)?.exists(channel, key)
    }

    /// See [`Connection::put`].
    pub fn put(&mut self, channel: &ChannelName, key: Key, value: &[u8]) -> Result<(), Error> {
        self.node_for(key)?.put(channel, key, value)
    }

    /// See [`Connection::remove`].
    pub fn remove(&mut self, channel: &ChannelName, key: Key) -> Result<(), Error> {
        self.node_for(key)?.remove(channel, key)
    }

    /// Asks every node the same, one after the other; what each of them said.
    pub fn call_all<'a, R: Arguments<'a> + Answer>(
        &mut self,
        request: &R,
    ) -> Vec<(NodeAddress, Result<R::Answer, Error>)> {
        let ask = |node: &mut Node| {
            let answer = node.connection.call(request);
            (node.connection.node().clone(), answer)
        };
        self.nodes.iter_mut().map(ask).collect()
    }
}

fn handshakes(nodes: &[NodeAddress], timeouts: Timeouts) -> Vec<Result<Node, Error>> {
    let handshake = |node: &NodeAddress| {
        let mut connection = Connection::new(node.clone(), timeouts);
        connection.handshake().map(|range| Node { connection, range })
    };
    let several_at_once = |nodes: &[NodeAddress]| -> Vec<_> {
        thread::scope(|scope| {
            let threads: Vec<_> =
                nodes.iter().map(|node| scope.spawn(move || handshake(node))).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().expect("a handshake does not panic")
            };
            threads.into_iter().map(join).collect()
        })
    };
    nodes.chunks(HANDSHAKES_AT_ONCE).flat_map(several_at_once).collect()
}

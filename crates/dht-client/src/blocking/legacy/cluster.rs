//! Several nodes that share the hash space.

use dht_protocol::legacy::{Answer, Arguments};
use dht_types::{ChannelName, HashRange, Key};

use super::Connection;
use crate::{
    Error, ErrorKind, NodeAddress,
    blocking::{ClusterError, Timeouts, Warning, handshakes},
};

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

impl Cluster {
    /// Asks every node for its version and its range, many at once.
    ///
    /// A node that fails is left out, with a warning; only if all fail, this does.
    pub fn connect(nodes: &[NodeAddress], timeouts: Timeouts) -> Result<Self, ClusterError> {
        let (passed, warnings) = handshakes::greet_all(nodes, |node| {
            let mut connection = Connection::new(node.clone(), timeouts);
            connection.handshake().map(|range| (connection, range))
        })?;
        let nodes = passed.into_iter().map(|(connection, range)| Node { connection, range });
        Ok(Self { nodes: nodes.collect(), warnings })
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

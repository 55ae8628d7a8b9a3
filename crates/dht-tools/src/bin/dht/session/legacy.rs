//! The nodes of a command that speaks the legacy protocol.

use dht_client::{
    Error, NodeAddress,
    blocking::{
        Timeouts,
        legacy::{Cluster, Connection},
    },
};
use dht_protocol::legacy::{Answer, Arguments};
use dht_types::{ChannelName, Key};

use super::{Nodes, failed_nodes};
use crate::failure::Failure;

/// The nodes, after the handshake.
#[derive(Debug)]
pub(crate) struct LegacySession {
    cluster: Cluster,
    timeouts: Timeouts,
    /// Only one node was named: it is asked for every key, and its range need not be everything.
    single: bool,
    /// What failed at nodes that a command for all nodes should have asked.
    failed: Vec<Error>,
}

impl LegacySession {
    /// Connects and makes the handshake. Fails only if no node can be used.
    pub(crate) fn open(nodes: &Nodes, timeouts: Timeouts) -> Result<Self, Failure> {
        let mut cluster = Cluster::connect(&nodes.addresses, timeouts)?;
        let failed = failed_nodes(cluster.take_warnings(), nodes.single);
        Ok(Self { cluster, timeouts, single: nodes.single, failed })
    }

    /// The same nodes for another thread, over connections of its own.
    pub(crate) fn for_thread(&self) -> Self {
        let (timeouts, single) = (self.timeouts, self.single);
        let cluster = self.cluster.with_new_connections();
        Self { cluster, timeouts, single, failed: Vec::new() }
    }

    /// The node to ask for a key.
    pub(crate) fn node_for(&mut self, key: Key) -> Result<&mut Connection, Failure> {
        if self.single {
            let first = self.cluster.nodes().next();
            let (node, _) = first.expect("a cluster has at least one node");
            return Ok(node);
        }
        let failed = &mut self.failed;
        self.cluster.node_for(key).map_err(|error| {
            let mut errors = std::mem::take(failed);
            errors.push(error);
            Failure::several(errors)
        })
    }

    /// Every node that passed the handshake.
    pub(crate) fn nodes(&mut self) -> impl ExactSizeIterator<Item = &mut Connection> {
        self.cluster.nodes().map(|(node, _)| node)
    }

    /// A connection of its own to every node that passed the handshake, not opened yet.
    pub(crate) fn new_connections(&self) -> Vec<Connection> {
        let mut cluster = self.cluster.with_new_connections();
        let nodes = cluster.nodes().map(|(node, _)| node.node().clone());
        nodes.map(|node| Connection::new(node, self.timeouts)).collect()
    }

    /// Asks every node; what failed is kept for [`Self::finish`].
    pub(crate) fn ask_all<'a, R>(&mut self, request: &R) -> Vec<(NodeAddress, R::Answer)>
    where
        R: Arguments<'a> + Answer,
    {
        let mut answers = Vec::new();
        for (node, answer) in self.cluster.call_all(request) {
            match answer {
                Ok(answer) => answers.push((node, answer)),
                Err(error) => self.failed.push(error),
            }
        }
        answers
    }

    /// Keeps a failure of one node for [`Self::finish`], while the others are still asked.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failed.push(error);
    }

    /// Fails if any node failed that a command for all nodes should have asked.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        match std::mem::take(&mut self.failed) {
            none if none.is_empty() => Ok(()),
            errors => Err(Failure::several(errors)),
        }
    }

    /// Records of a channel over all nodes, as far as they tell.
    pub(crate) fn count_records(&mut self, channel: &ChannelName) -> Option<u64> {
        let request = dht_protocol::legacy::requests::GetChannelSize { channel };
        let sizes = self.cluster.call_all(&request);
        sizes.into_iter().map(|(_, size)| size.ok().map(|size| size.records)).sum()
    }
}

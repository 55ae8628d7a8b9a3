//! The nodes of a command that speaks the neo protocol.

use std::sync::Arc;

use dht_client::{
    ClientCredentials, Error, ErrorKind,
    blocking::{
        Timeouts,
        neo::{Cluster, Connection, Decision, UpdateOutcome},
    },
};
use dht_types::{ChannelName, Key};

use super::{Nodes, failed_nodes};
use crate::failure::Failure;

/// The nodes that have let us in.
#[derive(Debug)]
pub(crate) struct NeoSession {
    cluster: Cluster,
    /// Only one node was named: it is asked for every key.
    single: bool,
    /// What failed at nodes that a command for all nodes should have asked.
    pub(super) failed: Vec<Error>,
}

impl NeoSession {
    /// Connects and makes the greeting. Fails only if no node can be used.
    pub(super) fn open(
        nodes: &Nodes,
        credentials: &Arc<ClientCredentials>,
        timeouts: Timeouts,
    ) -> Result<Self, Failure> {
        let mut cluster = Cluster::connect(&nodes.addresses, credentials, timeouts)?;
        let failed = failed_nodes(cluster.take_warnings(), nodes.single);
        Ok(Self { cluster, single: nodes.single, failed })
    }

    pub(super) fn get(
        &mut self,
        channel: &ChannelName,
        key: Key,
    ) -> Result<Option<Vec<u8>>, Failure> {
        self.ask(|node| node.get(channel, key), |cluster| cluster.get(channel, key))
    }

    pub(super) fn exists(&mut self, channel: &ChannelName, key: Key) -> Result<bool, Failure> {
        self.ask(|node| node.exists(channel, key), |cluster| cluster.exists(channel, key))
    }

    pub(super) fn put(
        &mut self,
        channel: &ChannelName,
        key: Key,
        value: &[u8],
    ) -> Result<(), Failure> {
        self.ask(|node| node.put(channel, key, value), |cluster| cluster.put(channel, key, value))
    }

    pub(super) fn remove(&mut self, channel: &ChannelName, key: Key) -> Result<bool, Failure> {
        self.ask(|node| node.remove(channel, key), |cluster| cluster.remove(channel, key))
    }

    /// Reads a record, and does with it what `decide` says, if nobody else has changed it.
    pub(crate) fn update(
        &mut self,
        channel: &ChannelName,
        key: Key,
        mut decide: impl FnMut(&[u8]) -> Decision,
    ) -> Result<UpdateOutcome, Failure> {
        let decide = &mut decide;
        match self.single {
            true => Ok(self.first().update(channel, key, decide)?),
            false => {
                let updated = self.cluster.update(channel, key, decide);
                updated.map_err(|error| self.explain(error))
            }
        }
    }

    /// Asks the one node, or that of the key.
    fn ask<T>(
        &mut self,
        one: impl FnOnce(&mut Connection) -> Result<T, Error>,
        all: impl FnOnce(&mut Cluster) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        match self.single {
            true => Ok(one(self.first())?),
            false => all(&mut self.cluster).map_err(|error| self.explain(error)),
        }
    }

    fn first(&mut self) -> &mut Connection {
        let (node, _) = self.cluster.nodes().next().expect("a cluster has at least one node");
        node
    }

    /// That a key has no node is explained by the nodes that failed before.
    fn explain(&mut self, error: Error) -> Failure {
        let mut errors = match error.kind {
            ErrorKind::NoNode(_) => std::mem::take(&mut self.failed),
            _ => Vec::new(),
        };
        errors.push(error);
        Failure::several(errors)
    }

    /// Every node that has let us in.
    pub(super) fn nodes(&mut self) -> impl ExactSizeIterator<Item = &mut Connection> {
        self.cluster.nodes().map(|(node, _)| node)
    }

    /// A connection of its own to every node, not opened yet.
    pub(crate) fn new_connections(&mut self) -> Vec<Connection> {
        self.nodes().map(|node| node.another()).collect()
    }
}

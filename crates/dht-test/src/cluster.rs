//! Several nodes that share the hash space.

use std::path::Path;

use dht_client::{Client, HashRange, Key};

use crate::{TestNode, node};

/// Nodes in this process, each with an equal part of the keys.
#[derive(Debug)]
pub struct TestCluster {
    nodes: Vec<TestNode>,
}

impl TestCluster {
    /// Starts so many nodes, on free ports.
    ///
    /// # Panics
    ///
    /// For 0 nodes, or if one does not start.
    #[must_use]
    pub fn start(count: usize) -> Self {
        assert!(count > 0, "a cluster has at least one node");
        let parts = u64::try_from(count).expect("no machine runs that many");
        // The whole space has one position more than fits a u64.
        let step = u64::MAX / parts;
        let nodes = (0..parts).map(|part| {
            let min = part * step;
            let max = if part + 1 == parts { u64::MAX } else { (part + 1) * step - 1 };
            TestNode::with_range(HashRange::new(min, max).expect("min is below max"))
        });
        Self { nodes: nodes.collect() }
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[TestNode] {
        &self.nodes
    }

    /// The node that is responsible for a key.
    ///
    /// # Panics
    ///
    /// Never: together they have all keys.
    #[must_use]
    pub fn node_of(&self, key: impl Into<Key>) -> &TestNode {
        let key = key.into();
        let has = |node: &&TestNode| node.hash_range().contains(key);
        self.nodes.iter().find(has).expect("the ranges tile the space")
    }

    /// A neo client that is connected to all of them.
    ///
    /// # Panics
    ///
    /// If it does not come about.
    pub async fn client(&self) -> Client {
        let addresses = self.nodes.iter().map(TestNode::neo_address);
        let credentials = TestNode::credentials();
        node::connected(Client::builder().nodes(addresses).credentials(credentials)).await
    }

    /// A legacy client that is connected to all of them.
    ///
    /// # Panics
    ///
    /// If it does not come about.
    pub async fn legacy_client(&self) -> Client {
        let addresses = self.nodes.iter().map(TestNode::legacy_address);
        node::connected(Client::builder().nodes(addresses)).await
    }

    /// See [`TestNode::write_config_files`].
    pub fn write_config_files(&self, dir: &Path) -> std::io::Result<()> {
        node::write_config_files(&self.nodes, dir)
    }

    /// How many requests of this name all of them have executed. See [`TestNode::handled`].
    #[must_use]
    pub fn handled(&self, request: &str) -> u64 {
        self.nodes.iter().map(|node| node.handled(request)).sum()
    }
}

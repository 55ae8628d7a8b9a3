//! Nodes that had an error a moment ago, and should be left alone for a while.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{Client, Key, NodeAddress};

/// Remembers nodes with errors for a few seconds.
///
/// ```
/// # use std::time::Duration;
/// use dht_client::NodeAvailability;
///
/// let availability = NodeAvailability::new(Duration::from_secs(3));
/// let node = "192.0.2.1:10100".parse()?;
/// assert!(availability.is_available(&node));
/// availability.error(&node);
/// assert!(!availability.is_available(&node));
/// # Ok::<(), dht_client::NodeAddressError>(())
/// ```
#[derive(Debug)]
pub struct NodeAvailability {
    retry_delay: Duration,
    failed: Mutex<HashMap<NodeAddress, Instant>>,
}

impl Default for NodeAvailability {
    /// Three seconds, as in the original.
    fn default() -> Self {
        Self::new(Duration::from_secs(3))
    }
}

impl NodeAvailability {
    /// A node counts as bad for so long after its last error.
    #[must_use]
    pub fn new(retry_delay: Duration) -> Self {
        Self { retry_delay, failed: Mutex::default() }
    }

    /// A node has had an error. See [`crate::Error::node`].
    pub fn error(&self, node: &NodeAddress) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|_, at| at.elapsed() < self.retry_delay);
        failed.insert(node.clone(), Instant::now());
    }

    /// Whether a node has had no error lately.
    #[must_use]
    pub fn is_available(&self, node: &NodeAddress) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(node).is_none_or(|at| at.elapsed() >= self.retry_delay)
    }

    /// Whether the node of a key has had no error lately; false if no node is known for it.
    #[must_use]
    pub fn is_key_available(&self, client: &Client, key: impl Into<Key>) -> bool {
        client.node_of(key).is_some_and(|node| self.is_available(&node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_node_with_an_error_is_bad_and_only_for_a_while() {
        let availability = NodeAvailability::default();
        let [bad, good] = ["h:1", "h:2"].map(|node| node.parse::<NodeAddress>().expect("a node"));
        availability.error(&bad);
        assert!(!availability.is_available(&bad) && availability.is_available(&good));
        tokio::time::advance(Duration::from_millis(2999)).await;
        assert!(!availability.is_available(&bad));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(availability.is_available(&bad));
    }
}

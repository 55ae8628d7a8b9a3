//! The node that is dumped, whichever protocol it is asked by.

use dht_client::NodeAddress;
use dht_dump::DiskError;
use dht_types::{ChannelName, Key};

/// What a node, or the way to it, did wrong. It is logged, and what failed is tried again later.
pub(crate) type NodeError = Box<dyn std::error::Error + Send + Sync>;

/// What is done with each record; if it fails, no more are wanted.
pub(crate) type Take<'a> = dyn FnMut(Key, &[u8]) -> Result<(), DiskError> + 'a;

/// One node, asked for everything it has. A protocol is one implementation; the tests have a node
/// that fails on demand.
///
/// An error leaves the source usable: the next question connects anew.
pub(crate) trait Source: Send {
    /// Where the node is, for the log.
    fn address(&self) -> &NodeAddress;

    /// Whether the node is there and speaks the protocol. Its hash range need not be the whole
    /// space: that one node does not cover it is no failure here.
    fn handshake(&mut self) -> Result<(), NodeError>;

    /// The names of all channels. All of them, or an error: whoever is missing counts as removed.
    fn channels(&mut self) -> Result<Vec<String>, NodeError>;

    /// Gives every record of a channel to `take`, until that fails.
    fn records(&mut self, channel: &ChannelName, take: &mut Take<'_>) -> Result<(), RecordsError>;

    /// Whether an empty value may stand for a record that was removed meanwhile.
    fn sends_values_of_removed_records(&self) -> bool;
}

/// Why the records of a channel did not all arrive where they were to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordsError {
    #[error("{0}")]
    Node(NodeError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

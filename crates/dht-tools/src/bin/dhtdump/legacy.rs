//! A node asked by the legacy protocol.

use dht_client::{
    NodeAddress,
    blocking::{Timeouts, legacy::Connection},
};
use dht_protocol::legacy::requests::GetChannels;
use dht_types::ChannelName;

use crate::source::{NodeError, RecordsError, Source, Take};

/// A connection to the legacy port.
pub(crate) struct LegacySource(Connection);

impl LegacySource {
    /// Connects with the first question. `timeouts` bound each wait for the node.
    pub(crate) const fn new(node: NodeAddress, timeouts: Timeouts) -> Self {
        Self(Connection::new(node, timeouts))
    }
}

impl Source for LegacySource {
    fn address(&self) -> &NodeAddress {
        self.0.node()
    }

    fn handshake(&mut self) -> Result<(), NodeError> {
        self.0.handshake()?;
        Ok(())
    }

    fn channels(&mut self) -> Result<Vec<String>, NodeError> {
        Ok(self.0.call(&GetChannels)?)
    }

    fn records(&mut self, channel: &ChannelName, take: &mut Take<'_>) -> Result<(), RecordsError> {
        let node_error = |error| RecordsError::Node(Box::new(error));
        for record in self.0.get_all(channel).map_err(node_error)? {
            let (key, value) = record.map_err(node_error)?;
            take(key, &value)?;
        }
        Ok(())
    }

    /// Source: spec `node` 11.8. Nobody can put an empty value by this protocol.
    fn sends_values_of_removed_records(&self) -> bool {
        true
    }
}

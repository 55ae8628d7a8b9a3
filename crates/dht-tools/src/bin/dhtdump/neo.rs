//! A node asked by the neo protocol, which wants credentials.

use std::sync::Arc;

use dht_client::{
    ClientCredentials, NodeAddress,
    blocking::{
        Timeouts,
        neo::{Connection, ScanOptions},
    },
};
use dht_types::ChannelName;

use crate::source::{NodeError, RecordsError, Source, Take};

/// A connection to the neo port.
pub(crate) struct NeoSource(Connection);

impl NeoSource {
    /// Connects with the first question. `timeouts` bound each wait for the node.
    pub(crate) const fn new(
        node: NodeAddress,
        credentials: Arc<ClientCredentials>,
        timeouts: Timeouts,
    ) -> Self {
        Self(Connection::new(node, credentials, timeouts))
    }
}

impl Source for NeoSource {
    fn address(&self) -> &NodeAddress {
        self.0.node()
    }

    fn handshake(&mut self) -> Result<(), NodeError> {
        self.0.hash_range()?;
        Ok(())
    }

    fn channels(&mut self) -> Result<Vec<String>, NodeError> {
        Ok(self.0.get_channels()?)
    }

    fn records(&mut self, channel: &ChannelName, take: &mut Take<'_>) -> Result<(), RecordsError> {
        let node_error = |error| RecordsError::Node(Box::new(error));
        // Asking for the records of a channel makes it, and one that was removed since the list was
        // read would be back.
        let channels = self.0.get_channels().map_err(node_error)?;
        if !channels.iter().any(|name| *name == **channel) {
            return Ok(());
        }
        for record in self.0.get_all(channel, ScanOptions::default()).map_err(node_error)? {
            let (key, value) = record.map_err(node_error)?;
            take(key, &value)?;
        }
        Ok(())
    }

    fn sends_values_of_removed_records(&self) -> bool {
        false
    }
}

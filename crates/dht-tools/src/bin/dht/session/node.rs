//! One node, by either protocol: what is asked node by node.

use dht_client::{
    Error,
    blocking::{
        legacy::Connection as LegacyConnection,
        neo::{Connection as NeoConnection, ScanOptions},
    },
};
use dht_protocol::legacy::requests::GetChannels;
use dht_types::{ChannelName, Key};

/// One node of a [`super::Session`].
#[derive(Debug)]
pub(crate) enum Node<'s> {
    Legacy(&'s mut LegacyConnection),
    Neo(&'s mut NeoConnection),
}

/// A node's records as they come.
pub(crate) type Records<'n> = Box<dyn Iterator<Item = Result<(Key, Vec<u8>), Error>> + 'n>;
/// A node's keys as they come.
pub(crate) type Keys<'n> = Box<dyn Iterator<Item = Result<Key, Error>> + 'n>;

impl Node<'_> {
    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Legacy(node) => node.node().to_string(),
            Self::Neo(node) => node.node().to_string(),
        }
    }

    /// The records of a channel, or those whose value contains the filter.
    pub(crate) fn records(
        &mut self,
        channel: &ChannelName,
        filter: Option<&[u8]>,
    ) -> Result<Records<'_>, Error> {
        Ok(match (self, filter) {
            (Self::Legacy(node), None) => Box::new(node.get_all(channel)?),
            (Self::Legacy(node), Some(filter)) => Box::new(node.get_all_filter(channel, filter)?),
            (Self::Neo(node), filter) => {
                let filter = filter.unwrap_or_default();
                Box::new(node.get_all(channel, ScanOptions { filter, continue_from: None })?)
            }
        })
    }

    /// The keys of a channel.
    pub(crate) fn keys(&mut self, channel: &ChannelName) -> Result<Keys<'_>, Error> {
        Ok(match self {
            Self::Legacy(node) => Box::new(node.get_all_keys(channel)?),
            Self::Neo(node) => Box::new(node.get_all_keys(channel, ScanOptions::default())?),
        })
    }

    /// The names of its channels.
    pub(crate) fn channels(&mut self) -> Result<Vec<String>, Error> {
        match self {
            Self::Legacy(node) => node.call(&GetChannels),
            Self::Neo(node) => node.get_channels(),
        }
    }

    /// Takes a channel away.
    pub(crate) fn remove_channel(&mut self, channel: &ChannelName) -> Result<(), Error> {
        match self {
            Self::Legacy(node) => node.remove_channel(channel),
            Self::Neo(node) => node.remove_channel(channel),
        }
    }
}

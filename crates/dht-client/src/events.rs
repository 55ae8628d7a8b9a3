//! What a client tells about its nodes, and what can be asked of them.

use std::{fmt, sync::Arc, time::Duration};

use dht_types::HashRange;

use crate::{Error, NodeAddress, ranges::RangeWarning};

/// Most events that wait for somebody who listens; older ones are gone then.
pub(crate) const EVENTS_MAX: usize = 1024;

/// Something that has happened to a node. Source: spec `client` B.1.
#[derive(Debug, Clone)]
pub enum NodeEvent {
    /// Connected and accepted; also after a connection was lost.
    Connected(NodeAddress),
    /// The node's hash range is known for the first time: its keys can be used.
    HashRangeKnown(NodeAddress, HashRange),
    /// An attempt to connect has failed, or a connection was lost. Another attempt follows.
    ConnectionError(NodeAddress, Arc<Error>),
}

impl fmt::Display for NodeEvent {
    /// The text of the original's notifications.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(node) => write!(f, "<connected>: Node {node}"),
            Self::HashRangeKnown(node, _) => write!(f, "<hash_range_queried>: Node {node}"),
            Self::ConnectionError(node, error) => {
                write!(f, "<error_while_connecting>: Node {node}: {}", error.kind)
            }
        }
    }
}

/// What is known of a node.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// Its address as it was given, or as another node has told it.
    pub address: NodeAddress,
    /// Whether requests can be sent now. Legacy: whether it has passed the handshake; connections
    /// are made on demand then.
    pub connected: bool,
    /// The range that was reported last.
    pub hash_range: Option<HashRange>,
    /// Why the last attempt to connect, or the last connection, has failed.
    pub last_error: Option<Arc<Error>>,
}

/// What a node tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeInfo {
    /// The keys it is responsible for.
    pub hash_range: HashRange,
    /// Clients that are connected, the one that asks included.
    pub connections: u64,
    /// Records of all channels.
    pub records: u64,
    /// Bytes, as the node counts them: an estimate that includes what a record takes besides its
    /// value.
    pub bytes: u64,
}

/// What is wrong with the cluster as it is known now. Requests for other keys are not affected.
#[derive(Debug, Clone, Default)]
pub struct RangeReport {
    /// Ranges that overlap, hashes that nobody is responsible for.
    pub warnings: Vec<RangeWarning>,
    /// Nodes whose range is not known, and why, if that is known.
    pub unknown: Vec<(NodeAddress, Option<Arc<Error>>)>,
}

impl RangeReport {
    /// Whether every node has told its range, and the ranges tile the hash space.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.warnings.is_empty() && self.unknown.is_empty()
    }
}

impl fmt::Display for RangeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for warning in &self.warnings {
            write!(f, "{separator}{warning}")?;
            separator = "; ";
        }
        for (node, error) in &self.unknown {
            match error {
                Some(error) => write!(f, "{separator}{error}")?,
                None => write!(f, "{separator}node {node}: nothing heard yet")?,
            }
            separator = "; ";
        }
        if separator.is_empty() { f.write_str("complete") } else { Ok(()) }
    }
}

/// Not all nodes were ready in time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not ready after {waited:?}: {report}")]
pub struct NotReady {
    /// How long was waited.
    pub waited: Duration,
    /// What is missing.
    pub report: RangeReport,
}

/// What each node has answered to a request that was sent to all.
#[derive(Debug)]
pub struct Outcomes<T>(Vec<(NodeAddress, Result<T, Error>)>);

impl<T> Outcomes<T> {
    pub(crate) const fn new(outcomes: Vec<(NodeAddress, Result<T, Error>)>) -> Self {
        Self(outcomes)
    }

    /// The nodes and what became of the request there.
    pub fn nodes(&self) -> &[(NodeAddress, Result<T, Error>)] {
        &self.0
    }

    /// The answers of the nodes that gave one.
    pub fn answers(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|(_, result)| result.as_ref().ok())
    }

    /// The errors of the others.
    pub fn errors(&self) -> impl Iterator<Item = &Error> {
        self.0.iter().filter_map(|(_, result)| result.as_ref().err())
    }

    /// All answers, or the first error.
    pub fn all(self) -> Result<Vec<T>, Error> {
        self.0.into_iter().map(|(_, result)| result).collect()
    }
}

impl<T> IntoIterator for Outcomes<T> {
    type Item = (NodeAddress, Result<T, Error>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

//! What all nodes tell at once, as it comes: how it is taken, and what is said of the nodes.

use std::io::Write as _;

use dht_client::{MirrorEvent, NodeAddress};
use futures_util::{FutureExt as _, Stream, StreamExt as _};

use crate::{Output, failure::Failure};

/// The next item; `None` at the end. Before it waits it flushes, so that a reader sees everything
/// at once. A slow reader makes us slow, and us the nodes: nothing piles up here.
pub(super) async fn next<S: Stream + Unpin>(
    stream: &mut S,
    out: &mut Output,
) -> Result<Option<S::Item>, Failure> {
    if let Some(item) = stream.next().now_or_never() {
        return Ok(item);
    }
    out.flush()?;
    Ok(stream.next().await)
}

/// What has become of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeNews {
    /// The word for it in the output.
    pub(super) kind: &'static str,
    pub(super) node: Option<NodeAddress>,
    /// Why, if there is a reason to tell.
    pub(super) why: Option<String>,
}

impl NodeNews {
    /// What an event says of a node; `None` if it is of a record.
    pub(super) fn of(event: &MirrorEvent) -> Option<Self> {
        let (kind, node, why) = match event {
            MirrorEvent::UpdatesLost(node) => ("updates-lost", Some(node), None),
            MirrorEvent::ChannelRemoved(node) => ("channel-removed", Some(node), None),
            MirrorEvent::NodeBack(node) => ("node-back", Some(node), None),
            MirrorEvent::NodeLost(error) => {
                ("node-lost", error.node.as_ref(), Some(error.kind.to_string()))
            }
            MirrorEvent::NodeFailed(error) => {
                ("node-failed", error.node.as_ref(), Some(error.kind.to_string()))
            }
            MirrorEvent::Started
            | MirrorEvent::Updated(..)
            | MirrorEvent::Refreshed(..)
            | MirrorEvent::Deleted(_) => return None,
        };
        Some(Self { kind, node: node.cloned(), why })
    }

    /// The node as text.
    pub(super) fn node(&self) -> String {
        self.node.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string)
    }

    /// A sentence for people.
    pub(super) fn sentence(&self) -> String {
        let node = self.node();
        match (self.kind, &self.why) {
            ("updates-lost", _) => format!("node {node}: its queue was full, changes were lost"),
            ("channel-removed", _) => format!("node {node}: the channel was removed"),
            ("node-back", _) => format!("node {node} is back; what changed meanwhile is not told"),
            ("node-lost", Some(why)) => format!("node {node}: {why}; waiting for it"),
            (_, Some(why)) => format!("node {node}: {why}; given up"),
            (kind, None) => format!("node {node}: {kind}"),
        }
    }
}

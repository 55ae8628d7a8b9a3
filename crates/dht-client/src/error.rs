//! Why a request failed: at which node, which request, and what happened.

use std::{fmt, io, time::Duration};

use dht_protocol::{
    legacy::{API_VERSION, Command, Status, batch::BatchError},
    wire::DecodeError,
};
use dht_types::Key;

use crate::NodeAddress;

/// A request that did not succeed. Its text names the node and the request, if there are any.
#[derive(Debug)]
pub struct Error {
    /// The node; `None` if the request never got as far as to have one.
    pub node: Option<NodeAddress>,
    /// The request; `None` while connecting.
    pub request: Option<Command>,
    /// What happened.
    pub kind: ErrorKind,
}

/// What happened to a request.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// No connection came about.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// No connection came about within the time limit.
    #[error("cannot connect within {0:?}")]
    ConnectTimedOut(Duration),
    /// The node did not send or take a byte for so long.
    #[error("no answer for {0:?}")]
    TimedOut(Duration),
    /// The node closed the connection in the middle of a request.
    #[error("the node closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[source] io::Error),
    /// The node refused the request.
    #[error("refused: {0}")]
    Status(Status),
    /// The answer is not one. The connection was closed.
    #[error("malformed answer: {0}")]
    Protocol(#[source] DecodeError),
    /// A batch of records is damaged. The connection was closed.
    #[error("malformed batch: {0}")]
    Batch(#[source] BatchError),
    /// The node sent bytes that nobody asked for. The connection was closed.
    #[error("the node sent {0} bytes that nobody asked for")]
    Unasked(usize),
    /// The node speaks another version of the protocol.
    #[error("the node has API version {0:?}, this client {API_VERSION:?}")]
    Version(String),
    /// No node is known that is responsible for the key.
    #[error("no responsible node for key {0}")]
    NoNode(Key),
    /// Refused before anything was sent: a record needs a value.
    #[error("cannot put an empty value")]
    EmptyValue,
    /// Refused before anything was sent: a filter needs at least one byte.
    #[error("filter not set: it needs at least one byte")]
    EmptyFilter,
}

impl ErrorKind {
    /// Whether the connection is out of step or gone, so that no other request can use it.
    /// Source: spec `protocol-legacy` 13.4.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status, Status::Error),
            Self::Version(_) | Self::NoNode(_) | Self::EmptyValue | Self::EmptyFilter => false,
            Self::Connect(_)
            | Self::ConnectTimedOut(_)
            | Self::TimedOut(_)
            | Self::Closed
            | Self::Io(_)
            | Self::Protocol(_)
            | Self::Batch(_)
            | Self::Unasked(_) => true,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "node {node}: ")?;
        }
        if let Some(request) = self.request {
            write!(f, "{}: ", request.name())?;
        }
        self.kind.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_node_and_request() {
        let error = Error {
            node: Some("192.0.2.1:10000".parse().expect("an address")),
            request: Some(Command::Get),
            kind: ErrorKind::Status(Status::BadChannelName),
        };
        assert_eq!(error.to_string(), "node 192.0.2.1:10000: Get: refused: bad channel name (409)");
        let error = Error { node: None, request: None, kind: ErrorKind::NoNode(Key(5)) };
        assert_eq!(error.to_string(), "no responsible node for key 0000000000000005");
    }

    #[test]
    fn only_status_500_breaks_the_connection() {
        for status in Status::ALL {
            assert_eq!(ErrorKind::Status(status).is_fatal(), status == Status::Error, "{status}");
        }
    }
}

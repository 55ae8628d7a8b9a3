//! Why a request failed: at which node, which request, and what happened; and what that means for
//! whoever thinks of sending it again.

use std::{fmt, io, sync::Arc, time::Duration};

use dht_protocol::{
    batch::BatchError,
    legacy::{self, API_VERSION, Status},
    neo::{
        self, CLIENT_VALUE_BYTES_MAX,
        auth::{ClientHandshakeError, VERSION},
        client::ClientError,
    },
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
    pub request: Option<RequestName>,
    /// What happened.
    pub kind: ErrorKind,
}

/// A request of either protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestName {
    /// Of the legacy protocol.
    Legacy(legacy::Command),
    /// Of the neo protocol.
    Neo(neo::Command),
}

impl RequestName {
    /// The name as the stats and logs spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Legacy(command) => command.name(),
            Self::Neo(command) => command.name(),
        }
    }
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
    /// Legacy: the node refused the request.
    #[error("refused: {0}")]
    Status(Status),
    /// Neo: the greeting failed. The connection was closed.
    #[error("{0}")]
    Authentication(#[source] AuthenticationError),
    /// Neo: the key is outside the node's hash range.
    #[error("refused: the node is not responsible for the key")]
    WrongNode,
    /// Neo: the node could not do it, or answered with a status that means nothing.
    #[error("the node failed to do it")]
    NodeError,
    /// Neo: the client is not the one that may do this.
    #[error("refused: only the client named admin may do this")]
    NotPermitted,
    /// Neo: the node does not know the request, or not in our version.
    #[error("the node does not support the request")]
    Unsupported,
    /// Neo: refused before anything was sent.
    #[error("a value of {0} bytes; at most {CLIENT_VALUE_BYTES_MAX} can be put")]
    ValueTooBig(usize),
    /// Neo: the node broke the protocol. The connection was closed.
    #[error("malformed answer: {0}")]
    NeoProtocol(#[source] ClientError),
    /// The answer is not one. The connection was closed.
    #[error("malformed answer: {0}")]
    Protocol(#[source] DecodeError),
    /// A batch of records is damaged. The connection was closed.
    #[error("malformed batch: {0}")]
    Batch(#[source] BatchError),
    /// The node sent bytes that nobody asked for. The connection was closed.
    #[error("the node sent {0} bytes that nobody asked for")]
    Unasked(usize),
    /// Legacy: the node speaks another version of the protocol.
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
    /// There is no connection to the node now. Nothing was sent.
    #[error("not connected")]
    NotConnected,
    /// The connection ended before the answer came.
    #[error("the connection was lost{}: {reason}", before(*.sent))]
    Disconnected {
        /// Whether any of the request may have left this machine.
        sent: bool,
        /// Why it ended.
        reason: Arc<str>,
    },
    /// As many requests run on the node's connection as may. Nothing was sent.
    #[error("{0} requests run already")]
    TooManyRequests(usize),
    /// More bytes wait to be sent to the node than may. Nothing was sent.
    #[error("request queue full: {0} bytes wait for the node")]
    QueueFull(usize),
    /// An update met a conflict with another client so many times.
    #[error("others changed the record {0} times meanwhile")]
    Conflict(u32),
    /// A stream's node was away for so long that it was given up.
    #[error("the node was away for {0:?}")]
    Away(Duration),
    /// The client was shut down. Nothing was sent.
    #[error("the client was shut down")]
    ShutDown,
    /// A value is not what it was said to be; the reason. Nothing was written.
    #[error("cannot convert the value: {0}")]
    Value(Arc<str>),
    /// The request is not one of this protocol.
    #[error("the {0} protocol has no such request")]
    NotInProtocol(&'static str),
}

const fn before(sent: bool) -> &'static str {
    if sent { "" } else { " before the request was sent" }
}

/// What is known of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It was never sent, or its node refused it: nothing has changed.
    NotDone,
    /// It was sent and no answer came: the node may have done it, or may still do it.
    Unknown,
}

/// Why a neo connection did not come about, though there was somebody to talk to.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// Unknown name, wrong key, or clocks more than half an hour apart: the node does not say.
    #[error("the node rejects the client: unknown name, wrong key, or clocks too far apart")]
    Rejected,
    /// The node speaks another version of the protocol.
    #[error("the node has protocol version {0}, this client {VERSION}")]
    Version(u8),
    /// The node said nothing for so long.
    #[error("no answer to the greeting for {0:?}")]
    TimedOut(Duration),
    /// The node closed the connection in the middle of the greeting.
    #[error("the node closed the connection during the greeting")]
    Closed,
    /// The node's part of the greeting is not one.
    #[error("malformed greeting: {0}")]
    Malformed(#[source] ClientHandshakeError),
}

impl From<ClientHandshakeError> for AuthenticationError {
    fn from(error: ClientHandshakeError) -> Self {
        match error {
            ClientHandshakeError::Rejected => Self::Rejected,
            ClientHandshakeError::Version(version) => Self::Version(version),
            ClientHandshakeError::TooMuch(_)
            | ClientHandshakeError::VersionNotAlone(_)
            | ClientHandshakeError::Message(_) => Self::Malformed(error),
        }
    }
}

impl Error {
    /// Whether the request may have been executed.
    #[must_use]
    pub const fn fate(&self) -> Fate {
        match &self.kind {
            ErrorKind::TimedOut(_)
            | ErrorKind::Closed
            | ErrorKind::Io(_)
            | ErrorKind::NodeError
            | ErrorKind::NeoProtocol(_)
            | ErrorKind::Protocol(_)
            | ErrorKind::Batch(_)
            | ErrorKind::Unasked(_)
            | ErrorKind::Away(_)
            | ErrorKind::Disconnected { sent: true, .. }
            | ErrorKind::Status(Status::Error) => Fate::Unknown,
            _ => Fate::NotDone,
        }
    }

    /// Whether what the application wanted to write may have been written: for a Put, a Remove or
    /// the like, that [`Error::fate`] is unknown; for a request that only reads, never.
    #[must_use]
    pub const fn may_have_written(&self) -> bool {
        matches!(self.fate(), Fate::Unknown)
            && match self.request {
                Some(request) => request.is_write(),
                None => false,
            }
    }

    /// Whether it makes sense to try again a little later, and cannot do harm: the cause may pass,
    /// and sending it twice is the same as sending it once. That is so for every request but an
    /// Update whose fate is unknown. Source: spec `client` B.2.
    #[must_use]
    pub const fn is_retry_safe(&self) -> bool {
        let may_pass = matches!(
            &self.kind,
            ErrorKind::Connect(_)
                | ErrorKind::ConnectTimedOut(_)
                | ErrorKind::TimedOut(_)
                | ErrorKind::Closed
                | ErrorKind::Io(_)
                | ErrorKind::NoNode(_)
                | ErrorKind::NotConnected
                | ErrorKind::Disconnected { .. }
                | ErrorKind::TooManyRequests(_)
                | ErrorKind::QueueFull(_)
                | ErrorKind::Conflict(_)
                | ErrorKind::Away(_)
                | ErrorKind::Status(Status::OutOfMemory)
        );
        let update = matches!(self.request, Some(RequestName::Neo(neo::Command::Update)));
        may_pass && !(update && self.may_have_written())
    }
}

impl RequestName {
    /// Whether the request changes what a node stores.
    #[must_use]
    pub const fn is_write(self) -> bool {
        match self {
            Self::Legacy(command) => matches!(
                command,
                legacy::Command::Put
                    | legacy::Command::Remove
                    | legacy::Command::RemoveChannel
                    | legacy::Command::PutBatch
            ),
            Self::Neo(command) => matches!(
                command,
                neo::Command::Put
                    | neo::Command::Remove
                    | neo::Command::RemoveChannel
                    | neo::Command::Update
            ),
        }
    }
}

impl ErrorKind {
    /// Whether the connection is out of step or gone, so that no other request can use it.
    /// Source: spec `protocol-legacy` 13.4, `protocol-neo` 16.4.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status, Status::Error),
            Self::Version(_)
            | Self::NoNode(_)
            | Self::EmptyValue
            | Self::EmptyFilter
            | Self::WrongNode
            | Self::NodeError
            | Self::NotPermitted
            | Self::Unsupported
            | Self::ValueTooBig(_)
            | Self::NotConnected
            | Self::TooManyRequests(_)
            | Self::QueueFull(_)
            | Self::Conflict(_)
            | Self::Away(_)
            | Self::ShutDown
            | Self::Value(_)
            | Self::NotInProtocol(_) => false,
            Self::Connect(_)
            | Self::ConnectTimedOut(_)
            | Self::TimedOut(_)
            | Self::Closed
            | Self::Io(_)
            | Self::Protocol(_)
            | Self::Batch(_)
            | Self::Unasked(_)
            | Self::Authentication(_)
            | Self::Disconnected { .. }
            | Self::NeoProtocol(_) => true,
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
            request: Some(RequestName::Legacy(legacy::Command::Get)),
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

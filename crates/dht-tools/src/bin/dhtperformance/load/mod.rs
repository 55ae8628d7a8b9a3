//! The load generator: requests over many connections on few threads, and how long each took.
//!
//! ```text
//! Plan          what is asked for: protocol, nodes, kinds, keys, pattern
//! > Engine        a thread for each part of the load, one cycle after another
//!   > Worker        one thread: an event loop over its links; takes the times
//!     > Link          one connection: bytes in and out, which requests are in flight
//!       > codec         one protocol: a request to bytes, bytes to an outcome
//!     > Schedule      when the next request is due   > Stock   which one that is
//!     > Record        what became of them: Tally for the result, Live for the progress line
//! ```
//!
//! There is no task and no thread for a request, and nothing allocates for one: with replies as
//! fast as a node gives them, generator and node use about the same time for a request.
//!
//! All times are nanoseconds since the start of the process ([`Clock`]).

mod clock;
pub(crate) mod codec;
mod engine;
mod link;
mod live;
mod record;
mod schedule;
mod stock;
mod tally;
#[cfg(test)]
mod tests;
mod worker;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use dht_client::NodeAddress;
use dht_types::{ChannelName, HashRange, Key};

pub(crate) use clock::Clock;
pub(crate) use codec::Protocol;
pub(crate) use engine::Engine;
pub(crate) use live::Live;
pub(crate) use stock::Keys;
pub(crate) use tally::{Counts, Tally};

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Exists,
    Get,
    Put,
    Remove,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Exists, Self::Get, Self::Put, Self::Remove];

    /// As `--command` spells it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::Get => "get",
            Self::Put => "put",
            Self::Remove => "remove",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) kind: Kind,
    pub(crate) key: Key,
}

/// What became of a request that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Done, but there was no such record.
    Missing,
    /// The server refused it, and says why with a status, if it has one.
    Refused(Refusal),
}

/// Why a server refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Legacy(dht_protocol::legacy::Status),
    #[error("the key is outside the node's hash range")]
    WrongNode,
    #[error("the node could not do it")]
    NodeError,
    #[error("the node does not know the request")]
    Unsupported,
    #[error("the server answered with an error")]
    ServerError,
}

/// When the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pattern {
    /// So many at once, and when all of them have ended, the next. The original's way. A request's
    /// time counts from the start of its batch.
    LockStep { batch: u64, rate: Option<f64> },
    /// Whenever one ends. A request's time counts from when it is sent.
    Closed,
    /// At fixed times, so many a second, whether or not others have ended. A request's time counts
    /// from when it was due, so that a server that stalls cannot hide it.
    Open { rate: f64, poisson: bool },
}

/// A server.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// As the nodes file has it.
    pub(crate) name: NodeAddress,
    pub(crate) address: SocketAddr,
    pub(crate) range: HashRange,
}

/// The whole load. The same for all threads.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) protocol: Protocol,
    pub(crate) targets: Vec<Target>,
    pub(crate) channel: ChannelName,
    /// Kinds and their weights; at least one, none of weight 0.
    pub(crate) mix: Vec<(Kind, u32)>,
    pub(crate) keys: Keys,
    pub(crate) value: Arc<[u8]>,
    pub(crate) pattern: Pattern,
    /// To each server, over all threads.
    pub(crate) connections: usize,
    /// Requests in flight on a connection, at most.
    pub(crate) pipeline: usize,
    pub(crate) threads: usize,
    /// Requests of a cycle; `None`: as many as `duration` lets pass.
    pub(crate) requests: Option<u64>,
    /// Of a cycle.
    pub(crate) duration: Option<Duration>,
    /// After which a request counts as timed out.
    pub(crate) client_timeout: Option<Duration>,
    /// Requests that take longer are counted.
    pub(crate) long_after: Option<Duration>,
    /// Sleep after each reply.
    pub(crate) processing: Option<Duration>,
    /// Whether each server has its own counts.
    pub(crate) per_node: bool,
    pub(crate) seed: u64,
}

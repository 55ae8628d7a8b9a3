//! The legacy protocol over one TCP connection a node.
//!
//! ```text
//! Cluster       key -> node; the same question to all nodes
//! > Connection    one node: one request at a time, connects on demand
//!   > Records, Keys, Changes    the answers that are streams
//!   > socket                    bytes in and out, time limits
//! ```
//!
//! Invariant: a connection that is out of step is closed at once, be it by an error or because a
//! stream was dropped before its end; the next request opens a new one. Nothing is ever repeated
//! without being asked for. Source: spec `protocol-legacy` 13, `client` A.

mod cluster;
mod connection;
mod stream;

pub use cluster::Cluster;
pub use connection::Connection;
pub use stream::{Change, Changes, Keys, Records};

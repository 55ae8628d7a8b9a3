//! The neo protocol over one authenticated TCP connection a node.
//!
//! ```text
//! Cluster       key -> nodes, newest first; the same question to all nodes
//! > Connection    one node: one request at a time, connects on demand
//!   > Records, Keys, Mirror    the answers that are streams
//!   > PendingUpdate            a record that was read and may be written back
//!     > Link                     messages of one open connection, and the node's hash range
//!       > socket                   bytes in and out, time limits
//! ```
//!
//! Beside the one request a GetHashRange runs as long as the connection lives: its news are taken
//! in whenever something is received. Invariant: a connection that is out of step is closed at
//! once, be it by an error or because a stream was dropped before its end; the next request opens a
//! new one. Nothing is repeated without being asked for, but what a node refused because the key
//! has moved. Source: spec `protocol-neo` 11-16, `client` B.

mod cluster;
mod connection;
mod link;
mod stream;
mod update;

pub use cluster::Cluster;
pub use connection::{Connection, MirrorOptions, ScanOptions};
pub use link::{NEWS_MAX, RangeNews};
pub use stream::{Keys, Mirror, MirrorEvent, Records};
pub use update::{Decision, UpdateOutcome};

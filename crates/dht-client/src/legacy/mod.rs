//! The legacy protocol for asynchronous programs: a pool of connections for each node, one request
//! at a time on each.
//!
//! ```text
//! cluster   which node; the handshake, again and again until every node has passed it
//! > pool      the connections of one node: who waits, who is idle, one request
//!   > conn      bytes in and out
//! stream    GetAll, Listen: a connection of their own for each node
//! ```
//!
//! Invariant: a connection that is out of step is closed at once, be it by an error, or because a
//! future or stream was dropped before its end. Nothing is ever repeated without being asked for.
//! Source: spec `protocol-legacy` 13, `client` A.

pub(crate) mod cluster;
mod conn;
pub(crate) mod info;
mod pool;
pub(crate) mod stream;

//! The neo protocol for asynchronous programs.
//!
//! ```text
//! call      which node is asked, in which order; one answer
//! > cluster   nodes, hash ranges, events
//!   > link      the running requests of one connection         driver   the task of one node
//!   > stream    requests with many answers, on all nodes       connect  socket and greeting
//! ```
//!
//! Source: spec `protocol-neo` 16, `client` B.

pub(crate) mod call;
pub(crate) mod cluster;
mod connect;
mod driver;
mod link;
mod routes;
mod slot;
pub(crate) mod stream;

pub(crate) use connect::connect;

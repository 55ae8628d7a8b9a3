//! The two protocols of the family as pure functions of bytes: no sockets, no clock, no threads.
//!
//! ```text
//! wire            the only code that slices a peer's bytes
//! legacy/         port P: one request at a time, no authentication
//! ```
//!
//! A protocol has both its sides here, the node's and the client's, so that they are tested
//! against each other in memory.

pub mod legacy;
pub mod wire;

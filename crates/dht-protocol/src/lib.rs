//! The two protocols of the family as pure functions of bytes: no sockets, no clock, no threads.
//!
//! ```text
//! wire            the only code that slices a peer's bytes
//! batch           many records in one compressed array; both protocols have them
//! legacy/         port P: one request at a time, no authentication
//! neo/            port P + 100: authenticated, many requests at once
//! ```
//!
//! A protocol has both its sides here, the node's and the client's, so that they are tested
//! against each other in memory.

pub mod batch;
pub mod legacy;
pub mod neo;
pub mod wire;

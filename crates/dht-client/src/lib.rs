//! The client library: which node holds a key, connections, a method for each request.
//!
//! - [`blocking::legacy`]: the legacy protocol for programs that may wait: the tools.
//! - [`NodesFile`]: the list of nodes as operators write it.
//! - [`ranges`]: what can be wrong with the hash ranges that the nodes of a cluster report.
//!
//! Nothing that a node sends makes this crate panic, or hold more than a bounded amount of memory.

pub mod blocking;
mod error;
mod nodes_file;
pub mod ranges;

pub use error::{Error, ErrorKind};
pub use nodes_file::{NodeAddress, NodeAddressError, NodesFile, NodesFileError};

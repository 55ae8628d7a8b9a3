//! The client library: which node holds a key, connections, a method for each request.
//!
//! - [`blocking::legacy`], [`blocking::neo`]: the two protocols for programs that may wait: the
//!   tools.
//! - [`ClientCredentials`]: the name and the key of a neo client.
//! - [`NodesFile`]: the list of nodes as operators write it.
//! - [`ranges`]: what can be wrong with the hash ranges that the nodes of a cluster report.
//!
//! Nothing that a node sends makes this crate panic, or hold more than a bounded amount of memory.

pub mod blocking;
mod credentials;
mod error;
mod nodes_file;
pub mod ranges;

pub use credentials::{ClientCredentials, CredentialsFileError};
pub use error::{AuthenticationError, Error, ErrorKind, RequestName};
pub use nodes_file::{NodeAddress, NodeAddressError, NodesFile, NodesFileError};

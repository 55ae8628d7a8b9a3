//! Clients for programs that may wait: each request returns when it is answered.

mod handshakes;
pub mod legacy;
pub mod neo;
mod socket;

pub use handshakes::{ClusterError, Warning};
pub use socket::Timeouts;

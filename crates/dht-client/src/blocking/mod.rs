//! Clients for programs that may wait: each request returns when it is answered.
//!
//! - [`Client`]: the whole client, for applications.
//! - [`legacy`], [`neo`]: the two protocols over single connections, without a thread beneath, for
//!   tools that look at nodes one by one.

mod client;
mod handshakes;
pub mod legacy;
pub mod neo;
mod socket;

pub use client::{Channel, Client, Iter, Mirror};
pub use handshakes::{ClusterError, Warning};
pub use socket::Timeouts;

//! The client library of the hash table: which node holds a key, connections, a method for each
//! request.
//!
//! ```
//! # let node = dht_test::TestNode::start();
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use dht_client::Client;
//!
//! # let (address, credentials) = (node.neo_address(), dht_test::TestNode::credentials());
//! let client = Client::builder().node(address).credentials(credentials).connect().await?;
//! let fruits = client.channel("fruits")?;
//! fruits.put(1, "apple").await?;
//! assert_eq!(fruits.get(1).await?.as_deref(), Some(&b"apple"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(()) })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Begin with the [`guide`]. How the pieces lie:
//!
//! ```text
//! Client, Channel     what applications call       blocking::Client   the same, and it waits
//! > neo, legacy       the two protocols: which node, one request, a stream
//! helpers             a map in step, puts that wait on disk, a channel's file, JSON
//! ```
//!
//! [`blocking::legacy`] and [`blocking::neo`] are single connections for tools.
//!
//! Nothing that a node sends makes this crate panic, or hold more than a bounded amount of memory.
//!
//! Source: spec `client`, `protocol-neo` 16, `protocol-legacy` 13.

#![deny(missing_docs)]

mod backoff;
pub mod blocking;
mod builder;
mod channel;
mod client;
mod credentials;
mod error;
mod events;
pub mod guide;
mod helpers;
mod legacy;
mod neo;
mod nodes_file;
pub mod ranges;
mod stats;
mod stream;

pub use builder::{BuildError, Builder, Limits};
pub use channel::{Change, Channel, ChannelSize, MirrorOptions, Removed, Updated};
pub use client::Client;
pub use credentials::{ClientCredentials, CredentialsFileError};
pub use dht_types::{ChannelName, ChannelNameError, HashRange, Key};
pub use error::{AuthenticationError, Error, ErrorKind, Fate, RequestName};
pub use events::{NodeEvent, NodeInfo, NodeStatus, NotReady, Outcomes, RangeReport};
pub use helpers::{
    DecodeErrors, MirrorMap, NodeAvailability, Overflow, OverflowError, Stored, Waiting,
    channel_file,
};
pub use nodes_file::{NodeAddress, NodeAddressError, NodesFile, NodesFileError};
pub use stats::{BUCKET_EDGES_MICROS, RequestCounts, Stats};
pub use stream::{Keys, Mirror, MirrorEvent, NodeProgress, Records, Scan, ScanEvent, ScanEvents};

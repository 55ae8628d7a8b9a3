//! The client library.
//!
//! - [`blocking::legacy`], [`blocking::neo`]: the two protocols for programs that may wait: the
//!   tools.

mod backoff;
pub mod blocking;
mod builder;
mod channel;
mod client;
mod credentials;
mod error;
mod events;
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
pub use events::{NodeEvent, NodeStatus, NotReady, Outcomes, RangeReport};
pub use helpers::{
    DecodeErrors, MirrorMap, NodeAvailability, Overflow, OverflowError, Stored, Waiting,
    channel_file,
};
pub use nodes_file::{NodeAddress, NodeAddressError, NodesFile, NodesFileError};
pub use stats::{BUCKET_EDGES_MICROS, RequestCounts, Stats};
pub use stream::{Keys, Mirror, MirrorEvent, NodeProgress, Records, Scan, ScanEvent, ScanEvents};

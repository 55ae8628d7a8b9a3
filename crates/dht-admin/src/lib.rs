//! HTTP for those who run a daemon: reads only, on a thread of its own.
//!
//! ```text
//! server.rs   accepts, reads heads within limits, answers what a [`Site`] says
//! peers.rs    other servers like this one, whose pages may read what is shared
//! text.rs     figures in the text format of Prometheus
//! ```
//!
//! Nothing here knows what the daemon does. The thread shares nothing with those that serve the
//! daemon's clients, so it answers however busy they are; a [`Site`] must not wait for anything.

mod peers;
mod server;
mod text;

pub use peers::{Peers, PeersError};
pub use server::{AdminServer, Answer, Site};
pub use text::{CONTENT_TYPE, Kind, MetricsText};

//! The neo protocol: any number of interleaved requests over one authenticated TCP connection.
//!
//! ```text
//! client -> node   01, then three authentication messages        ServerHandshake
//! node -> client   01, then two                                  ClientHandshake
//! client -> node   (id, code, version, arguments)                Server: a request starts
//! node -> client   (id, fd), (id, result), ...                   Client: its replies
//! client -> node   (id, control message or Update's second half)
//! ```
//!
//! - [`frame`] cuts the stream into messages; [`auth`] opens a connection, [`credentials`] has the
//!   names and keys for that.
//! - [`Server`] is a node's side of an open connection, [`Client`] the other.
//! - [`requests`] has a file for each request: its arguments, its messages, their bytes.
//! - [`suspendable`] is what GetAll and Mirror share: pause, resume, stop, and a clean end.
//! - [`batch`] packs many records into one compressed array.
//!
//! Nothing here allocates to decode: whatever is decoded borrows from the caller's buffer.
//! Source: spec `protocol-neo`.

mod active;
pub mod auth;
pub mod batch;
pub mod client;
mod codes;
mod connection;
pub mod credentials;
pub mod frame;
pub mod requests;
pub mod suspendable;
#[cfg(test)]
mod tests;

pub use active::RequestKind;
pub use auth::{ClientHandshake, ServerHandshake};
pub use client::Client;
pub use codes::{RequestId, Supported};
pub use connection::{CloseReason, Event, Message, Refusal, Server};
pub use requests::{Arguments, Command, Payload, Request};
pub use suspendable::{Control, Suspendable};

/// Most requests that may run at once over one connection. Source: spec `protocol-neo` 6.
pub const REQUESTS_ACTIVE_MAX: usize = 5000;

/// Longest value that an original client puts; a node accepts longer ones.
/// Source: spec `protocol-neo` 10.1.
pub const CLIENT_VALUE_BYTES_MAX: usize = 64 * 1024 - 8 - 16;

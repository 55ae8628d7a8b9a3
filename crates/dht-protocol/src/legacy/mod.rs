//! The legacy protocol: one request at a time over a plain TCP connection.
//!
//! ```text
//! client -> node   code: u32, the request's arguments
//! node -> client   status: u32, and behind 200 the request's answer
//! ```
//!
//! No greeting, no framing: who loses count of a byte loses the connection. Arguments come in the
//! order channel, key, rest; all of them are read before any is judged.
//!
//! - [`Server`] turns a client's bytes into [`Request`]s, one by one.
//! - [`requests`] has a file for each request: its arguments, its answer, their bytes.
//! - [`batch`] packs many records into one compressed array.
//!
//! Source: spec `protocol-legacy`.

pub mod batch;
mod codes;
pub mod requests;
mod server;

use crate::batch::BATCH_BYTES_MAX;
pub use codes::Status;
pub use requests::{Answer, Arguments, Command, Request, encode};
pub use server::{CloseReason, Limits, Parsed, Server};

/// Longest array that either side reads, in bytes, where nothing else is said.
/// Source: spec `protocol-legacy` 3.
pub const ARRAY_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Longest array in the requests of our own by which nodes move records, in bytes: the largest
/// batch, which may grow by a sixteenth when it does not compress.
pub const MOVING_BYTES_MAX: usize = BATCH_BYTES_MAX + BATCH_BYTES_MAX / 16 + 64 * 1024;

/// What a node answers to GetVersion; clients refuse any other. Source: 7.1.
pub const API_VERSION: &str = "20110401";

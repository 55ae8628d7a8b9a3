//! The node: sockets, workers, handlers, start and stop.
//!
//! ```text
//! program.rs     from the command line to the exit code
//! node.rs        start: load, bind, spawn; stop: join, dump
//! control.rs     the main thread: accepts, signals, command sockets, stats
//! worker.rs      one thread's loop: for each ready connection receive, execute, send once
//!   alarms.rs      times at which to wake a stream
//!   driver/        which sockets are ready, bytes in and out
//!   connection.rs  a session and its buffers
//!     latency.rs     how long its requests take; slow.rs those that take long
//!     session.rs     what both protocols have in common
//!     legacy.rs      bytes -> requests -> handlers, one at a time
//!     neo/           the same, any number at a time
//!       handlers/      what each request does
//! restore.rs     what was there before: dumps, then the log behind them
//!   persist/       dump files into the store and back
//!   durability/    the log of changes between dumps
//! ranges.rs      which keys are ours, and who is told of it
//! admission.rs   which connections are served, and how many there are
//! moves/         records on their way to other nodes, and from them
//! admin/         metrics, health and a page to look at, over HTTP
//! streams.rs     the streams that are under way, and which lag
//! hot_keys.rs    which keys are asked for most
//! embedded.rs    a node within another program, for tests
//! ```

mod admin;
mod admission;
mod alarms;
mod bulk;
pub mod config;
mod connection;
mod context;
mod control;
mod counters;
mod credentials;
mod driver;
mod durability;
pub mod embedded;
mod handlers;
mod hot_keys;
mod latency;
mod legacy;
mod mailbox;
mod moves;
mod neo;
mod node;
mod persist;
mod program;
mod range_file;
mod ranges;
mod restore;
mod session;
mod shared;
mod slow;
mod stats;
mod streams;
mod worker;

pub use program::run;

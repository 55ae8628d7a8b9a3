//! What every daemon of the family shares: options, INI files, logs, pid lock, command sockets.
//!
//! ```text
//! args            argv -> Command (help, version, build info, or run with Options)
//!   ini           bytes -> sections of key = value, with the overrides of `-O` applied
//!     section     one section -> typed values; finds unknown keys; words every error
//!       log       [LOG], [LOG.x]: loggers, appenders, layouts; backend of the `log` facade
//!       stats     [STATS]: one line of name:value items every interval
//! pid_lock  memory_lock  signals  command_socket  service_manager: the rest of a daemon's life
//! ```
//!
//! Nothing here knows a wire protocol, a store, or the sections of one application. Parsers are
//! pure functions; printing and leaving the process happens in [`args::parse_or_exit`] alone.
//!
//! Source: spec `node` 2-10.

mod app;
pub mod args;
pub mod build_info;
pub mod command_socket;
pub mod ini;
pub mod log;
pub mod memory_lock;
pub mod pid_lock;
pub mod section;
pub mod service_manager;
pub mod signals;
pub mod stats;

pub use app::{App, OptionSpec};
pub use ini::Ini;
pub use section::{ConfigError, Section};

//! The program `dhtnode` as an operator, or an old script, meets it: command line, config file,
//! start, logs, stats, command sockets, signals, end. Real processes, each in a folder of its own.
//!
//! Source: spec `node` 1-10, 12; `file-formats` 5-9.

#![allow(clippy::unwrap_used, reason = "also in what the tests share, which clippy does not see")]

mod admin;
mod collectd;
mod command_line;
mod command_sockets;
mod config;
mod full_disk;
mod logs;
mod migration;
mod periodic_dumps;
mod prometheus;
mod sample;
mod service_manager;
mod shutdown;
mod start;
mod stats;
mod support;

//! `dht`: the command for people who look into a node, or put something there.
//!
//! ```text
//! args         what was asked for: options, help, examples
//! > commands     a file for each command, or for a few that are alike
//!   > session      which nodes, and who is asked for a key
//!   > format       a record as raw bytes, hex, JSON or text
//! > workload     a large workload that checks every record it wrote
//! < failure      what went wrong, what to do, the exit code
//! ```
//!
//! It speaks the legacy protocol, through `dht-client`.

mod args;
mod commands;
mod failure;
mod format;
mod key;
mod progress;
mod session;
mod table;
mod workload;

use std::{
    io::{BufWriter, StdoutLock},
    process::ExitCode,
};

use clap::Parser as _;

use args::{Cli, Command};
use failure::{Exit, Failure};
use session::{Session, Target};

/// Standard output, in large pieces. Commands flush it, so that a failure is noticed.
type Output = BufWriter<StdoutLock<'static>>;

/// Bytes that are collected before they are written.
const OUTPUT_BYTES: usize = 64 * 1024;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.report();
            failure.exit().into()
        }
    }
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let mut out = BufWriter::with_capacity(OUTPUT_BYTES, std::io::stdout().lock());
    if let Command::Completions { shell } = cli.command {
        return commands::completions(shell, &mut out);
    }
    let target = Target::resolve(&cli.target, |name| std::env::var_os(name))?;
    let mut session = Session::open(&target, cli.target.timeout)?;
    match cli.command {
        Command::Put(args) => commands::put(&mut session, &args),
        Command::Get(args) => commands::get(&mut session, &args, &mut out),
        Command::Exists(args) => commands::exists(&mut session, &args, &mut out),
        Command::Remove(args) => commands::remove(&mut session, &args),
        Command::Scan(args) => commands::scan(&mut session, &args, &mut out),
        Command::Keys(args) => commands::keys(&mut session, &args, &mut out),
        Command::Listen(args) => commands::listen(&session, &args, &mut out),
        Command::Channels { json } => commands::channels(&mut session, json, &mut out),
        Command::Sizes(args) => commands::sizes(&mut session, &args, &mut out),
        Command::Info { json } => commands::info(&mut session, json, &mut out),
        Command::RemoveChannel(args) => commands::remove_channel(&mut session, &args),
        Command::Workload(args) => workload::run(&mut session, &args, &mut out),
        Command::Completions { .. } => unreachable!("needs no node, and was dealt with above"),
    }
}

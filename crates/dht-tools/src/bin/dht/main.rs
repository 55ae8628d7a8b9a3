//! `dht`: the command for people who look into a node, or put something there.
//!
//! ```text
//! args         what was asked for: options, help, examples
//! > commands     a file for each command, or for a few that are alike
//!   > session      which nodes, by which protocol, and who is asked for a key
//!   > format       a record as raw bytes, hex, JSON or text
//! > workload     a large workload that checks every record it wrote
//! < failure      what went wrong, what to do, the exit code
//! ```
//!
//! It speaks both protocols, through `dht-client`: neo if there are credentials, else legacy.

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
use session::Access;

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
    match &cli.command {
        Command::Instances(args) => return commands::instances(args, &mut out),
        Command::ManPages { folder } => return commands::man_pages(folder),
        _ => {}
    }
    let access = Access::resolve(&cli.target, |name| std::env::var_os(name))?;
    match cli.command {
        Command::Put(args) => commands::put(&mut access.open()?, &args),
        Command::Get(args) => commands::get(&mut access.open()?, &args, &mut out),
        Command::Exists(args) => commands::exists(&mut access.open()?, &args, &mut out),
        Command::Remove(args) => commands::remove(&mut access.open()?, &args),
        Command::Update(args) => commands::update(&mut access.open_neo("update")?, &args),
        Command::Scan(args) => commands::scan(&mut access.open()?, &args, &mut out),
        Command::Keys(args) => commands::keys(&mut access.open()?, &args, &mut out),
        Command::Listen(args) => commands::listen(&mut access.open()?, &args, &mut out),
        Command::Mirror(args) => commands::mirror(&mut access.open_neo("mirror")?, &args, &mut out),
        Command::Channels { json } => commands::channels(&mut access.open()?, json, &mut out),
        Command::Sizes(args) => commands::sizes(&mut access.open_legacy()?, &args, &mut out),
        Command::Info { json } => commands::info(&mut access.open_legacy()?, json, &mut out),
        Command::Ring { json } => commands::ring(&mut access.open_legacy()?, json, &mut out),
        Command::RemoveChannel(args) => commands::remove_channel(&mut access.open()?, &args),
        Command::Workload(args) => workload::run(&mut access.open_legacy()?, &args, &mut out),
        Command::Completions { .. } | Command::Instances(_) | Command::ManPages { .. } => {
            unreachable!("needs no node, and was dealt with above")
        }
    }
}

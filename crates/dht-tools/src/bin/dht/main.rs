//! `dht`: the command for people who look into a node, or put something there.
//!
//! ```text
//! args         what was asked for: options, help, examples
//! > commands     a file for each command, or for a few that are alike
//!   > session      which nodes, by which protocol, and who is asked for a key
//!   > format       a record as raw bytes, hex, JSON or text
//! > transfer     a channel as a file, a file into a channel
//! > top          a live screen
//! > bench        a few seconds of load
//! > workload     a large workload that checks every record it wrote
//! < failure      what went wrong, what to do, the exit code
//! ```
//!
//! It speaks both protocols, through `dht-client`: neo if there are credentials, else legacy. All
//! of it runs on one thread: who reads our output slowly makes everything wait, the nodes included.

mod args;
mod bench;
mod commands;
mod failure;
mod format;
mod key;
mod progress;
mod session;
mod table;
mod top;
mod transfer;
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::Runtime)?.block_on(run_on_nodes(&access, cli.command, &mut out))
}

async fn run_on_nodes(
    access: &Access,
    command: Command,
    out: &mut Output,
) -> Result<Exit, Failure> {
    match command {
        Command::Put(args) => commands::put(&mut access.open().await?, &args).await,
        Command::Get(args) => commands::get(&mut access.open().await?, &args, out).await,
        Command::Exists(args) => commands::exists(&mut access.open().await?, &args, out).await,
        Command::Remove(args) => commands::remove(&mut access.open().await?, &args).await,
        Command::Update(args) => commands::update(access, &args).await,
        Command::Scan(args) => commands::scan(&mut access.open().await?, &args, out).await,
        Command::Keys(args) => commands::keys(&mut access.open().await?, &args, out).await,
        Command::Listen(args) => commands::listen(&mut access.follow().await?, &args, out).await,
        Command::Mirror(args) => commands::mirror(&mut access.follow().await?, &args, out).await,
        Command::Watch(args) => commands::watch(&mut access.follow().await?, &args, out).await,
        Command::Export(args) => transfer::export(&mut access.open().await?, &args, out).await,
        Command::Import(args) => transfer::import(access, &args).await,
        Command::Channels { json } => {
            commands::channels(&mut access.open().await?, json, out).await
        }
        Command::Sizes(args) => commands::sizes(&mut access.open_legacy().await?, &args, out).await,
        Command::Info { json } => commands::info(&mut access.open_legacy().await?, json, out).await,
        Command::Ring { json } => commands::ring(&mut access.open_legacy().await?, json, out).await,
        Command::Top(args) => top::top(access, &args).await,
        Command::RemoveChannel(args) => {
            commands::remove_channel(&mut access.open().await?, &args).await
        }
        Command::Bench(args) => bench::bench(access, &args, out).await,
        Command::Workload(args) => workload::run(access, &args, out).await,
        Command::Completions { .. } | Command::Instances(_) | Command::ManPages { .. } => {
            unreachable!("needs no node, and was dealt with above")
        }
    }
}

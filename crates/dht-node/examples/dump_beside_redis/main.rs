//! Dump and load of millions of records beside redis, in turns, in one run.
//!
//! ```text
//! cargo build --release -p dht-node
//! cargo run --release -p dht-node --example dump_beside_redis -- [RECORDS] [ROUNDS] [FOLDER]
//! ```
//!
//! A round: each server loads RECORDS (5,000,000) records of 100 bytes from its file, then serves
//! [`traffic`] for a while, writes a dump while it goes on serving, and is killed. The file that is
//! loaded is the one that the server itself dumped in the round before, so a table is loaded in its
//! own scan order. Redis runs with `rdbcompression no`; both sync their file. Without a
//! redis-server in the path the node is measured alone.
//!
//! How long a load and a dump took, each server says itself, in its log. FOLDER is where the files
//! go: the system's temporary folder, if it is not told.
#![allow(clippy::disallowed_methods, reason = "a program that measures asks the clock")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod node;
mod redis;
mod traffic;

use std::path::PathBuf;
use std::process::ExitCode;

use traffic::Latencies;

/// Bytes of each value.
pub(crate) const VALUE_BYTES: usize = 100;

/// What went wrong, whatever it was: nobody here treats one fault differently from another.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// One server in one round.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Seconds from the start of loading to its end.
    pub(crate) load_s: f64,
    /// Seconds that a dump took while the server served.
    pub(crate) dump_s: f64,
    /// Of puts before the dump.
    pub(crate) idle: Latencies,
    /// Of puts during the dump.
    pub(crate) dumping: Latencies,
}

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("dump_beside_redis: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<(), Fault> {
    let number = |at: usize, default| args.get(at).map_or(Ok(default), |arg| arg.parse::<usize>());
    let (records, rounds) = (number(0, 5_000_000)?, number(1, 3)?.max(1));
    let folder = args.get(2).map_or_else(std::env::temp_dir, PathBuf::from);
    let dhtnode = std::env::current_exe()?.with_file_name("../dhtnode");
    if !dhtnode.exists() {
        return Err("build the node first: cargo build --release -p dht-node".into());
    }
    let node_dir = tempfile::tempdir_in(&folder)?;
    let redis_dir = tempfile::tempdir_in(&folder)?;
    node::prepare(node_dir.path(), records)?;
    let with_redis = redis::is_installed();
    if with_redis {
        redis::prepare(redis_dir.path(), records)?;
    } else {
        println!("redis-server is not installed: the node is measured alone");
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let measured = node::measure(&dhtnode, node_dir.path(), records)?;
        print("dhtnode", round, records, &measured);
        ours.push(measured);
        if with_redis {
            let measured = redis::measure(redis_dir.path(), records)?;
            print("redis", round, records, &measured);
            theirs.push(measured);
        }
    }
    summary(records, &ours, &theirs);
    latencies("dhtnode", &ours);
    latencies("redis", &theirs);
    Ok(())
}

fn print(server: &str, round: usize, records: usize, measured: &Measured) {
    let rate = |seconds: f64| records as f64 / seconds / 1e6;
    let Measured { load_s, dump_s, idle, dumping } = measured;
    println!(
        "round {round} {server:>8}: load {load_s:.2} s ({:.2} M rec/s), dump {dump_s:.2} s \
         ({:.2} M rec/s); puts: {idle}; while dumping: {dumping}",
        rate(*load_s),
        rate(*dump_s),
    );
}

fn summary(records: usize, ours: &[Measured], theirs: &[Measured]) {
    let median = |of: &[Measured], figure: fn(&Measured) -> f64| {
        let mut all: Vec<f64> = of.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    for (name, figure) in
        [("load", (|m| m.load_s) as fn(&Measured) -> f64), ("dump", |m: &Measured| m.dump_s)]
    {
        let node = median(ours, figure);
        let rate = records as f64 / node / 1e6;
        if theirs.is_empty() {
            println!("{name}: dhtnode {rate:.2} M rec/s (median)");
        } else {
            let ratio = median(theirs, figure) / node;
            println!("{name}: dhtnode {rate:.2} M rec/s, {ratio:.2} times redis (medians)");
        }
    }
}

/// Puts of all rounds together.
fn latencies(server: &str, rounds: &[Measured]) {
    if rounds.is_empty() {
        return;
    }
    let all = |of: fn(&Measured) -> &Latencies| {
        Latencies::of(rounds.iter().flat_map(|round| of(round).nanos()).copied().collect())
    };
    let (idle, dumping) = (all(|round| &round.idle), all(|round| &round.dumping));
    let ratio = dumping.quantile_us(0.999) / idle.quantile_us(0.999);
    println!("puts, {server}: {idle}; while dumping: {dumping}: p99.9 {ratio:.2} times");
}

//! `cargo xtask bench-peers`: our node beside redis, valkey and memcached, under one load.
//!
//! ```text
//! options    what to measure, how often
//! > servers    each of them, pinned to one core          walk   all records of a server, in order
//! > rounds     the generator, `dhtperformance`, pinned to the other; rounds interleave the servers
//! > figures    medians and quartiles of the rounds that count
//! > report     a table, JSON             chart   an SVG
//! ```
//!
//! The figure to compare is the server's CPU time for each request, as the scheduler counts it.
//! Requests a second are not, since with a fast server the generator is as busy as it is; and
//! a round in which neither of the two filled its core does not count, since something else had it.
//! There is no verdict here: docs/performance.md says how to read it.

mod chart;
mod figures;
mod options;
mod report;
mod rounds;
mod servers;
mod walk;

use std::path::Path;
use std::process::Command;

use figures::Figures;
use options::Options;
use rounds::Generator;
use servers::Servers;

/// The folder of a run's own files, below target/.
const DIR: &str = "target/bench-peers";

/// Builds, measures, reports.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<(), String> {
    let options = Options::parse(words)?;
    build(root)?;
    let dir = root.join(DIR);
    // What an earlier run has left would be loaded by the node.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let servers = Servers::start(root, &dir, &options)?;
    let mut figures = Figures::default();
    let generator = Generator { root, options: &options, servers: &servers };
    rounds::run(&options, &generator, &mut figures)?;
    if rounds::wants_walk(&options) {
        walk::run(&options, &generator, &mut figures)?;
    }
    let report = report::Report::new(&options, &servers, &figures, words);
    println!("\n{}", report.text());
    for (path, content) in [(&options.json, report.json()), (&options.svg, chart::svg(&report))] {
        if let Some(path) = path {
            std::fs::write(path, content).map_err(|error| format!("{path}: {error}"))?;
            println!("written: {path}");
        }
    }
    Ok(())
}

fn build(root: &Path) -> Result<(), String> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--bin", "dhtnode", "--bin", "dhtperformance"])
        .current_dir(root)
        .status()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("the build ended with {status}")) }
}

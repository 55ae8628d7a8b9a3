//! Checks of the project itself. `cargo xtask` lists the commands.
//!
//! `ci` is what the build server runs (`.ci/run`) and what a developer runs before a push; `tidy`
//! is the part of it that no compiler knows: which crate may see which, and the house's habits.

mod bench_move;
mod bench_peers;
mod ci;
mod deb;
mod fuzz;
mod instructions;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  ci                        everything the build server checks; stops at the first failure
  tidy                      crates' dependencies, sources, links in the documentation
  deb [--check]             Debian packages, into target/debian; --check takes the tests' build
  bench-peers [OPTIONS]     our node beside redis, valkey and memcached; --help lists the options
  bench-move [OPTIONS]      a move of records between two nodes beside a dump; --help as above
  instructions [--write]    counts instructions of single operations, and compares with
                            xtask/instructions.txt or writes it; needs valgrind
  seeds                     writes the fuzzers' first inputs, made from testdata/
  fuzz SECONDS [TARGET...]  runs each fuzz target (or those named) that long; needs nightly Rust

Tests alone: cargo test --workspace";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let root = root();
    let result = match words.as_slice() {
        ["ci"] => ci::run(&root),
        ["deb", options @ ..] => deb::run(&root, options),
        ["bench-peers", options @ ..] => bench_peers::run(&root, options),
        ["bench-move", options @ ..] => bench_move::run(&root, options),
        ["instructions", options @ ..] => instructions::run(&root, options),
        ["tidy"] => tidy::run(&root),
        ["seeds"] => fuzz::write_seeds(&root),
        ["fuzz", seconds, targets @ ..] => match seconds.parse() {
            Ok(seconds) if seconds > 0 => fuzz::run(&root, seconds, targets),
            _ => Err(format!("{seconds:?} is no number of seconds\n\n{USAGE}")),
        },
        ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace. Cargo says at run time where this package is, so that a binary
/// built in one clone and run in another looks at the right one.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| package.clone(), Path::to_path_buf)
}

//! `cargo xtask ci`: one step after the other, cheap ones first, the tests' own words last.

use crate::{deb, tidy};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A command line of CI, and what must be in its environment.
struct Step {
    name: &'static str,
    command: &'static str,
    env: &'static [(&'static str, &'static str)],
}

const FMT: Step = Step { name: "fmt", command: "cargo fmt --all --check", env: &[] };
/// fuzz/ is outside the workspace; formatting needs no nightly Rust.
const FMT_FUZZ: Step = Step {
    name: "fmt fuzz",
    command: "cargo fmt --manifest-path fuzz/Cargo.toml --check",
    env: &[],
};
const DENY: Step =
    Step { name: "deny", command: "cargo deny check bans licenses sources", env: &[] };
const CLIPPY: Step = Step {
    name: "clippy",
    command: "cargo clippy --workspace --all-targets -- -D warnings",
    env: &[],
};
const DOC: Step = Step {
    name: "doc",
    command: "cargo doc --workspace --no-deps",
    env: &[("RUSTDOCFLAGS", "-D warnings")],
};
/// Folders of modules that a macro declares: the tables of requests.
const MACRO_MODULES: [&str; 2] =
    ["crates/dht-protocol/src/legacy/requests", "crates/dht-protocol/src/neo/requests"];
/// The node's tests once more, on the driver that they did not use where there is io_uring.
const TEST_EPOLL: Step = Step {
    name: "test epoll",
    command: "cargo test -p dht-node",
    env: &[("DHT_TEST_IO", "epoll"), ("KILLS", "20")],
};
/// The command that the README gives to newcomers, word for word.
const TEST: Step = Step { name: "test", command: "cargo test --workspace", env: &[] };

/// Runs every step in `root`.
///
/// # Errors
///
/// Names the first step that failed; the steps after it have not run.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let start = now();
    execute(root, &FMT)?;
    execute(root, &FMT_FUZZ)?;
    timed("fmt requests", "rustfmt --check on the files of MACRO_MODULES", || {
        fmt_macro_modules(root)
    })?;
    timed("tidy", "cargo xtask tidy", || tidy::run(root))?;
    if installed(root, "cargo deny --version") {
        execute(root, &DENY)?;
    } else {
        println!("==> deny: skipped, cargo-deny is not installed (cargo install cargo-deny)");
    }
    execute(root, &CLIPPY)?;
    execute(root, &DOC)?;
    execute(root, &TEST)?;
    execute(root, &TEST_EPOLL)?;
    if deb::is_possible(root) {
        timed("deb", "cargo xtask deb --check", || deb::run(root, &["--check"]))?;
    } else {
        println!(
            "==> deb: skipped, it needs dpkg and cargo-deb (cargo install cargo-deb --locked)"
        );
    }
    println!("ci: all steps passed in {}", seconds(start.elapsed()));
    Ok(())
}

/// Checks the files that `cargo fmt` does not see, because a macro declares their modules.
fn fmt_macro_modules(root: &Path) -> Result<(), String> {
    let mut rustfmt = command(root, "rustfmt --edition 2024 --check");
    for folder in MACRO_MODULES {
        let failed = |error| format!("{folder}: {error}");
        for entry in std::fs::read_dir(root.join(folder)).map_err(failed)? {
            rustfmt.arg(entry.map_err(failed)?.path());
        }
    }
    let status = rustfmt.status().map_err(|error| format!("cannot start rustfmt: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("rustfmt ended with {status}")) }
}

/// Runs one step with its output passed through and nothing to read.
fn execute(root: &Path, step: &Step) -> Result<(), String> {
    timed(step.name, step.command, || {
        let status = command(root, step.command)
            .envs(step.env.iter().copied())
            .status()
            .map_err(|error| format!("cannot start it: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", step.command)) }
    })
}

/// Puts a header and a closing line with the duration around a step.
fn timed(
    name: &str,
    command: &str,
    step: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    println!("==> {name}: {command}");
    let start = now();
    let result = step();
    let took = seconds(start.elapsed());
    match result {
        Ok(()) => {
            println!("<== {name}: passed in {took}");
            Ok(())
        }
        Err(why) => Err(format!("{why}\n<== {name}: FAILED after {took}; run it with: {command}")),
    }
}

/// True if a command line starts and succeeds; its output is dropped.
pub(crate) fn installed(root: &Path, line: &str) -> bool {
    let status = command(root, line).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A command from a line of words without quotes, to be run in `root` with nothing to read.
pub(crate) fn command(root: &Path, line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(root).stdin(Stdio::null());
    command
}

#[expect(clippy::disallowed_methods, reason = "a program that says how long its steps took")]
fn now() -> Instant {
    Instant::now()
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(command: &'static str) -> Step {
        Step { name: "sample", command, env: &[] }
    }

    #[test]
    fn a_failing_step_is_named_with_its_command_and_exit_code() {
        let error = execute(Path::new("."), &step("rustc --no-such-option")).unwrap_err();
        assert!(error.contains("exit status: 1"), "{error}");
        assert!(error.contains("sample: FAILED"), "{error}");
        assert!(error.contains("run it with: rustc --no-such-option"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_a_failure_and_not_a_panic() {
        let error = execute(Path::new("."), &step("no-such-program-anywhere")).unwrap_err();
        assert!(error.contains("cannot start it"), "{error}");
        assert!(!installed(Path::new("."), "no-such-program-anywhere"));
    }

    #[test]
    fn a_step_that_succeeds_passes() {
        assert_eq!(execute(Path::new("."), &step("rustc --version")), Ok(()));
    }
}

//! `cargo xtask fuzz`: every fuzz target for some seconds, and what came of it.
//!
//! The only command here that needs nightly Rust: cargo-fuzz compiles with sanitizers.

mod seeds;

use crate::ci::{command, installed};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use toml::de::{DeTable, DeValue};

/// How much of a failed run's output is shown.
const TAIL_LINES_MAX: usize = 60;
/// One input may take this long; more counts as a hang.
const INPUT_SECONDS_MAX: u32 = 10;
/// No parser of ours needs more for one input.
const MEMORY_MIB_MAX: u32 = 1024;

/// Writes the first inputs of all targets to `fuzz/corpus/`.
///
/// # Errors
///
/// Names the file that could not be read or written.
pub(crate) fn write_seeds(root: &Path) -> Result<(), String> {
    for target in targets(root)? {
        let count = seeds::write(root, &target)?;
        println!("{target}: {count} seeds in fuzz/corpus/{target}");
    }
    Ok(())
}

/// Runs the targets named, or all, for `seconds` each. All run even if one fails.
///
/// # Errors
///
/// Says what is not installed, or which targets failed.
pub(crate) fn run(root: &Path, seconds: u32, named: &[&str]) -> Result<(), String> {
    let targets = targets(root)?;
    if let Some(unknown) = named.iter().find(|name| !targets.iter().any(|t| t == *name)) {
        return Err(format!("no fuzz target {unknown:?}; there are: {}", targets.join(", ")));
    }
    require_tools(root)?;

    let chosen = targets.iter().filter(|t| named.is_empty() || named.contains(&t.as_str()));
    let mut results = Vec::new();
    for target in chosen {
        let seeds = seeds::write(root, target)?;
        println!("==> {target}: {seconds} s, from {seeds} seeds");
        let (outcome, passed) = run_target(root, target, seconds)?;
        println!("<== {target}: {outcome}");
        results.push((target, outcome, passed));
    }

    println!();
    for (target, outcome, _) in &results {
        println!("{target:<16} {outcome}");
    }
    let failed = results.iter().filter(|(_, _, passed)| !passed).count();
    if failed == 0 { Ok(()) } else { Err(format!("fuzz: {failed} target(s) failed")) }
}

fn require_tools(root: &Path) -> Result<(), String> {
    if !installed(root, "cargo +nightly --version") {
        return Err("fuzzing needs nightly Rust (nothing else here does): \
                    rustup toolchain install nightly"
            .to_owned());
    }
    if !installed(root, "cargo +nightly fuzz --version") {
        return Err("fuzzing needs cargo-fuzz: cargo install cargo-fuzz --locked".to_owned());
    }
    Ok(())
}

/// The names of the `[[bin]]` entries in fuzz/Cargo.toml.
fn targets(root: &Path) -> Result<Vec<String>, String> {
    let path = root.join("fuzz/Cargo.toml");
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("fuzz/Cargo.toml: {error}"))?;
    bin_names(&text)
}

fn bin_names(manifest: &str) -> Result<Vec<String>, String> {
    let table = DeTable::parse(manifest).map_err(|error| format!("fuzz/Cargo.toml: {error}"))?;
    let Some(DeValue::Array(bins)) = table.get_ref().get("bin").map(|bins| bins.get_ref()) else {
        return Err("fuzz/Cargo.toml has no [[bin]]".to_owned());
    };
    let name = |bin: &DeValue<'_>| match bin.get("name").map(|name| name.get_ref()) {
        Some(DeValue::String(name)) => Ok(name.to_string()),
        _ => Err("fuzz/Cargo.toml has a [[bin]] without a name".to_owned()),
    };
    bins.iter().map(|bin| name(bin.get_ref())).collect()
}

/// Runs one target. Returns what came of it, and whether it passed.
fn run_target(root: &Path, target: &str, seconds: u32) -> Result<(String, bool), String> {
    let line = format!(
        "cargo +nightly fuzz run {target} -- -max_total_time={seconds} \
         -timeout={INPUT_SECONDS_MAX} -rss_limit_mb={MEMORY_MIB_MAX} -print_final_stats=1"
    );
    let mut child = command(root, &line)
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {line}: {error}"))?;
    let mut report = Report::default();
    let stderr = child.stderr.take().expect("it was asked for two lines above");
    for line in BufReader::new(stderr).split(b'\n') {
        let line = line.map_err(|error| format!("{target}: {error}"))?;
        report.take_line(String::from_utf8_lossy(&line).trim_end());
    }
    let status = child.wait().map_err(|error| format!("{target}: {error}"))?;
    if status.success() {
        return Ok((report.summary(), true));
    }
    for line in &report.tail {
        println!("    {line}");
    }
    let input =
        report.artifact.as_deref().unwrap_or("no input was kept: it did not build or start");
    Ok((format!("FAILED ({status}); {input}"), false))
}

/// What libFuzzer said so far, of which only this much is of interest.
#[derive(Debug, Default)]
struct Report {
    tail: VecDeque<String>,
    /// Code edges covered, from the last status line.
    edges: Option<String>,
    /// Inputs tried.
    runs: Option<String>,
    /// Where the input of a crash was written.
    artifact: Option<String>,
}

impl Report {
    fn take_line(&mut self, line: &str) {
        let word_after = |mark: &str| {
            let (_, rest) = line.split_once(mark)?;
            rest.split_whitespace().next().map(str::to_owned)
        };
        self.edges = word_after(" cov: ").or_else(|| self.edges.take());
        self.runs = word_after("stat::number_of_executed_units: ").or_else(|| self.runs.take());
        self.artifact = word_after("Test unit written to ").or_else(|| self.artifact.take());
        if self.tail.len() == TAIL_LINES_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }

    fn summary(&self) -> String {
        let or_unknown = |value: &Option<String>| value.clone().unwrap_or_else(|| "?".to_owned());
        format!("ok: {} inputs, {} edges", or_unknown(&self.runs), or_unknown(&self.edges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_read_from_libfuzzers_own_lines() {
        let mut report = Report::default();
        for line in [
            "#2\tINITED cov: 17 ft: 18 corp: 1/1b exec/s: 0 rss: 40Mb",
            "#999\tNEW    cov: 31 ft: 40 corp: 9/1b lim: 4 exec/s: 0 rss: 41Mb",
            "stat::number_of_executed_units: 123456",
        ] {
            report.take_line(line);
        }
        assert_eq!(report.summary(), "ok: 123456 inputs, 31 edges");
        report.take_line("artifact_prefix='x/'; Test unit written to fuzz/artifacts/a/crash-1");
        assert_eq!(report.artifact.as_deref(), Some("fuzz/artifacts/a/crash-1"));
    }

    #[test]
    fn only_the_end_of_a_long_output_is_kept() {
        let mut report = Report::default();
        (0..1_000).for_each(|n| report.take_line(&n.to_string()));
        assert_eq!(report.tail.len(), TAIL_LINES_MAX);
        assert_eq!(report.tail.back().map(String::as_str), Some("999"));
    }

    #[test]
    fn targets_are_the_bins_of_the_manifest() {
        let manifest = "[[bin]]\nname = \"a\"\npath = \"a.rs\"\n[[bin]]\nname = \"b\"\n";
        assert_eq!(bin_names(manifest), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert!(bin_names("[package]\n").is_err());
        assert!(bin_names("[[bin]]\npath = \"a.rs\"\n").is_err());
    }

    #[test]
    fn every_target_of_the_project_gets_seeds() {
        for target in targets(&crate::root()).unwrap() {
            assert!(!seeds::of(&crate::root(), &target).unwrap().is_empty(), "{target}");
        }
    }
}

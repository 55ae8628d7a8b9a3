//! `cargo xtask instructions`: how many instructions single operations take, beside a baseline.
//!
//! Times differ from hour to hour on a shared machine, counts do not. The cases are in the benches
//! `instructions` of the crates in [`PACKAGES`]; each runs under `valgrind --tool=callgrind`, which
//! counts within the one function [`MEASURED`]. The baseline is [`BASELINE`], beside the manifest.
//!
//! The counts depend on the compiler, the C library (which copies memory with what the processor
//! has) and the architecture; the baseline's first lines say which.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGES: [&str; 2] = ["dht-storage", "dht-protocol"];
const BASELINE: &str = "xtask/instructions.txt";
/// In `dht_testkit::instructions`.
const MEASURED: &str = "*instructions::measured*";
/// A count this much above its baseline, in percent, is a finding.
const TOLERANCE: f64 = 3.0;

const USAGE: &str = "Usage: cargo xtask instructions [--write]";

/// Instructions per operation, by the name of the case.
type Counts = BTreeMap<String, f64>;

/// Counts, and compares with the baseline or writes it anew.
///
/// # Errors
///
/// Valgrind is missing, a bench does not build or run, or a case takes more than the baseline says.
pub(crate) fn run(root: &Path, options: &[&str]) -> Result<(), String> {
    let is_write = match options {
        [] => false,
        ["--write"] => true,
        _ => return Err(USAGE.to_owned()),
    };
    let valgrind = version("valgrind", "; Debian's package has that name")?;
    let mut counts = Counts::new();
    for program in build(root)? {
        for (case, operations) in cases(&program)? {
            let instructions = count(root, &program, &case)? as f64 / operations as f64;
            counts.insert(case, instructions);
        }
    }
    let path = root.join(BASELINE);
    if is_write {
        let conditions =
            format!("{}, {valgrind}, {}", version("rustc", "")?, std::env::consts::ARCH);
        std::fs::write(&path, baseline(&conditions, &counts))
            .map_err(|error| format!("{BASELINE}: {error}"))?;
        println!("written: {BASELINE}");
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{BASELINE}: {error}"))?;
    compare(&parse(&text)?, &counts)
}

fn version(program: &str, hint: &str) -> Result<String, String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.map_err(|error| format!("cannot start {program}: {error}{hint}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let words = text.split_whitespace().take(2).collect::<Vec<_>>();
    Ok(words.join(" "))
}

/// Builds the benches; returns their programs.
fn build(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut programs = Vec::new();
    for package in PACKAGES {
        let output = Command::new("cargo")
            .args(["bench", "--bench", "instructions", "--no-run", "--message-format", "json"])
            .args(["-p", package])
            .current_dir(root)
            .stderr(std::process::Stdio::inherit())
            .output()
            .map_err(|error| format!("cannot start cargo: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let program = text.lines().find_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            let is_bench = message["target"]["name"] == "instructions";
            Some(PathBuf::from(message["executable"].as_str().filter(|_| is_bench)?))
        });
        programs.push(program.ok_or(format!("{package}: the build ended with {}", output.status))?);
    }
    Ok(programs)
}

/// The cases of a program, and how many operations each does.
fn cases(program: &Path) -> Result<Vec<(String, u64)>, String> {
    let output = Command::new(program).output();
    let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let case = |line: &str| {
        let (name, operations) = line.split_once(' ')?;
        Some((name.to_owned(), operations.parse().ok()?))
    };
    let bad = |line| format!("{}: {line:?} is no case", program.display());
    text.lines().map(|line| case(line).ok_or_else(|| bad(line))).collect()
}

/// Runs a case under callgrind, which ends with `Collected : COUNT`.
fn count(root: &Path, program: &Path, case: &str) -> Result<u64, String> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={MEASURED}"))
        .args([program.as_os_str(), case.as_ref()])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cannot start valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    let count = collected.and_then(|(_, count)| count.trim().parse().ok());
    count.filter(|&count| count > 0).ok_or_else(|| format!("{case}: {text}"))
}

fn baseline(conditions: &str, counts: &Counts) -> String {
    let mut text = format!(
        "# Instructions per operation; `cargo xtask instructions --write` writes this file.\n\
         # {conditions}\n"
    );
    for (case, count) in counts {
        text += &format!("{case} {count:.1}\n");
    }
    text
}

fn parse(text: &str) -> Result<Counts, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let count = |line: &str| {
        let (case, count) = line.split_once(' ')?;
        Some((case.to_owned(), count.parse().ok()?))
    };
    lines.map(|line| count(line).ok_or_else(|| format!("{BASELINE}: {line:?}"))).collect()
}

fn compare(baseline: &Counts, counts: &Counts) -> Result<(), String> {
    println!("{:>32} {:>10} {:>10} {:>8}", "instructions of", "baseline", "now", "");
    let mut worse = Vec::new();
    for (case, &now) in counts {
        let Some(&before) = baseline.get(case) else {
            println!("{case:>32} {:>10} {now:>10.1}", "-");
            worse.push(format!("{case} (not in the baseline)"));
            continue;
        };
        let percent = (now / before - 1.0) * 100.0;
        println!("{case:>32} {before:>10.1} {now:>10.1} {percent:>+7.1}%");
        if percent > TOLERANCE {
            worse.push(format!("{case} ({percent:+.1} %)"));
        }
    }
    worse.extend(
        baseline
            .keys()
            .filter(|case| !counts.contains_key(*case))
            .map(|case| format!("{case} (no bench has it)")),
    );
    if worse.is_empty() {
        return Ok(());
    }
    let worse = worse.join(", ");
    Err(format!("above the baseline: {worse}\nif that is meant: cargo xtask instructions --write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_baseline_is_a_finding_and_less_is_none() {
        let counts = |text| parse(text).expect("well-formed");
        let before = counts("# rustc\nget 100.0\nput 50.0\n");
        assert_eq!(parse(&baseline("rustc", &before)), Ok(before.clone()));
        assert_eq!(compare(&before, &counts("get 102.9\nput 10.0")), Ok(()));
        for (now, case) in [
            ("get 103.2\nput 50.0", "get (+3.2 %)"),
            ("get 100.0", "put (no bench has it)"),
            ("get 1.0\nput 1.0\nscan 1.0", "scan (not in the baseline)"),
        ] {
            let error = compare(&before, &counts(now)).expect_err(case);
            assert!(error.contains(&format!("baseline: {case}\n")), "{error}");
        }
    }
}

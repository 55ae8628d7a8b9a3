//! `cargo xtask bench-move`: how fast idle records go from one node to another, beside a dump.
//!
//! ```text
//! a dump file is made > giver loads it > dhtredist --move giver taker > taker dumps them, and ends
//! ```
//!
//! Both ways are those of the same records, one process after the other on the same machine. CPU
//! time is that of the processes as the system counts it, so that it also means something on a
//! machine that does other things; records a second do not. docs/performance.md says how to read
//! it.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dht_testkit::{NodeProcess, NodeSettings, Rng, wait_for};

/// Text of `cargo xtask bench-move --help`.
const USAGE: &str = "\
Usage: cargo xtask bench-move [OPTIONS]

  --rounds N       rounds (default: 3)
  --keys N         records that move (default: 2000000)
  --size N         bytes of a value (default: 100)
  --values WHAT    random: bytes that cannot be compressed; text: words (default: random)
  --workers N      of each node (default: 2)
  --durability L   level of the taker's log: memory, os, disk (default: os)
  --bin DIR        programs that were built before, instead of target/release";

/// The folder of a run's own files, below target/.
const DIR: &str = "target/bench-move";

/// Ticks of the system's accounts, in a second.
const TICKS: f64 = 100.0;

struct Options {
    rounds: usize,
    keys: u64,
    size: usize,
    is_text: bool,
    workers: usize,
    durability: String,
    bin: Option<PathBuf>,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self {
            rounds: 3,
            keys: 2_000_000,
            size: 100,
            is_text: false,
            workers: 2,
            durability: "os".to_owned(),
            bin: None,
        };
        for pair in words.chunks(2) {
            let &[name, value] = pair else { return Err(USAGE.to_owned()) };
            let wrong = |_| format!("{name} {value}: this is none\n\n{USAGE}");
            match (name, value) {
                ("--rounds", _) => options.rounds = value.parse().map_err(wrong)?,
                ("--keys", _) => options.keys = value.parse().map_err(wrong)?,
                ("--size", _) => options.size = value.parse().map_err(wrong)?,
                ("--workers", _) => options.workers = value.parse().map_err(wrong)?,
                ("--values", "random" | "text") => options.is_text = value == "text",
                ("--durability", _) => options.durability = value.to_owned(),
                ("--bin", _) => {
                    // The programs run in folders of their own.
                    let dir = std::path::absolute(value).map_err(|error| error.to_string())?;
                    options.bin = Some(dir);
                }
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }
}

/// What it took, in seconds.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: f64,
    /// CPU time of all processes that took part.
    cpu: f64,
}

struct Round {
    moved: Cost,
    giver_cpu: f64,
    taker_cpu: f64,
    dumped: Cost,
    /// For which requests waited, in milliseconds.
    pause_ms: f64,
}

/// Builds, measures, reports.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<(), String> {
    let options = Options::parse(words)?;
    let bin = match &options.bin {
        Some(bin) => bin.clone(),
        None => build(root)?,
    };
    let dir = root.join(DIR);
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let _ = fs::remove_dir_all(&dir);
        let round = measure(&options, &bin, &dir)?;
        println!("round {number}: {}", text(&options, &round));
        rounds.push(round);
    }
    // What one round lost to other work of the machine, another may not have.
    let best = |of: fn(&Round) -> f64| rounds.iter().map(of).fold(f64::INFINITY, f64::min);
    let (wall, cpu) = (best(|r| r.moved.wall), best(|r| r.moved.cpu));
    println!(
        "best: a move has {:.0} % of a dump's speed by the clock, {:.0} % by CPU time",
        100.0 * best(|r| r.dumped.wall) / wall,
        100.0 * best(|r| r.dumped.cpu) / cpu
    );
    let _ = fs::remove_dir_all(&dir);
    Ok(())
}

fn build(root: &Path) -> Result<PathBuf, String> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--bin", "dhtnode", "--bin", "dhtredist"])
        .current_dir(root)
        .status()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    let bin = root.join("target/release");
    if status.success() { Ok(bin) } else { Err(format!("the build ended with {status}")) }
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn text(options: &Options, round: &Round) -> String {
    let keys = options.keys as f64;
    let micros = |cpu: f64| cpu * 1e6 / keys;
    format!(
        "move {:.2} s, {:.0} records/s, {:.2} us CPU a record (giver {:.2}, taker {:.2}), \
         requests waited {:.2} ms; dump {:.2} s, {:.0} records/s, {:.2} us",
        round.moved.wall,
        keys / round.moved.wall,
        micros(round.moved.cpu),
        micros(round.giver_cpu),
        micros(round.taker_cpu),
        round.pause_ms,
        round.dumped.wall,
        keys / round.dumped.wall,
        micros(round.dumped.cpu),
    )
}

fn measure(options: &Options, bin: &Path, dir: &Path) -> Result<Round, String> {
    let (giver_dir, taker_dir) = (dir.join("giver"), dir.join("taker"));
    let wrong = |error: std::io::Error| error.to_string();
    fs::create_dir_all(giver_dir.join("data")).map_err(wrong)?;
    fill(options, &giver_dir.join("data/moving.tcm")).map_err(wrong)?;
    let settings = NodeSettings::default()
        .with("Performance", "workers", &options.workers.to_string())
        .with("Options_Memory", "disable_direct_io", "false")
        .with("Log", "durability", &options.durability);
    let exe = bin.join("dhtnode");
    let giver = NodeProcess::start(&exe, &giver_dir, &settings);
    let empty = settings.with("Server", "minval", "0xffffffffffffffff").with(
        "Server",
        "maxval",
        "0x0000000000000000",
    );
    let mut taker = NodeProcess::start(&exe, &taker_dir, &empty);
    let before = [cpu(giver.pid()), cpu(taker.pid())];
    let wall = move_all(bin, dir, &giver, &taker)?;
    let giver_cpu = cpu(giver.pid()) - before[0];
    let taker_cpu = cpu(taker.pid()) - before[1];
    giver.kill();
    let log = fs::read_to_string(giver_dir.join("log/root.log")).map_err(wrong)?;
    let micros = between(&log, "requests for it waited ", " us").ok_or("the giver's log is odd")?;
    let moved = Cost { wall, cpu: giver_cpu + taker_cpu };
    let before = cpu(taker.pid());
    taker.signal("TERM");
    wait_for("the dump", || is_zombie(taker.pid()).then_some(()));
    let dump_cpu = cpu(taker.pid()) - before;
    let log = fs::read_to_string(taker_dir.join("log/root.log")).map_err(wrong)?;
    let wrote = format!("wrote {} records", options.keys);
    let is_whole = taker.wait().success() && log.contains(&wrote);
    let wall = between(&log, "Finished dumping channel 'moving' to disk, took ", "s, wrote");
    let wall = wall.filter(|_| is_whole).ok_or("the taker has not dumped all records")?;
    let dumped = Cost { wall, cpu: dump_cpu };
    Ok(Round { moved, giver_cpu, taker_cpu, dumped, pause_ms: micros / 1e3 })
}

/// Seconds that dhtredist takes.
#[expect(clippy::disallowed_methods, reason = "it measures time")]
fn move_all(
    bin: &Path,
    dir: &Path,
    giver: &NodeProcess,
    taker: &NodeProcess,
) -> Result<f64, String> {
    let nodes = dir.join("nodes");
    let (from, to) = (giver.address().to_string(), taker.address().to_string());
    fs::write(&nodes, format!("{from}\n{to}\n")).map_err(|error| error.to_string())?;
    let mut tool = Command::new(bin.join("dhtredist"));
    tool.arg("-S").arg(&nodes).args(["-x", "--move", &from, &to]);
    let began = Instant::now();
    let output = tool.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let took: Duration = began.elapsed();
    if output.status.success() {
        return Ok(took.as_secs_f64());
    }
    Err(format!("dhtredist: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Writes a dump file; see docs/dump-format.md.
fn fill(options: &Options, path: &Path) -> std::io::Result<()> {
    let mut rng = Rng::new(1);
    let words: Vec<Vec<u8>> = (0..500).map(|_| word(&mut rng)).collect();
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&0_u64.to_le_bytes())?;
    let mut value = Vec::new();
    for _ in 0..options.keys {
        value.clear();
        while value.len() < options.size {
            if options.is_text {
                value.extend_from_slice(rng.pick::<Vec<u8>>(&words));
            } else {
                value.extend_from_slice(&rng.next().to_le_bytes());
            }
        }
        value.truncate(options.size);
        file.write_all(&16_u64.to_le_bytes())?;
        write!(file, "{:016x}", rng.next())?;
        file.write_all(&(value.len() as u64).to_le_bytes())?;
        file.write_all(&value)?;
    }
    file.write_all(&[0; 512])?;
    file.flush()
}

/// Letters and a blank.
fn word(rng: &mut Rng) -> Vec<u8> {
    let letters = (0..rng.within(2..11)).map(|_| *rng.pick(&b"etaoinshrdlucmfwypvbgk"[..]));
    letters.chain([b' ']).collect()
}

/// CPU time of a process, ended threads included, in seconds; it may have ended itself.
fn cpu(pid: u32) -> f64 {
    let fields = stat(pid);
    let ticks = |at: usize| fields.get(at).and_then(|word| word.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / TICKS
}

fn is_zombie(pid: u32) -> bool {
    stat(pid).first().is_none_or(|state| state == "Z")
}

/// What /proc says behind the name of the program.
fn stat(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let behind_name = text.rsplit(") ").next().unwrap_or_default();
    behind_name.split_whitespace().map(str::to_owned).collect()
}

/// The number that stands between two texts, where these stand last.
fn between(text: &str, before: &str, behind: &str) -> Option<f64> {
    let (_, rest) = text.rsplit_once(before)?;
    rest.split_once(behind)?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_words_are_refused() {
        let options = Options::parse(&["--keys", "5", "--values", "text"]).expect("well formed");
        assert!(options.keys == 5 && options.is_text);
        for words in [&["--keys"][..], &["--keys", "x"], &["--values", "y"], &["--help"]] {
            assert!(Options::parse(words).is_err_and(|why| why.contains("Usage")), "{words:?}");
        }
    }

    #[test]
    fn a_number_is_found_in_a_log() {
        let log = "took 1.50s, wrote 3\ntook 2.50s, wrote 4\n";
        assert_eq!(between(log, "took ", "s, wrote"), Some(2.5));
        assert_eq!(between(log, "lasted ", "s"), None);
    }
}

//! The table and the JSON.

use std::fmt::Write as _;
use std::fs;

use serde_json::json;

use super::figures::{Figures, Row};
use super::options::Options;
use super::servers::Servers;

/// The server that the others are compared with: the first of these that was measured.
const REFERENCES: [&str; 3] = ["redis", "valkey", "memcached"];

/// All that is told.
pub(super) struct Report<'a> {
    pub(super) figures: &'a Figures,
    /// Names and versions, each program once.
    versions: Vec<(String, String)>,
    missing: &'a [String],
    machine: String,
    command: String,
    pub(super) reference: Option<&'static str>,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        options: &Options,
        servers: &'a Servers,
        figures: &'a Figures,
        words: &[&str],
    ) -> Self {
        let measured = |name: &str| figures.rows.iter().any(|row| row.server == name);
        let versions = servers.all.iter().map(|s| (s.name.clone(), s.version.clone())).collect();
        let command = format!("cargo xtask bench-peers {}", words.join(" "));
        Self {
            figures,
            versions,
            missing: &servers.missing,
            machine: machine(options),
            command: command.trim_end().to_owned(),
            reference: REFERENCES.into_iter().find(|name| measured(name)),
        }
    }

    /// How many requests a server makes of a second of CPU, in multiples of the reference's.
    pub(super) fn ratio(&self, row: &Row) -> Option<f64> {
        let cpu = |row: &Row| Some(row.spread(|sample| sample.cpu_us)?.median);
        let reference = self.reference?;
        let other = self.figures.of_load(&row.load).find(|other| other.server == reference)?;
        Some(cpu(other)? / cpu(row)?)
    }

    /// Markdown.
    pub(super) fn text(&self) -> String {
        let reference = self.reference.unwrap_or("nobody");
        let mut text = format!(
            "| load | server | CPU μs/request (quartiles) | requests per CPU second, / {reference} \
             | requests/s | p50 / p99 μs | user | rounds that count |\n\
             |---|---|---:|---:|---:|---:|---:|---:|\n"
        );
        for row in self.figures.loads().into_iter().flat_map(|load| self.figures.of_load(load)) {
            text += &self.line(row);
        }
        text += &self.walks();
        let _ = writeln!(text, "\nMachine: {}.", self.machine);
        let versions = self.versions.iter().map(|(name, version)| format!("{name} {version}"));
        let _ = writeln!(text, "Versions: {}.", versions.collect::<Vec<_>>().join(", "));
        if !self.missing.is_empty() {
            let _ = writeln!(text, "Not installed: {}.", self.missing.join(", "));
        }
        let _ = writeln!(text, "Command: `{}`", self.command);
        text
    }

    fn line(&self, row: &Row) -> String {
        let (rounds, counting) = row.rounds();
        let median = |figure: fn(&super::figures::Sample) -> f64, digits: usize| {
            row.spread(figure)
                .map_or("–".to_owned(), |found| format!("{:.digits$}", found.median))
        };
        let cpu = row.spread(|sample| sample.cpu_us).map_or("–".to_owned(), |cpu| {
            format!("{:.2} ({:.2}–{:.2})", cpu.median, cpu.low, cpu.high)
        });
        let ratio = self.ratio(row).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        format!(
            "| {} | {} | {cpu} | {ratio} | {} | {} / {} | {} % | {counting} of {rounds} |\n",
            row.load,
            row.server,
            median(|sample| sample.requests_per_second, 0),
            median(|sample| sample.p50, 0),
            median(|sample| sample.p99, 0),
            median(|sample| sample.user_share * 100.0, 0),
        )
    }

    /// A second table, if anything was walked.
    fn walks(&self) -> String {
        let walks = &self.figures.walks;
        if walks.is_empty() {
            return String::new();
        }
        let mut text =
            "\n| walk through all records of | records/s | CPU μs/record | p99 of 8 other \
                        clients alone / meanwhile, μs |\n|---|---:|---:|---:|\n"
                .to_owned();
        for row in walks {
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.3} | {:.0} / {:.0} |",
                row.server,
                row.median(|walk| walk.records_per_second),
                row.median(|walk| walk.cpu_us),
                row.median(|walk| walk.p99_alone),
                row.median(|walk| walk.p99_meanwhile),
            );
        }
        text
    }

    pub(super) fn json(&self) -> String {
        let versions: serde_json::Map<_, _> =
            self.versions.iter().map(|(name, version)| (name.clone(), json!(version))).collect();
        let rows = self.figures.rows.iter().map(|row| {
            let mut object = row.json();
            object["ratio"] = json!(self.ratio(row));
            object
        });
        let walks = self.figures.walks.iter().map(super::figures::WalkRow::json);
        let report = json!({
            "command": self.command,
            "machine": self.machine,
            "versions": versions,
            "not_installed": self.missing,
            "reference": self.reference,
            "rows": rows.collect::<Vec<_>>(),
            "walks": walks.collect::<Vec<_>>(),
        });
        format!("{report:#}\n")
    }
}

/// Processor, cores, memory, kernel, and what was pinned where.
fn machine(options: &Options) -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
    let model = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(value);
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, {cores} cores, Linux {}, servers on core {}, generator on core {}",
        model.as_deref().unwrap_or("unknown processor"),
        kernel.trim(),
        options.server_core,
        options.generator_core
    )
}

//! Text for people. The lines of the original are its own, to the byte.
//! Source: spec `tools` 3.2.

use std::{fmt::Write as _, io::IsTerminal as _};

use super::{Report, table, us};
use crate::{
    load::{Counts, Pattern},
    settings::Settings,
};

/// Fractions of which the latency is told, and how they are spelt.
const PERCENTAGES: [(f64, &str); 11] = [
    (0.5, "50"),
    (0.66, "66"),
    (0.75, "75"),
    (0.8, "80"),
    (0.9, "90"),
    (0.95, "95"),
    (0.98, "98"),
    (0.99, "99"),
    (0.995, "99.5"),
    (0.999, "99.9"),
    (1.0, "100"),
];

/// A node whose median is above this multiple of the median of all is told apart.
const SLOW: f64 = 1.2;

pub(super) fn introduction(settings: &Settings) -> String {
    let Settings { channel, parallel, number, .. } = settings;
    let amount = match settings.duration {
        None => number.to_string(),
        Some(duration) => format!("{} seconds of", duration.as_secs_f64()),
    };
    // Compat: the original's spelling.
    let mut text = format!(
        "Dht performance tester:\n    performing {amount} {} requests to channel '{channel}' each \
         test cycle, with up to {parallel} requets in parallel\n",
        settings.command()
    );
    if settings.puts() {
        let _ = writeln!(text, "    putting records of {} bytes", settings.size);
    }
    text
}

/// Everything about one cycle.
pub(super) fn cycle(settings: &Settings, report: &Report<'_>) -> String {
    let total = report.tally.total();
    let of = match settings.iterations {
        0 => "infinite".to_owned(),
        iterations => iterations.to_string(),
    };
    let number = if settings.duration.is_some() { total.len() } else { settings.number };
    let mut text = format!(
        "Iteration {} of {of}. Time distribution of {number} {} requests:\n",
        report.iteration,
        settings.command()
    );
    if let Some(tables) = settings.per_node {
        text += &nodes(settings, report, &total, tables);
        text += "Total times:\n";
    }
    for line in distribution(settings, &total) {
        text += &line;
        text.push('\n');
    }
    text + &additions(report, &total)
}

/// The original's lines about some requests.
fn distribution(settings: &Settings, counts: &Counts) -> Vec<String> {
    let line = |(fraction, name)| format!("{name}% <= {}μs", us(counts.at(fraction)));
    let mut lines: Vec<String> = PERCENTAGES.into_iter().map(line).collect();
    lines.last_mut().expect("there are eleven").push_str(" (longest request)");
    let part = |part: u64| format!("{part} requests ({:.2}%)", percentage(part, counts.len()));
    lines.push(format!("{} failed", part(counts.failed)));
    if let Some(limit) = settings.long_after {
        lines.push(format!("{} took longer than {}μs", part(counts.long), limit.as_micros()));
    }
    if settings.client_timeout.is_some() {
        lines.push(format!("{} timed out", part(counts.timed_out)));
    }
    lines
}

#[expect(clippy::cast_precision_loss, reason = "a percentage")]
fn percentage(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 * 100.0 / all as f64 }
}

/// A table for each node.
fn nodes(settings: &Settings, report: &Report<'_>, total: &Counts, in_a_row: usize) -> String {
    let colours = std::io::stdout().is_terminal();
    let nodes = report.plan.targets.iter().zip(&report.tally.by_node);
    let tables = nodes.map(|(target, counts)| table::Table {
        title: target.name.to_string(),
        lines: distribution(settings, counts),
        red: colours && is_slow(counts, total),
    });
    table::rows(&tables.collect::<Vec<_>>(), in_a_row)
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn is_slow(counts: &Counts, total: &Counts) -> bool {
    counts.at(0.5) as f64 > SLOW * total.at(0.5) as f64
}

/// What the original does not tell, after what only we can do.
fn additions(report: &Report<'_>, total: &Counts) -> String {
    let mut text = String::new();
    if report.tally.kinds().nth(1).is_some() {
        for (kind, counts) in report.tally.kinds() {
            let at = |fraction| us(counts.at(fraction));
            let _ = writeln!(
                text,
                "{}: {} requests, 50% <= {}μs, 99% <= {}μs, 100% <= {}μs, {} failed",
                kind.name(),
                counts.len(),
                at(0.5),
                at(0.99),
                at(1.0),
                counts.failed
            );
        }
    }
    if !matches!(report.plan.pattern, Pattern::LockStep { .. }) {
        let _ = writeln!(
            text,
            "{} requests in {:.3}s: {:.0} requests/s, {} of them found no record",
            total.answered_len(),
            report.took.as_secs_f64(),
            report.rate(total),
            total.missing
        );
    }
    if let Some((server, each)) = report.usage.server.zip(report.server_us_per_request(total)) {
        let user = server
            .user_share()
            .map_or(String::new(), |share| format!(", {:.0}% of it in user space", share * 100.0));
        let _ = writeln!(text, "server: {each:.3}μs CPU a request{user}");
    }
    text
}

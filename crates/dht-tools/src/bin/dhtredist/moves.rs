//! MovePart: part after part goes to its new node while clients read and write.
//!
//! After each round the nodes are asked for their ranges again, and the next moves follow from
//! those. So whatever fails or is killed meanwhile, the work goes on where it was.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use dht_client::ClientCredentials;
use dht_protocol::legacy::requests::{MoveProgress, MoveReply};
use dht_types::HashRange;

use crate::check::tiling;
use crate::console::{Console, bytes};
use crate::neo;
use crate::nodes::Node;
use crate::original::RETRY;
use crate::route::{Step, next_steps};
use crate::target::hex;
use crate::wire::{Link, Support, support};

/// How often a move that is under way is told of.
const TELL_PERIOD: Duration = Duration::from_secs(5);

/// Pause before a node that is busy is asked again: it clears up after the move before.
const BUSY_RETRY: Duration = Duration::from_millis(200);

/// After so long a node that is busy is told of.
const BUSY_PATIENCE: u32 = 50;

/// What the whole came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    moves: u64,
    records: u64,
    value_bytes: u64,
    pause_micros: u64,
    failures: u64,
}

/// Moves until every node has the range that it is to have.
pub(crate) fn run(
    nodes: &mut [Node],
    targets: &[HashRange],
    credentials: Option<&ClientCredentials>,
    console: &mut Console,
) -> Report {
    let (mut report, mut finished, mut busy) = (Report::default(), BTreeSet::new(), 0);
    loop {
        if let Err(error) = refresh(nodes) {
            report.failures += 1;
            console.red(format_args!("Error performing Redistribute: {error}"));
            thread::sleep(RETRY);
            continue;
        }
        let current: Vec<HashRange> = nodes.iter().map(|node| node.range).collect();
        tell_finished(nodes, targets, &mut finished, console);
        let steps = match next_steps(&current, targets) {
            Ok(steps) if steps.is_empty() => return report,
            Ok(steps) => steps,
            // A move whose end nobody knows yet looks like that.
            Err(why) => {
                console.red(format_args!("Error performing Redistribute: {why}"));
                thread::sleep(RETRY);
                continue;
            }
        };
        match round(nodes, &steps, credentials, &mut report, console) {
            Round::Well => busy = 0,
            Round::Busy => {
                busy += 1;
                if busy == BUSY_PATIENCE {
                    console.note("waiting for a node that still clears up");
                }
                thread::sleep(BUSY_RETRY);
            }
            Round::Failed => thread::sleep(RETRY),
        }
    }
}

/// Asks all nodes for their ranges.
fn refresh(nodes: &mut [Node]) -> Result<(), String> {
    for node in nodes.iter_mut() {
        match support(node.socket)? {
            Support::Ours(info) => node.range = info.range,
            Support::OtherVersion(why) => return Err(format!("node {}: {why}", node.address)),
            Support::Original => {
                return Err(format!("node {} is one of the original now", node.address));
            }
        }
    }
    let faults = tiling(nodes);
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

fn tell_finished(
    nodes: &[Node],
    targets: &[HashRange],
    finished: &mut BTreeSet<usize>,
    console: &mut Console,
) {
    for at in 0..nodes.len() {
        if nodes[at].range == targets[at] && finished.insert(at) {
            let percent = finished.len() as f64 * 100.0 / nodes.len() as f64;
            let node = &nodes[at].address;
            console.green(format_args!("{node} finished. {percent:.2}% of nodes done."));
        }
    }
}

enum Round {
    Well,
    Busy,
    Failed,
}

/// Makes these moves at the same time.
fn round(
    nodes: &[Node],
    steps: &[Step],
    credentials: Option<&ClientCredentials>,
    report: &mut Report,
    console: &mut Console,
) -> Round {
    let (news_tx, news) = mpsc::channel();
    let mut outcome = Round::Well;
    thread::scope(|scope| {
        for step in steps {
            let news_tx = news_tx.clone();
            scope.spawn(move || {
                let end = make(nodes, *step, credentials, &news_tx);
                // The receiver lives as long as this scope.
                let _ = news_tx.send(News::End(*step, end));
            });
        }
        drop(news_tx);
        while let Ok(news) = news.recv() {
            match news {
                News::Progress(text) => console.note(text),
                News::End(step, Ok(progress)) => {
                    let (giver, taker) = (&nodes[step.giver].address, &nodes[step.taker].address);
                    console.note(format_args!(
                        "{giver} -> {taker}: {} moved, {} records, {}",
                        hex(step.part),
                        progress.records,
                        bytes(progress.value_bytes)
                    ));
                    report.moves += 1;
                    report.records += progress.records;
                    report.value_bytes += progress.value_bytes;
                    report.pause_micros = report.pause_micros.max(progress.pause_micros);
                }
                News::End(_, Err(why)) if why.contains("busy:") => outcome = Round::Busy,
                News::End(step, Err(why)) => {
                    report.failures += 1;
                    let giver = &nodes[step.giver].address;
                    console.red(format_args!("Error performing Redistribute: {giver}: {why}"));
                    outcome = Round::Failed;
                }
            }
        }
    });
    outcome
}

enum News {
    Progress(String),
    End(Step, Result<MoveProgress, String>),
}

#[expect(clippy::disallowed_methods, reason = "a program asks the system for the time")]
fn now() -> Instant {
    Instant::now()
}

/// Makes one move.
fn make(
    nodes: &[Node],
    step: Step,
    credentials: Option<&ClientCredentials>,
    news: &mpsc::Sender<News>,
) -> Result<MoveProgress, String> {
    let (giver, taker) = (&nodes[step.giver], &nodes[step.taker]);
    let began = now();
    let mut told = began;
    let tell = |progress: &MoveProgress| {
        let at = now();
        if at.saturating_duration_since(told) >= TELL_PERIOD {
            told = at;
            let text = describe(progress, at.saturating_duration_since(began));
            let _ = news
                .send(News::Progress(format!("{} -> {}: {text}", giver.address, taker.address)));
        }
    };
    let end = match credentials {
        Some(credentials) => {
            neo::move_part(credentials, giver.socket, step.part, taker.socket, tell)?
        }
        None => Link::connect(giver.socket)?
            .move_part(step.part, taker.socket, tell)
            .map_err(|error| format!("the connection broke: {error}"))?,
    };
    match end {
        MoveReply::Finished(progress) => Ok(progress),
        MoveReply::Refused(why) => Err(why),
        other => Err(format!("unexpected answer {other:?}")),
    }
}

/// How far, how fast, how long.
fn describe(progress: &MoveProgress, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let share = progress.scanned as f64 / progress.scanned_of.max(1) as f64;
    let share = share.clamp(0.0, 1.0);
    let left = if share > 0.0 { seconds * (1.0 - share) / share } else { f64::INFINITY };
    let left = if left.is_finite() { format!("{left:.0} s left") } else { "just begun".to_owned() };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is positive, and need not be exact"
    )]
    let rate = bytes((progress.value_bytes as f64 / seconds) as u64);
    format!(
        "{:.0}%, {} records, {}, {rate}/s, {left}",
        share * 100.0,
        progress.records,
        bytes(progress.value_bytes)
    )
}

impl Report {
    /// For the end.
    pub(crate) fn text(&self, took: Duration) -> String {
        let Self { moves, records, value_bytes, pause_micros, failures } = self;
        let ms = *pause_micros as f64 / 1000.0;
        format!(
            "{moves} parts moved in {:.1} s: {records} records, {}. The longest pause for clients \
             was {ms:.1} ms. {failures} tries failed.",
            took.as_secs_f64(),
            bytes(*value_bytes)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_for_people() {
        let progress = MoveProgress {
            records: 100,
            value_bytes: 4096,
            scanned: 50,
            scanned_of: 200,
            pause_micros: 0,
        };
        let text = describe(&progress, Duration::from_secs(4));
        assert_eq!(text, "25%, 100 records, 4.0 KiB, 1.0 KiB/s, 12 s left");
        let text = describe(&MoveProgress::default(), Duration::ZERO);
        assert_eq!(text, "0%, 0 records, 0 B, 0 B/s, just begun");
    }
}

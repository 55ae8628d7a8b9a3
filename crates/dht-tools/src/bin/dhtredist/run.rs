//! From the nodes file to the end. Source: spec `tools` 2.2.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use dht_client::blocking::legacy::Cluster;
use dht_client::blocking::{Timeouts, Warning};
use dht_client::{ClientCredentials, NodesFile};
use dht_protocol::legacy::requests::MoveInfo;
use dht_types::HashRange;

use crate::Task;
use crate::console::Console;
use crate::nodes::{Node, resolve, sort};
use crate::route::intersection;
use crate::target::{assign, hex};
use crate::wire::{Support, support};
use crate::{check, moves, original, saved};

/// The work was not done; what to print about it.
struct Failure(Vec<String>);

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self(vec![text])
    }
}

/// How the records are moved.
enum Way {
    /// All nodes are ours: part by part.
    Moves(Vec<MoveInfo>),
    /// By Redistribute.
    Original,
}

pub(crate) fn run(task: &Task) -> ExitCode {
    let mut console = Console::new();
    match redistribute(task, &mut console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(texts)) => {
            texts.iter().for_each(|text| console.red(text));
            ExitCode::FAILURE
        }
    }
}

fn redistribute(task: &Task, console: &mut Console) -> Result<(), Failure> {
    if task.execute {
        console.yellow("EXECUTE MODE");
    }
    let credentials = task.auth.as_deref().map(ClientCredentials::read).transpose();
    let credentials = credentials.map_err(|error| error.to_string())?;
    let mut nodes = handshake(task, console)?;
    sort(&mut nodes);
    console.green("Getting current hash ranges of nodes:");
    for node in &nodes {
        console.line(format_args!("\t{} = {}", node.address, hex(node.range)));
    }
    let saved = saved::path(&task.nodes_file);
    if task.new_plan {
        // There may be none.
        let _ = std::fs::remove_file(&saved);
    }
    let kept = saved::read(&saved, &nodes)?;
    let is_resumed = kept.is_some();
    let targets = match kept {
        Some(targets) => {
            console.note(format_args!(
                "Going on with the plan {} (--new-plan forgets it)",
                saved.display()
            ));
            targets
        }
        None => assign(&task.strategy, &nodes, console)?,
    };
    console.green("Assigning new hash ranges to nodes:");
    for (node, target) in nodes.iter().zip(&targets) {
        console.line(format_args!("\t{} -> {}", node.address, hex(*target)));
    }
    let is_reached = nodes.iter().zip(&targets).all(|(node, target)| node.range == *target);
    // Redistribute sets ranges first: records may be left behind all the same.
    if is_reached && !(is_resumed && matches!(find_way(task, &nodes, console)?, Way::Original)) {
        console.green("No change in node hash ranges. Not sending Redistribute requests.");
        let _ = std::fs::remove_file(&saved);
        return Ok(());
    }
    print_plan(task, &nodes, &targets, console);
    let way = find_way(task, &nodes, console)?;
    let faults = match &way {
        Way::Moves(infos) => check::faults(&nodes, infos, &targets),
        Way::Original => faults_of_original(&nodes, &targets),
    };
    if !task.execute || task.force {
        faults.iter().for_each(|fault| console.red(format_args!("Fault in the plan: {fault}")));
    } else if !faults.is_empty() {
        let mut texts = faults;
        texts.push("Nothing was moved. With --force it is tried all the same.".to_owned());
        return Err(Failure(texts));
    }
    if !task.execute {
        return Ok(());
    }
    saved::write(&saved, &nodes, &targets)
        .map_err(|error| format!("cannot write the plan {}: {error}", saved.display()))?;
    match way {
        Way::Original => {
            // What a node had before it was asked for the first time is not known by now.
            let had = |node: &Node| if is_resumed { HashRange::FULL } else { node.range };
            let nodes: Vec<Node> =
                nodes.iter().map(|node| Node { range: had(node), ..node.clone() }).collect();
            original::run(&nodes, &targets, console);
        }
        Way::Moves(_) => {
            let began = now();
            let credentials = credentials.as_ref();
            let report = moves::run(&mut nodes, &targets, credentials, console);
            console.note(report.text(now().saturating_duration_since(began)));
        }
    }
    // If it stays, the next run finds nothing to do.
    let _ = std::fs::remove_file(&saved);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a program asks the system for the time")]
fn now() -> Instant {
    Instant::now()
}

/// The nodes and their ranges; gaps and overlaps are looked at later.
fn handshake(task: &Task, console: &mut Console) -> Result<Vec<Node>, Failure> {
    let file = NodesFile::read(&task.nodes_file).map_err(|error| error.to_string())?;
    let failed = || Failure::from("DHT handshake failed".to_owned());
    let mut cluster = match Cluster::connect(file.nodes(), Timeouts::default()) {
        Ok(cluster) => cluster,
        Err(error) => {
            console.note(format_args!("Client error during handshake: {error}"));
            return Err(failed());
        }
    };
    let mut complete = true;
    for warning in cluster.take_warnings() {
        if let Warning::Failed(error) = warning {
            console.note(format_args!("Client error during handshake: {error}"));
            complete = false;
        }
    }
    if !complete {
        return Err(failed());
    }
    let mut nodes = Vec::new();
    for (connection, range) in cluster.nodes() {
        let address = connection.node().clone();
        let socket = resolve(&address)?;
        nodes.push(Node { address, socket, range });
    }
    Ok(nodes)
}

fn print_plan(task: &Task, nodes: &[Node], targets: &[HashRange], console: &mut Console) {
    let verb = if task.execute { "Sending" } else { "Calculated" };
    console.green(format_args!("{verb} Redistribute requests to nodes:"));
    for (at, node) in nodes.iter().enumerate() {
        console.line(format_args!(
            "\t{} = {} -> {} ({:.2}% overlap)",
            node.address,
            hex(node.range),
            hex(targets[at]),
            overlap_percent(node.range, targets[at])
        ));
        let takers = original::takers(at, nodes, targets);
        for other in &takers {
            console.line(format_args!(
                "\t\tRedistribute data to: {} = {}",
                nodes[*other].address,
                hex(targets[*other])
            ));
        }
        if takers.is_empty() {
            console.line("\t\tNo data to be redistributed");
        }
    }
}

/// How much of the old range stays, in percent; 0 of the empty one.
fn overlap_percent(old: HashRange, new: HashRange) -> f64 {
    let width = |range: HashRange| (range.max() - range.min()) as f64 + 1.0;
    intersection(old, new).map_or(0.0, |both| width(both) / width(old) * 100.0)
}

/// How long to wait for a node that still clears up after a move that has ended.
const BUSY_WAIT: Duration = Duration::from_secs(15);
const BUSY_LOOK: Duration = Duration::from_millis(200);

/// Asks a node which way it knows; once more after a while if it is busy.
fn ask(task: &Task, node: &Node, give_up: Instant) -> Result<Support, String> {
    loop {
        match support(node.socket)? {
            Support::Ours(info) if info.is_busy && task.execute && now() < give_up => {
                std::thread::sleep(BUSY_LOOK);
            }
            other => return Ok(other),
        }
    }
}

/// Asks the nodes which way they know.
fn find_way(task: &Task, nodes: &[Node], console: &mut Console) -> Result<Way, Failure> {
    if task.original {
        return Ok(Way::Original);
    }
    let (mut infos, mut others) = (Vec::new(), Vec::new());
    let give_up = now() + BUSY_WAIT;
    for node in nodes {
        match ask(task, node, give_up)? {
            Support::Ours(info) => infos.push(info),
            Support::OtherVersion(why) => others.push(format!("node {}: {why}", node.address)),
            Support::Original => console.note(format_args!(
                "node {} knows no MovePart, as those of the original: all get a Redistribute",
                node.address
            )),
        }
    }
    if !others.is_empty() {
        return Err(Failure(others));
    }
    Ok(if infos.len() == nodes.len() { Way::Moves(infos) } else { Way::Original })
}

/// What Redistribute cannot do.
fn faults_of_original(nodes: &[Node], targets: &[HashRange]) -> Vec<String> {
    let mut faults = check::tiling(nodes);
    for (node, target) in nodes.iter().zip(targets) {
        if target.is_empty() && !node.range.is_empty() {
            faults.push(format!(
                "node {} cannot be emptied: Redistribute knows no empty range. For that, all nodes \
                 have to know MovePart",
                node.address
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlap_is_what_stays_of_the_old_range() {
        let range = |min, max| HashRange::new(min, max).expect("valid");
        for (old, new, percent) in [
            (range(0, 99), range(0, 49), 50.0),
            (range(0, 99), range(0, 99), 100.0),
            (range(7, 7), range(0, 99), 100.0),
            (range(0, 99), range(200, 300), 0.0),
            (HashRange::EMPTY, range(0, 99), 0.0),
        ] {
            assert!((overlap_percent(old, new) - percent).abs() < 1e-9, "{old} {new}");
        }
    }
}

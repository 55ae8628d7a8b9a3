//! Which node gets which range. Source: spec `tools` 2.4.

use std::net::Ipv4Addr;

use dht_client::NodeAddress;
use dht_types::HashRange;

use crate::console::Console;
use crate::division::{even, weighted};
use crate::nodes::{Node, server};

/// How the hash space is divided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Strategy {
    /// The whole space among all nodes in their order; 1 is the weight of those that are not named.
    Extend { weights: Vec<(NodeAddress, f64)> },
    /// Each server's range among its own nodes.
    Subdivide,
    /// One node's range to another one.
    Move { from: NodeAddress, to: NodeAddress },
}

/// The new range of each node, in the order of the nodes.
pub(crate) fn assign(
    strategy: &Strategy,
    nodes: &[Node],
    console: &mut Console,
) -> Result<Vec<HashRange>, String> {
    match strategy {
        Strategy::Extend { weights } => extend(nodes, weights),
        Strategy::Subdivide => subdivide(nodes, console),
        Strategy::Move { from, to } => exchange(nodes, from, to),
    }
}

fn find(nodes: &[Node], address: &NodeAddress) -> Result<usize, String> {
    nodes.iter().position(|node| node.address == *address).ok_or_else(|| {
        format!("node {address} is not in the nodes file; write it there, spelt the same")
    })
}

fn extend(nodes: &[Node], named: &[(NodeAddress, f64)]) -> Result<Vec<HashRange>, String> {
    let mut weights = vec![1.0; nodes.len()];
    for (node, weight) in named {
        weights[find(nodes, node)?] = *weight;
    }
    weighted(&weights)
        .ok_or_else(|| "no node is left that could have the records; keep one".to_owned())
}

fn exchange(
    nodes: &[Node],
    from: &NodeAddress,
    to: &NodeAddress,
) -> Result<Vec<HashRange>, String> {
    let (from, to) = (find(nodes, from)?, find(nodes, to)?);
    if from == to {
        return Err(format!("node {} cannot move to itself", nodes[from].address));
    }
    // So it is once the move has ended, or been resumed.
    if !nodes[to].range.is_empty() && !nodes[from].range.is_empty() {
        return Err(format!(
            "node {} has a hash range already ({}); --move needs an empty node",
            nodes[to].address, nodes[to].range
        ));
    }
    let mut targets: Vec<HashRange> = nodes.iter().map(|node| node.range).collect();
    if targets[to].is_empty() {
        targets.swap(from, to);
    }
    Ok(targets)
}

fn subdivide(nodes: &[Node], console: &mut Console) -> Result<Vec<HashRange>, String> {
    let mut targets: Vec<HashRange> = nodes.iter().map(|node| node.range).collect();
    let mut done: Vec<Ipv4Addr> = Vec::new();
    for node in nodes {
        let ip = server(node);
        if done.contains(&ip) {
            continue;
        }
        done.push(ip);
        let mine: Vec<usize> = (0..nodes.len()).filter(|at| server(&nodes[*at]) == ip).collect();
        let empty = mine.iter().filter(|at| nodes[**at].range.is_empty()).count();
        let full = mine.len() - empty;
        if empty > 0 && full > 0 && empty.is_multiple_of(full) {
            individually(nodes, &mine, empty / full, &mut targets, console);
        } else {
            console.yellow(
                "Uneven subdivision, cannot sub-divide nodes individually, dividing by server",
            );
            by_server(nodes, ip, &mine, &mut targets)?;
        }
    }
    Ok(targets)
}

/// Splits each node's range; the first part stays, the others go to empty nodes from the end.
fn individually(
    nodes: &[Node],
    mine: &[usize],
    more: usize,
    targets: &mut [HashRange],
    console: &mut Console,
) {
    console.green("Sub-dividing nodes individually:");
    let is_empty = |at: &&usize| nodes[**at].range.is_empty();
    let mut empty: Vec<usize> = mine.iter().filter(is_empty).copied().collect();
    for &at in mine.iter().filter(|at| !is_empty(at)) {
        let Node { address, range, .. } = &nodes[at];
        console.line(format_args!("\tSub-dividing existing node {address} = {}:", hex(*range)));
        let mut parts = even(more as u64 + 1, *range).into_iter();
        targets[at] = parts.next().expect("at least one part");
        console.line(format_args!("\t\tRe-assigning to range {}", hex(targets[at])));
        for part in parts {
            let to = empty.pop().expect("there are as many as parts");
            targets[to] = part;
            console.line(format_args!("\t\tAssigning {} to {}", hex(part), nodes[to].address));
        }
    }
}

fn by_server(
    nodes: &[Node],
    ip: Ipv4Addr,
    mine: &[usize],
    targets: &mut [HashRange],
) -> Result<(), String> {
    let mut ranges: Vec<HashRange> = mine.iter().map(|at| nodes[*at].range).collect();
    ranges.retain(|range| !range.is_empty());
    if ranges.iter().any(|range| range.min() > range.max()) {
        return Err(format!("Node on {ip} has an invalid range"));
    }
    ranges.sort_by_key(|range| range.min());
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
        return Err(format!("No node on {ip} has a defined range"));
    };
    if ranges.windows(2).any(|pair| pair[0].max().checked_add(1) != Some(pair[1].min())) {
        return Err(format!("Range gap or overlap on {ip}"));
    }
    let whole = HashRange::new(first.min(), last.max()).map_err(|error| error.to_string())?;
    for (at, part) in mine.iter().zip(even(mine.len() as u64, whole)) {
        targets[*at] = part;
    }
    Ok(())
}

/// A range as this program prints it.
pub(crate) fn hex(range: HashRange) -> String {
    format!("0x{:016X}..0x{:016X}", range.min(), range.max())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nodes::tests::node;

    fn range(min: u64, max: u64) -> HashRange {
        HashRange::new(min, max).expect("valid")
    }

    fn assign_quietly(strategy: &Strategy, nodes: &[Node]) -> Result<Vec<HashRange>, String> {
        assign(strategy, nodes, &mut Console::silent())
    }

    #[test]
    fn extend_divides_the_space_among_all() {
        let (half, full) = (u64::MAX >> 1, u64::MAX);
        let nodes = [
            node(1, 0, range(0, half)),
            node(1, 1, range(half + 1, full)),
            node(2, 0, HashRange::EMPTY),
        ];
        let extend = |weights| assign_quietly(&Strategy::Extend { weights }, &nodes);
        assert_eq!(extend(Vec::new()), Ok(even(3, HashRange::FULL)));
        let without_first = extend(vec![(nodes[0].address.clone(), 0.0)]).expect("two are left");
        assert_eq!(without_first, [HashRange::EMPTY, nodes[0].range, nodes[1].range]);
        let stranger = "10.0.0.9:1".parse().expect("an address");
        assert!(extend(vec![(stranger, 0.0)]).expect_err("unknown").contains("10.0.0.9:1"));
        let nobody = nodes.iter().map(|node| (node.address.clone(), 0.0)).collect();
        assert!(extend(nobody).is_err());
    }

    #[test]
    fn subdivide_splits_each_node_if_the_numbers_allow() {
        let nodes = [
            node(1, 0, range(0, 99)),
            node(1, 1, range(100, 199)),
            node(2, 0, range(200, u64::MAX)),
            node(1, 2, HashRange::EMPTY),
            node(1, 3, HashRange::EMPTY),
            node(2, 1, HashRange::EMPTY),
        ];
        let targets = assign_quietly(&Strategy::Subdivide, &nodes).expect("possible");
        assert_eq!((targets[0], targets[4]), (range(0, 49), range(50, 99)));
        assert_eq!((targets[1], targets[3]), (range(100, 149), range(150, 199)));
        let halves = even(2, range(200, u64::MAX));
        assert_eq!((targets[2], targets[5]), (halves[0], halves[1]));
    }

    #[test]
    fn subdivide_goes_by_server_otherwise() {
        let nodes =
            [node(1, 0, range(0, 99)), node(1, 1, range(100, 299)), node(1, 2, HashRange::EMPTY)];
        let targets = assign_quietly(&Strategy::Subdivide, &nodes).expect("possible");
        assert_eq!(targets, even(3, range(0, 299)));
        let gap = [node(1, 0, range(0, 99)), node(1, 1, range(101, 299)), nodes[2].clone()];
        let error = assign_quietly(&Strategy::Subdivide, &gap).expect_err("a gap");
        assert_eq!(error, "Range gap or overlap on 10.0.0.1");
        let nothing = [node(1, 0, HashRange::EMPTY)];
        let error = assign_quietly(&Strategy::Subdivide, &nothing).expect_err("nothing there");
        assert_eq!(error, "No node on 10.0.0.1 has a defined range");
    }

    #[test]
    fn a_node_moves_to_an_empty_one_only() {
        let nodes = [
            node(1, 0, range(0, 99)),
            node(1, 1, range(100, u64::MAX)),
            node(2, 0, HashRange::EMPTY),
        ];
        let exchange = |from: usize, to: usize| {
            let (from, to) = (nodes[from].address.clone(), nodes[to].address.clone());
            assign_quietly(&Strategy::Move { from, to }, &nodes)
        };
        let moved = [HashRange::EMPTY, range(100, u64::MAX), range(0, 99)];
        assert_eq!(exchange(0, 2), Ok(moved.to_vec()));
        assert!(exchange(0, 1).expect_err("not empty").contains("needs an empty node"));
        assert!(exchange(0, 0).expect_err("the same").contains("to itself"));
    }
}

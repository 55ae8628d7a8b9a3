//! What is wrong with a plan, before anything happens.

use dht_client::NodeAddress;
use dht_client::ranges;
use dht_protocol::legacy::requests::MoveInfo;
use dht_types::HashRange;

use crate::console::bytes;
use crate::nodes::Node;
use crate::route::{self, intersection};

/// Bytes that a node counts for a record besides its value. Source: spec `node` 11.1.
const RECORD_BYTES: u64 = 56;

/// Everything that speaks against a plan among nodes of ours; what to change about it included.
pub(crate) fn faults(nodes: &[Node], infos: &[MoveInfo], targets: &[HashRange]) -> Vec<String> {
    let mut faults = tiling(nodes);
    for (node, info) in nodes.iter().zip(infos) {
        if info.is_busy {
            faults.push(format!(
                "node {} is moving records already; wait until that has ended",
                node.address
            ));
        }
    }
    faults.extend(room(nodes, infos, targets));
    if faults.is_empty() {
        let current: Vec<HashRange> = nodes.iter().map(|node| node.range).collect();
        faults.extend(route::route(&current, targets).err().map(str::to_owned));
    }
    faults
}

/// Gaps and overlaps of the ranges of now.
pub(crate) fn tiling(nodes: &[Node]) -> Vec<String> {
    let reported: Vec<(NodeAddress, HashRange)> =
        nodes.iter().map(|node| (node.address.clone(), node.range)).collect();
    let mut faults: Vec<String> = ranges::check(&reported)
        .iter()
        .map(|warning| {
            format!("{warning}; is a node missing in the nodes file, or was one started wrongly?")
        })
        .collect();
    if nodes.iter().all(|node| node.range.is_empty()) {
        faults.push("no node has a hash range; give the first one the whole of it".to_owned());
    }
    faults
}

/// Nodes whose `size_limit` has no room for what they are to get.
fn room(nodes: &[Node], infos: &[MoveInfo], targets: &[HashRange]) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        let gets = (0..nodes.len()).filter(|other| *other != at);
        let gets: u64 = gets.map(|other| share(&infos[other], targets[at])).sum();
        let kept = share(&infos[at], targets[at]);
        let gives = share(&infos[at], node.range).saturating_sub(kept);
        let needs = gets.saturating_sub(gives);
        let room = infos[at].room_bytes;
        if needs > room {
            faults.push(format!(
                "node {} has no room: it would get about {}, give away {}, and its size_limit \
                 leaves {}; raise that, or give it a smaller share with --weights",
                node.address,
                bytes(gets),
                bytes(gives),
                bytes(room)
            ));
        }
    }
    faults
}

/// About how many bytes of a node lie in a range.
fn share(info: &MoveInfo, range: HashRange) -> u64 {
    let Some(part) = intersection(info.range, range) else { return 0 };
    let width = |range: HashRange| u128::from(range.max() - range.min()) + 1;
    let all = u128::from(info.value_bytes + info.records * RECORD_BYTES);
    u64::try_from(all * (width(part) >> 8) / ((width(info.range) >> 8).max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::division::even;
    use crate::nodes::tests::node;

    fn info(range: HashRange, value_bytes: u64, room_bytes: u64) -> MoveInfo {
        MoveInfo { version: 1, range, records: 0, value_bytes, room_bytes, is_busy: false }
    }

    #[test]
    fn a_sound_plan_has_no_faults() {
        let nodes = [node(1, 0, HashRange::FULL), node(1, 1, HashRange::EMPTY)];
        let infos = [info(HashRange::FULL, 1000, 0), info(HashRange::EMPTY, 0, 500)];
        assert_eq!(faults(&nodes, &infos, &even(2, HashRange::FULL)), [""; 0]);
    }

    #[test]
    fn each_fault_says_what_to_change() {
        let full = u64::MAX;
        let lower = HashRange::new(0, full >> 1).expect("valid");
        let upper = HashRange::new(1 << 63, full).expect("valid");
        let plan = |nodes: &[Node], infos: &[MoveInfo], targets: &[HashRange]| {
            faults(nodes, infos, targets).join("\n")
        };
        let [a, b] = [node(1, 0, lower), node(1, 1, upper)];
        let infos = [info(lower, 1000, full), info(upper, 1000, full)];
        let busy = [MoveInfo { is_busy: true, ..infos[0] }, infos[1]];
        let both = [a.clone(), b.clone()];
        assert!(plan(&both, &busy, &[lower, upper]).contains("is moving records already"));
        let thirds = even(3, HashRange::FULL);
        let three = [0, 1, 2].map(|at: u16| node(1, at, thirds[usize::from(at)]));
        let [x, y, z] = [0, 1, 2].map(|at| info(thirds[at], 0, full));
        let reversed = [thirds[2], thirds[1], thirds[0]];
        assert!(plan(&three, &[x, y, z], &reversed).contains("--move to an empty node"));
        let tight = [info(lower, 1000, 10), infos[1]];
        let all = [HashRange::FULL, HashRange::EMPTY];
        assert!(plan(&both, &tight, &all).contains("has no room"));
        let gap = plan(std::slice::from_ref(&a), &infos[..1], &[lower]);
        assert!(gap.contains("no node is responsible") && gap.contains("nodes file"), "{gap}");
        let overlap = plan(&[a.clone(), a], &[infos[0], infos[0]], &[lower, lower]);
        assert!(overlap.contains("overlap"), "{overlap}");
        let nobody = plan(&[node(1, 0, HashRange::EMPTY)], &infos[..1], &[HashRange::FULL]);
        assert!(nobody.contains("no node has a hash range"));
    }
}

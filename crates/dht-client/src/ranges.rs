//! What can be wrong with the hash ranges that the nodes of a cluster report.
//!
//! The rules are those of the original's handshake: no two ranges overlap; each `min` is 0 or some
//! node's `max` + 1; each `max` is all ones or some node's `min` - 1. A node with the empty range
//! waits for its share and is left out. Source: spec `protocol-legacy` 13.2.

use dht_types::HashRange;

use crate::NodeAddress;

/// Ranges that do not tile the hash space. Requests for other keys are not affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeWarning {
    /// Two nodes claim the same keys; the one listed first is asked.
    #[error("multiple nodes responsible for key: {first} and {second} overlap")]
    Overlap {
        /// The node listed first.
        first: NodeAddress,
        /// The other one.
        second: NodeAddress,
    },
    /// No node ends where this one begins.
    #[error("no node is responsible for the hashes below {below:#018x}, where {node} begins")]
    GapBelow {
        /// The node above the gap.
        node: NodeAddress,
        /// Its lower limit.
        below: u64,
    },
    /// No node begins where this one ends.
    #[error("no node is responsible for the hashes above {above:#018x}, where {node} ends")]
    GapAbove {
        /// The node below the gap.
        node: NodeAddress,
        /// Its upper limit.
        above: u64,
    },
}

/// Checks the ranges of the nodes that answered, in the order in which they are registered.
#[must_use]
pub fn check(nodes: &[(NodeAddress, HashRange)]) -> Vec<RangeWarning> {
    let mut warnings = Vec::new();
    let nodes: Vec<_> = nodes.iter().filter(|(_, range)| !range.is_empty()).collect();
    for (at, (first, range)) in nodes.iter().enumerate() {
        for (second, other) in &nodes[at + 1..] {
            if range.overlaps(*other) {
                warnings
                    .push(RangeWarning::Overlap { first: first.clone(), second: second.clone() });
            }
        }
    }
    for (node, range) in &nodes {
        let (below, above) = (range.min(), range.max());
        let ends = |limit| nodes.iter().any(|(_, other)| other.max() == limit);
        let begins = |limit| nodes.iter().any(|(_, other)| other.min() == limit);
        if below.checked_sub(1).is_some_and(|limit| !ends(limit)) {
            warnings.push(RangeWarning::GapBelow { node: node.clone(), below });
        }
        if above.checked_add(1).is_some_and(|limit| !begins(limit)) {
            warnings.push(RangeWarning::GapAbove { node: node.clone(), above });
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: usize) -> NodeAddress {
        format!("h:{}", number + 1).parse().expect("an address")
    }

    fn check_ranges(ranges: &[(u64, u64)]) -> Vec<RangeWarning> {
        let ranges = ranges.iter().map(|&(min, max)| HashRange::new(min, max).expect("a range"));
        check(&ranges.enumerate().map(|(at, range)| (node(at), range)).collect::<Vec<_>>())
    }

    const MAX: u64 = u64::MAX;

    #[test]
    fn ranges_that_tile_the_space_are_fine_in_any_order() {
        for ranges in [
            &[(0, MAX)][..],
            &[(0, 9), (10, MAX)],
            &[(20, MAX), (0, 9), (10, 19)],
            &[(0, MAX), (MAX, 0)],
        ] {
            assert_eq!(check_ranges(ranges), [], "{ranges:?}");
        }
    }

    #[test]
    fn gaps_are_found_on_both_sides() {
        let below = |at, below| RangeWarning::GapBelow { node: node(at), below };
        let above = |at, above| RangeWarning::GapAbove { node: node(at), above };
        assert_eq!(check_ranges(&[(0, 9), (11, MAX)]), [above(0, 9), below(1, 11)]);
        assert_eq!(check_ranges(&[(1, MAX - 1)]), [below(0, 1), above(0, MAX - 1)]);
        assert_eq!(check_ranges(&[]), []);
    }

    #[test]
    fn an_overlap_names_both_nodes() {
        let overlap = RangeWarning::Overlap { first: node(0), second: node(1) };
        assert!(check_ranges(&[(0, 10), (10, MAX)]).contains(&overlap));
        assert_eq!(check_ranges(&[(0, MAX), (0, MAX)]), [overlap]);
    }
}

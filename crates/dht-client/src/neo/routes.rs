//! Which node has which keys, as far as nodes have told.
//!
//! Each report about a node gives it the next higher order; while data moves a key can have
//! several nodes, and the newest is the one whose range was learnt last. Entries are never removed.
//! Source: spec `protocol-neo` 16.3.

use dht_types::{HashRange, Key};

/// A node's place in the list of nodes.
pub(crate) type NodeIndex = usize;

/// The ranges of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    entries: Vec<Entry>,
    /// How many reports changed something.
    order: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    node: NodeIndex,
    range: HashRange,
    order: u64,
}

impl Routes {
    /// A range was reported. `true`: it is the first of this node.
    pub(crate) fn learn(&mut self, node: NodeIndex, range: HashRange) -> bool {
        let known = self.entries.iter_mut().find(|entry| entry.node == node);
        match known {
            Some(entry) if entry.range == range => false,
            Some(entry) => {
                self.order += 1;
                (entry.range, entry.order) = (range, self.order);
                false
            }
            None => {
                self.order += 1;
                self.entries.push(Entry { node, range, order: self.order });
                true
            }
        }
    }

    /// Changes whenever a range does.
    pub(crate) const fn version(&self) -> u64 {
        self.order
    }

    /// A node's range, if it is known.
    pub(crate) fn range(&self, node: NodeIndex) -> Option<HashRange> {
        self.entries.iter().find(|entry| entry.node == node).map(|entry| entry.range)
    }

    /// The nodes of a key, newest first: the newest, and the others behind it.
    pub(crate) fn covering(&self, key: Key) -> Option<(NodeIndex, Vec<NodeIndex>)> {
        let mut covering = self.entries.iter().filter(|entry| entry.range.contains(key));
        let first = *covering.next()?;
        let mut others: Vec<Entry> = covering.copied().collect();
        if others.is_empty() {
            return Some((first.node, Vec::new()));
        }
        others.push(first);
        others.sort_by_key(|entry| std::cmp::Reverse(entry.order));
        let newest_first = others.iter().map(|entry| entry.node);
        Some((others[0].node, newest_first.skip(1).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: u64, max: u64) -> HashRange {
        HashRange::new(min, max).expect("a range")
    }

    #[test]
    fn an_empty_map_and_a_gap_have_no_node() {
        let mut routes = Routes::default();
        assert_eq!(routes.covering(Key(1)), None);
        assert!(routes.learn(0, range(0, 1 << 63)));
        // Key 3 has its lowest bits first: it lies above the middle.
        assert_eq!(routes.covering(Key(3)), None);
        assert_eq!(routes.covering(Key(2)), Some((0, vec![])));
    }

    #[test]
    fn of_several_nodes_the_newest_comes_first_and_a_changed_range_is_new() {
        let mut routes = Routes::default();
        for node in 0..3 {
            assert!(routes.learn(node, HashRange::FULL));
        }
        assert_eq!(routes.covering(Key(7)), Some((2, vec![1, 0])));
        let before = routes.version();
        assert!(!routes.learn(0, HashRange::FULL));
        assert_eq!(routes.version(), before);
        assert!(!routes.learn(0, range(0, u64::MAX - 1)));
        assert_eq!(routes.version(), before + 1);
        assert_eq!(routes.covering(Key(7)), Some((0, vec![2, 1])));
        assert!(!routes.learn(2, HashRange::EMPTY));
        assert_eq!(routes.covering(Key(7)), Some((0, vec![1])));
    }
}

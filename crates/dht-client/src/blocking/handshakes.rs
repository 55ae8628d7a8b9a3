//! How a cluster comes about: every node is greeted, many at once, and those that fail are left
//! out.

use std::thread;

use dht_types::HashRange;

use crate::{
    Error, NodeAddress,
    ranges::{self, RangeWarning},
};

/// Nodes that are greeted at the same time.
const HANDSHAKES_AT_ONCE: usize = 64;

/// Something that the handshake found; the rest of the cluster can be used.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    /// A node did not answer, or speaks another version. It is left out.
    #[error(transparent)]
    Failed(Error),
    /// The ranges do not tile the hash space.
    #[error(transparent)]
    Ranges(RangeWarning),
}

/// Why there is no cluster at all.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No node was given.
    #[error("no node was given")]
    NoNodes,
    /// A node was given twice.
    #[error("node {0} was given twice")]
    Duplicate(NodeAddress),
    /// No node passed the handshake; what happened at each of them.
    #[error("no node passed the handshake: {}", .0[0])]
    Failed(Vec<Error>),
}

/// A node that passed: its connection, and the range that it reported.
pub(super) type Passed<C> = (C, HashRange);

/// Greets every node. One that fails is left out, with a warning; only if all fail, this does.
pub(super) fn greet_all<C: Send>(
    nodes: &[NodeAddress],
    greet: impl Fn(&NodeAddress) -> Result<Passed<C>, Error> + Sync,
) -> Result<(Vec<Passed<C>>, Vec<Warning>), ClusterError> {
    for (at, node) in nodes.iter().enumerate() {
        if nodes[..at].contains(node) {
            return Err(ClusterError::Duplicate(node.clone()));
        }
    }
    let (mut passed, mut known, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (node, result) in nodes.iter().zip(results(nodes, &greet)) {
        match result {
            Ok((connection, range)) => {
                known.push((node.clone(), range));
                passed.push((connection, range));
            }
            Err(error) => failed.push(error),
        }
    }
    match (passed.is_empty(), failed.is_empty()) {
        (true, true) => return Err(ClusterError::NoNodes),
        (true, false) => return Err(ClusterError::Failed(failed)),
        (false, _) => {}
    }
    let failed = failed.into_iter().map(Warning::Failed);
    let warnings = failed.chain(ranges::check(&known).into_iter().map(Warning::Ranges)).collect();
    Ok((passed, warnings))
}

fn results<T: Send>(nodes: &[NodeAddress], greet: &(impl Fn(&NodeAddress) -> T + Sync)) -> Vec<T> {
    let several_at_once = |nodes: &[NodeAddress]| -> Vec<_> {
        thread::scope(|scope| {
            let threads: Vec<_> =
                nodes.iter().map(|node| scope.spawn(move || greet(node))).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().expect("a handshake does not panic")
            };
            threads.into_iter().map(join).collect()
        })
    };
    nodes.chunks(HANDSHAKES_AT_ONCE).flat_map(several_at_once).collect()
}

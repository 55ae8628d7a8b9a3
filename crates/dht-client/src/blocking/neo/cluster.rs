//! Several nodes that share the hash space.
//!
//! While data moves, a key may have several nodes: the newest is the one whose range was learnt
//! last. Source: spec `protocol-neo` 16.3, `client` B.3.

use std::{net::SocketAddr, sync::Arc};

use dht_protocol::neo::requests::NewValue;
use dht_types::{ChannelName, HashRange, Key};

use super::{
    Connection, Decision, RangeNews, UpdateOutcome,
    update::{PendingUpdate, write_here},
};
use crate::{
    ClientCredentials, Error, ErrorKind, NodeAddress,
    blocking::{ClusterError, Timeouts, Warning, handshakes},
};

/// Most nodes, those included that other nodes have told of; news of further ones are ignored.
const NODES_MAX: usize = 4096;

/// How often a request is sent again because the node refused it and told of other ranges.
const REROUTES_MAX: usize = 3;

/// The nodes that were greeted or told of, and what was wrong with the others.
///
/// Ranges are those that the nodes reported last, as far as anything was received from them.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    warnings: Vec<Warning>,
    /// How many ranges have been learnt.
    ranges_learnt: u64,
    credentials: Arc<ClientCredentials>,
    timeouts: Timeouts,
}

#[derive(Debug)]
struct Node {
    connection: Connection,
    range: HashRange,
    /// [`Cluster::ranges_learnt`] when the range was.
    learnt: u64,
}

impl Cluster {
    /// Greets every node and asks for its range, many at once. The ports are neo ports.
    ///
    /// A node that fails is left out, with a warning; only if all fail, this does.
    pub fn connect(
        nodes: &[NodeAddress],
        credentials: &Arc<ClientCredentials>,
        timeouts: Timeouts,
    ) -> Result<Self, ClusterError> {
        let (passed, warnings) = handshakes::greet_all(nodes, |node| {
            let mut connection = Connection::connect(node.clone(), credentials.clone(), timeouts)?;
            let range = connection.hash_range()?;
            Ok((connection, range))
        })?;
        let nodes =
            passed.into_iter().map(|(connection, range)| Node { connection, range, learnt: 0 });
        Ok(Self {
            nodes: nodes.collect(),
            warnings,
            ranges_learnt: 0,
            credentials: credentials.clone(),
            timeouts,
        })
    }

    /// What the handshake found.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What the handshake found, for the caller to keep.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    /// The nodes that are known, those given first.
    pub fn nodes(&mut self) -> impl ExactSizeIterator<Item = (&mut Connection, HashRange)> {
        self.nodes.iter_mut().map(|node| (&mut node.connection, node.range))
    }

    /// See [`Connection::get`]. While data moves, older nodes are asked too.
    pub fn get(&mut self, channel: &ChannelName, key: Key) -> Result<Option<Vec<u8>>, Error> {
        self.route(key, |nodes, newest_first| {
            first_found(newest_first, |at| nodes[at].connection.get(channel, key))
        })
    }

    /// See [`Connection::exists`]. While data moves, older nodes are asked too.
    pub fn exists(&mut self, channel: &ChannelName, key: Key) -> Result<bool, Error> {
        let found = self.route(key, |nodes, newest_first| {
            first_found(newest_first, |at| {
                Ok(nodes[at].connection.exists(channel, key)?.then_some(()))
            })
        });
        found.map(|found| found.is_some())
    }

    /// See [`Connection::put`]. It goes to the newest node alone.
    pub fn put(&mut self, channel: &ChannelName, key: Key, value: &[u8]) -> Result<(), Error> {
        self.route(key, |nodes, newest_first| {
            nodes[newest_first[0]].connection.put(channel, key, value)
        })
    }

    /// See [`Connection::remove`]. While data moves, all nodes that may have the record are asked,
    /// the oldest first, so that no old copy comes back; whether any of them had it.
    pub fn remove(&mut self, channel: &ChannelName, key: Key) -> Result<bool, Error> {
        let mut removed = false;
        self.route(key, |nodes, newest_first| {
            for &at in newest_first.iter().rev() {
                removed |= nodes[at].connection.remove(channel, key)?;
            }
            Ok(())
        })?;
        Ok(removed)
    }

    /// See [`Connection::update`]. While data moves, a record that an older node has is written to
    /// the newest, and then removed where it was. `decide` is asked again only if the node to be
    /// written to refused because the key has moved once more.
    pub fn update(
        &mut self,
        channel: &ChannelName,
        key: Key,
        mut decide: impl FnMut(&[u8]) -> Decision,
    ) -> Result<UpdateOutcome, Error> {
        self.route(key, |nodes, newest_first| {
            let newest = newest_first[0];
            let outcome = nodes[newest].connection.update(channel, key, &mut decide)?;
            if outcome != UpdateOutcome::NoRecord {
                return Ok(outcome);
            }
            for &older in &newest_first[1..] {
                let [newest, older] = nodes
                    .get_disjoint_mut([newest, older])
                    .expect("different nodes that are there");
                let outcome = update_elsewhere(newest, older, channel, key, &mut decide)?;
                if outcome != UpdateOutcome::NoRecord {
                    return Ok(outcome);
                }
            }
            Ok(UpdateOutcome::NoRecord)
        })
    }

    /// Asks every node that is known, one after the other; what each of them said.
    pub fn ask_all<T>(
        &mut self,
        mut ask: impl FnMut(&mut Connection) -> Result<T, Error>,
    ) -> Vec<(NodeAddress, Result<T, Error>)> {
        self.take_in_news();
        let nodes = self.nodes.iter_mut();
        nodes.map(|node| (node.connection.node().clone(), ask(&mut node.connection))).collect()
    }

    /// Has `ask` ask the nodes of a key, newest first. If one refuses because it is not, or no
    /// longer, responsible, and has told of other ranges, their nodes are asked.
    fn route<T>(
        &mut self,
        key: Key,
        mut ask: impl FnMut(&mut [Node], &[usize]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut reroutes = 0;
        loop {
            self.take_in_news();
            let known = self.ranges_learnt;
            let newest_first = covering(&self.nodes, key)?;
            let result = ask(&mut self.nodes, &newest_first);
            self.take_in_news();
            let is_wrong = |error: &Error| matches!(error.kind, ErrorKind::WrongNode);
            let has_moved =
                result.as_ref().err().is_some_and(is_wrong) && self.ranges_learnt != known;
            if !has_moved || reroutes == REROUTES_MAX {
                return result;
            }
            reroutes += 1;
        }
    }

    fn take_in_news(&mut self) {
        for at in 0..self.nodes.len() {
            for RangeNews { about, range } in self.nodes[at].connection.take_range_news() {
                let known = match about {
                    None => Some(at),
                    Some(address) => self.known(address.into()),
                };
                self.learn(known, about.map(SocketAddr::from), range);
            }
        }
    }

    /// A node by the address that others have for it; the nodes file may have a name instead.
    fn known(&self, address: SocketAddr) -> Option<usize> {
        let listed = node_address(address);
        self.nodes.iter().position(|node| {
            *node.connection.node() == listed || node.connection.peer() == Some(address)
        })
    }

    fn learn(&mut self, known: Option<usize>, address: Option<SocketAddr>, range: HashRange) {
        match (known, address) {
            (Some(at), _) if self.nodes[at].range == range => {}
            (Some(at), _) => {
                self.ranges_learnt += 1;
                self.nodes[at].range = range;
                self.nodes[at].learnt = self.ranges_learnt;
            }
            (None, Some(address)) if self.nodes.len() < NODES_MAX => {
                self.ranges_learnt += 1;
                let (node, credentials) = (node_address(address), self.credentials.clone());
                let connection = Connection::new(node, credentials, self.timeouts);
                self.nodes.push(Node { connection, range, learnt: self.ranges_learnt });
            }
            (None, _) => {}
        }
    }
}

fn node_address(address: SocketAddr) -> NodeAddress {
    NodeAddress { host: address.ip().to_string(), port: address.port() }
}

/// The nodes of a key, newest first; at least one. Of equally old ones the first given comes first.
fn covering(nodes: &[Node], key: Key) -> Result<Vec<usize>, Error> {
    let mut covering: Vec<_> =
        (0..nodes.len()).filter(|&at| nodes[at].range.contains(key)).collect();
    covering.sort_by_key(|&at| std::cmp::Reverse(nodes[at].learnt));
    if covering.is_empty() {
        return Err(Error { node: None, request: None, kind: ErrorKind::NoNode(key) });
    }
    Ok(covering)
}

/// The first answer that is one; an error ends the search.
fn first_found<T>(
    newest_first: &[usize],
    mut ask: impl FnMut(usize) -> Result<Option<T>, Error>,
) -> Result<Option<T>, Error> {
    for &at in newest_first {
        if let Some(found) = ask(at)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Updates a record that the older node may have: what is written goes to the newest.
fn update_elsewhere(
    newest: &mut Node,
    older: &mut Node,
    channel: &ChannelName,
    key: Key,
    decide: impl FnOnce(&[u8]) -> Decision,
) -> Result<UpdateOutcome, Error> {
    let Some(pending) = PendingUpdate::start(&mut older.connection, channel, key)? else {
        return Ok(UpdateOutcome::NoRecord);
    };
    let value = match decide(pending.value()) {
        Decision::Write(value) => value,
        Decision::Remove => return pending.remove().map(|()| UpdateOutcome::Done),
        Decision::Leave => return pending.leave().map(|()| UpdateOutcome::Done),
    };
    let new = NewValue { original_hash: pending.hash(), value: &value };
    let written = write_here(&mut newest.connection, channel, key, new);
    match written {
        Ok(UpdateOutcome::Done) => pending.remove()?,
        // The node must not wait for ever; what has gone wrong is told, not how this ends.
        Ok(_) | Err(_) => drop(pending.leave()),
    }
    written
}

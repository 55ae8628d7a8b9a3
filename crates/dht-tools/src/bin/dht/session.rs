//! Which nodes a command talks to.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use dht_client::{
    Error, NodeAddress, NodesFile,
    blocking::{
        Timeouts, Warning,
        legacy::{Cluster, Connection},
    },
};
use dht_protocol::legacy::{Answer, Arguments};
use dht_types::{ChannelName, Key};

use crate::{
    args::TargetArgs,
    failure::{Failure, say},
};

/// Where a node listens if nothing else is said.
const DEFAULT_NODE: &str = "127.0.0.1:10000";

/// One node, or a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// This node gets every request, whatever its range.
    Node(NodeAddress),
    /// A nodes file: each key goes to its node.
    Nodes(PathBuf),
}

impl Target {
    /// `--node` or `--nodes`; else DHT_NODES or DHT_NODE from the environment (the file first);
    /// else the default.
    pub(crate) fn resolve(
        args: &TargetArgs,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Failure> {
        let env = |name| env(name).filter(|value| !value.is_empty());
        match (&args.node, &args.nodes) {
            (Some(_), Some(_)) => {
                Err(Failure::Usage("--node and --nodes do not go together".to_owned()))
            }
            (Some(node), None) => Ok(Self::Node(node.clone())),
            (None, Some(file)) => Ok(Self::Nodes(file.clone())),
            (None, None) => match (env("DHT_NODES"), env("DHT_NODE")) {
                (Some(file), _) => Ok(Self::Nodes(file.into())),
                (None, Some(node)) => Self::parse_env(&node.to_string_lossy()),
                (None, None) => Self::parse_env(DEFAULT_NODE),
            },
        }
    }

    fn parse_env(node: &str) -> Result<Self, Failure> {
        let refused = |error| Failure::Usage(format!("DHT_NODE is {node:?}: {error}"));
        node.parse().map(Self::Node).map_err(refused)
    }
}

/// The nodes of a [`Target`], after the handshake.
#[derive(Debug)]
pub(crate) struct Session {
    cluster: Cluster,
    timeouts: Timeouts,
    /// Only one node was named: it is asked for every key, and its range need not be everything.
    single: bool,
    /// What failed at nodes that a command for all nodes should have asked.
    failed: Vec<Error>,
}

impl Session {
    /// Connects and makes the handshake. Fails only if no node can be used.
    pub(crate) fn open(target: &Target, timeout: Duration) -> Result<Self, Failure> {
        let timeouts = Timeouts { connect: Some(timeout), io: Some(timeout) };
        let (nodes, single) = match target {
            Target::Node(node) => (vec![node.clone()], true),
            Target::Nodes(file) => (NodesFile::read(file)?.nodes().to_vec(), false),
        };
        let mut cluster = Cluster::connect(&nodes, timeouts)?;
        let mut failed = Vec::new();
        for warning in cluster.take_warnings() {
            match warning {
                Warning::Failed(error) => failed.push(error),
                Warning::Ranges(_) if single => {}
                Warning::Ranges(warning) => say(&format!("dht: warning: {warning}")),
            }
        }
        Ok(Self { cluster, timeouts, single, failed })
    }

    /// The same nodes for another thread, over connections of its own.
    pub(crate) fn for_thread(&self) -> Self {
        let (timeouts, single) = (self.timeouts, self.single);
        let cluster = self.cluster.with_new_connections();
        Self { cluster, timeouts, single, failed: Vec::new() }
    }

    /// The node to ask for a key.
    pub(crate) fn node_for(&mut self, key: Key) -> Result<&mut Connection, Failure> {
        if self.single {
            let first = self.cluster.nodes().next();
            let (node, _) = first.expect("a cluster has at least one node");
            return Ok(node);
        }
        let failed = &mut self.failed;
        self.cluster.node_for(key).map_err(|error| {
            let mut errors = std::mem::take(failed);
            errors.push(error);
            Failure::several(errors)
        })
    }

    /// Every node that passed the handshake.
    pub(crate) fn nodes(&mut self) -> impl ExactSizeIterator<Item = &mut Connection> {
        self.cluster.nodes().map(|(node, _)| node)
    }

    /// A connection of its own to every node that passed the handshake, not opened yet.
    pub(crate) fn new_connections(&self) -> Vec<Connection> {
        let mut cluster = self.cluster.with_new_connections();
        let nodes = cluster.nodes().map(|(node, _)| node.node().clone());
        nodes.map(|node| Connection::new(node, self.timeouts)).collect()
    }

    /// Asks every node; what failed is kept for [`Session::finish`].
    pub(crate) fn ask_all<'a, R>(&mut self, request: &R) -> Vec<(NodeAddress, R::Answer)>
    where
        R: Arguments<'a> + Answer,
    {
        let mut answers = Vec::new();
        for (node, answer) in self.cluster.call_all(request) {
            match answer {
                Ok(answer) => answers.push((node, answer)),
                Err(error) => self.failed.push(error),
            }
        }
        answers
    }

    /// Keeps a failure of one node for [`Session::finish`], while the others are still asked.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failed.push(error);
    }

    /// Fails if any node failed that a command for all nodes should have asked.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        match std::mem::take(&mut self.failed) {
            none if none.is_empty() => Ok(()),
            errors => Err(Failure::several(errors)),
        }
    }

    /// Records of a channel over all nodes, as far as they tell.
    pub(crate) fn count_records(&mut self, channel: &ChannelName) -> Option<u64> {
        let request = dht_protocol::legacy::requests::GetChannelSize { channel };
        let sizes = self.cluster.call_all(&request);
        sizes.into_iter().map(|(_, size)| size.ok().map(|size| size.records)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(node: Option<&str>, nodes: Option<&str>, env: [Option<&str>; 2]) -> Option<Target> {
        let args = TargetArgs {
            node: node.map(|node| node.parse().expect("an address")),
            nodes: nodes.map(PathBuf::from),
            timeout: Duration::ZERO,
        };
        let env = |name: &str| match name {
            "DHT_NODE" => env[0].map(OsString::from),
            "DHT_NODES" => env[1].map(OsString::from),
            _ => None,
        };
        Target::resolve(&args, env).ok()
    }

    #[test]
    fn options_come_before_the_environment_and_that_before_the_default() {
        let node = |text: &str| Some(Target::Node(text.parse().expect("an address")));
        let nodes = |text: &str| Some(Target::Nodes(text.into()));
        assert_eq!(resolve(None, None, [None, None]), node(DEFAULT_NODE));
        assert_eq!(resolve(None, None, [Some(""), Some("")]), node(DEFAULT_NODE));
        assert_eq!(resolve(None, None, [Some("e:1"), None]), node("e:1"));
        assert_eq!(resolve(None, None, [Some("e:1"), Some("f")]), nodes("f"));
        assert_eq!(resolve(Some("o:2"), None, [Some("e:1"), Some("f")]), node("o:2"));
        assert_eq!(resolve(None, Some("g"), [Some("e:1"), Some("f")]), nodes("g"));
        assert_eq!(resolve(Some("o:2"), Some("g"), [None, None]), None);
        assert_eq!(resolve(None, None, [Some("no port"), None]), None);
    }
}

//! Which nodes a command talks to, and by which protocol.
//!
//! ```text
//! Access     what the options and the environment say: nodes, credentials, time limit
//! > Session    either of the two, for the verbs that both protocols have
//!   > Node       one node of it, for what is asked node by node
//!   LegacySession, NeoSession     the nodes that have passed the handshake
//! ```
//!
//! With credentials everything goes over neo that neo has a request for; the ports given are neo
//! ports then, and the legacy port of the same node is [`NEO_PORT_OFFSET`] below.

mod legacy;
mod neo;
mod node;

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use dht_client::{
    ClientCredentials, Error, NodeAddress, NodesFile,
    blocking::{Timeouts, Warning},
};
use dht_types::{ChannelName, Key};

use crate::{
    args::TargetArgs,
    failure::{Failure, say},
};
pub(crate) use legacy::LegacySession;
pub(crate) use neo::NeoSession;
pub(crate) use node::Node;

/// Where a node listens for legacy clients if nothing else is said.
const LEGACY_NODE: &str = "127.0.0.1:10000";
/// Where it listens for neo clients.
const NEO_NODE: &str = "127.0.0.1:10100";
/// Between the legacy port of a node and its neo port. Source: spec `protocol-neo` 1.
const NEO_PORT_OFFSET: u16 = 100;

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
    /// else `default`.
    fn resolve(
        args: &TargetArgs,
        env: impl Fn(&str) -> Option<OsString>,
        default: &str,
    ) -> Result<Self, Failure> {
        match (&args.node, &args.nodes) {
            (Some(_), Some(_)) => {
                Err(Failure::Usage("--node and --nodes do not go together".to_owned()))
            }
            (Some(node), None) => Ok(Self::Node(node.clone())),
            (None, Some(file)) => Ok(Self::Nodes(file.clone())),
            (None, None) => match (env("DHT_NODES"), env("DHT_NODE")) {
                (Some(file), _) => Ok(Self::Nodes(file.into())),
                (None, Some(node)) => Self::parse_env(&node.to_string_lossy()),
                (None, None) => Self::parse_env(default),
            },
        }
    }

    fn parse_env(node: &str) -> Result<Self, Failure> {
        let refused = |error| Failure::Usage(format!("DHT_NODE is {node:?}: {error}"));
        node.parse().map(Self::Node).map_err(refused)
    }
}

/// The nodes of a [`Target`].
#[derive(Debug)]
pub(crate) struct Nodes {
    addresses: Vec<NodeAddress>,
    /// Only one node was named: it is asked for every key, and its range need not be everything.
    single: bool,
}

/// Which nodes, as whom, and how long to wait for them.
#[derive(Debug)]
pub(crate) struct Access {
    target: Target,
    /// With these neo is spoken, and the ports of `target` are neo ports.
    auth: Option<Arc<ClientCredentials>>,
    timeouts: Timeouts,
}

impl Access {
    /// What the options say; else the environment; else the defaults.
    pub(crate) fn resolve(
        args: &TargetArgs,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Failure> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let file = args.auth.clone().or_else(|| env("DHT_AUTH").map(PathBuf::from));
        let auth = file.map(|file| ClientCredentials::read(&file).map(Arc::new)).transpose()?;
        let default = if auth.is_some() { NEO_NODE } else { LEGACY_NODE };
        let target = Target::resolve(args, env, default)?;
        let timeouts = Timeouts { connect: Some(args.timeout), io: Some(args.timeout) };
        Ok(Self { target, auth, timeouts })
    }

    /// For verbs that both protocols have.
    pub(crate) fn open(&self) -> Result<Session, Failure> {
        match &self.auth {
            None => LegacySession::open(&self.nodes()?, self.timeouts).map(Session::Legacy),
            Some(credentials) => {
                NeoSession::open(&self.nodes()?, credentials, self.timeouts).map(Session::Neo)
            }
        }
    }

    /// For verbs that the legacy protocol alone has.
    pub(crate) fn open_legacy(&self) -> Result<LegacySession, Failure> {
        LegacySession::open(&self.legacy_nodes()?, self.timeouts)
    }

    /// For a verb that the neo protocol alone has.
    pub(crate) fn open_neo(&self, verb: &str) -> Result<NeoSession, Failure> {
        match &self.auth {
            Some(credentials) => NeoSession::open(&self.nodes()?, credentials, self.timeouts),
            None => Err(Failure::Usage(format!(
                "{verb} needs --auth FILE (or DHT_AUTH): the legacy protocol has no such request"
            ))),
        }
    }

    /// The ports are those of the protocol that is spoken by default.
    fn nodes(&self) -> Result<Nodes, Failure> {
        Ok(match &self.target {
            Target::Node(node) => Nodes { addresses: vec![node.clone()], single: true },
            Target::Nodes(file) => {
                Nodes { addresses: NodesFile::read(file)?.nodes().to_vec(), single: false }
            }
        })
    }

    /// The same nodes by their legacy ports.
    fn legacy_nodes(&self) -> Result<Nodes, Failure> {
        let mut nodes = self.nodes()?;
        if self.auth.is_some() {
            for node in &mut nodes.addresses {
                let port = node.port.checked_sub(NEO_PORT_OFFSET).filter(|port| *port > 0);
                node.port = port.ok_or_else(|| {
                    let text = "with --auth ports are neo ports, 100 above legacy ports; this is \
                                too low";
                    Failure::Usage(format!("node {node}: {text}"))
                })?;
            }
        }
        Ok(nodes)
    }
}

/// What the handshake found: nodes that failed are returned, all else is told at once.
fn failed_nodes(warnings: Vec<Warning>, single: bool) -> Vec<Error> {
    let mut failed = Vec::new();
    for warning in warnings {
        match warning {
            Warning::Failed(error) => failed.push(error),
            Warning::Ranges(_) if single => {}
            Warning::Ranges(warning) => say(&format!("dht: warning: {warning}")),
        }
    }
    failed
}

/// The nodes of a command that either protocol has.
#[derive(Debug)]
pub(crate) enum Session {
    Legacy(LegacySession),
    Neo(NeoSession),
}

impl Session {
    /// A record's value; `None` if there is no record.
    pub(crate) fn get(
        &mut self,
        channel: &ChannelName,
        key: Key,
    ) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Self::Legacy(session) => Ok(session.node_for(key)?.get(channel, key)?),
            Self::Neo(session) => session.get(channel, key),
        }
    }

    /// Whether there is a record.
    pub(crate) fn exists(&mut self, channel: &ChannelName, key: Key) -> Result<bool, Failure> {
        match self {
            Self::Legacy(session) => Ok(session.node_for(key)?.exists(channel, key)?),
            Self::Neo(session) => session.exists(channel, key),
        }
    }

    /// Stores a record.
    pub(crate) fn put(
        &mut self,
        channel: &ChannelName,
        key: Key,
        value: &[u8],
    ) -> Result<(), Failure> {
        match self {
            Self::Legacy(session) => Ok(session.node_for(key)?.put(channel, key, value)?),
            Self::Neo(session) => session.put(channel, key, value),
        }
    }

    /// Takes a record away. Legacy nodes do not tell whether there was one.
    pub(crate) fn remove(&mut self, channel: &ChannelName, key: Key) -> Result<(), Failure> {
        match self {
            Self::Legacy(session) => Ok(session.node_for(key)?.remove(channel, key)?),
            Self::Neo(session) => session.remove(channel, key).map(drop),
        }
    }

    /// Every node that passed the handshake.
    pub(crate) fn nodes(&mut self) -> Vec<Node<'_>> {
        match self {
            Self::Legacy(session) => session.nodes().map(Node::Legacy).collect(),
            Self::Neo(session) => session.nodes().map(Node::Neo).collect(),
        }
    }

    /// Asks every node; what failed is kept for [`Self::finish`].
    pub(crate) fn ask_all<T>(
        &mut self,
        mut ask: impl FnMut(&mut Node<'_>) -> Result<T, Error>,
    ) -> Vec<T> {
        let (mut answers, mut failed) = (Vec::new(), Vec::new());
        for mut node in self.nodes() {
            match ask(&mut node) {
                Ok(answer) => answers.push(answer),
                Err(error) => failed.push(error),
            }
        }
        failed.into_iter().for_each(|error| self.fail(error));
        answers
    }

    /// Keeps a failure of one node for [`Self::finish`], while the others are still asked.
    pub(crate) fn fail(&mut self, error: Error) {
        match self {
            Self::Legacy(session) => session.fail(error),
            Self::Neo(session) => session.failed.push(error),
        }
    }

    /// Fails if any node failed that a command for all nodes should have asked.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        match self {
            Self::Legacy(session) => session.finish(),
            Self::Neo(session) => match std::mem::take(&mut session.failed) {
                none if none.is_empty() => Ok(()),
                errors => Err(Failure::several(errors)),
            },
        }
    }

    /// Records of a channel over all nodes, as far as they tell; neo nodes do not.
    pub(crate) fn count_records(&mut self, channel: &ChannelName) -> Option<u64> {
        match self {
            Self::Legacy(session) => session.count_records(channel),
            Self::Neo(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn resolve(node: Option<&str>, nodes: Option<&str>, env: [Option<&str>; 2]) -> Option<Target> {
        let args = TargetArgs {
            node: node.map(|node| node.parse().expect("an address")),
            nodes: nodes.map(PathBuf::from),
            auth: None,
            timeout: Duration::ZERO,
        };
        let access = Access::resolve(&args, |name: &str| match name {
            "DHT_NODE" => env[0].map(OsString::from),
            "DHT_NODES" => env[1].map(OsString::from),
            _ => None,
        });
        access.ok().map(|access| access.target)
    }

    #[test]
    fn options_come_before_the_environment_and_that_before_the_default() {
        let node = |text: &str| Some(Target::Node(text.parse().expect("an address")));
        let nodes = |text: &str| Some(Target::Nodes(text.into()));
        assert_eq!(resolve(None, None, [None, None]), node(LEGACY_NODE));
        assert_eq!(resolve(None, None, [Some(""), Some("")]), node(LEGACY_NODE));
        assert_eq!(resolve(None, None, [Some("e:1"), None]), node("e:1"));
        assert_eq!(resolve(None, None, [Some("e:1"), Some("f")]), nodes("f"));
        assert_eq!(resolve(Some("o:2"), None, [Some("e:1"), Some("f")]), node("o:2"));
        assert_eq!(resolve(None, Some("g"), [Some("e:1"), Some("f")]), nodes("g"));
        assert_eq!(resolve(Some("o:2"), Some("g"), [None, None]), None);
        assert_eq!(resolve(None, None, [Some("no port"), None]), None);
    }

    #[test]
    fn with_credentials_the_neo_ports_are_the_ones_given() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("credentials");
        std::fs::write(&file, format!("admin:{}\n", "0".repeat(256))).expect("our folder");
        let args = |node: Option<&str>, auth: Option<&PathBuf>| TargetArgs {
            node: node.map(|node| node.parse().expect("an address")),
            nodes: None,
            auth: auth.cloned(),
            timeout: Duration::ZERO,
        };
        let none = |_: &str| None;
        let access = Access::resolve(&args(None, Some(&file)), none).expect("a good file");
        assert_eq!(access.target, Target::Node(NEO_NODE.parse().expect("an address")));
        let legacy = access.legacy_nodes().expect("100 below");
        assert_eq!(legacy.addresses, [LEGACY_NODE.parse().expect("an address")]);
        let from_env = |name: &str| (name == "DHT_AUTH").then(|| file.clone().into_os_string());
        let access = Access::resolve(&args(Some("h:100"), None), from_env).expect("a good file");
        assert!(access.auth.is_some());
        assert!(access.legacy_nodes().is_err(), "there is no port 0");
        let missing = folder.path().join("missing");
        assert!(Access::resolve(&args(None, Some(&missing)), none).is_err());
    }

    #[test]
    fn verbs_that_are_neo_alone_say_what_they_need() {
        let args = TargetArgs { node: None, nodes: None, auth: None, timeout: Duration::ZERO };
        let access = Access::resolve(&args, |_| None).expect("the default");
        let failure = access.open_neo("mirror").expect_err("no credentials").to_string();
        assert!(failure.contains("mirror needs --auth FILE"), "{failure}");
    }
}

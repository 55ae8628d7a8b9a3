//! Which nodes a command talks to, and by which protocol.
//!
//! ```text
//! Access     what the options and the environment say: nodes, credentials, time limit
//! > Session    a client whose nodes have answered, and those that have not
//! ```
//!
//! With credentials everything goes over neo that neo has a request for; the ports given are neo
//! ports then, and the legacy port of the same node is [`NEO_PORT_OFFSET`] below.

mod target;

use std::{ffi::OsString, future::Future, path::PathBuf, sync::Arc, time::Duration};

use dht_client::{
    Channel, Client, ClientCredentials, Error, ErrorKind, Limits, NodeAddress, Outcomes,
};
use dht_types::ChannelName;
use futures_util::StreamExt as _;

use crate::{
    args::TargetArgs,
    failure::{Failure, say},
};
use target::Target;

/// Where a node listens for legacy clients if nothing else is said.
const LEGACY_NODE: &str = "127.0.0.1:10000";
/// Where it listens for neo clients.
const NEO_NODE: &str = "127.0.0.1:10100";
/// Between the legacy port of a node and its neo port. Source: spec `protocol-neo` 1.
const NEO_PORT_OFFSET: u16 = 100;

/// Which nodes, as whom, and how long to wait for them.
#[derive(Debug)]
pub(crate) struct Access {
    target: Target,
    /// With these neo is spoken, and the ports of `target` are neo ports.
    auth: Option<ClientCredentials>,
    /// `None`: for ever.
    timeout: Option<Duration>,
}

impl Access {
    /// What the options say; else the environment; else the defaults.
    pub(crate) fn resolve(
        args: &TargetArgs,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Failure> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let file = args.auth.clone().or_else(|| env("DHT_AUTH").map(PathBuf::from));
        let auth = file.map(|file| ClientCredentials::read(&file)).transpose()?;
        let default = if auth.is_some() { NEO_NODE } else { LEGACY_NODE };
        let target = Target::resolve(args, env, default)?;
        let timeout = Some(args.timeout).filter(|limit| !limit.is_zero());
        Ok(Self { target, auth, timeout })
    }

    /// How long to wait for an answer; `None`: for ever.
    pub(crate) const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// What `--timeout` makes of the client's limits.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            connect_timeout: self.timeout,
            request_timeout: self.timeout,
            stream_patience: self.timeout,
            ..Limits::default()
        }
    }

    /// By the protocol that is spoken by default.
    pub(crate) async fn open(&self) -> Result<Session, Failure> {
        self.open_with(self.limits()).await
    }

    /// The same with other limits.
    pub(crate) async fn open_with(&self, limits: Limits) -> Result<Session, Failure> {
        let (nodes, single) = self.target.nodes()?;
        Session::open(nodes, single, self.auth.clone(), limits).await
    }

    /// For verbs that follow what happens: nodes that are away are waited for, and told.
    pub(crate) async fn follow(&self) -> Result<Session, Failure> {
        let (nodes, single) = self.target.nodes()?;
        let client = connect(&nodes, self.auth.as_ref(), &self.limits()).await?;
        let (ready, away) = ready_or_failed(&client, &self.limits());
        if ready.is_empty() {
            return Err(Failure::Nodes(away));
        }
        away.iter().for_each(|error| say(&format!("dht: {error}; waiting for it")));
        Ok(Session { client, single, failed: Vec::new() })
    }

    /// For verbs that the legacy protocol alone has: the legacy ports of the same nodes.
    pub(crate) async fn open_legacy(&self) -> Result<Session, Failure> {
        let single = self.target.nodes()?.1;
        Session::open(self.legacy_nodes()?, single, None, self.limits()).await
    }

    /// For a verb that the neo protocol alone has.
    pub(crate) async fn open_neo(&self, verb: &str, limits: Limits) -> Result<Session, Failure> {
        match &self.auth {
            Some(_) => self.open_with(limits).await,
            None => Err(Failure::Usage(format!(
                "{verb} needs --auth FILE (or DHT_AUTH): the legacy protocol has no such request"
            ))),
        }
    }

    /// The legacy ports of all nodes.
    pub(crate) fn legacy_nodes(&self) -> Result<Vec<NodeAddress>, Failure> {
        let (mut nodes, _) = self.target.nodes()?;
        if self.auth.is_some() {
            for node in &mut nodes {
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

/// A client whose nodes have answered, and what has become of the others.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    /// Only one node was named: its range need not be everything.
    single: bool,
    /// What failed at nodes that a command for all nodes should have asked.
    failed: Vec<Arc<Error>>,
}

impl Session {
    /// Connects to all nodes. Fails only if none can be used; those that cannot are left out.
    async fn open(
        nodes: Vec<NodeAddress>,
        single: bool,
        auth: Option<ClientCredentials>,
        limits: Limits,
    ) -> Result<Self, Failure> {
        let client = connect(&nodes, auth.as_ref(), &limits).await?;
        let (ready, failed) = ready_or_failed(&client, &limits);
        if ready.is_empty() {
            return Err(Failure::Nodes(failed));
        }
        // A command waits for nobody who is known to be away: without him it is anew, and quick.
        let client = match failed.is_empty() {
            true => client,
            false => {
                client.shut_down();
                connect(&ready, auth.as_ref(), &limits).await?
            }
        };
        if !single {
            let warnings = client.check_ranges().warnings;
            warnings.iter().for_each(|warning| say(&format!("dht: warning: {warning}")));
        }
        Ok(Self { client, single, failed })
    }

    /// The client beneath.
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// A channel of it.
    pub(crate) fn channel(&self, name: &ChannelName) -> Channel {
        self.client.channel(name).expect("a name that was parsed")
    }

    /// The result of a request for one key. That a key has no node is explained by the nodes that
    /// failed before.
    pub(crate) async fn ask<T>(
        &mut self,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        request.await.map_err(|error| match error.kind {
            ErrorKind::NoNode(key) if self.single => {
                let node = self.client.nodes().swap_remove(0).address;
                Failure::Elsewhere { node, key }
            }
            ErrorKind::NoNode(_) if !self.failed.is_empty() => {
                let mut errors = std::mem::take(&mut self.failed);
                errors.push(Arc::new(error));
                Failure::Nodes(errors)
            }
            _ => Failure::Request(error),
        })
    }

    /// The answers of all nodes; what failed is kept for [`Self::finish`].
    pub(crate) fn answers<T>(&mut self, outcomes: Outcomes<T>) -> Vec<(NodeAddress, T)> {
        let mut answers = Vec::new();
        for (node, outcome) in outcomes {
            match outcome {
                Ok(answer) => answers.push((node, answer)),
                Err(error) => self.fail(error),
            }
        }
        answers
    }

    /// Keeps a failure of one node for [`Self::finish`], while the others are still asked.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failed.push(Arc::new(error));
    }

    /// Fails if any node failed that a command for all nodes should have asked.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        match std::mem::take(&mut self.failed) {
            none if none.is_empty() => Ok(()),
            errors => Err(Failure::Nodes(errors)),
        }
    }
}

/// The nodes that can be used, and what is wrong with the others.
fn ready_or_failed(client: &Client, limits: &Limits) -> (Vec<NodeAddress>, Vec<Arc<Error>>) {
    let (mut ready, mut failed) = (Vec::new(), Vec::new());
    for node in client.nodes() {
        match (node.connected && node.hash_range.is_some(), node.last_error) {
            (true, _) => ready.push(node.address),
            (false, Some(error)) => failed.push(error),
            (false, None) => failed.push(Arc::new(Error {
                node: Some(node.address),
                request: None,
                kind: ErrorKind::ConnectTimedOut(limits.connect_timeout.unwrap_or_default()),
            })),
        }
    }
    (ready, failed)
}

/// A client of which every node has answered, or has failed, or the time is over.
async fn connect(
    nodes: &[NodeAddress],
    auth: Option<&ClientCredentials>,
    limits: &Limits,
) -> Result<Client, Failure> {
    let builder = Client::builder().nodes(nodes.iter().map(ToString::to_string));
    let builder = builder.limits(limits.clone());
    let client = match auth {
        Some(auth) => builder.credentials(auth.clone()),
        None => builder,
    };
    let client = client.build()?;
    let mut events = client.events();
    let settled = || {
        let nodes = client.nodes();
        nodes
            .iter()
            .all(|node| node.connected && node.hash_range.is_some() || node.last_error.is_some())
    };
    let settling = async { while !settled() && events.next().await.is_some() {} };
    match limits.connect_timeout {
        // What is missing then is told by the nodes' states.
        Some(limit) => drop(tokio::time::timeout(limit, settling).await),
        None => settling.await,
    }
    Ok(client)
}

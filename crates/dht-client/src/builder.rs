//! How a client comes about: nodes, credentials, limits.

use std::{path::Path, time::Duration};

use crate::{
    Client, ClientCredentials, CredentialsFileError, NodeAddress, NodeAddressError, NodesFile,
    NodesFileError, NotReady,
};

/// What a client waits for, and how much it keeps.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For a connection to come about, the greeting apart; `None`: as long as the system tries.
    pub connect_timeout: Option<Duration>,
    /// For the answer of a request with a single answer; `None`: for ever. A request that goes to
    /// several nodes one after the other, or is made again after a conflict, has it for each.
    pub request_timeout: Option<Duration>,
    /// How long a node may be away before a scan gives it up; `None`: for ever.
    pub stream_patience: Option<Duration>,
    /// Requests that run on a neo connection at once; at most 5000. The next one fails.
    pub requests_per_node_max: usize,
    /// Neo: bytes that wait to be sent to a node; when there are more, requests fail.
    pub queue_bytes_max: usize,
    /// Bytes of a stream that wait to be taken, for each node; when there are more, the node is
    /// told to pause.
    pub stream_bytes_high: usize,
    /// Connections to a node in the legacy protocol, streams apart; at least one.
    pub legacy_connections_max: usize,
    /// Legacy: bytes of requests that wait for a free connection to a node; a request that makes
    /// them more fails, unless it is the only one.
    pub legacy_queue_bytes_max: usize,
    /// Legacy: how long to wait before another handshake with the nodes that have failed.
    pub handshake_retry: Duration,
    /// How often an update is tried again because somebody else changed the record meanwhile.
    pub update_retries_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Some(Duration::from_secs(5)),
            request_timeout: Some(Duration::from_secs(30)),
            stream_patience: Some(Duration::from_secs(60)),
            requests_per_node_max: dht_protocol::neo::REQUESTS_ACTIVE_MAX,
            queue_bytes_max: 16 * 1024 * 1024,
            stream_bytes_high: 256 * 1024,
            legacy_connections_max: 5,
            legacy_queue_bytes_max: 32_768,
            handshake_retry: Duration::from_secs(3),
            update_retries_max: 100,
        }
    }
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No node was given.
    #[error("no node was given: use node(), nodes() or nodes_file()")]
    NoNodes,
    /// A node's address is none.
    #[error("'{text}' is not an address of a node: {error}")]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        #[source]
        error: NodeAddressError,
    },
    /// A node was given twice.
    #[error("node {0} was given twice")]
    Duplicate(NodeAddress),
    /// The nodes file cannot be used.
    #[error(transparent)]
    NodesFile(#[from] NodesFileError),
    /// The credentials file cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsFileError),
    /// Some node is not ready.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The system lets us have no runtime or thread; see [`crate::blocking`].
    #[error("cannot start the client's thread: {0}")]
    Runtime(std::io::Error),
}

/// Makes a [`Client`]. A mistake is told by [`Builder::build`] or [`Builder::connect`].
#[derive(Debug, Default)]
#[must_use]
pub struct Builder {
    nodes: Vec<NodeAddress>,
    credentials: Option<ClientCredentials>,
    limits: Limits,
    error: Option<BuildError>,
}

impl Builder {
    /// Adds a node: `host:port`. With credentials the port is that of the neo listener, else that
    /// of the legacy one.
    pub fn node(mut self, address: impl AsRef<str>) -> Self {
        let text = address.as_ref();
        match text.parse() {
            Ok(node) => self.nodes.push(node),
            Err(error) => self.fail(BuildError::Address { text: text.to_owned(), error }),
        }
        self
    }

    /// Adds several nodes.
    pub fn nodes<A: AsRef<str>>(self, addresses: impl IntoIterator<Item = A>) -> Self {
        addresses.into_iter().fold(self, Self::node)
    }

    /// Adds the nodes of a file: a line `host:port` each. The ports are those of one protocol.
    pub fn nodes_file(mut self, path: impl AsRef<Path>) -> Self {
        match NodesFile::read(path.as_ref()) {
            Ok(file) => self.nodes.extend(file.nodes().iter().cloned()),
            Err(error) => self.fail(error.into()),
        }
        self
    }

    /// Who we are. With credentials the client speaks the neo protocol, without the legacy one.
    pub fn credentials(mut self, credentials: ClientCredentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Reads the credentials from a file, which has just one line `name:key`.
    pub fn credentials_file(mut self, path: impl AsRef<Path>) -> Self {
        match ClientCredentials::read(path.as_ref()) {
            Ok(credentials) => self.credentials = Some(credentials),
            Err(error) => self.fail(error.into()),
        }
        self
    }

    /// How long to wait for the answer of a request. Zero: for ever.
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.limits.request_timeout = Some(limit).filter(|limit| !limit.is_zero());
        self
    }

    /// How long to wait for a connection. Zero: as long as the system tries.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.limits.connect_timeout = Some(limit).filter(|limit| !limit.is_zero());
        self
    }

    /// All limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    fn fail(&mut self, error: BuildError) {
        self.error.get_or_insert(error);
    }

    /// Makes a client and starts to connect; does not wait. Requests fail with
    /// [`crate::ErrorKind::NoNode`] until their node is known.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn build(self) -> Result<Client, BuildError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.nodes.is_empty() {
            return Err(BuildError::NoNodes);
        }
        for (at, node) in self.nodes.iter().enumerate() {
            if self.nodes[..at].contains(node) {
                return Err(BuildError::Duplicate(node.clone()));
            }
        }
        Ok(Client::start(self.nodes, self.credentials, self.limits))
    }

    /// Makes a client and waits until every node is connected and has told its hash range, at most
    /// for the connect timeout.
    pub async fn connect(self) -> Result<Client, BuildError> {
        let limit = self.limits.connect_timeout;
        let client = self.build()?;
        client.ready(limit.unwrap_or(Duration::MAX)).await?;
        Ok(client)
    }
}

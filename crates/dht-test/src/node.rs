//! One node: start, look into it, change it, take it away.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dht_client::{
    Client, ClientCredentials, HashRange, Key,
    blocking::{Timeouts, legacy::Connection},
};
use dht_node::embedded::{EmbeddedConfig, EmbeddedNode};
use dht_protocol::legacy::requests::GetChannels;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// The neo clients of a test node; the key of both is 128 zero bytes, as in the original's tests.
const CLIENTS: [&str; 2] = ["admin", "test"];

/// How often an expectation is looked at. Source: spec `client` D.1.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long to wait for a client of a node that is known to listen.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// A node in this process. Dropping it stops it and deletes its folder.
#[derive(Debug)]
pub struct TestNode {
    config: EmbeddedConfig,
    dir: TempDir,
    node: Mutex<Option<EmbeddedNode>>,
    /// For looking into it.
    connection: Mutex<Connection>,
    /// Requests that nodes which were stopped meanwhile had executed.
    handled_before: Mutex<Vec<(&'static str, u64)>>,
}

/// What was expected of a record did not come in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectError(String);

impl std::fmt::Display for ExpectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ExpectError {}

impl TestNode {
    /// Starts a node that is responsible for all keys, on free ports.
    ///
    /// # Panics
    ///
    /// If it does not start; the message says why.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::with_range(HashRange::FULL)
    }

    /// Starts a node that is responsible for a part of the keys, on free ports.
    ///
    /// # Panics
    ///
    /// As [`TestNode::start`].
    #[must_use]
    #[track_caller]
    pub fn with_range(hash_range: HashRange) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let zero = "00".repeat(128);
        let credentials: String = CLIENTS.iter().map(|name| format!("{name}:{zero}\n")).collect();
        let data_dir = dir.path().join("data");
        let mut config = EmbeddedConfig { port: 0, hash_range, data_dir, workers: 1, credentials };
        let node = EmbeddedNode::start(&config).unwrap_or_else(|error| panic!("{error}"));
        config.port = node.port();
        let address = format!("127.0.0.1:{}", node.port()).parse().expect("an address");
        Self {
            config,
            dir,
            node: Mutex::new(Some(node)),
            connection: Mutex::new(Connection::new(address, Timeouts::default())),
            handled_before: Mutex::default(),
        }
    }

    fn node(&self) -> MutexGuard<'_, Option<EmbeddedNode>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where legacy clients connect: `127.0.0.1:port`.
    #[must_use]
    pub fn legacy_address(&self) -> String {
        format!("127.0.0.1:{}", self.config.port)
    }

    /// Where neo clients connect: `127.0.0.1:port`, 100 above the legacy port.
    #[must_use]
    pub fn neo_address(&self) -> String {
        format!("127.0.0.1:{}", self.config.port + 100)
    }

    /// The credentials of the client `admin`. There is another client `test`; the key of both is
    /// 128 zero bytes.
    #[must_use]
    pub fn credentials() -> ClientCredentials {
        ClientCredentials::new("admin", [0; 128])
    }

    /// A neo client that is connected.
    ///
    /// # Panics
    ///
    /// If it does not come about.
    pub async fn client(&self) -> Client {
        let builder = Client::builder().node(self.neo_address()).credentials(Self::credentials());
        connected(builder).await
    }

    /// A legacy client that is connected.
    ///
    /// # Panics
    ///
    /// If it does not come about.
    pub async fn legacy_client(&self) -> Client {
        connected(Client::builder().node(self.legacy_address())).await
    }

    /// Writes `dht.nodes` (legacy) and `dht.neo.nodes` into a folder, and `dht.credentials` for
    /// [`dht_client::Builder::credentials_file`].
    pub fn write_config_files(&self, dir: &Path) -> std::io::Result<()> {
        write_config_files([self], dir)
    }

    /// Our own connection goes with all others; the next question opens another one.
    fn close_own(&self) {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).close();
    }

    fn ask<T>(&self, ask: impl FnOnce(&mut Connection) -> Result<T, dht_client::Error>) -> T {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&mut connection)
            .unwrap_or_else(|error| panic!("the test node cannot be asked: {error}"))
    }

    /// Stores a record. Whoever listens to the channel is told.
    ///
    /// # Panics
    ///
    /// If the value is empty: `Cannot put empty data to the dht!`
    pub fn put(&self, channel: &str, key: impl Into<Key>, value: impl AsRef<[u8]>) {
        let (key, value) = (key.into(), value.as_ref());
        assert!(!value.is_empty(), "Cannot put empty data to the dht!");
        self.ask(|node| node.put(&name(channel), key, value));
    }

    /// A record's value.
    pub fn get(&self, channel: &str, key: impl Into<Key>) -> Option<Vec<u8>> {
        let key = key.into();
        self.ask(|node| node.get(&name(channel), key))
    }

    /// Takes a record away.
    pub fn remove(&self, channel: &str, key: impl Into<Key>) {
        let key = key.into();
        self.ask(|node| node.remove(&name(channel), key));
    }

    /// All records of a channel, by key.
    #[must_use]
    pub fn get_all(&self, channel: &str) -> Vec<(Key, Vec<u8>)> {
        let mut records: Vec<_> = self.ask(|node| node.get_all(&name(channel))?.collect());
        records.sort();
        records
    }

    /// All keys of a channel, sorted.
    #[must_use]
    pub fn keys(&self, channel: &str) -> Vec<Key> {
        let mut keys: Vec<_> = self.ask(|node| node.get_all_keys(&name(channel))?.collect());
        keys.sort();
        keys
    }

    /// Records of a channel, and the bytes of their values.
    #[must_use]
    pub fn size(&self, channel: &str) -> (usize, usize) {
        let records = self.get_all(channel);
        (records.len(), records.iter().map(|(_, value)| value.len()).sum())
    }

    /// The names of all channels, sorted.
    #[must_use]
    pub fn channels(&self) -> Vec<String> {
        let mut names = self.ask(|node| node.call(&GetChannels));
        names.sort();
        names
    }

    /// Removes all records of all channels. Channels stay, and so do those who listen to them; they
    /// are told of every record.
    pub fn clear(&self) {
        for channel in self.channels() {
            for key in self.keys(&channel) {
                self.remove(&channel, key);
            }
        }
    }

    /// Removes all channels, so that every Listen and Mirror ends: the state of a node that has
    /// just been started, for the next test of an application that is restarted.
    pub fn reset(&self) {
        for channel in self.channels() {
            self.ask(|node| node.remove_channel(&name(&channel)));
        }
    }

    /// Waits until a record is another than now; being absent counts as a value. The first look is
    /// after 50 ms. Runs while the rest of the test runs; see also [`TestNode::get`].
    pub async fn expect_change(
        &self,
        channel: &str,
        key: impl Into<Key>,
        limit: Duration,
    ) -> Result<(), ExpectError> {
        let key = key.into();
        let before = self.get(channel, key);
        if self.wait_for(channel, key, limit, |value| value != before.as_deref()).await {
            return Ok(());
        }
        let seconds = limit.as_secs_f64();
        Err(ExpectError(format!(
            "No change for record {key} in channel '{channel}' during {seconds} seconds"
        )))
    }

    /// Waits until a record is as it should be. The first look is after 50 ms.
    pub async fn expect_record(
        &self,
        channel: &str,
        key: impl Into<Key>,
        limit: Duration,
        condition: impl FnMut(Option<&[u8]>) -> bool,
    ) -> Result<(), ExpectError> {
        let key = key.into();
        if self.wait_for(channel, key, limit, condition).await {
            return Ok(());
        }
        let seconds = limit.as_secs_f64();
        Err(ExpectError(format!(
            "Expected condition was not hit for record {key} in channel '{channel}' during \
             {seconds} seconds"
        )))
    }

    async fn wait_for(
        &self,
        channel: &str,
        key: Key,
        limit: Duration,
        mut condition: impl FnMut(Option<&[u8]>) -> bool,
    ) -> bool {
        let end = Instant::now() + limit;
        loop {
            sleep(LOOK_EVERY.min(limit)).await;
            if condition(self.get(channel, key).as_deref()) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
        }
    }

    /// Waits until so many clients listen to a channel, by Listen or Mirror.
    pub async fn expect_listeners(
        &self,
        channel: &str,
        count: usize,
        limit: Duration,
    ) -> Result<(), ExpectError> {
        let end = Instant::now() + limit;
        loop {
            let found = self.node().as_ref().map_or(0, |node| node.listeners(channel));
            if found == count {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(ExpectError(format!(
                    "channel '{channel}' has {found} listeners, not {count}"
                )));
            }
            sleep(LOOK_EVERY.min(limit)).await;
        }
    }

    /// How many requests of this name it has executed, over both protocols: `Get`, `Put`, ...
    /// Restarts do not reset it; requests of these helpers count too.
    #[must_use]
    pub fn handled(&self, request: &str) -> u64 {
        let before = self.handled_before.lock().unwrap_or_else(PoisonError::into_inner);
        let before: u64 =
            before.iter().filter(|(name, _)| *name == request).map(|(_, count)| count).sum();
        before + self.node().as_ref().map_or(0, |node| node.handled(request))
    }

    /// Closes all connections. Clients can connect again at once.
    pub fn drop_connections(&self) {
        self.close_own();
        if let Some(node) = &*self.node() {
            node.drop_connections();
        }
    }

    /// Takes the node off the network: its connections are closed and nobody can connect. What it
    /// has in memory stays.
    pub fn lose(&self) {
        self.close_own();
        if let Some(node) = &mut *self.node() {
            node.lose();
        }
    }

    /// Brings a lost node back, on the same ports.
    ///
    /// # Panics
    ///
    /// If somebody else has taken its ports.
    pub fn come_back(&self) {
        if let Some(node) = &mut *self.node() {
            node.come_back().expect("the ports are still ours");
        }
    }

    /// Stops the node in order: what it has is dumped.
    pub fn stop(&self) {
        self.end(true);
    }

    /// Stops the node as a crash would: it comes back with what [`TestNode::stop`] has dumped last,
    /// or with nothing.
    pub fn kill(&self) {
        self.end(false);
    }

    fn end(&self, dump: bool) {
        self.close_own();
        let Some(mut node) = self.node().take() else { return };
        let failed = node.stop(dump);
        let mut before = self.handled_before.lock().unwrap_or_else(PoisonError::into_inner);
        for name in dht_node::embedded::request_names() {
            before.push((name, node.handled(name)));
        }
        assert_eq!(failed, 0, "the test node could not dump {failed} channels");
    }

    /// Starts a node that was stopped or killed, on the same ports; one that runs is stopped first.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&self) {
        self.stop();
        let node = EmbeddedNode::start(&self.config).unwrap_or_else(|error| panic!("{error}"));
        *self.node() = Some(node);
    }

    /// The keys that it is responsible for.
    #[must_use]
    pub const fn hash_range(&self) -> HashRange {
        self.config.hash_range
    }

    /// The folder of the node; its dumps are below it in `data`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

pub(crate) async fn connected(builder: dht_client::Builder) -> Client {
    let client = builder.build().unwrap_or_else(|error| panic!("{error}"));
    client.ready(READY_LIMIT).await.unwrap_or_else(|error| panic!("{error}"));
    client
}

pub(crate) fn write_config_files<'n>(
    nodes: impl IntoIterator<Item = &'n TestNode>,
    dir: &Path,
) -> std::io::Result<()> {
    let (mut legacy, mut neo) = (String::new(), String::new());
    for node in nodes {
        legacy += &format!("{}\n", node.legacy_address());
        neo += &format!("{}\n", node.neo_address());
    }
    std::fs::write(dir.join("dht.nodes"), legacy)?;
    std::fs::write(dir.join("dht.neo.nodes"), neo)?;
    std::fs::write(dir.join("dht.credentials"), format!("admin:{}\n", "00".repeat(128)))
}

fn name(channel: &str) -> dht_client::ChannelName {
    channel.parse().unwrap_or_else(|error| panic!("channel '{channel}': {error}"))
}

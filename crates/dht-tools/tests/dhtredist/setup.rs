//! Nodes, and the program under test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dht_client::blocking::Timeouts;
use dht_client::blocking::legacy::{Cluster, Connection};
use dht_client::{ClientCredentials, NodeAddress};
use dht_testkit::{NodeProcess, NodeSettings};
use dht_types::{ChannelName, HashRange};
use tempfile::TempDir;

use crate::proxy::Proxy;

/// A channel for tests that need one.
pub(crate) const CHANNEL: &str = "ch";

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A node in a folder of its own, which it keeps when it is killed.
pub(crate) struct Node {
    process: Option<NodeProcess>,
    dir: TempDir,
    port: u16,
    proxy: Option<Proxy>,
}

impl Drop for Node {
    /// Keeps what it has, logs and data, where a test fails.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            println!("kept: node {} in {}", self.address(), self.dir.path().display());
        }
    }
}

fn this() -> PathBuf {
    std::env::current_exe().expect("the test program itself")
}

pub(crate) fn settings(range: HashRange) -> NodeSettings {
    NodeSettings::default()
        .with("Server", "minval", &format!("{:#018x}", range.min()))
        .with("Server", "maxval", &format!("{:#018x}", range.max()))
        .with("Performance", "workers", "2")
        .with("LOG.Root", "level", "info")
}

impl Node {
    pub(crate) fn start(range: HashRange) -> Self {
        Self::with(&settings(range))
    }

    pub(crate) fn with(settings: &NodeSettings) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let process = NodeProcess::start(&this(), dir.path(), settings);
        let port = process.address().port();
        Self { process: Some(process), dir, port, proxy: None }
    }

    /// One that all others, clients and nodes, reach by a net that can be cut.
    pub(crate) fn start_apart(range: HashRange) -> Self {
        let mut node = Self::start(range);
        node.proxy = Some(Proxy::start(node.port));
        node
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("it was started apart")
    }

    /// Where others reach it.
    pub(crate) fn address(&self) -> NodeAddress {
        let port = self.proxy.as_ref().map_or(self.port, |proxy| proxy.port);
        NodeAddress { host: "127.0.0.1".to_owned(), port }
    }

    pub(crate) fn neo_address(&self) -> NodeAddress {
        let address = self.address();
        NodeAddress { port: address.port + 100, ..address }
    }

    /// What it has written into its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log/root.log")).expect("the node writes it")
    }

    pub(crate) fn client(&self) -> Connection {
        Connection::new(self.address(), timeouts())
    }

    pub(crate) fn range(&self) -> HashRange {
        self.client().handshake().expect("the node answers")
    }

    pub(crate) fn records(&self) -> BTreeMap<u64, Vec<u8>> {
        let mut client = self.client();
        let mut found = BTreeMap::new();
        for record in client.get_all(&channel()).expect("the node answers") {
            let (key, value) = record.expect("the node answers");
            assert!(found.insert(key.0, value).is_none(), "key {key} came twice");
        }
        found
    }

    /// Stops it in order, so that it dumps what it has.
    pub(crate) fn stop(&mut self) {
        let process = self.process.take().expect("it runs");
        assert!(process.stop().success());
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().expect("it runs").signal(name);
    }

    pub(crate) fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    pub(crate) fn start_again(&mut self) {
        assert!(self.process.is_none());
        self.process = Some(NodeProcess::restart(&this(), self.dir.path(), self.port));
    }
}

pub(crate) fn channel() -> ChannelName {
    CHANNEL.parse().expect("a valid name")
}

pub(crate) fn timeouts() -> Timeouts {
    let minute = Some(Duration::from_secs(60));
    Timeouts { connect: minute, io: minute }
}

pub(crate) fn credentials() -> Arc<ClientCredentials> {
    Arc::new(ClientCredentials::new("admin", [0; 128]))
}

/// The legacy client of all these nodes, with a fresh handshake.
pub(crate) fn legacy(nodes: &[NodeAddress]) -> Cluster {
    Cluster::connect(nodes, timeouts()).expect("nodes that answer")
}

/// A nodes file in a folder of its own.
pub(crate) struct NodesFile {
    dir: TempDir,
}

impl NodesFile {
    pub(crate) fn new(nodes: &[&Node]) -> Self {
        Self::of(nodes.iter().map(|node| node.address()))
    }

    pub(crate) fn of(nodes: impl IntoIterator<Item = NodeAddress>) -> Self {
        let text: String = nodes.into_iter().map(|node| format!("{node}\n")).collect();
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("nodes"), text).expect("our folder");
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("nodes")
    }

    /// A credentials file beside it, with the key that all clients of the tests have.
    pub(crate) fn credentials(&self, name: &str) -> String {
        let file = self.dir.path().join(name);
        std::fs::write(&file, format!("{name}:{}\n", "0".repeat(256))).expect("our folder");
        path_text(&file).to_owned()
    }

    /// Whether a plan is kept beside it.
    pub(crate) fn has_plan(&self) -> bool {
        self.dir.path().join("nodes.plan").exists()
    }

    /// Starts the program on these nodes.
    pub(crate) fn spawn(&self, words: &[&str]) -> Child {
        spawn(&[&["-S", path_text(&self.path())], words].concat())
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        finish(self.spawn(words))
    }

    /// Runs it to its end, which has to be a good one.
    pub(crate) fn execute(&self, words: &[&str]) -> Ran {
        let ran = self.run(&[&["-x"], words].concat());
        assert_eq!(ran.exit, 0, "{ran:?}");
        assert!(!self.has_plan());
        ran
    }
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

pub(crate) fn spawn(words: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_dhtredist"))
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cargo has built it")
}

pub(crate) fn finish(child: Child) -> Ran {
    let output = child.wait_with_output().expect("our child");
    Ran {
        exit: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

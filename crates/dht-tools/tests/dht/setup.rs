//! A node, and the program under test.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use dht_testkit::{NodeProcess, NodeSettings};
use tempfile::TempDir;

/// What a run of `dht` came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    /// Standard output as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text was asked for")
    }

    /// The run went well; its output as sorted lines.
    pub(crate) fn lines(&self) -> Vec<&str> {
        assert_eq!((self.exit, self.stderr.as_str()), (0, ""));
        let mut lines: Vec<_> = self.text().lines().collect();
        lines.sort_unstable();
        lines
    }
}

/// A node in a folder of its own.
pub(crate) struct Bench {
    pub(crate) node: NodeProcess,
    pub(crate) dir: TempDir,
}

impl Bench {
    pub(crate) fn start() -> Self {
        Self::start_with(&NodeSettings::default())
    }

    pub(crate) fn start_with(settings: &NodeSettings) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let node = start_node(dir.path(), settings);
        Self { node, dir }
    }

    /// Stops the node and starts it again with the same data, maybe on another port.
    pub(crate) fn restart(self) -> Self {
        let Self { node, dir } = self;
        assert!(node.stop().success());
        let node = start_node(dir.path(), &NodeSettings::default());
        Self { node, dir }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.node.address()
    }

    /// Runs `dht` on this node with nothing on standard input.
    pub(crate) fn dht(&self, line: &str) -> Ran {
        self.dht_with_input(line, b"")
    }

    /// Runs `dht` on this node; the words of `line` are separated by blanks.
    pub(crate) fn dht_with_input(&self, line: &str, input: &[u8]) -> Ran {
        finish(spawn(&["--node", &self.address().to_string()], line), input)
    }

    /// Where the node listens for neo clients.
    pub(crate) fn neo_address(&self) -> String {
        let address = self.address();
        SocketAddr::new(address.ip(), address.port() + 100).to_string()
    }

    /// A credentials file with one client; its key is this digit 256 times.
    pub(crate) fn credentials(&self, name: &str, digit: &str) -> String {
        let file = self.dir.path().join(format!("credentials.{name}.{digit}"));
        // Written once: other threads may be reading it.
        if !file.exists() {
            std::fs::write(&file, format!("{name}:{}\n", digit.repeat(256))).expect("our folder");
        }
        file.into_os_string().into_string().expect("temporary folders have plain names")
    }

    /// Runs `dht` on this node over neo, as the client that may do everything.
    pub(crate) fn neo(&self, line: &str) -> Ran {
        self.neo_with_input(line, b"")
    }

    /// The same with something on standard input.
    pub(crate) fn neo_with_input(&self, line: &str, input: &[u8]) -> Ran {
        finish(self.spawn_neo(line), input)
    }

    /// Starts `dht` on this node over neo.
    pub(crate) fn spawn_neo(&self, line: &str) -> Child {
        spawn(&["--auth", &self.credentials("admin", "0"), "--node", &self.neo_address()], line)
    }

    /// Runs `dht update` over neo with arguments that may have blanks.
    pub(crate) fn spawn_update(&self, arguments: &[&str]) -> Child {
        let (auth, node) = (self.credentials("admin", "0"), self.neo_address());
        spawn(&[&["--auth", &auth, "--node", &node, "update"], arguments].concat(), "")
    }

    /// Starts `dht` on this node.
    pub(crate) fn spawn(&self, line: &str) -> Child {
        spawn(&["--node", &self.address().to_string()], line)
    }
}

fn start_node(dir: &Path, settings: &NodeSettings) -> NodeProcess {
    let this = std::env::current_exe().expect("the test program itself");
    NodeProcess::start(&this, dir, settings)
}

/// Runs `dht` with these words in front of `line`.
pub(crate) fn dht(front: &[&str], line: &str) -> Ran {
    finish(spawn(front, line), b"")
}

/// Starts `dht` with these words in front of `line`.
pub(crate) fn spawn(front: &[&str], line: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_dht"))
        .args(front)
        .args(line.split_whitespace())
        .env_remove("DHT_NODE")
        .env_remove("DHT_NODES")
        .env_remove("DHT_AUTH")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cargo has built it")
}

/// Gives the process its input and waits for its end.
pub(crate) fn finish(mut child: Child, input: &[u8]) -> Ran {
    // A command that reads no input may be gone by now.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().expect("our child");
    Ran {
        exit: output.status.code().expect("it is not killed"),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).expect("messages are text"),
    }
}

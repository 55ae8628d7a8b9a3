//! A node, a node by rote, and the program under test.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use dht_client::blocking::{Timeouts, legacy::Connection};
use dht_testkit::{NodeProcess, NodeSettings, from_hex, wait_for};
use dht_types::{ChannelName, Key};
use tempfile::TempDir;

pub(crate) fn temporary_folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

pub(crate) fn start_node(dir: &Path) -> NodeProcess {
    let this = std::env::current_exe().expect("the test program itself");
    NodeProcess::start(&this, dir, &NodeSettings::default())
}

pub(crate) fn connect(address: SocketAddr) -> Connection {
    Connection::new(address.to_string().parse().expect("an address"), Timeouts::default())
}

pub(crate) fn channel(name: &str) -> ChannelName {
    name.parse().expect("a channel name")
}

/// Stores `count` records with keys from 0 on.
pub(crate) fn put(node: &mut Connection, name: &str, count: u64) {
    for key in 0..count {
        let value = format!("{name} {key}");
        node.put(&channel(name), Key(key), value.as_bytes()).expect("the node takes it");
    }
}

/// Everything that a channel holds, by key.
pub(crate) fn records(node: &mut Connection, name: &str) -> Vec<(Key, Vec<u8>)> {
    let all = node.get_all(&channel(name)).expect("the node answers");
    let mut all: Vec<_> = all.collect::<Result<_, _>>().expect("whole");
    all.sort();
    all
}

/// Names in a folder, sorted, but those of manifests, which go where their dumps go.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("our folder");
    let mut names: Vec<_> =
        entries.map(|e| e.expect("readable").file_name().into_string().expect("ASCII")).collect();
    names.retain(|name| !name.contains(".manifest"));
    names.sort();
    names
}

/// A running dhtdump in a folder of its own; killed when dropped.
pub(crate) struct Dump {
    child: Child,
    pub(crate) dir: PathBuf,
}

impl Dump {
    /// Starts it in `dir`, with further lines of configuration.
    pub(crate) fn start(dir: &Path, node: SocketAddr, more: &str, words: &[&str]) -> Self {
        for folder in ["etc", "log"] {
            std::fs::create_dir_all(dir.join(folder)).expect("our folder");
        }
        let config = format!(
            "[Dht]\naddress = {}\nport = {}\n[LOG.Root]\nlevel = trace\npropagate = true\n\
             console = false\nfile = log/root.log\n[Dump]\n{more}",
            node.ip(),
            node.port()
        );
        std::fs::write(dir.join("etc/config.ini"), config).expect("our folder");
        let credentials = format!("neotest:{}\n", "0".repeat(256));
        std::fs::write(dir.join("etc/credentials"), credentials).expect("our folder");
        let child = Command::new(env!("CARGO_BIN_EXE_dhtdump"))
            .args(["-c", "etc/config.ini"])
            .args(words)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cargo has built it");
        Self { child, dir: dir.to_owned() }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill exists");
        assert!(sent.success(), "kill -s {name} {pid}");
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("dhtdump to end", || self.child.try_wait().expect("our child"))
    }

    /// Waits for the end; what stderr got.
    pub(crate) fn stderr(&mut self) -> String {
        self.wait();
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().expect("piped");
        stderr.read_to_string(&mut text).expect("messages are text");
        text
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log/root.log")).unwrap_or_default()
    }

    /// The lines of the log without their times and numbers: `1.23s` and so on are `#`.
    pub(crate) fn messages(&self) -> Vec<String> {
        self.log().lines().map(message).collect()
    }

    /// Waits until the log has this text.
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_for(text, || self.log().contains(text).then_some(()));
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        // It has ended already, or the test has failed and says why itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `date time Level [logger] - message` without date and time, and with the seconds hidden.
fn message(line: &str) -> String {
    let line = line.splitn(3, ' ').nth(2).expect("date, time, the rest");
    let hide = |word: &str| {
        let seconds = word.trim_end_matches(',').strip_suffix('s');
        match seconds.filter(|number| number.contains('.') && number.parse::<f64>().is_ok()) {
            Some(number) => word.replace(number, "#"),
            None => word.to_owned(),
        }
    };
    line.split(' ').map(hide).collect::<Vec<_>>().join(" ")
}

/// A node on one connection that expects these requests and gives these answers, as hex; then it
/// neither answers nor hangs up until the peer does.
pub(crate) fn node_by_rote(dialog: &'static [(&'static str, &'static str)]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("somebody connects");
        for (request, answer) in dialog {
            expect(&mut peer, &from_hex(request));
            peer.write_all(&from_hex(answer)).expect("it reads");
        }
        let _ = peer.read(&mut [0]);
    });
    address
}

fn expect(peer: &mut TcpStream, request: &[u8]) {
    let mut bytes = vec![0; request.len()];
    peer.read_exact(&mut bytes).expect("a request");
    assert_eq!(bytes, request);
}

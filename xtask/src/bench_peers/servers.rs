//! Our node and its peers, each a process pinned to the servers' core.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dht_testkit::{free_port, wait_for};

use super::options::Options;

/// What a server speaks: the word of `dhtperformance --protocol`, and which loads it can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Legacy,
    Neo,
    Resp,
    Memcached,
}

impl Protocol {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Neo => "neo",
            Self::Resp => "resp",
            Self::Memcached => "memcached",
        }
    }

    /// Requests in flight on one connection.
    pub(super) const fn can_pipeline(self) -> bool {
        !matches!(self, Self::Legacy)
    }
}

/// A server under one protocol; our node is two of them.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) protocol: Protocol,
    pub(super) pid: u32,
    pub(super) port: u16,
    /// What the generator reads.
    pub(super) nodes_file: PathBuf,
}

/// All that run; killed when dropped.
pub(super) struct Servers {
    processes: Vec<Child>,
    pub(super) all: Vec<Server>,
    pub(super) credentials: PathBuf,
    /// Those that are not installed.
    pub(super) missing: Vec<String>,
    dir: PathBuf,
    core: String,
}

impl Drop for Servers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended already; then there is nothing to do.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Values of `[Performance] io`: a node for each.
const DRIVERS: [&str; 2] = ["epoll", "uring"];
const NODE_PROTOCOLS: [Protocol; 2] = [Protocol::Legacy, Protocol::Neo];

fn node_name(protocol: Protocol, io: &str) -> String {
    format!("dht {} {io}", protocol.name())
}

/// A program that may be installed, the package it is in, and how it is started on a port.
struct Peer {
    name: &'static str,
    program: &'static str,
    protocol: Protocol,
    args: fn(u16) -> Vec<String>,
}

const PEERS: [Peer; 3] = [
    Peer { name: "redis", program: "redis-server", protocol: Protocol::Resp, args: redis },
    Peer { name: "valkey", program: "valkey-server", protocol: Protocol::Resp, args: redis },
    Peer {
        name: "memcached",
        program: "memcached",
        protocol: Protocol::Memcached,
        args: memcached,
    },
];

/// Nothing is written to disk; all else as it comes.
fn redis(port: u16) -> Vec<String> {
    let args = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"];
    args.into_iter().map(str::to_owned).chain([port.to_string()]).collect()
}

fn memcached(port: u16) -> Vec<String> {
    let args = "-l 127.0.0.1 -U 0 -t 1 -m 4000 -c 5000 -u root -p";
    args.split(' ').map(str::to_owned).chain([port.to_string()]).collect()
}

impl Servers {
    /// Starts every one that is there and wanted.
    pub(super) fn start(root: &Path, dir: &Path, options: &Options) -> Result<Self, String> {
        let mut servers = Self {
            processes: Vec::new(),
            all: Vec::new(),
            credentials: dir.join("credentials"),
            missing: Vec::new(),
            dir: dir.to_owned(),
            core: options.server_core.clone(),
        };
        let nodes = DRIVERS.iter().flat_map(|io| NODE_PROTOCOLS.map(|p| node_name(p, io)));
        let nodes: Vec<String> = nodes.collect();
        let names = nodes.iter().map(String::as_str).chain(PEERS.iter().map(|peer| peer.name));
        let names: Vec<&str> = names.collect();
        let wanted = |name: &str| options.wants(name, &names);
        for io in DRIVERS {
            let protocols: Vec<_> =
                NODE_PROTOCOLS.into_iter().filter(|p| wanted(&node_name(*p, io))).collect();
            if !protocols.is_empty() {
                servers.start_node(&root.join("target/release/dhtnode"), io, &protocols)?;
            }
        }
        for peer in PEERS.iter().filter(|peer| wanted(peer.name)) {
            servers.start_peer(peer)?;
        }
        if servers.all.is_empty() { Err("no server to measure".to_owned()) } else { Ok(servers) }
    }

    /// A node with one of its drivers.
    fn start_node(
        &mut self,
        program: &Path,
        io: &str,
        protocols: &[Protocol],
    ) -> Result<(), String> {
        let dir = self.dir.join(format!("dhtnode-{io}"));
        for folder in ["etc", "log"] {
            fs::create_dir_all(dir.join(folder)).map_err(|error| error.to_string())?;
        }
        let port = free_port();
        let config = format!(
            "[Server]\naddress = 127.0.0.1\nport = {port}\nminval = 0x0000000000000000\n\
             maxval = 0xffffffffffffffff\ndata_dir = data\nunix_socket_path = dhtnode.socket\n\
             [Performance]\nworkers = 1\nio = {io}\n[Options_Memory]\nlock_memory = false\n\
             [Dumps]\nperiod_s = 0\n[Log]\ndurability = memory\n\
             [VERSION]\ndefault_version_log = false\n\
             [LOG.Root]\nlevel = info\nfile = log/root.log\nconsole = false\npropagate = true\n"
        );
        let credentials = format!("admin:{}\n", "0".repeat(256));
        for (path, text) in [
            (dir.join("etc/config.ini"), &config),
            (dir.join("etc/credentials"), &credentials),
            (self.credentials.clone(), &credentials),
        ] {
            fs::write(path, text).map_err(|error| error.to_string())?;
        }
        let mut command = self.pinned(program);
        command.args(["-c", "etc/config.ini"]).current_dir(&dir);
        let pid = match self.spawn("dhtnode", command, port) {
            Err(error) if io == "uring" => {
                println!("{error}; does this system refuse io_uring?");
                self.missing.push(format!("dhtnode with {io}"));
                return Ok(());
            }
            started => started?,
        };
        let version = version(Command::new(program).arg("--version"));
        for protocol in protocols {
            let port = if *protocol == Protocol::Neo { port + 100 } else { port };
            self.add(&node_name(*protocol, io), version.clone(), *protocol, pid, port)?;
        }
        Ok(())
    }

    fn start_peer(&mut self, peer: &Peer) -> Result<(), String> {
        let asked = Command::new(peer.program).arg("--version").output();
        if asked.is_err() {
            println!("{}: not installed; apt-get install {}", peer.name, peer.program);
            self.missing.push(peer.name.to_owned());
            return Ok(());
        }
        let port = free_port();
        let mut command = self.pinned(Path::new(peer.program));
        command.args((peer.args)(port)).current_dir(&self.dir);
        let pid = self.spawn(peer.name, command, port)?;
        let version = version(Command::new(peer.program).arg("--version"));
        self.add(peer.name, version, peer.protocol, pid, port)
    }

    fn pinned(&self, program: &Path) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.core]).arg(program);
        command
    }

    /// Starts a process and waits until it listens; its id.
    fn spawn(&mut self, name: &str, mut command: Command, port: u16) -> Result<u32, String> {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = quiet.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        let listens = wait_for(name, || match process.try_wait() {
            Ok(None) => TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true),
            Ok(Some(_)) | Err(_) => Some(false),
        });
        let pid = process.id();
        self.processes.push(process);
        if listens { Ok(pid) } else { Err(format!("{name} has ended instead of listening")) }
    }

    fn add(
        &mut self,
        name: &str,
        version: String,
        protocol: Protocol,
        pid: u32,
        port: u16,
    ) -> Result<(), String> {
        let nodes_file = self.dir.join(format!("{}.nodes", name.replace(' ', "-")));
        let written = fs::write(&nodes_file, format!("127.0.0.1:{port}\n"));
        written.map_err(|error| format!("{}: {error}", nodes_file.display()))?;
        let name = name.to_owned();
        self.all.push(Server { name, version, protocol, pid, port, nodes_file });
        Ok(())
    }
}

/// The first two words that look like a name and a number.
fn version(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&output).into_owned();
    let is_number =
        |word: &&str| word.trim_start_matches("v=").starts_with(|c: char| c.is_ascii_digit());
    text.split_whitespace().find(is_number).unwrap_or("?").trim_start_matches("v=").to_owned()
}

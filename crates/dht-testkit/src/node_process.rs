//! A real node in a process of its own, in a folder of its own, on ports of its own.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a node may take to start or to stop before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at while waiting for it.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often another pair of ports is tried when somebody else was faster.
const PORT_TRIES: usize = 20;

/// The first port that a test's node may have; services of the system are below.
const PORT_MIN: u16 = 12_000;

/// The legacy port of a node and the neo port, 100 above.
const NEO_PORT_OFFSET: u16 = 100;

/// A node process; killed when dropped.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
    dir: PathBuf,
    port: u16,
}

/// How a test wants its node.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Section, key and value on top of (or instead of) [`NodeSettings::default`]'s.
    pub values: Vec<(&'static str, &'static str, String)>,
    /// Further words on the command line.
    pub args: Vec<String>,
}

impl Default for NodeSettings {
    /// The configuration of the original's test suite. Source: spec `protocol-legacy` 16.
    fn default() -> Self {
        let values = [
            ("Server", "address", "127.0.0.1"),
            ("Server", "minval", "0x0000000000000000"),
            ("Server", "maxval", "0xffffffffffffffff"),
            ("Server", "data_dir", "data"),
            ("Server", "connection_limit", "5000"),
            ("Server", "unix_socket_path", "dhtnode.socket"),
            ("Performance", "write_flush_ms", "1"),
            ("Options_Memory", "size_limit", "0"),
            ("Options_Memory", "disable_direct_io", "true"),
            ("Options_Memory", "lock_memory", "false"),
            ("Options_Memory", "allow_out_of_range", "load"),
            ("Options_Memory", "bnum", "0"),
            ("Options_Memory", "batch_size", "65535"),
            // No dump before a test asks for one.
            ("Dumps", "period_s", "0"),
            ("LOG.Root", "console", "false"),
            ("LOG.Root", "file", "log/root.log"),
            ("LOG.Root", "level", "trace"),
            ("LOG.Root", "propagate", "true"),
        ];
        let values = values.map(|(section, key, value)| (section, key, value.to_owned()));
        let mut values = values.to_vec();
        // So all tests can be run on either driver of the node.
        if let Ok(io) = std::env::var("DHT_TEST_IO") {
            values.push(("Performance", "io", io));
        }
        Self { values, args: Vec::new() }
    }
}

impl NodeSettings {
    /// Sets one value.
    #[must_use]
    pub fn with(mut self, section: &'static str, key: &'static str, value: &str) -> Self {
        self.values.retain(|(s, k, _)| (*s, *k) != (section, key));
        self.values.push((section, key, value.to_owned()));
        self
    }

    /// Adds a word to the command line.
    #[must_use]
    pub fn arg(mut self, word: &str) -> Self {
        self.args.push(word.to_owned());
        self
    }

    /// The config file for a node on `port`.
    #[must_use]
    pub fn config(&self, port: u16) -> String {
        let mut values = self.values.clone();
        values.push(("Server", "port", port.to_string()));
        values.sort_by_key(|(section, ..)| *section);
        let (mut text, mut current) = (String::new(), "");
        for (section, key, value) in &values {
            if *section != current {
                current = section;
                text += &format!("[{section}]\n");
            }
            text += &format!("{key} = {value}\n");
        }
        text
    }
}

impl NodeProcess {
    /// Starts the program `exe` in `dir` with a config file there, and waits until it listens.
    #[must_use]
    pub fn start(exe: &Path, dir: &Path, settings: &NodeSettings) -> Self {
        for _ in 0..PORT_TRIES {
            let port = free_port();
            let mut node = Self::spawn(exe, dir, settings, port);
            if node.wait_until_it_listens() {
                return node;
            }
            let errors = node.stderr();
            assert!(errors.contains("cannot listen on"), "the node did not start: {errors}");
        }
        panic!("no free pair of ports in {PORT_TRIES} tries");
    }

    /// Starts the program again in a folder where it ran on `port`, with the config file as it is
    /// now, and waits until it listens.
    #[must_use]
    pub fn restart(exe: &Path, dir: &Path, port: u16) -> Self {
        let mut node = Self::launch(exe, dir, &[], port);
        assert!(node.wait_until_it_listens(), "the node did not start again: {}", node.stderr());
        node
    }

    /// Starts the program without waiting for anything.
    #[must_use]
    pub fn spawn(exe: &Path, dir: &Path, settings: &NodeSettings, port: u16) -> Self {
        for folder in ["etc", "log"] {
            std::fs::create_dir_all(dir.join(folder)).expect("the test's own folder");
        }
        std::fs::write(dir.join("etc/config.ini"), settings.config(port)).expect("our folder");
        let credentials = format!("admin:{0}\nneotest:{0}\n", "0".repeat(256));
        std::fs::write(dir.join("etc/credentials"), credentials).expect("our folder");
        Self::launch(exe, dir, &settings.args, port)
    }

    fn launch(exe: &Path, dir: &Path, args: &[String], port: u16) -> Self {
        let child = Command::new(exe)
            .args(["-c", "etc/config.ini"])
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built with the tests");
        Self { child, dir: dir.to_owned(), port }
    }

    fn wait_until_it_listens(&mut self) -> bool {
        let address = self.address();
        wait_for("the node to listen", || match self.child.try_wait().expect("our child") {
            Some(_) => Some(false),
            None => (self.owns_port() && TcpStream::connect(address).is_ok()).then_some(true),
        })
    }

    /// Whether it is this process that listens on the port: where many tests run at the same time,
    /// another one's node may have taken it since [`free_port`]. `true` where the system does not
    /// say.
    fn owns_port(&self) -> bool {
        const LISTEN: &str = "0A";
        let Ok(table) = std::fs::read_to_string("/proc/net/tcp") else { return true };
        let port = format!(":{:04X}", self.port);
        let listeners: Vec<_> = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|field| field.len() > 9 && field[1].ends_with(&port) && field[3] == LISTEN)
            .map(|field| format!("socket:[{}]", field[9]))
            .collect();
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        let targets = files.into_iter().flatten().flatten().filter_map(|file| {
            std::fs::read_link(file.path()).ok()?.into_os_string().into_string().ok()
        });
        !listeners.is_empty() && targets.into_iter().any(|target| listeners.contains(&target))
    }

    /// Where the node listens for legacy clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where the node listens for neo clients.
    #[must_use]
    pub fn neo_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port + NEO_PORT_OFFSET).into()
    }

    /// The node's working directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection to the legacy port whose reads give up after a while.
    #[must_use]
    pub fn connect(&self) -> Peer {
        Peer::connect(self.address())
    }

    /// A connection to the neo port on which nothing was said.
    #[must_use]
    pub fn connect_neo(&self) -> Peer {
        // A node that has just started listens on its legacy port a moment earlier.
        let address = self.neo_address();
        Peer::new(wait_for("the neo port", || TcpStream::connect(address).ok()))
    }

    /// Sends a signal by name, as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill exists");
        assert!(sent.success(), "kill -s {name} {pid}");
    }

    /// Sends SIGTERM and waits for the end.
    #[must_use]
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Lets the process run for a while: for tests that end it at a random moment, and wait for
    /// nothing.
    pub fn let_run(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Ends the process as a crash would.
    pub fn kill(mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
    }

    /// Waits for the process to end by itself.
    #[must_use]
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the node to end", || self.child.try_wait().expect("our child"))
    }

    /// What the process has written to stderr; waits for its end.
    #[must_use]
    pub fn stderr(&mut self) -> String {
        let _ = self.wait();
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut text).expect("messages are UTF-8");
        }
        text
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // It has ended already, or the test has failed and says why itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `look` gives something. Panics after a minute.
#[allow(clippy::disallowed_methods)]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up, "waited a minute for {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A port that is free, with the one 100 above it, a moment ago.
///
/// It is none of those that the system gives to outgoing connections: where a test's node is down
/// for a moment, somebody's connection could get its port, or a client that tries to reach the node
/// could even reach itself.
#[must_use]
pub fn free_port() -> u16 {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let ports = u64::from(first_outgoing_port() - NEO_PORT_OFFSET - PORT_MIN);
    // Another process begins elsewhere, this one goes on behind.
    static NEXT: OnceLock<AtomicU64> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU64::new(RandomState::new().hash_one(0)));
    for _ in 0..ports {
        let at = next.fetch_add(1, Ordering::Relaxed) % ports;
        let port = PORT_MIN + u16::try_from(at).expect("fewer than there are");
        if is_free(port) && is_free(port + NEO_PORT_OFFSET) {
            return port;
        }
    }
    panic!("no free pair of ports from {PORT_MIN} on");
}

/// Where the ports of outgoing connections begin.
fn first_outgoing_port() -> u16 {
    /// That of Linux, where the system does not say.
    const USUAL: u16 = 32_768;
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first = text.ok().and_then(|text| text.split_whitespace().next()?.parse().ok());
    // A system may give all of them.
    first.filter(|first| *first > 2 * PORT_MIN).unwrap_or(USUAL)
}

/// The other end of a connection: bytes by hand.
#[derive(Debug)]
pub struct Peer(pub TcpStream);

impl Peer {
    /// Connects; reads and writes give up after a minute.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).expect("the node listens"))
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        Self(stream)
    }

    /// Sends all bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the node reads");
    }

    /// Sends the bytes of a hex text.
    pub fn send_hex(&mut self, hex: &str) {
        self.send(&crate::from_hex(hex));
    }

    /// Receives exactly so many bytes.
    #[must_use]
    pub fn receive(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).expect("the node answers");
        bytes
    }

    /// Receives a `u16`.
    #[must_use]
    pub fn receive_u16(&mut self) -> u16 {
        u16::from_le_bytes(self.receive(2).try_into().expect("two bytes"))
    }

    /// Receives a `u32`, as a status is.
    #[must_use]
    pub fn receive_u32(&mut self) -> u32 {
        u32::from_le_bytes(self.receive(4).try_into().expect("four bytes"))
    }

    /// Receives a `u64`.
    #[must_use]
    pub fn receive_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.receive(8).try_into().expect("eight bytes"))
    }

    /// Receives an array of the legacy protocol: its length, then its bytes.
    #[must_use]
    pub fn receive_array(&mut self) -> Vec<u8> {
        let len = self.receive_u64().try_into().expect("a length that fits memory");
        self.receive(len)
    }

    /// Says that no more bytes will be sent; answers can still be received.
    pub fn finish_sending(&mut self) {
        self.0.shutdown(std::net::Shutdown::Write).expect("still connected");
    }

    /// Receives exactly the bytes of a hex text, or panics with what came instead.
    pub fn expect_hex(&mut self, hex: &str) {
        let expected = crate::from_hex(hex);
        assert_eq!(crate::to_hex(&self.receive(expected.len())), crate::to_hex(&expected));
    }

    /// Receives up to the end of the connection; a reset counts as the end.
    #[must_use]
    pub fn receive_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection does not end: {error}"),
        }
        bytes
    }
}

//! A node within another program: no command line, no signals, no log; for tests of applications.
//!
//! It is the node itself, with its workers, its store and its dumps, but without a log of changes,
//! so that it can be told to lose what came since its last dump. What is missing is the control
//! thread; a thread that accepts stands in for it, and can be told to stop, so that the node is
//! lost to its clients while it keeps what it has in memory.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use dht_daemon::ini::Ini;
use dht_protocol::neo::credentials::Credentials;
use dht_protocol::{legacy, neo};
use dht_types::HashRange;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::admission::set_options;
use crate::config::NodeConfig;
use crate::context::{Clock, UnixTime};
use crate::counters::Counters;
use crate::mailbox::{Accepted, Mailbox};
use crate::node::{self, NEO_PORT_OFFSET, Node};
use crate::program::{now, unix_time};
use crate::session::Protocol;
use crate::shared::Shared;

/// How often another pair of ports is tried when somebody else has one of them.
const PORT_TRIES: usize = 50;

/// How many sockets of connections are kept before those that are closed are sorted out.
const SOCKETS_KEPT: usize = 256;

const WAKE: Token = Token(2);

/// How an embedded node is set up.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Legacy port; the neo port is 100 above. 0: a pair that is free.
    pub port: u16,
    /// The keys that it is responsible for.
    pub hash_range: HashRange,
    /// Where it keeps its dumps.
    pub data_dir: PathBuf,
    /// Worker threads.
    pub workers: u32,
    /// Its neo clients, as the text of a credentials file.
    pub credentials: String,
}

/// Why an embedded node did not start; the text names the cause.
#[derive(Debug, thiserror::Error)]
#[error("the node did not start: {0}")]
pub struct EmbeddedError(String);

/// A node that runs. Dropping it stops it without a dump, as a crash would.
pub struct EmbeddedNode {
    config: NodeConfig,
    node: Node,
    acceptor: Option<Acceptor>,
    sockets: Arc<Sockets>,
    /// Kept beyond the workers' end.
    counters: Vec<Arc<Counters>>,
    port: u16,
    stopped: bool,
}

impl std::fmt::Debug for EmbeddedNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedNode").field("port", &self.port).finish_non_exhaustive()
    }
}

/// The sockets of open connections, for those who want to close them from outside.
#[derive(Debug, Default)]
struct Sockets(Mutex<Vec<TcpStream>>);

impl Sockets {
    fn lock(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, socket: &TcpStream) {
        let mut sockets = self.lock();
        if sockets.len() >= SOCKETS_KEPT {
            sockets.retain(|socket| socket.peer_addr().is_ok());
        }
        sockets.extend(socket.try_clone());
    }

    fn close_all(&self) {
        for socket in self.lock().drain(..) {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl EmbeddedNode {
    /// Loads the dumps that are there, and serves.
    pub fn start(config: &EmbeddedConfig) -> Result<Self, EmbeddedError> {
        let failed = |error: &dyn std::fmt::Display| EmbeddedError(error.to_string());
        let file = std::path::Path::new("credentials");
        let mut last = String::new();
        for _ in 0..if config.port == 0 { PORT_TRIES } else { 1 } {
            let credentials = Credentials::parse(config.credentials.as_bytes(), file);
            let credentials = credentials.map_err(|error| failed(&error))?;
            let node_config = node_config(config)?;
            let clocks = (now as Clock, unix_time as UnixTime);
            match Node::start(&node_config, credentials, false, clocks) {
                Ok((node, listeners)) => {
                    let port = node.shared.settings.port;
                    if node.shared.settings.neo_port != port.wrapping_add(NEO_PORT_OFFSET) {
                        // The system chose a port with no other 100 above it.
                        let mut node = node;
                        node.stop();
                        continue;
                    }
                    let sockets = Arc::new(Sockets::default());
                    let acceptor = Acceptor::start(listeners, &node, &sockets);
                    let acceptor = Some(acceptor.map_err(|error| failed(&error))?);
                    return Ok(Self {
                        config: node_config,
                        acceptor,
                        sockets,
                        counters: node.counters(),
                        node,
                        port,
                        stopped: false,
                    });
                }
                Err(error @ node::StartError::Listen { .. }) => last = error.to_string(),
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(EmbeddedError(last))
    }

    /// The legacy port; the neo port is 100 above.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Closes all connections. Clients may connect again at once.
    pub fn drop_connections(&self) {
        self.sockets.close_all();
    }

    /// Closes all connections and listens no more, as if the machine had lost its network. What is
    /// in memory stays there.
    pub fn lose(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.stop();
        }
        self.sockets.close_all();
    }

    /// Listens again on the same ports.
    pub fn come_back(&mut self) -> io::Result<()> {
        if self.acceptor.is_some() {
            return Ok(());
        }
        let listen = |port| {
            node::bind(&self.config, port)
                .and_then(|(socket, bound)| node::listen(&self.config, socket, bound))
                .map_err(|error| io::Error::other(error.to_string()))
        };
        let listeners = [listen(self.port)?, listen(self.port + NEO_PORT_OFFSET)?];
        self.acceptor = Some(Acceptor::start(listeners, &self.node, &self.sockets)?);
        Ok(())
    }

    /// How many requests of this name were executed, over both protocols.
    #[must_use]
    pub fn handled(&self, name: &str) -> u64 {
        let of = |worker: &Arc<Counters>| {
            let legacy = legacy::Command::ALL.iter().filter(|command| command.name() == name);
            let neo = neo::Command::ALL.iter().filter(|command| command.name() == name);
            let legacy: u64 = legacy.map(|command| worker.legacy(*command).read().handled).sum();
            legacy + neo.map(|command| worker.neo(*command).read().handled).sum::<u64>()
        };
        self.counters.iter().map(of).sum()
    }

    /// How many clients listen to a channel, by Listen or Mirror.
    #[must_use]
    pub fn listeners(&self, channel: &str) -> usize {
        self.node.shared.store.channel(channel).map_or(0, |channel| channel.subscribers())
    }

    /// Ends the node; with `dump` it writes all channels then. How many could not be written.
    pub fn stop(&mut self, dump: bool) -> usize {
        self.end();
        if dump { self.node.dump() } else { 0 }
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.stopped, true) {
            self.lose();
            self.node.stop_helpers();
            self.node.stop();
        }
    }
}

impl Drop for EmbeddedNode {
    fn drop(&mut self) {
        self.end();
    }
}

/// The names of all requests, each once.
#[must_use]
pub fn request_names() -> Vec<&'static str> {
    let legacy = legacy::Command::ALL.iter().map(|command| command.name());
    let neo = neo::Command::ALL.iter().map(|command| command.name());
    let mut names: Vec<_> = legacy.chain(neo).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn node_config(config: &EmbeddedConfig) -> Result<NodeConfig, EmbeddedError> {
    let EmbeddedConfig { port, hash_range, data_dir, workers, .. } = config;
    let text = format!(
        "[Server]\naddress = 127.0.0.1\nport = {port}\nminval = {:#018x}\nmaxval = {:#018x}\n\
         data_dir = {}\nunix_socket_path = unused\n[Performance]\nwrite_flush_ms = 1\n\
         workers = {workers}\n[Options_Memory]\nlock_memory = false\ndisable_direct_io = true\n\
         allow_out_of_range = load\n[Dumps]\nperiod_s = 0\n[Log]\ndurability = memory\n",
        hash_range.min(),
        hash_range.max(),
        data_dir.display()
    );
    let ini = Ini::parse(text.as_bytes()).map_err(|error| EmbeddedError(error.to_string()))?;
    NodeConfig::from_ini(&ini, false).map_err(|error| EmbeddedError(error.to_string()))
}

/// The thread that accepts.
struct Acceptor {
    waker: Waker,
    thread: JoinHandle<()>,
}

impl Acceptor {
    fn start(listeners: [TcpListener; 2], node: &Node, sockets: &Arc<Sockets>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let mut listeners = listeners.map(mio::net::TcpListener::from_std);
        for (at, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(listener, Token(at), Interest::READABLE)?;
        }
        let mut accepting = Accepting {
            poll,
            listeners,
            shared: Arc::clone(&node.shared),
            workers: node.mailboxes(),
            next_worker: 0,
            sockets: Arc::clone(sockets),
        };
        let thread = std::thread::Builder::new().name("acceptor".to_owned());
        let thread = thread.spawn(move || accepting.run())?;
        Ok(Self { waker, thread })
    }

    fn stop(self) {
        if self.waker.wake().is_ok() {
            // It does not panic.
            let _ = self.thread.join();
        }
    }
}

struct Accepting {
    poll: Poll,
    listeners: [mio::net::TcpListener; 2],
    shared: Arc<Shared>,
    workers: Vec<Arc<Mailbox>>,
    next_worker: usize,
    sockets: Arc<Sockets>,
}

impl Accepting {
    fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
                Ok(()) => {}
            }
            for event in &events {
                match event.token() {
                    WAKE => return,
                    Token(0) => self.accept(0, Protocol::Legacy),
                    _ => self.accept(1, Protocol::Neo),
                }
            }
        }
    }

    fn accept(&mut self, at: usize, protocol: Protocol) {
        loop {
            match self.listeners[at].accept() {
                Ok((socket, peer)) => self.hand_over(socket, peer, protocol),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The peer has given up already; the next one may not have.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => return,
            }
        }
    }

    fn hand_over(&mut self, socket: mio::net::TcpStream, peer: SocketAddr, protocol: Protocol) {
        let count = protocol.connections(&self.shared);
        if !count.try_open() {
            count.refuse();
            return;
        }
        // A socket without these serves a test as well.
        let _ = set_options(&socket);
        let socket: TcpStream = socket.into();
        self.sockets.keep(&socket);
        self.workers[self.next_worker].leave_socket(Accepted { socket, peer, protocol });
        self.next_worker = (self.next_worker + 1) % self.workers.len();
    }
}

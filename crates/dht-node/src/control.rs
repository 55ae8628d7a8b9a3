//! The main thread: accepts connections and hands them to the workers, and does everything that is
//! rare: signals, command sockets, the stats line.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use dht_daemon::command_socket::{CommandSession, Commands};
use dht_daemon::log::Logs;
use dht_daemon::service_manager::ServiceManager;
use dht_daemon::signals::{Signal, Signals};
use dht_daemon::stats::{StatsConfig, StatsSink};
use mio::net::{TcpListener, UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use crate::admission::{Admission, set_options};
use crate::credentials;
use crate::mailbox::{Accepted, Mailbox};
use crate::session::Protocol;
use crate::shared::Shared;
use crate::stats::Stats;

/// Most connections that are accepted before other things get their turn.
const ACCEPTS_PER_TURN: usize = 256;

/// How long to wait when a connection cannot be accepted, as when the process has no descriptors
/// left: the connection stays in the backlog meanwhile.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Most connections to the command sockets at a time; more are closed at once.
const COMMAND_SESSIONS_MAX: usize = 64;

/// Most bytes of a command's reply that wait for the peer to read.
const REPLY_BYTES_MAX: usize = 1024 * 1024;

const SIGNALS: Token = Token(usize::MAX);
/// The two command sockets. Sessions at them count from 0.
const COMMANDS: [Token; 2] = [Token(usize::MAX - 1), Token(usize::MAX - 2)];
/// The legacy and the neo listener.
const LISTENERS: [Token; 2] = [Token(usize::MAX - 3), Token(usize::MAX - 4)];
/// Somebody wants connections counted, or they are.
const COUNTED: Token = Token(usize::MAX - 5);

/// Where stats go, and what they are made of.
pub(crate) struct StatsLog {
    pub(crate) config: StatsConfig,
    pub(crate) sink: StatsSink,
    pub(crate) stats: Stats,
}

/// See the module.
pub(crate) struct Control<'a> {
    poll: Poll,
    listeners: [Listener; 2],
    admission: Admission,
    signals: Signals,
    /// Registered with `poll` in the place of what `signals` reads.
    _signal_stream: UnixStream,
    logs: &'a Logs,
    stats_log: Option<StatsLog>,
    command_sockets: Vec<(UnixListener, Commands<'a>)>,
    sessions: Slab<Session>,
    shared: Arc<Shared>,
    workers: Vec<Arc<Mailbox>>,
    next_worker: usize,
    /// When to look for a stalled dump; never if there are none before the shutdown.
    next_look: Option<Instant>,
    life_signs: Option<LifeSigns<'a>>,
}

/// A service manager that wants to know whether we live.
struct LifeSigns<'a> {
    manager: &'a mut ServiceManager,
    period: Duration,
    next: Instant,
    /// A worker did not answer the last time, and the log has been told.
    missing: bool,
}

/// A listening socket, and when to accept from it again without being told to.
struct Listener {
    socket: TcpListener,
    protocol: Protocol,
    accept_at: Option<Instant>,
    /// The last attempt failed, and has been logged: the next ones need not be.
    failing: bool,
}

/// A peer at a command socket.
struct Session {
    stream: UnixStream,
    commands: usize,
    parser: CommandSession,
    replies: Vec<u8>,
}

impl<'a> Control<'a> {
    pub(crate) fn new(
        listeners: [std::net::TcpListener; 2],
        signals: Signals,
        logs: &'a Logs,
        stats_log: Option<StatsLog>,
        command_sockets: Vec<(StdUnixListener, Commands<'a>)>,
        shared: Arc<Shared>,
        workers: Vec<Arc<Mailbox>>,
    ) -> io::Result<Self> {
        assert!(command_sockets.len() <= COMMANDS.len(), "there are tokens for two");
        let poll = Poll::new()?;
        let mut listeners = listeners.map(TcpListener::from_std);
        for (listener, token) in listeners.iter_mut().zip(LISTENERS) {
            poll.registry().register(listener, token, Interest::READABLE)?;
        }
        let [legacy, neo] = listeners;
        let listeners =
            [(legacy, Protocol::Legacy), (neo, Protocol::Neo)].map(|(socket, protocol)| Listener {
                socket,
                protocol,
                accept_at: None,
                failing: false,
            });
        shared.count_queries.open(Waker::new(poll.registry(), COUNTED)?);
        let mut signal_stream = UnixStream::from_std(signals.stream().try_clone()?);
        poll.registry().register(&mut signal_stream, SIGNALS, Interest::READABLE)?;
        let mut sockets = Vec::new();
        for ((socket, commands), token) in command_sockets.into_iter().zip(COMMANDS) {
            let mut socket = UnixListener::from_std(socket);
            poll.registry().register(&mut socket, token, Interest::READABLE)?;
            sockets.push((socket, commands));
        }
        Ok(Self {
            poll,
            listeners,
            admission: Admission::default(),
            signals,
            _signal_stream: signal_stream,
            logs,
            stats_log,
            command_sockets: sockets,
            sessions: Slab::new(),
            shared,
            workers,
            next_worker: 0,
            next_look: None,
            life_signs: None,
        })
    }

    /// From now on, the service manager is told every `period` that the node lives.
    pub(crate) fn give_life_signs(
        &mut self,
        manager: &'a mut ServiceManager,
        period: Duration,
        now: Instant,
    ) {
        self.life_signs = Some(LifeSigns { manager, period, next: now + period, missing: false });
    }

    /// From now on, the log is told of dumps that are stalled.
    pub(crate) fn look_after_dumps(&mut self, now: Instant) {
        self.next_look = Some(now + self.shared.dumps.look_period());
    }

    /// Runs until a signal says stop.
    #[expect(clippy::disallowed_methods, reason = "this is an event loop: it asks the system")]
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut next_stats = self.next_stats(StatsConfig::delay);
        loop {
            let accepts = self.listeners.iter().map(|listener| listener.accept_at);
            let life_sign = self.life_signs.as_ref().map(|signs| signs.next);
            let others = [next_stats, self.next_look, life_sign, self.admission.deadline()];
            let next = accepts.chain(others).flatten().min();
            let timeout = next.map(|at| at.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    SIGNALS => {
                        if self.handle_signals() {
                            return Ok(());
                        }
                    }
                    COUNTED => {}
                    token => self.handle_event(token),
                }
            }
            let now = Instant::now();
            for at in 0..self.listeners.len() {
                if self.listeners[at].accept_at.is_some_and(|at| at <= now) {
                    self.listeners[at].accept_at = self.accept(at).map(|wait| now + wait);
                }
            }
            self.count_connections(now);
            if self.next_look.is_some_and(|at| at <= now) {
                self.shared.dumps.look(now);
                self.look_after_dumps(now);
            }
            if let Some(signs) = &mut self.life_signs
                && signs.next <= now
            {
                signs.look(&self.workers, now);
            }
            if next_stats.is_some_and(|at| at <= now) {
                self.write_stats(now);
                next_stats = self.next_stats(StatsConfig::delay_after_line);
            }
        }
    }

    /// When the next stats line is due: at a multiple of the interval on the wall clock.
    #[expect(clippy::disallowed_methods, reason = "this is an event loop: it asks the system")]
    fn next_stats(&self, delay: fn(&StatsConfig, Duration) -> Duration) -> Option<Instant> {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let config = &self.stats_log.as_ref()?.config;
        Some(Instant::now() + delay(config, since_epoch.unwrap_or_default()))
    }

    fn write_stats(&mut self, now: Instant) {
        if let Some(log) = &mut self.stats_log {
            log.sink.append(log.stats.line(now, self.logs));
        }
    }

    /// `true`: it is time to stop.
    fn handle_signals(&mut self) -> bool {
        let signals: Vec<Signal> = self.signals.drain().collect();
        if signals.contains(&Signal::Reopen) {
            self.reload();
        }
        signals.contains(&Signal::Stop)
    }

    /// What SIGHUP asks for: log files opened anew, and the credentials read again, if there are
    /// any.
    fn reload(&self) {
        for error in self.logs.reopen() {
            log::error!("{error}");
        }
        if !credentials::is_there() {
            return;
        }
        if let Err(error) = credentials::reload(&self.shared) {
            log::error!("The credentials stay as they were: {error}");
        }
    }

    /// Something has happened at a listener, a command socket or a session there.
    #[expect(clippy::disallowed_methods, reason = "this is an event loop: it asks the system")]
    fn handle_event(&mut self, token: Token) {
        if let Some(at) = LISTENERS.iter().position(|listener| *listener == token) {
            self.listeners[at].accept_at = Some(Instant::now());
        } else if let Some(socket) = COMMANDS.iter().position(|command| *command == token) {
            self.accept_commands(socket);
        } else {
            self.serve_commands(token.0);
        }
    }

    /// Accepts what waits. Returns when to try again, if not on the next event.
    fn accept(&mut self, at: usize) -> Option<Duration> {
        let protocol = self.listeners[at].protocol;
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listeners[at].socket.accept() {
                Ok((socket, peer)) => {
                    self.listeners[at].failing = false;
                    self.hand_over(socket, peer, protocol);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return None,
                    // The peer has given up already; the next one may not have.
                    ErrorKind::Interrupted
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::ConnectionReset => {}
                    _ => {
                        if !std::mem::replace(&mut self.listeners[at].failing, true) {
                            log::error!(
                                "cannot accept connections, trying again and again: {error}"
                            );
                        }
                        return Some(ACCEPT_RETRY);
                    }
                },
            }
        }
        Some(Duration::ZERO)
    }

    /// Has an accepted socket served, unless there are too many.
    fn hand_over(&mut self, socket: mio::net::TcpStream, peer: SocketAddr, protocol: Protocol) {
        if let Err(error) = set_options(&socket) {
            log::warn!("cannot set the options of the connection of {peer}: {error}");
        }
        let accepted = Accepted { socket: socket.into(), peer, protocol };
        if let Some(accepted) = self.admission.admit(accepted, &self.shared) {
            self.serve(accepted);
        }
    }

    /// Gives a socket to the next worker.
    fn serve(&mut self, accepted: Accepted) {
        self.workers[self.next_worker].leave_socket(accepted);
        self.next_worker = (self.next_worker + 1) % self.workers.len();
    }

    /// Judges connections above the limit, and answers how many there are.
    fn count_connections(&mut self, now: Instant) {
        for accepted in self.admission.pass(&self.workers, &self.shared, now) {
            self.serve(accepted);
        }
        if let Some(due) = self.admission.due(&self.shared) {
            for at in 0..self.listeners.len() {
                self.listeners[at].accept_at = self.accept(at).map(|wait| now + wait);
            }
            self.admission.begin(due, &self.workers, now);
        }
    }

    fn accept_commands(&mut self, socket: usize) {
        while let Ok((mut stream, _)) = self.command_sockets[socket].0.accept() {
            if self.sessions.len() == COMMAND_SESSIONS_MAX {
                continue;
            }
            let entry = self.sessions.vacant_entry();
            let both = Interest::READABLE | Interest::WRITABLE;
            let registry = self.poll.registry();
            if registry.register(&mut stream, Token(entry.key()), both).is_ok() {
                let (parser, replies) = (CommandSession::default(), Vec::new());
                entry.insert(Session { stream, commands: socket, parser, replies });
            }
        }
    }

    fn serve_commands(&mut self, id: usize) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let commands = &mut self.command_sockets[session.commands].1;
        if !session.serve(commands) {
            self.sessions.remove(id);
        }
    }
}

impl LifeSigns<'_> {
    /// The node lives if this thread is here and each worker has had a turn since the last look.
    fn look(&mut self, workers: &[Arc<Mailbox>], now: Instant) {
        self.next = now + self.period;
        // All of them are asked, whatever the first ones say.
        let lives: Vec<bool> = workers.iter().map(|worker| worker.take_life_sign()).collect();
        match lives.iter().position(|lives| !lives) {
            None => {
                self.missing = false;
                self.manager.alive();
            }
            Some(worker) => {
                if !std::mem::replace(&mut self.missing, true) {
                    let seconds = self.period.as_secs_f64();
                    log::error!(
                        "worker {worker} has not had a turn for {seconds:.1} s: the service \
                         manager is not told that the node is alive"
                    );
                }
            }
        }
    }
}

impl Session {
    /// Reads, executes, replies. `false`: the peer is gone.
    fn serve(&mut self, commands: &mut Commands<'_>) -> bool {
        loop {
            let Ok(drained) = self.receive(commands) else { return false };
            let Ok(()) = self.reply() else { return false };
            // What is left comes with the next event: of bytes, or of room for the replies.
            if drained || !self.replies.is_empty() {
                return true;
            }
        }
    }

    /// Executes what has arrived; `true` if that is all for now.
    fn receive(&mut self, commands: &mut Commands<'_>) -> io::Result<bool> {
        let mut bytes = [0; 4096];
        while self.replies.len() < REPLY_BYTES_MAX {
            match self.stream.read(&mut bytes) {
                Ok(0) => {
                    self.reply()?;
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Ok(len) => {
                    let mut run = |name: &str, arguments: &str| commands.dispatch(name, arguments);
                    self.replies.extend(self.parser.receive(&bytes[..len], &mut run));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Sends as much of the replies as there is room for.
    fn reply(&mut self) -> io::Result<()> {
        while !self.replies.is_empty() {
            match self.stream.write(&self.replies) {
                Ok(sent) => drop(self.replies.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

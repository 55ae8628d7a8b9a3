//! The main thread: signals, the framework's command socket, the stats line. It never waits for the
//! node or for a dump.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use dht_daemon::{
    command_socket::{CommandListener, CommandSession, Commands},
    log::Logs,
    signals::{Signal, Signals},
    stats::{StatsConfig, StatsSink},
};
use mio::{
    Events, Interest, Poll, Token, Waker,
    net::{UnixListener, UnixStream},
};
use slab::Slab;

use crate::stats::Stats;

/// Most connections to the command socket at a time; more are closed at once.
const COMMAND_SESSIONS_MAX: usize = 16;

const SIGNALS: Token = Token(usize::MAX);
const COMMANDS: Token = Token(usize::MAX - 1);
/// The dumping thread has ended. Command sessions count from 0.
const DUMPER: Token = Token(usize::MAX - 2);

/// Where stats go, and what they are made of.
pub(crate) struct StatsLog {
    pub(crate) config: StatsConfig,
    pub(crate) sink: StatsSink,
    pub(crate) stats: Arc<Stats>,
}

/// Why the event loop has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// SIGTERM, SIGINT or SIGQUIT.
    Signal,
    /// The dumping thread is done, or has failed.
    Dumper,
}

/// Ends the event loop when it is dropped, also by a panic.
pub(crate) struct WakeOnDrop(Arc<Waker>);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        if let Err(error) = self.0.wake() {
            log::error!("cannot tell the main thread that the dump has ended: {error}");
        }
    }
}

/// See the module.
pub(crate) struct Control<'a> {
    poll: Poll,
    signals: Signals,
    /// Registered with `poll` in the place of what `signals` reads.
    _signal_stream: UnixStream,
    /// Kept until the loop has ended: an event of a waker that is gone does not arrive.
    _waker: Arc<Waker>,
    logs: &'a Logs,
    stats_log: Option<StatsLog>,
    socket: Option<UnixListener>,
    commands: Commands<'a>,
    sessions: Slab<Session>,
}

/// A peer at the command socket.
struct Session {
    stream: UnixStream,
    parser: CommandSession,
}

impl<'a> Control<'a> {
    /// Registers everything; the waker is for the thread whose end is to be noticed.
    pub(crate) fn new(
        signals: Signals,
        logs: &'a Logs,
        stats_log: Option<StatsLog>,
        socket: Option<&CommandListener>,
        commands: Commands<'a>,
    ) -> io::Result<(Self, WakeOnDrop)> {
        let poll = Poll::new()?;
        let mut signal_stream = UnixStream::from_std(signals.stream().try_clone()?);
        poll.registry().register(&mut signal_stream, SIGNALS, Interest::READABLE)?;
        let mut socket = match socket {
            Some(socket) => Some(UnixListener::from_std(socket.listener().try_clone()?)),
            None => None,
        };
        if let Some(socket) = &mut socket {
            poll.registry().register(socket, COMMANDS, Interest::READABLE)?;
        }
        let waker = Arc::new(Waker::new(poll.registry(), DUMPER)?);
        let control = Self {
            poll,
            signals,
            _signal_stream: signal_stream,
            _waker: Arc::clone(&waker),
            logs,
            stats_log,
            socket,
            commands,
            sessions: Slab::new(),
        };
        Ok((control, WakeOnDrop(waker)))
    }

    /// Runs until a signal says stop or the dumping thread ends.
    #[expect(clippy::disallowed_methods, reason = "this is an event loop: it asks the system")]
    pub(crate) fn run(mut self) -> io::Result<Ended> {
        let mut events = Events::with_capacity(64);
        let mut next_stats = self.next_stats(StatsConfig::delay);
        loop {
            let timeout = next_stats.map(|at| at.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    SIGNALS if self.is_stopped() => return Ok(Ended::Signal),
                    SIGNALS => {}
                    DUMPER => return Ok(Ended::Dumper),
                    COMMANDS => self.accept_commands(),
                    Token(id) => self.serve_commands(id),
                }
            }
            if next_stats.is_some_and(|at| at <= Instant::now()) {
                if let Some(log) = &mut self.stats_log {
                    log.sink.append(log.stats.take_line());
                }
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

    /// Does what the signals ask for; `true` if that is to stop.
    fn is_stopped(&mut self) -> bool {
        let signals: Vec<Signal> = self.signals.drain().collect();
        if signals.contains(&Signal::Reopen) {
            for error in self.logs.reopen() {
                log::error!("{error}");
            }
        }
        signals.contains(&Signal::Stop)
    }

    fn accept_commands(&mut self) {
        let Some(socket) = &self.socket else { return };
        while let Ok((mut stream, _)) = socket.accept() {
            if self.sessions.len() == COMMAND_SESSIONS_MAX {
                continue;
            }
            let entry = self.sessions.vacant_entry();
            let registered =
                self.poll.registry().register(&mut stream, Token(entry.key()), Interest::READABLE);
            if registered.is_ok() {
                entry.insert(Session { stream, parser: CommandSession::default() });
            }
        }
    }

    fn serve_commands(&mut self, id: usize) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if !session.serve(&mut self.commands) {
            self.sessions.remove(id);
        }
    }
}

impl Session {
    /// Executes what has arrived. `false`: the peer is gone, or does not read its replies, which
    /// are a line each.
    fn serve(&mut self, commands: &mut Commands<'_>) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(len) => {
                    let mut run = |name: &str, arguments: &str| commands.dispatch(name, arguments);
                    let replies = self.parser.receive(&bytes[..len], &mut run);
                    if self.stream.write_all(&replies).is_err() {
                        return false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }
}

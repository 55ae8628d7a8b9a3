//! The start and the end of a node: load, bind, spawn; join, dump.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use dht_daemon::fatal;
use dht_dump::{DumpOptions, OsDisk};
use dht_protocol::neo::credentials::Credentials;
use dht_storage::{Store, StoreOptions};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use crate::admission::CountQueries;
use crate::config::{DumpsConfig, NodeConfig};
use crate::context::{Clock, UnixTime};
use crate::counters::Counters;
use crate::driver::DriverKind;
use crate::durability::{Keeper, boot_id};
use crate::mailbox::Mailbox;
use crate::moves::{self, JournalError, Moves};
use crate::persist::{DumpTarget, Dumper, Dumps, LoadOptions, Schedule};
use crate::ranges::Ranges;
use crate::restore::{RestoreError, RestoreOptions, restore};
use crate::shared::{ConnectionCount, Settings, Shared, channel_base_bytes};
use crate::worker::Worker;

/// As good as never: 136 years.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

/// The store has so many shards for each worker at least, so that two workers seldom meet.
const SHARDS_PER_WORKER: usize = 16;
/// Fewest shards, so that a scan step or a growing table blocks a small part of the keys only.
const SHARDS_MIN: usize = 64;
/// Most shards: memory that each has to itself is not to be felt.
const SHARDS_MAX: usize = 1024;

/// The neo port is so far above the legacy one. Source: spec `protocol-neo` 1.
pub(crate) const NEO_PORT_OFFSET: u16 = 100;

/// Most workers that a node has.
pub(crate) const WORKERS_MAX: usize = 512;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The data directory cannot be made.
    #[error("[Server] data_dir: cannot create '{}': {source}", .path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Two nodes with one directory would overwrite each other's dumps.
    #[error(
        "[Server] data_dir: '{}' is in use by another node. Stop it first, or give this one \
         another data_dir", .0.display()
    )]
    DataDirInUse(PathBuf),
    /// The dump files or the log cannot be loaded.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The port cannot be bound.
    #[error(
        "[Server] address, port: cannot listen on {address}: {source}. Is another node running \
         there, or is it not an address of this machine?"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The system has no io_uring, or not for us.
    #[error(
        "[Performance] io = uring: the system refuses io_uring: {0}. It needs Linux 6.1, and a \
         container must allow it; or set io = auto"
    )]
    Uring(io::Error),
    /// The thread that dumps cannot be made.
    #[error("cannot start the thread that dumps: {0}")]
    Dumper(io::Error),
    /// What is known of moves of records cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The thread that finds out whose a part is cannot be made.
    #[error("cannot start the thread that asks another node whose records are: {0}")]
    Mover(io::Error),
    /// A thread or its event queue cannot be made.
    #[error("cannot start worker {number}: {source}")]
    Worker {
        /// Which one, from 0.
        number: usize,
        /// The system's reason.
        source: io::Error,
    },
}

/// A node whose workers run.
pub(crate) struct Node {
    /// Holds the lock on the data directory while it is open.
    _data_dir: File,
    pub(crate) shared: Arc<Shared>,
    workers: Vec<RunningWorker>,
    /// None if channels are dumped at shutdown only, or once it was stopped.
    dumper: Option<Dumper>,
    clocks: (Clock, UnixTime),
    direct_io: bool,
}

struct RunningWorker {
    mailbox: Arc<Mailbox>,
    counters: Arc<Counters>,
    thread: JoinHandle<io::Result<()>>,
}

impl Node {
    /// Loads the dump files, binds the legacy and the neo port and starts the workers. The returned
    /// listeners, in this order, are for whoever accepts.
    pub(crate) fn start(
        config: &NodeConfig,
        credentials: Credentials,
        accept_damaged: bool,
        clocks: (Clock, UnixTime),
    ) -> Result<(Self, [TcpListener; 2]), StartError> {
        let workers = worker_count(config);
        let driver = DriverKind::choose(config.performance.io).map_err(StartError::Uring)?;
        // The seed decides where in the store a key lies, and nobody outside may guess it.
        let store = Store::new(StoreOptions { shard_bits: shard_bits(workers), seed: random() });
        let dumps = Dumps::new(Duration::from_secs(config.dumps.deadline_s.into()));
        let data_dir = lock_data_dir(&config.server.data_dir)?;
        let mut moves = moves::Journal::read(&config.server.data_dir)?;
        moves.end_taking(config.server.hash_range);
        let keeper = load(config, &moves, accept_damaged, &store, &dumps, clocks)?;
        let (pending, leftovers) =
            (moves.pending.clone(), moves.leftovers(config.server.hash_range));
        let ranges = Ranges::new(
            config.server.hash_range,
            moves.foreign.clone(),
            pending.as_ref().map(|pending| pending.part),
            config.file.clone(),
        );
        let (legacy, bound) = bind(config, config.server.port)?;
        // A port that the system chose may be too high for another 100 above it.
        let neo_port = bound.port().checked_add(NEO_PORT_OFFSET).unwrap_or(0);
        let (neo, neo_bound) = bind(config, neo_port)?;
        // Whoever finds the legacy port open may take the neo port for open too.
        let neo = listen(config, neo, neo_bound)?;
        let legacy = listen(config, legacy, bound)?;
        let shared = Arc::new(Shared {
            store,
            dumps,
            keeper: keeper.map(Arc::new),
            ranges,
            moves: Moves::new(moves, clocks.0),
            streams: Arc::default(),
            slow_requests: Arc::default(),
            settings: settings(config, driver, bound.port(), neo_bound.port()),
            legacy_connections: ConnectionCount::new(config.server.connection_limit as usize),
            neo_connections: ConnectionCount::new(config.server.connection_limit as usize),
            count_queries: CountQueries::default(),
            credentials: RwLock::new(Arc::new(credentials)),
        });
        let workers = (0..workers).map(|number| spawn(number, &shared, clocks));
        let workers = workers.collect::<Result<Vec<_>, _>>()?;
        let mailboxes = workers.iter().map(|worker: &RunningWorker| Arc::clone(&worker.mailbox));
        shared.ranges.set_workers(mailboxes.collect());
        let has_to_move = pending.is_some() || !leftovers.is_empty();
        if let Some(turn) = has_to_move.then(|| Moves::take_turn(&shared)).flatten() {
            moves::resolve(turn, pending, leftovers).map_err(StartError::Mover)?;
        }
        let direct_io = !config.options_memory.disable_direct_io;
        let mut node =
            Self { _data_dir: data_dir, shared, workers, dumper: None, clocks, direct_io };
        node.dumper = node.spawn_dumper(&config.dumps).map_err(StartError::Dumper)?;
        Ok((node, [legacy, neo]))
    }

    /// The thread that dumps periodically, if that is wanted.
    fn spawn_dumper(&self, config: &DumpsConfig) -> io::Result<Option<Dumper>> {
        let [period, retry] =
            [config.period_s, config.retry_s].map(|seconds| Duration::from_secs(seconds.into()));
        let period = match (period.is_zero(), &self.shared.keeper) {
            (true, None) => return Ok(None),
            // For when the log has grown so much that it must be cut.
            (true, Some(_)) => NEVER,
            (false, _) => period,
        };
        let schedule = Schedule::new(period, retry, (self.clocks.0)(), random());
        Dumper::spawn(Arc::clone(&self.shared), self.dump_target(), schedule).map(Some)
    }

    fn dump_target(&self) -> DumpTarget {
        DumpTarget {
            disk: Arc::new(OsDisk),
            dir: self.shared.settings.data_dir.clone(),
            options: DumpOptions { direct: self.direct_io, keep_backup: true },
            clock: self.clocks.0,
            unix_time: self.clocks.1,
        }
    }

    /// Whether channels are dumped while the node serves.
    pub(crate) const fn dumps_periodically(&self) -> bool {
        self.dumper.is_some()
    }

    /// Ends the threads that move records, and the one that dumps, which gives up what it is
    /// writing.
    pub(crate) fn stop_helpers(&mut self) {
        self.shared.moves.stop(&self.shared.ranges);
        if let Some(dumper) = self.dumper.take() {
            dumper.stop();
        }
    }

    /// Where to leave work for each worker.
    pub(crate) fn mailboxes(&self) -> Vec<Arc<Mailbox>> {
        self.workers.iter().map(|worker| Arc::clone(&worker.mailbox)).collect()
    }

    /// What each worker counts.
    pub(crate) fn counters(&self) -> Vec<Arc<Counters>> {
        self.workers.iter().map(|worker| Arc::clone(&worker.counters)).collect()
    }

    /// Closes all connections and ends the workers. `false`: one had ended before, by a failure.
    pub(crate) fn stop(&mut self) -> bool {
        for worker in &self.workers {
            worker.mailbox.stop();
        }
        let mut all_well = true;
        for worker in self.workers.drain(..) {
            all_well &= worker.thread.join().is_ok_and(|ended| ended.is_ok());
        }
        all_well
    }

    /// Dumps all channels. Returns how many could not be. The workers and the thread that dumps
    /// have ended.
    pub(crate) fn dump(&self) -> usize {
        let Shared { store, dumps, keeper, .. } = &*self.shared;
        let failed = self.dump_target().dump_all(store, keeper.as_deref(), dumps);
        if let Some(keeper) = keeper
            && failed == 0
        {
            keeper.finish(store);
        }
        failed
    }
}

fn worker_count(config: &NodeConfig) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let configured = config.performance.workers as usize;
    if configured == 0 { cores() } else { configured }.min(WORKERS_MAX)
}

fn shard_bits(workers: usize) -> u32 {
    let shards = (workers * SHARDS_PER_WORKER).clamp(SHARDS_MIN, SHARDS_MAX);
    shards.next_power_of_two().trailing_zeros()
}

/// What nobody outside can guess.
fn random() -> u64 {
    getrandom::u64().expect("the system has random numbers")
}

fn settings(config: &NodeConfig, driver: DriverKind, port: u16, neo_port: u16) -> Settings {
    Settings {
        driver,
        address: config.server.address.to_string(),
        port,
        neo_port,
        data_dir: config.server.data_dir.clone(),
        batch_bytes_max: config.options_memory.batch_size,
        bytes_max: config.options_memory.size_limit,
        listen_flush_period: Duration::from_millis(config.performance.write_flush_ms.into()),
        neo_auth_timeout: Duration::from_millis(config.performance.neo_auth_timeout_ms.into()),
        channel_base_bytes: channel_base_bytes(config.options_memory.bnum),
        redist_memory_limit_multiplier: config.performance.redist_memory_limit_multiplier,
        times_requests: config.admin.address.is_some(),
        slow_request: config.admin.slow_request(),
        hot_key_sample: config.admin.hot_key_sample(),
    }
}

fn create_dir(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path)
        .map_err(|source| StartError::DataDir { path: path.to_owned(), source })
}

/// How often, and with which pause, a data directory that is in use is tried again: a node that was
/// killed holds it until the system has taken the process apart.
const DATA_DIR_TRIES: u32 = 20;
const DATA_DIR_WAIT: Duration = Duration::from_millis(100);

/// Makes the data directory if need be, and keeps other nodes out of it. The lock is on the
/// directory itself: there is no file that a crash could leave behind.
fn lock_data_dir(path: &Path) -> Result<File, StartError> {
    create_dir(path)?;
    let failed = |source| StartError::DataDir { path: path.to_owned(), source };
    let dir = File::open(path).map_err(failed)?;
    for _ in 0..DATA_DIR_TRIES {
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(DATA_DIR_WAIT),
            // A file system that knows no locks is as good as it was for the original.
            Ok(()) | Err(_) => return Ok(dir),
        }
    }
    Err(StartError::DataDirInUse(path.to_owned()))
}

fn load(
    config: &NodeConfig,
    moves: &moves::Journal,
    accept_damaged: bool,
    store: &Store,
    dumps: &Dumps,
    (clock, unix_time): (Clock, UnixTime),
) -> Result<Option<Keeper>, StartError> {
    let dir = &config.server.data_dir;
    let deleted = dir.join(dht_dump::DELETED_FOLDER);
    create_dir(&deleted)?;
    let options = LoadOptions {
        hash_range: config.server.hash_range,
        foreign: moves.foreign.clone(),
        out_of_range: config.options_memory.allow_out_of_range,
        abort_after_all_out_of_range: config.options_memory.abort_after_all_out_of_range,
        accept_damaged,
        threads: worker_count(config),
        clock,
        unix_time,
    };
    let options = RestoreOptions {
        disk: Arc::new(OsDisk),
        dir,
        boot: boot_id(),
        durability: &config.durability,
        load: options,
    };
    Ok(restore(&options, store, dumps)?)
}

/// Takes a port, without listening yet.
pub(crate) fn bind(config: &NodeConfig, port: u16) -> Result<(Socket, SocketAddr), StartError> {
    let address = SocketAddr::from((config.server.address, port));
    let bind = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok((socket, bound))
    };
    bind().map_err(|source| StartError::Listen { address, source })
}

pub(crate) fn listen(
    config: &NodeConfig,
    socket: Socket,
    address: SocketAddr,
) -> Result<TcpListener, StartError> {
    let listening = socket.listen(config.server.backlog);
    listening.map_err(|source| StartError::Listen { address, source })?;
    Ok(socket.into())
}

fn spawn(
    number: usize,
    shared: &Arc<Shared>,
    (clock, unix_time): (Clock, UnixTime),
) -> Result<RunningWorker, StartError> {
    let start = || {
        let worker = Worker::new(number, Arc::clone(shared), clock, unix_time)?;
        let (mailbox, counters) = (worker.mailbox(), worker.counters());
        let name = format!("worker-{number}");
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let mut guard = StopNodeOnFailure { number, failed: true };
            let ended = worker.run();
            guard.failed = ended.is_err();
            if let Err(error) = &ended {
                log::error!("worker {number} cannot go on: {error}");
            }
            ended
        })?;
        Ok(RunningWorker { mailbox, counters, thread })
    };
    start().map_err(|source| StartError::Worker { number, source })
}

/// A node that lost a worker would serve only some of its clients. So it stops in order, as by a
/// signal: what is in memory is dumped.
struct StopNodeOnFailure {
    number: usize,
    /// Still true when the worker panics.
    failed: bool,
}

impl Drop for StopNodeOnFailure {
    fn drop(&mut self) {
        if !self.failed {
            return;
        }
        fatal!(target: "dhtnode.main", "worker {} failed, the node stops", self.number);
        let itself = rustix::process::getpid();
        if rustix::process::kill_process(itself, rustix::process::Signal::TERM).is_err() {
            std::process::abort();
        }
    }
}

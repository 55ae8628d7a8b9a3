//! The program `dhtnode`: from the command line to the exit code, in the order of the original.
//!
//! Source: spec `node` 1 and 4.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use dht_daemon::args::{EXIT_CONFIG_UNREADABLE, Options};
use dht_daemon::command_socket::{BindError, CommandListener, Commands};
use dht_daemon::log::{Level, LogFileError, Logs};
use dht_daemon::memory_lock::{self, MemoryLockError};
use dht_daemon::pid_lock::{PidLock, PidLockError};
use dht_daemon::service_manager::ServiceManager;
use dht_daemon::signals::Signals;
use dht_daemon::stats::StatsSink;
use dht_daemon::{App, OptionSpec, args, build_info, fatal};
use dht_protocol::neo::frame::{BODY_BYTES_MAX, HEADER_BYTES};
use dht_protocol::{legacy, neo};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::admin::{AdminError, RunningAdmin};
use crate::config::NodeConfig;
use crate::context::{Clock, UnixTime};
use crate::control::{Control, StatsLog};
use crate::counters::Counters;
use crate::credentials::{self, FileError};
use crate::driver::RECEIVE_BYTES_MAX;
use crate::handlers::{MIRROR_CHANGES_MAX, MIRROR_EVENTS_MAX, PENDING_KEYS_MAX};
use crate::node::{Node, StartError};
use crate::session::OUTPUT_BYTES_HIGH;
use crate::shared::{Settings, Shared};
use crate::stats::Stats;

/// The log name of the program's own messages. Source: spec `node` 8.2.
const MAIN_LOG: &str = "dhtnode.main";

const ACCEPT_DAMAGED: &str = "accept-damaged";

/// What the command line knows.
static APP: App = App {
    name: "dhtnode",
    description: "dhtnode: DHT server node.",
    long_description: "Without --config, the node listens on 127.0.0.1:10000 and keeps its data \
                       in ./data.",
    version: env!("CARGO_PKG_VERSION"),
    config_required: false,
    options: &[OptionSpec::flag(
        ACCEPT_DAMAGED,
        None,
        "start although a dump file or the log is damaged or missing: what is lost then, the \
         message without this option tells; a damaged dump is kept under another name",
    )],
};

/// Why the program ended before it served.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    LogFile(#[from] LogFileError),
    #[error(transparent)]
    PidLock(#[from] PidLockError),
    #[error("cannot set up signals: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    MemoryLock(#[from] MemoryLockError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Credentials(#[from] FileError),
    #[error(transparent)]
    CommandSocket(#[from] BindError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("the main event loop failed: {0}")]
    EventLoop(#[from] io::Error),
    #[error("{0} channels were not dumped; see the log")]
    NotDumped(usize),
    #[error("a worker failed; see the log")]
    WorkerFailed,
}

/// Runs the node until a signal stops it.
#[must_use]
pub fn run() -> ExitCode {
    let options = args::parse_or_exit(&APP);
    let ini = match options.read_config() {
        Ok(ini) => ini,
        Err(error) => {
            complain(&error);
            return exit_code(EXIT_CONFIG_UNREADABLE);
        }
    };
    let config = match &ini {
        Some(ini) => NodeConfig::from_ini(ini, options.loose),
        None => NodeConfig::without_file(&options.overrides, options.loose),
    };
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    for warning in &config.warnings {
        complain(warning);
    }
    let logs = match open_logs(&config) {
        Ok(logs) => logs,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    match serve(&config, &options, &logs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            fatal!(target: MAIN_LOG, "{error}");
            if !logs.on_console(MAIN_LOG, Level::Fatal) {
                complain(&error);
            }
            ExitCode::FAILURE
        }
    }
}

fn exit_code(code: i32) -> ExitCode {
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Says something on stderr.
fn complain(what: &dyn Display) {
    // A closed stderr is no reason to crash; the exit code still tells.
    let _ = writeln!(io::stderr(), "{what}");
}

/// Opens the log files and sends what the code logs there.
fn open_logs(config: &NodeConfig) -> Result<Logs, LogFileError> {
    let logs = Logs::open(&config.log, APP.name)?;
    assert!(logs.install(), "a process runs one node's program");
    Ok(logs)
}

#[expect(clippy::disallowed_methods, reason = "the program's clock, handed down from here")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the program's clock, handed down from here")]
pub(crate) fn unix_time() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.map_or(0, |since_epoch| since_epoch.as_secs())
}

fn serve(config: &NodeConfig, options: &Options, logs: &Logs) -> Result<(), RunError> {
    raise_descriptor_limit();
    let signals = Signals::register().map_err(RunError::Signals)?;
    let stats_sink = StatsSink::open(&config.stats, logs)?;
    let _pid_lock = config.pid_lock.as_deref().map(PidLock::acquire).transpose()?;
    build_info::log_version(&APP);
    if config.options_memory.lock_memory {
        memory_lock::lock_all()?;
        if let Some(bytes) = memory_lock::limit() {
            log::warn!(
                "Memory is locked, and RLIMIT_MEMLOCK allows {bytes} bytes of it: the node fails \
                 when it needs more. Raise the limit (`ulimit -l unlimited`, \
                 LimitMEMLOCK=infinity), or set [Options_Memory] lock_memory = false"
            );
        }
    }

    let mut manager = ServiceManager::default();
    manager.status(&format!("Loading {}", config.server.data_dir.display()));
    let credentials = credentials::at_start(options.config.is_some(), config.server.address)?;
    let accept_damaged = options.is_set(ACCEPT_DAMAGED);
    let clocks = (now as Clock, unix_time as UnixTime);
    let admin = RunningAdmin::start(&config.admin, clocks)?;
    let (mut node, listeners) = Node::start(config, credentials, accept_damaged, clocks)?;
    let sockets = command_sockets(config)?;
    if let Some(admin) = &admin {
        admin.serves(Arc::clone(&node.shared), node.counters());
    }
    let (node_shared, counters) = (Arc::clone(&node.shared), node.counters());
    let stats_log = stats_sink.map(|sink| {
        let stats = Stats::new(Arc::clone(&node.shared), node.counters(), now());
        StatsLog { config: config.stats.clone(), sink, stats }
    });
    log::info!(target: MAIN_LOG, "Starting DHT node --------------------------------");
    let own_commands = own_commands(&node_shared, &counters, clocks);
    let command_sets = [own_commands, Commands::new().with_standard(&APP, logs)];
    let mut command_listeners = Vec::new();
    for (socket, commands) in sockets.iter().zip(command_sets) {
        if let Some(socket) = socket {
            command_listeners.push((socket.listener().try_clone()?, commands));
        }
    }
    let (shared, mailboxes) = (Arc::clone(&node.shared), node.mailboxes());
    let mut control =
        Control::new(listeners, signals, logs, stats_log, command_listeners, shared, mailboxes)?;
    if node.dumps_periodically() {
        control.look_after_dumps(now());
    }
    log::info!(target: MAIN_LOG, "Starting event loop");
    manager.ready(&serving(&node.shared.settings));
    if let Some(period) = ServiceManager::life_sign_period() {
        control.give_life_signs(&mut manager, period, now());
    }
    if options.config.is_none() {
        announce(&node, config);
    }
    let ran = control.run();
    if let Some(admin) = &admin {
        admin.stops();
    }
    manager.stopping("Dumping all channels");
    let ended = shut_down(&mut node);
    log::info!(target: MAIN_LOG, "Event loop exited");
    ran?;
    ended
}

/// As many open files as this user may have: each connection is one, and the usual limit allows a
/// fifth of the connections that the configuration does.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("cannot raise the limit of open files: {error}");
    }
}

/// What a service manager shows of a node that serves.
fn serving(settings: &Settings) -> String {
    let Settings { address, port, neo_port, .. } = settings;
    format!("Serving on {address}:{port} (legacy protocol) and {address}:{neo_port} (neo)")
}

/// One line each on what somebody who started the node without a configuration wants to know.
fn announce(node: &Node, config: &NodeConfig) {
    let settings = &node.shared.settings;
    let data_dir = std::path::absolute(&settings.data_dir);
    let periodically = match config.dumps.period_s {
        0 => String::new(),
        seconds => format!("every {seconds} s and "),
    };
    log::info!("No --config given: using defaults, see etc/config.ini for what can be set");
    log::info!("Listening on {}:{} (legacy protocol)", settings.address, settings.port);
    log::info!("Listening on {}:{} (neo protocol)", settings.address, settings.neo_port);
    log::info!(
        "Keeping data in {}: loaded at start, written {periodically}at shutdown",
        data_dir.as_deref().unwrap_or(&settings.data_dir).display()
    );
    log::info!("Press Ctrl-C to stop");
}

/// The node's own command socket and the framework's, in this order. Source: spec `node` 9.
fn command_sockets(config: &NodeConfig) -> Result<[Option<CommandListener>; 2], BindError> {
    let own =
        CommandListener::bind("[Server] unix_socket_path", &config.server.unix_socket_path, None)?;
    let framework = config.unix_socket.path.as_deref();
    let framework = framework
        .map(|path| CommandListener::bind("[UNIX_SOCKET] path", path, config.unix_socket.mode))
        .transpose()?;
    Ok([Some(own), framework])
}

/// Source: spec `node` 9.1.
fn own_commands<'a>(
    shared: &'a Shared,
    counters: &'a [Arc<Counters>],
    (clock, unix_time): (Clock, UnixTime),
) -> Commands<'a> {
    const NO_ARGUMENTS: &str = "Error: No command arguments expected\n";
    Commands::new()
        .with("update-credentials", |arguments| {
            if !arguments.is_empty() {
                return NO_ARGUMENTS.to_owned();
            }
            match credentials::reload(shared) {
                Ok(()) => "Credentials updated.\n".to_owned(),
                Err(error) => format!("Error updating credentials: {error}\n"),
            }
        })
        .with("queues", |_| queues(counters))
        .with("requests", |_| requests(counters))
        .with("health", move |_| {
            shared.dump_report(&shared.store.channels(), clock()).to_text(unix_time())
        })
        .with("list-credentials", |arguments| {
            if !arguments.is_empty() {
                return NO_ARGUMENTS.to_owned();
            }
            let mut reply = "Registered credentials:\n".to_owned();
            for name in shared.credentials().names() {
                reply += name;
                reply.push('\n');
            }
            reply
        })
}

/// How full the fullest queue of each kind has ever been: a line `name peak bound` for each. A
/// connection's output may exceed its bound by one answer or one step of a stream.
fn queues(counters: &[Arc<Counters>]) -> String {
    let peak = |name: &str| {
        let peaks = counters.iter().flat_map(|worker| worker.peaks.all());
        peaks.filter(|(other, _)| *other == name).map(|(_, peak)| peak.get()).max()
    };
    let line = |(name, bound)| format!("{name} {} {bound}\n", peak(name).unwrap_or(0));
    queue_bounds().map(line).concat()
}

/// Name and bound of each kind of queue whose peak is known.
pub(crate) const fn queue_bounds() -> [(&'static str, usize); 5] {
    [
        ("output_bytes", OUTPUT_BYTES_HIGH),
        ("input_bytes", BODY_BYTES_MAX + HEADER_BYTES + RECEIVE_BYTES_MAX),
        ("mirror_events", MIRROR_EVENTS_MAX),
        ("mirror_changes", MIRROR_CHANGES_MAX),
        ("listen_keys", PENDING_KEYS_MAX),
    ]
}

/// How many requests of each kind were executed since the start: a line `protocol name count` for
/// each kind that there was.
fn requests(counters: &[Arc<Counters>]) -> String {
    let mut lines = String::new();
    let mut line = |protocol: &str, name: &str, count: u64| {
        if count > 0 {
            lines += &format!("{protocol} {name} {count}\n");
        }
    };
    for command in legacy::Command::ALL {
        let count = counters.iter().map(|worker| worker.legacy(*command).handled()).sum();
        line("legacy", command.name(), count);
    }
    for command in neo::Command::ALL {
        let count = counters.iter().map(|worker| worker.neo(*command).handled()).sum();
        line("neo", command.name(), count);
    }
    lines
}

/// Closes all connections and writes the dumps. The log lines are those of the original, whatever
/// the signal was.
fn shut_down(node: &mut Node) -> Result<(), RunError> {
    log::info!(target: MAIN_LOG, "SIGINT handler. Shutting down.");
    let mut failed = 0;
    let mut workers_ended = true;
    let step = |name: &str, work: &mut dyn FnMut()| {
        log::trace!(target: MAIN_LOG, "SIGINT handler: {name}");
        work();
        log::trace!(target: MAIN_LOG, "SIGINT handler: {name} finished");
    };
    step("shutting down periodics", &mut || node.stop_helpers());
    step("stopping node listener", &mut || workers_ended = node.stop());
    step("shutting down node", &mut || failed = node.dump());
    step("shutting down epoll", &mut || {});
    log::trace!(target: MAIN_LOG, "Finished SIGINT handler");
    if failed > 0 {
        return Err(RunError::NotDumped(failed));
    }
    if workers_ended { Ok(()) } else { Err(RunError::WorkerFailed) }
}

//! `dhtdump`: reads all of one node's data again and again, and keeps it as dump files that the
//! node loads when it starts. See `dhtdump --help`.
//!
//! ```text
//! main.rs         from the command line to the exit code
//! control.rs      the main thread: signals, the command socket, the stats line
//! dumper.rs       the other thread: handshake, cycles, the waits between them
//!   plan.rs         what comes next, and when
//!   cycle.rs        one cycle: the list of channels, then one after another
//!     source.rs       the node that is asked; legacy.rs, neo.rs: by which protocol
//!     stoppable_disk.rs   the file system, until the process is told to stop
//! stats.rs        what was written, for the stats line
//! ```
//!
//! Source: spec `tools` 1.

mod clock;
mod config;
mod control;
mod cycle;
mod dumper;
mod legacy;
mod neo;
mod plan;
mod size;
mod source;
mod stats;
mod stoppable_disk;
#[cfg(test)]
mod test_world;

use std::{
    fmt::Display,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    thread::JoinHandle,
};

use dht_client::{ClientCredentials, CredentialsFileError, NodeAddress, blocking::Timeouts};
use dht_daemon::{
    App, OptionSpec,
    args::{self, EXIT_CONFIG_UNREADABLE, Options},
    build_info,
    command_socket::{BindError, CommandListener, Commands},
    log::{Level, LogFileError, Logs},
    pid_lock::{PidLock, PidLockError},
    signals::Signals,
    stats::StatsSink,
};
use dht_dump::{Disk, DumpOptions, OsDisk};

use crate::{
    clock::OsClock,
    config::DumpConfig,
    control::{Control, Ended, StatsLog},
    cycle::Cycle,
    dumper::Dumper,
    legacy::LegacySource,
    neo::NeoSource,
    plan::Plan,
    source::Source,
    stats::Stats,
    stoppable_disk::StoppableDisk,
};

/// The log name of the program's own messages: that of the original's module.
const MAIN_LOG: &str = "dhtnode.dhtdump.main";

const ONESHOT: &str = "oneshot";

/// What the command line knows.
static APP: App = App {
    name: "dhtdump",
    description: "iterates over all channels in a dht node, dumping the data to disk",
    long_description: "",
    version: env!("CARGO_PKG_VERSION"),
    config_required: true,
    options: &[OptionSpec::flag(
        ONESHOT,
        Some('o'),
        "dump all channels once, at once, and exit; a failed attempt is repeated",
    )],
};

/// Why the program ended without having been asked to.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    LogFile(#[from] LogFileError),
    #[error(transparent)]
    PidLock(#[from] PidLockError),
    #[error(transparent)]
    CommandSocket(#[from] BindError),
    #[error(
        "Data directory does not exist ([Dump] data_dir = '{}'; it should be that of the node)",
        .0.display()
    )]
    NoDataDir(PathBuf),
    #[error("[Dht] credentials: {0}")]
    Credentials(#[from] CredentialsFileError),
    #[error("the main event loop failed: {0}")]
    EventLoop(#[from] io::Error),
    #[error("the thread that dumps has failed; see the message on standard error")]
    DumperFailed,
}

fn main() -> ExitCode {
    let options = args::parse_or_exit(&APP);
    let ini = match options.read_config() {
        Ok(ini) => ini.unwrap_or_default(),
        Err(error) => {
            complain(&error);
            return u8::try_from(EXIT_CONFIG_UNREADABLE).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let opened = DumpConfig::from_ini(&ini, APP.name, options.loose).map_err(|error| {
        complain(&error);
    });
    let Ok(config) = opened else { return ExitCode::FAILURE };
    for warning in &config.warnings {
        complain(warning);
    }
    let logs = match Logs::open(&config.log, APP.name) {
        Ok(logs) => logs,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    assert!(logs.install(), "a process runs one program");
    let code = match run(&config, &options, &logs) {
        Ok(()) => 0,
        Err(error) => {
            let (file, line) = (file!(), line!());
            log::error!(target: MAIN_LOG, "Caught exception in main: {error} @ {file}:{line}");
            if !logs.on_console(MAIN_LOG, Level::Error) {
                complain(&error);
            }
            1
        }
    };
    log::info!(target: MAIN_LOG, "Exiting with return code {code}");
    ExitCode::from(code)
}

/// Says something on stderr.
fn complain(what: &dyn Display) {
    // A closed stderr is no reason to crash; the exit code still tells.
    let _ = writeln!(io::stderr(), "{what}");
}

/// Runs until a signal stops it or, if that is wanted, all channels are dumped once.
fn run(config: &DumpConfig, options: &Options, logs: &Logs) -> Result<(), RunError> {
    let oneshot = options.is_set(ONESHOT);
    let signals = Signals::register()?;
    let stats = Arc::new(Stats::default());
    let sink = if oneshot { None } else { StatsSink::open(&config.stats, logs)? };
    let stats_log = sink.map(|sink| {
        let stats = Arc::clone(&stats);
        StatsLog { config: config.stats.clone(), sink, stats }
    });
    let _pid_lock = config.pid_lock.as_deref().map(PidLock::acquire).transpose()?;
    build_info::log_version(&APP);
    if !config.data_dir.is_dir() {
        return Err(RunError::NoDataDir(config.data_dir.clone()));
    }
    let source = source(config)?;
    let socket = &config.unix_socket;
    let bind = |path| CommandListener::bind("[UNIX_SOCKET] path", path, socket.mode);
    let socket = socket.path.as_deref().map(bind).transpose()?;
    let commands = Commands::new().with_standard(&APP, logs);

    let (control, waker) = Control::new(signals, logs, stats_log, socket.as_ref(), commands)?;
    let disk = Arc::new(StoppableDisk::new(OsDisk));
    let thread = start_dumper(config, source, oneshot, stats, disk.clone(), waker)?;
    let ended = control.run();
    disk.stop();
    match ended? {
        Ended::Signal => Ok(()),
        Ended::Dumper => thread.join().map_err(|_| RunError::DumperFailed),
    }
}

/// The node, asked by neo if there are credentials.
fn source(config: &DumpConfig) -> Result<Box<dyn Source>, CredentialsFileError> {
    let timeouts = Timeouts::default();
    let Some(neo) = &config.neo else {
        return Ok(Box::new(LegacySource::new(config.node.clone(), timeouts)));
    };
    let credentials = Arc::new(ClientCredentials::read(&neo.credentials)?);
    let node = NodeAddress { port: neo.port, ..config.node.clone() };
    Ok(Box::new(NeoSource::new(node, credentials, timeouts)))
}

/// Starts the thread that dumps. It ends once a one-shot dump is done, or if it panics; either way
/// `waker` goes with it.
fn start_dumper(
    config: &DumpConfig,
    source: Box<dyn Source>,
    oneshot: bool,
    stats: Arc<Stats>,
    disk: Arc<dyn Disk>,
    waker: control::WakeOnDrop,
) -> io::Result<JoinHandle<()>> {
    let options = DumpOptions { direct: !config.disable_direct_io, keep_backup: true };
    let cycle = Cycle::new(source, disk, config.data_dir.clone(), options, stats);
    let plan = Plan { oneshot, ..config.plan };
    let work = move || {
        let _waker = waker;
        Dumper { plan, cycle, clock: &mut OsClock }.run();
    };
    std::thread::Builder::new().name("dumper".to_owned()).spawn(work)
}

//! The node's configuration: every section as a typed struct, checked.
//!
//! ```text
//! etc/config.ini + -O   > Ini > NodeConfig::from_ini       a start with --config
//!             -O alone  > Ini > NodeConfig::without_file   without a file all has a default
//! ```
//!
//! Nothing here opens, creates or locks anything. Invariant: the values of a `NodeConfig` are
//! within their limits, so nobody checks them again.
//!
//! Source: spec `node` 3.3, 3.5.

mod admin;
mod hash_range;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use dht_daemon::command_socket::{SOCKET_PATH_BYTES_MAX, UnixSocketConfig};
use dht_daemon::ini::{Ini, Override};
use dht_daemon::log::LogConfig;
use dht_daemon::stats::StatsConfig;
use dht_daemon::{ConfigError, Section};
use dht_types::HashRange;

pub use self::admin::AdminConfig;
pub use crate::durability::{DurabilityConfig, Level};
pub use crate::persist::OutOfRange;

/// Greatest legacy port: the neo port is 100 above.
pub const PORT_MAX: u16 = u16::MAX - 100;
/// Least `batch_size` in bytes.
pub const BATCH_BYTES_MIN: usize = 1024;
/// Greatest `batch_size` in bytes: what the 32-bit length of a legacy value can say, and more than
/// any machine should buffer for one connection.
pub const BATCH_BYTES_MAX: usize = i32::MAX as usize;

/// What a start without a config file reads instead of one. It writes nothing but data: the log
/// goes to the console, and the command socket is below the data directory.
const WITHOUT_FILE: &str = "
[Server]
address = 127.0.0.1
port = 10000
minval = 0x0000000000000000
maxval = 0xffffffffffffffff
data_dir = data
unix_socket_path = data/dhtnode.socket

[Options_Memory]
lock_memory = false

[VERSION]
default_version_log = false

[LOG.Root]
level = info
console = true
propagate = true
";

/// The configuration of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// `[Server]`
    pub server: ServerConfig,
    /// `[Performance]`
    pub performance: PerformanceConfig,
    /// `[Options_Memory]`
    pub options_memory: MemoryConfig,
    /// `[Dumps]`
    pub dumps: DumpsConfig,
    /// `[Log]`, `[Log.channel.NAME]`
    pub durability: DurabilityConfig,
    /// `[Admin]`
    pub admin: AdminConfig,
    /// `[PidLock] path`: the pid file; none takes no lock.
    pub pid_lock: Option<PathBuf>,
    /// `[LOG]`, `[LOG.name]`, `[VERSION]`
    pub log: LogConfig,
    /// `[STATS]`
    pub stats: StatsConfig,
    /// `[UNIX_SOCKET]`
    pub unix_socket: UnixSocketConfig,
    /// The file that all this is from; none for a start without one.
    pub file: Option<PathBuf>,
    /// What to tell on stderr before the start: keys that nobody reads.
    pub warnings: Vec<String>,
}

/// `[Server]`: where the node listens, and what it owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Address to listen on.
    pub address: Ipv4Addr,
    /// Legacy port, at most [`PORT_MAX`]; 0 lets the system choose.
    pub port: u16,
    /// `minval` and `maxval`: the keys that the node is responsible for.
    pub hash_range: HashRange,
    /// Directory of the dump files.
    pub data_dir: PathBuf,
    /// Connections of each protocol at a time; 0 is no limit.
    pub connection_limit: u32,
    /// Length of the queue of connections that are not yet accepted.
    pub backlog: i32,
    /// The command socket.
    pub unix_socket_path: PathBuf,
}

/// `[Performance]`
#[derive(Debug, Clone, PartialEq)]
pub struct PerformanceConfig {
    /// Milliseconds between two writes to a Listen client, at least 1.
    pub write_flush_ms: u32,
    /// The memory cap during a redistribution, as a multiple of what is stored; above 0.
    pub redist_memory_limit_multiplier: f64,
    /// Worker threads; 0 is one for each core. Not in the original.
    pub workers: u32,
    /// How long a neo client may take to authenticate, in milliseconds. Not in the original.
    pub neo_auth_timeout_ms: u32,
    /// How sockets are served. Not in the original.
    pub io: Io,
}

/// How the node talks to its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Io {
    /// By io_uring if the system lets us, else by epoll.
    Auto,
    /// By io_uring or not at all.
    Uring,
    /// By epoll.
    Epoll,
}

/// `[Options_Memory]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Bytes that the node may store; 0 is no limit.
    pub size_limit: u64,
    /// Whether memory is kept out of swap.
    pub lock_memory: bool,
    /// What happens to records of dump files that are outside the range.
    pub allow_out_of_range: OutOfRange,
    /// Loading stops if more records than this were read and all were out of range; 0 is never.
    pub abort_after_all_out_of_range: u32,
    /// Whether dump files are read and written through the page cache.
    pub disable_direct_io: bool,
    /// Hint for the number of hash buckets of a channel; 0 leaves it to the store.
    pub bnum: u32,
    /// Size of legacy batches and greatest size of legacy records, in bytes; at least
    /// [`BATCH_BYTES_MIN`].
    pub batch_size: usize,
}

/// `[Dumps]`: when channels are written into their dump files. Not in the original, which does so
/// at shutdown only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpsConfig {
    /// Seconds from one dump of a channel to its next; 0 is at shutdown only.
    pub period_s: u32,
    /// Seconds after which a dump that failed is tried again, at least 1.
    pub retry_s: u32,
    /// Seconds without progress after which a dump is called stalled, at least 1.
    pub deadline_s: u32,
}

impl NodeConfig {
    /// Reads and checks all sections. If `loose`, an unknown key is a warning, not an error.
    pub fn from_ini(ini: &Ini, loose: bool) -> Result<Self, ConfigError> {
        let mut warnings = Vec::new();
        let config = Self {
            server: ServerConfig::from_ini(ini, loose, &mut warnings)?,
            performance: PerformanceConfig::from_ini(ini, loose, &mut warnings)?,
            options_memory: MemoryConfig::from_ini(ini, loose, &mut warnings)?,
            dumps: DumpsConfig::from_ini(ini, loose, &mut warnings)?,
            durability: DurabilityConfig::from_ini(ini, loose, &mut warnings)?,
            admin: AdminConfig::from_ini(ini, loose, &mut warnings)?,
            pid_lock: pid_lock(ini, &mut warnings)?,
            log: LogConfig::from_ini(ini, loose, &mut warnings)?,
            stats: StatsConfig::from_ini(ini, "dhtnode", loose, &mut warnings)?,
            unix_socket: UnixSocketConfig::from_ini(ini, &mut warnings)?,
            file: ini.file().map(Path::to_owned),
            warnings: Vec::new(),
        };
        Ok(Self { warnings, ..config })
    }

    /// The configuration of a start without a config file, changed by `overrides`: 127.0.0.1:10000,
    /// the whole hash range, dump files in `data`. No stats log unless an override asks for one.
    pub fn without_file(overrides: &[Override], loose: bool) -> Result<Self, ConfigError> {
        let mut ini = Ini::parse(WITHOUT_FILE.as_bytes()).expect("a short text parses");
        for change in overrides {
            ini.apply(change);
        }
        let mut config = Self::from_ini(&ini, loose)?;
        if ini.get("STATS", "file_name").is_none() {
            config.stats.file_name = None;
        }
        Ok(config)
    }
}

impl ServerConfig {
    fn from_ini(ini: &Ini, loose: bool, warnings: &mut Vec<String>) -> Result<Self, ConfigError> {
        let mut section = Section::new(ini, "Server");
        let port = section.required("port")?;
        let config = Self {
            address: address(&mut section)?,
            port: section.at_most("port", port, PORT_MAX)?,
            hash_range: hash_range::read(&mut section)?,
            data_dir: section.or("data_dir", "data".into())?,
            connection_limit: section.or("connection_limit", 5000)?,
            backlog: section.or("backlog", 2048)?,
            unix_socket_path: unix_socket_path(&mut section)?,
        };
        warnings.extend(section.finish(loose)?);
        Ok(config)
    }
}

/// Host names are refused: which address they mean may change behind the operator's back.
fn address(section: &mut Section<'_>) -> Result<Ipv4Addr, ConfigError> {
    let text: String = section.required("address")?;
    text.parse().map_err(|_| {
        let hint = format!("Server.address: found '{text}', allowed: an IPv4 address like 0.0.0.0");
        section.error("address", "Node listener IP address invalid", hint)
    })
}

fn unix_socket_path(section: &mut Section<'_>) -> Result<PathBuf, ConfigError> {
    let path: PathBuf = section.required("unix_socket_path")?;
    let bytes = path.as_os_str().len();
    if bytes <= SOCKET_PATH_BYTES_MAX {
        return Ok(path);
    }
    let problem = "Server.unix_socket_path is too long for a unix socket";
    let hint = format!("found {bytes} bytes, allowed: at most {SOCKET_PATH_BYTES_MAX}");
    Err(section.error("unix_socket_path", problem, hint))
}

impl PerformanceConfig {
    fn from_ini(ini: &Ini, loose: bool, warnings: &mut Vec<String>) -> Result<Self, ConfigError> {
        let mut section = Section::new(ini, "Performance");
        let write_flush_ms = section.or("write_flush_ms", 250_u32)?;
        let auth_timeout_ms = section.or("neo_auth_timeout_ms", 5000_u32)?;
        let config = Self {
            // Compat: 0 is accepted. Here it means "at once", as near as a timer comes to it.
            write_flush_ms: write_flush_ms.max(1),
            redist_memory_limit_multiplier: multiplier(&mut section)?,
            workers: section.or("workers", 0)?,
            neo_auth_timeout_ms: section.at_least("neo_auth_timeout_ms", auth_timeout_ms, 1)?,
            io: section.one_of(
                "io",
                &[("auto", Io::Auto), ("uring", Io::Uring), ("epoll", Io::Epoll)],
                Io::Auto,
            )?,
        };
        warnings.extend(section.finish(loose)?);
        Ok(config)
    }
}

fn multiplier(section: &mut Section<'_>) -> Result<f64, ConfigError> {
    // Compat: config files have the key misspelt.
    let key = "redist_memory_limit_mulitplier";
    let factor = section.or(key, 1.1)?;
    if factor > 0.0 {
        return Ok(factor);
    }
    let problem = format!("Performance.{key} must be greater than 0");
    Err(section.error(key, problem, format!("found {factor}")))
}

impl MemoryConfig {
    fn from_ini(ini: &Ini, loose: bool, warnings: &mut Vec<String>) -> Result<Self, ConfigError> {
        let mut section = Section::new(ini, "Options_Memory");
        let out_of_range = [
            ("load", OutOfRange::Load),
            ("fatal", OutOfRange::Fatal),
            ("ignore", OutOfRange::Ignore),
        ];
        let batch_size = section.or("batch_size", 65_536)?;
        let batch_size = section.at_least("batch_size", batch_size, BATCH_BYTES_MIN)?;
        let config = Self {
            size_limit: section.or("size_limit", 0)?,
            lock_memory: section.or("lock_memory", true)?,
            allow_out_of_range: section.one_of(
                "allow_out_of_range",
                &out_of_range,
                OutOfRange::Load,
            )?,
            abort_after_all_out_of_range: section.or("abort_after_all_out_of_range", 10_000)?,
            disable_direct_io: section.or("disable_direct_io", false)?,
            bnum: section.or("bnum", 0)?,
            batch_size: section.at_most("batch_size", batch_size, BATCH_BYTES_MAX)?,
        };
        warnings.extend(section.finish(loose)?);
        Ok(config)
    }
}

impl DumpsConfig {
    fn from_ini(ini: &Ini, loose: bool, warnings: &mut Vec<String>) -> Result<Self, ConfigError> {
        let mut section = Section::new(ini, "Dumps");
        let period_s = section.or("period_s", 6 * 60 * 60)?;
        let retry_s = section.or("retry_s", 30)?;
        let deadline_s = section.or("deadline_s", 600)?;
        let config = Self {
            period_s,
            retry_s: section.at_least("retry_s", retry_s, 1)?,
            deadline_s: section.at_least("deadline_s", deadline_s, 1)?,
        };
        warnings.extend(section.finish(loose)?);
        Ok(config)
    }
}

/// Unknown keys are only warned of: the original does not see them.
fn pid_lock(ini: &Ini, warnings: &mut Vec<String>) -> Result<Option<PathBuf>, ConfigError> {
    let mut section = Section::new(ini, "PidLock");
    let path = section.get("path")?;
    warnings.extend(section.finish(true)?);
    Ok(path)
}

#[cfg(test)]
mod tests;

//! The configuration: every section as a typed struct, checked. Source: spec `tools` 1.2.

use std::{path::PathBuf, time::Duration};

use dht_client::NodeAddress;
use dht_daemon::{
    ConfigError, Ini, Section, command_socket::UnixSocketConfig, log::LogConfig, stats::StatsConfig,
};

use crate::plan::Plan;

/// The configuration of a dhtdump.
#[derive(Debug)]
pub(crate) struct DumpConfig {
    /// `[Dht]`: where the node listens for legacy clients.
    pub(crate) node: NodeAddress,
    /// `[Dht] credentials` and `neo_port`: asks for neo. Not in the original.
    pub(crate) neo: Option<NeoConfig>,
    /// `[Dump] data_dir`: where the dumps go.
    pub(crate) data_dir: PathBuf,
    /// `[Dump] period_s`, `min_wait_s`, `retry_wait_s`.
    pub(crate) plan: Plan,
    /// `[Dump] disable_direct_io`
    pub(crate) disable_direct_io: bool,
    /// `[PidLock] path`: the pid file; none takes no lock.
    pub(crate) pid_lock: Option<PathBuf>,
    /// `[LOG]`, `[LOG.name]`, `[VERSION]`
    pub(crate) log: LogConfig,
    /// `[STATS]`
    pub(crate) stats: StatsConfig,
    /// `[UNIX_SOCKET]`
    pub(crate) unix_socket: UnixSocketConfig,
    /// What to tell on stderr before the start: keys that nobody reads.
    pub(crate) warnings: Vec<String>,
}

/// What the neo protocol needs.
#[derive(Debug)]
pub(crate) struct NeoConfig {
    /// The file with our name and key.
    pub(crate) credentials: PathBuf,
    /// Where the node listens for neo clients.
    pub(crate) port: u16,
}

/// The neo port is so far above the legacy one. Source: spec `protocol-neo` 1.
const NEO_PORT_OFFSET: u16 = 100;

impl DumpConfig {
    /// Reads and checks all sections. If `loose`, an unknown key is a warning, not an error.
    ///
    /// Compat: the original fills a struct from `[Stats]` and never looks at it. Here it is a
    /// section that nobody knows, so nothing in it is an error.
    pub(crate) fn from_ini(ini: &Ini, app_name: &str, loose: bool) -> Result<Self, ConfigError> {
        let mut warnings = Vec::new();
        let (node, neo) = node(ini, loose, &mut warnings)?;
        let mut dump = Section::new(ini, "Dump");
        let data_dir = dump.or("data_dir", "data".into())?;
        let plan = plan(&mut dump)?;
        let disable_direct_io = dump.or("disable_direct_io", false)?;
        warnings.extend(dump.finish(loose)?);
        Ok(Self {
            node,
            neo,
            data_dir,
            plan,
            disable_direct_io,
            pid_lock: pid_lock(ini, &mut warnings)?,
            log: LogConfig::from_ini(ini, loose, &mut warnings)?,
            stats: StatsConfig::from_ini(ini, app_name, loose, &mut warnings)?,
            unix_socket: UnixSocketConfig::from_ini(ini, &mut warnings)?,
            warnings,
        })
    }
}

fn node(
    ini: &Ini,
    loose: bool,
    warnings: &mut Vec<String>,
) -> Result<(NodeAddress, Option<NeoConfig>), ConfigError> {
    let mut section = Section::new(ini, "Dht");
    let host = section.required("address")?;
    let port = section.required("port")?;
    let node = NodeAddress { host, port: section.at_least("port", port, 1)? };
    let neo_port = section.or("neo_port", node.port.saturating_add(NEO_PORT_OFFSET))?;
    let port = section.at_least("neo_port", neo_port, 1)?;
    let neo = section.get("credentials")?.map(|credentials| NeoConfig { credentials, port });
    warnings.extend(section.finish(loose)?);
    Ok((node, neo))
}

fn plan(section: &mut Section<'_>) -> Result<Plan, ConfigError> {
    let mut seconds = |key, default: u32| {
        section.or(key, default).map(|seconds| Duration::from_secs(seconds.into()))
    };
    Ok(Plan {
        oneshot: false,
        period: seconds("period_s", 4 * 60 * 60)?,
        min_wait: seconds("min_wait_s", 60)?,
        retry_wait: seconds("retry_wait_s", 30)?,
    })
}

/// Unknown keys are only warned of: the original does not see them.
fn pid_lock(ini: &Ini, warnings: &mut Vec<String>) -> Result<Option<PathBuf>, ConfigError> {
    let mut section = Section::new(ini, "PidLock");
    let path = section.get("path")?;
    warnings.extend(section.finish(true)?);
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<DumpConfig, ConfigError> {
        let ini = Ini::parse(text.as_bytes()).expect("short");
        DumpConfig::from_ini(&ini, "dhtdump", false)
    }

    #[test]
    fn all_but_the_node_has_the_originals_defaults() {
        let found = config("[Dht]\naddress = 127.0.0.1\nport = 10000").unwrap();
        assert_eq!(found.node.to_string(), "127.0.0.1:10000");
        assert_eq!(found.data_dir, PathBuf::from("data"));
        let (period, min_wait, retry_wait) =
            (found.plan.period, found.plan.min_wait, found.plan.retry_wait);
        assert_eq!([period, min_wait, retry_wait].map(|wait| wait.as_secs()), [14_400, 60, 30]);
        assert!(!found.disable_direct_io && found.pid_lock.is_none() && found.neo.is_none());
    }

    #[test]
    fn every_key_is_known_and_no_other() {
        let all = "[Dht]\naddress = node\nport = 1\ncredentials = c\n\
                   neo_port = 7\n[Dump]\ndata_dir = ../data\nperiod_s = 21600\n\
                   min_wait_s = 1\nretry_wait_s = 2\ndisable_direct_io = true\n[PidLock]\n\
                   path = p\n[UNIX_SOCKET]\npath = s\n[Stats]\nfile_count = 3\n";
        let found = config(all).unwrap();
        assert_eq!(found.plan.period, Duration::from_secs(21_600));
        assert!(found.disable_direct_io && found.warnings.is_empty());
        assert_eq!((found.pid_lock, found.unix_socket.path), (Some("p".into()), Some("s".into())));
        let neo = found.neo.unwrap();
        assert_eq!((neo.credentials, neo.port), ("c".into(), 7));
        assert!(config(&format!("{all}[Dump]\nperiod = 1")).is_err());
    }

    #[test]
    fn the_neo_port_is_that_of_a_node_if_it_is_not_told() {
        let with_port =
            |port| config(&format!("[Dht]\naddress = a\nport = {port}\ncredentials = c"));
        assert_eq!(with_port(10_000).unwrap().neo.unwrap().port, 10_100);
        assert_eq!(with_port(65_500).unwrap().neo.unwrap().port, 65_535);
    }

    #[test]
    fn the_node_must_be_named() {
        let problem = |text| config(text).unwrap_err().problem;
        assert_eq!(problem(""), "Mandatory variable Dht.address not set.");
        assert_eq!(problem("[Dht]\naddress = a"), "Mandatory variable Dht.port not set.");
        assert!(problem("[Dht]\naddress = a\nport = 0").contains("allowed minimum of 1"));
    }
}

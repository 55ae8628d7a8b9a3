//! `[Admin]`: metrics, health and a page to look at, over HTTP. Not in the original.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dht_admin::Peers;
use dht_daemon::ini::Ini;
use dht_daemon::{ConfigError, Section};

/// Channels that have metrics of their own, if nothing else is said.
const CHANNELS_DEFAULT: usize = 1000;
/// A request is slow from so many milliseconds on, if nothing else is said.
const SLOW_REQUEST_MS_DEFAULT: u32 = 500;
/// One in so many requests is in the sample of hot keys, if nothing else is said.
const HOT_KEY_SAMPLE_DEFAULT: u32 = 1024;

/// `[Admin]`. Without a port there is nothing of all this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where to listen; none: not at all. The port may be 0: the system chooses.
    pub address: Option<SocketAddr>,
    /// Admin ports of other nodes, whose pages may read here, and which the page here reads.
    pub peers: Peers,
    /// Most channels that have metrics of their own.
    pub metrics_channels: usize,
    /// Milliseconds from which on a request is slow; 0: never.
    slow_request_ms: u32,
    /// One in so many requests is in the sample of hot keys; 0: none.
    hot_key_sample: u32,
}

impl AdminConfig {
    pub(super) fn from_ini(
        ini: &Ini,
        loose: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ConfigError> {
        let mut section = Section::new(ini, "Admin");
        let port: Option<u16> = section.get("port")?;
        let address: Option<String> = section.get("address")?;
        let ip = ip(&section, address.as_deref())?;
        if address.is_some() && port.is_none() {
            let hint = "without a port nothing listens at Admin.address: set it, or remove both";
            return Err(section.error("address", "Admin.port is missing", hint));
        }
        let config = Self {
            address: port.map(|port| SocketAddr::new(ip, port)),
            peers: peers(&mut section)?,
            metrics_channels: section.or("metrics_channels", CHANNELS_DEFAULT)?,
            slow_request_ms: section.or("slow_request_ms", SLOW_REQUEST_MS_DEFAULT)?,
            hot_key_sample: section.or("hot_key_sample", HOT_KEY_SAMPLE_DEFAULT)?,
        };
        warnings.extend(section.finish(loose)?);
        Ok(config)
    }

    /// A request that takes so long is told of, if any is.
    #[must_use]
    pub fn slow_request(&self) -> Option<Duration> {
        let watches = self.address.is_some() && self.slow_request_ms > 0;
        watches.then(|| Duration::from_millis(self.slow_request_ms.into()))
    }

    /// One in so many requests is in the sample of hot keys; 0: none.
    #[must_use]
    pub const fn hot_key_sample(&self) -> u32 {
        if self.address.is_some() { self.hot_key_sample } else { 0 }
    }
}

fn peers(section: &mut Section<'_>) -> Result<Peers, ConfigError> {
    let text: Option<String> = section.get("peers")?;
    Peers::parse(text.as_deref().unwrap_or_default()).map_err(|error| {
        let hint = "allowed: a list like 10.0.0.1:10200, 10.0.0.2:10200";
        section.error("peers", format!("Admin.peers: {error}"), hint)
    })
}

/// Host names are refused, as in `[Server] address`.
fn ip(section: &Section<'_>, address: Option<&str>) -> Result<IpAddr, ConfigError> {
    let Some(text) = address else { return Ok(Ipv4Addr::LOCALHOST.into()) };
    text.parse().map_err(|_| {
        let hint = format!("found '{text}', allowed: an IP address like 127.0.0.1");
        section.error("address", "Admin.address is no IP address", hint)
    })
}

//! What operators read over HTTP: metrics, health, and a page to look at.
//!
//! ```text
//! dht_admin::AdminServer, a thread of its own
//!   > Admin (here)      a path -> an answer, whatever phase the node is in
//!     > facts.rs          all figures of now, summed over workers and shards
//!     > metrics.rs        as Prometheus reads them     /metrics
//!     > status.rs         as the page reads them       /status.json
//!     > page/             the page, in the binary      /
//! ```
//!
//! It only reads: atomics that workers write, and locks that are held for a few memory accesses. It
//! waits for no disk and for no worker.
//!
//! Paths, figures and formats: docs/metrics.md.

mod facts;
mod metrics;
mod status;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use dht_admin::{AdminServer, Answer, Peers, Site};

use crate::config::AdminConfig;
use crate::context::{Clock, UnixTime};
use crate::counters::Counters;
use crate::shared::Shared;

use facts::Source;

const INDEX: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const RING: &str = include_str!("page/ring.js");
const ICON: &str = include_str!("page/icon.svg");

/// What the page reads, and the pages of the peers.
const STATUS: &str = "/status.json";

/// The port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "[Admin] address, port: cannot listen on {address}: {source}. Is another program there, or is \
     it not an address of this machine?"
)]
pub(crate) struct AdminError {
    address: SocketAddr,
    source: std::io::Error,
}

/// The running server, and what it tells. Dropping it ends it.
pub(crate) struct RunningAdmin {
    site: Arc<Admin>,
    _server: AdminServer,
}

/// See the module.
pub(crate) struct Admin {
    phase: RwLock<Phase>,
    channels_max: usize,
    peers: Peers,
    clock: Clock,
    unix_time: UnixTime,
    /// Since when the process has been running.
    began: (Instant, u64),
}

/// How far the node is.
#[derive(Clone)]
enum Phase {
    /// It reads its dumps and its log, and listens to nobody yet.
    Loading,
    Serving(Arc<Source>),
    /// It writes its dumps, and listens to nobody any more.
    Stopping(Arc<Source>),
}

impl Phase {
    const fn name(&self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Serving(_) => "serving",
            Self::Stopping(_) => "stopping",
        }
    }

    const fn source(&self) -> Option<&Arc<Source>> {
        match self {
            Self::Loading => None,
            Self::Serving(source) | Self::Stopping(source) => Some(source),
        }
    }

    const fn is_ready(&self) -> bool {
        matches!(self, Self::Serving(_))
    }
}

impl RunningAdmin {
    /// Listens, if the configuration says where.
    pub(crate) fn start(
        config: &AdminConfig,
        (clock, unix_time): (Clock, UnixTime),
    ) -> Result<Option<Self>, AdminError> {
        let Some(address) = config.address else { return Ok(None) };
        let site = Arc::new(Admin {
            phase: RwLock::new(Phase::Loading),
            channels_max: config.metrics_channels,
            peers: config.peers.clone(),
            clock,
            unix_time,
            began: (clock(), unix_time()),
        });
        let served = Arc::clone(&site) as Arc<dyn Site>;
        let server = AdminServer::start(address, served, config.peers.clone())
            .map_err(|source| AdminError { address, source })?;
        log::info!("Metrics, health and a page to look at: http://{}/", server.address());
        if !address.ip().is_loopback() {
            log::warn!(
                "[Admin] address = {}: whoever can connect to it can read names of channels, \
                 addresses of clients and keys; it asks for no password",
                address.ip()
            );
        }
        Ok(Some(Self { site, _server: server }))
    }

    /// The node serves.
    pub(crate) fn serves(&self, shared: Arc<Shared>, workers: Vec<Arc<Counters>>) {
        self.site.enter(Phase::Serving(Arc::new(Source::new(shared, workers))));
    }

    /// The node is about to stop.
    pub(crate) fn stops(&self) {
        if let Some(source) = self.site.phase().source() {
            self.site.enter(Phase::Stopping(Arc::clone(source)));
        }
    }
}

impl Admin {
    fn phase(&self) -> Phase {
        self.phase.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn enter(&self, phase: Phase) {
        *self.phase.write().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// The same text as the command `health`.
    fn health(&self) -> Answer {
        let phase = self.phase();
        let Some(source) = phase.source() else { return Answer::text(200, "ok loading\n") };
        let report = source.dump_report((self.clock)());
        let status = if report.trouble.is_some() { 503 } else { 200 };
        Answer::text(status, report.to_text((self.unix_time)()))
    }

    fn ready(&self) -> Answer {
        let phase = self.phase();
        let status = if phase.is_ready() { 200 } else { 503 };
        Answer::text(status, format!("{}\n", phase.name()))
    }
}

impl Site for Admin {
    fn answer(&self, path: &str) -> Option<Answer> {
        let asset = |content_type, text: &str| Answer {
            status: 200,
            content_type,
            body: text.as_bytes().to_vec(),
            is_for_peers: path == STATUS,
        };
        Some(match path {
            "/" => asset("text/html; charset=utf-8", INDEX),
            "/page.css" => asset("text/css; charset=utf-8", STYLE),
            "/ring.js" => asset("text/javascript; charset=utf-8", RING),
            "/page.js" => asset("text/javascript; charset=utf-8", SCRIPT),
            // The name that browsers ask for by themselves, as beside /metrics.
            "/favicon.ico" => asset("image/svg+xml", ICON),
            "/metrics" => asset(dht_admin::CONTENT_TYPE, &metrics::text(self)),
            STATUS => asset("application/json", &status::json(self)),
            "/health" => self.health(),
            "/ready" => self.ready(),
            _ => return None,
        })
    }
}

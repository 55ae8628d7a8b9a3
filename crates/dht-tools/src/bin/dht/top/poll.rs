//! Asks one node again and again.

use std::{path::PathBuf, time::Duration};

use dht_client::{Client, Error, Limits, NodeAddress, NodeInfo, Outcomes};
use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};

use super::socket::Local;

/// Channels of a node whose sizes are asked; further ones count in the node's own sums alone.
const CHANNELS_MAX: usize = 1000;
/// Sizes that are asked at the same time: as many as the client has connections.
const SIZES_AT_ONCE: usize = 4;
/// A node that does not answer for so long is shown as away.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was heard of a node.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// Which node, as they were given.
    pub(super) node: usize,
    /// When.
    pub(super) at: Instant,
    /// Why it could not be asked.
    pub(super) heard: Result<Heard, String>,
    /// What its command socket says, if there is one.
    pub(super) local: Option<Result<Local, String>>,
}

/// What a node has told.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) info: NodeInfo,
    /// Name, records, bytes.
    pub(super) channels: Vec<(String, u64, u64)>,
    /// From a request to its answer, on the average of this round.
    pub(super) latency: Duration,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Poller {
    pub(super) number: usize,
    pub(super) node: NodeAddress,
    pub(super) socket: Option<PathBuf>,
    pub(super) interval: Duration,
    pub(super) limits: Limits,
}

impl Poller {
    /// Until nobody wants to hear it any more.
    pub(super) async fn run(self, report_tx: mpsc::Sender<Report>) {
        let patience = |limit: Option<Duration>| Some(limit.unwrap_or(PATIENCE).min(PATIENCE));
        let limits = Limits {
            connect_timeout: patience(self.limits.connect_timeout),
            request_timeout: patience(self.limits.request_timeout),
            ..self.limits.clone()
        };
        let builder = Client::builder().node(self.node.to_string()).limits(limits);
        // An address that was parsed before is one.
        let Ok(client) = builder.build() else { return };
        let mut tick = tokio::time::interval(self.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let heard = ask(&client).await.map_err(|error| error.kind.to_string());
            let local = match &self.socket {
                None => None,
                Some(path) => Some(Local::ask(path).await.map_err(|error| error.to_string())),
            };
            let report = Report { node: self.number, at: Instant::now(), heard, local };
            if report_tx.send(report).await.is_err() {
                return;
            }
        }
    }
}

async fn ask(client: &Client) -> Result<Heard, Error> {
    client.reset_stats();
    let info = only(client.info_by_node().await)?;
    let names = only(client.channels_by_node().await)?;
    let sizes = names.into_iter().take(CHANNELS_MAX).map(|name| async move {
        // A node may have a channel whose name we would not take.
        let Ok(channel) = client.channel(&name) else { return Ok((name, 0, 0)) };
        let size = only(channel.size_by_node().await)?;
        Ok((name, size.records, size.bytes))
    });
    let channels: Vec<Result<_, Error>> =
        stream::iter(sizes).buffer_unordered(SIZES_AT_ONCE).collect().await;
    let channels = channels.into_iter().collect::<Result<_, Error>>()?;
    let counts = client.stats().requests;
    let (micros, answered) = counts.iter().fold((0, 0), |(micros, answered), (_, counts)| {
        (micros + counts.total_micros, answered + counts.answered)
    });
    let latency = Duration::from_micros(micros / answered.max(1));
    Ok(Heard { info, channels, latency })
}

/// What the only node has answered.
fn only<T>(outcomes: Outcomes<T>) -> Result<T, Error> {
    outcomes.all().map(|mut answers| answers.swap_remove(0))
}

//! The workers of a phase: many at once, all with one client and one progress display.

use std::cell::Cell;

use dht_client::{Channel, Client};
use dht_types::ChannelName;
use futures_util::future::join_all;

use super::plan::Place;
use crate::{failure::Failure, progress::Progress};

/// Does the same work many times at once.
#[derive(Debug)]
pub(super) struct Crew {
    channels: Vec<Channel>,
    workers: u64,
}

/// One of the crew, while a phase lasts.
pub(super) struct Worker<'a> {
    /// Its number.
    pub(super) number: u64,
    /// How many there are.
    pub(super) workers: u64,
    /// The channels, in the plan's order.
    pub(super) channels: &'a [Channel],
    /// Counts what it did.
    pub(super) progress: &'a Progress,
    failed: &'a Cell<bool>,
}

impl Worker<'_> {
    /// Whether another worker failed, so that there is no point in going on.
    pub(super) const fn is_called_off(&self) -> bool {
        self.failed.get()
    }

    /// The channel of a record.
    pub(super) fn channel(&self, place: Place) -> &Channel {
        &self.channels[place.channel]
    }
}

impl Crew {
    pub(super) fn new(client: &Client, channels: &[ChannelName], workers: u64) -> Self {
        let channel = |name: &ChannelName| client.channel(name).expect("a name of the plan");
        Self { channels: channels.iter().map(channel).collect(), workers }
    }

    /// How many workers there are.
    pub(super) const fn workers(&self) -> u64 {
        self.workers
    }

    /// The channels, in the plan's order.
    pub(super) fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Has `workers` do their part at the same time, and waits for all. The first failure is
    /// returned, and makes the others stop early.
    pub(super) async fn work<T>(
        &self,
        workers: u64,
        progress: &Progress,
        part: impl AsyncFn(&Worker<'_>) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        let failed = Cell::new(false);
        let (part, failed) = (&part, &failed);
        let parts = (0..workers).map(|number| async move {
            let channels = &self.channels[..];
            let result = part(&Worker { number, workers, channels, progress, failed }).await;
            failed.set(failed.get() || result.is_err());
            result
        });
        // All have ended before the first failure is looked at.
        join_all(parts).await.into_iter().collect()
    }
}

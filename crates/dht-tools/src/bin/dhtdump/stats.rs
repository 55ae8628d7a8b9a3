//! What was written, for the stats line. Source: spec `tools` 1.6.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dht_daemon::stats::StatsLine;
use dht_types::ChannelName;

/// Records and the bytes that they take in a dump.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// The figures, shared by the thread that dumps and the one that writes the line.
#[derive(Debug, Default)]
pub(crate) struct Stats(Mutex<Figures>);

#[derive(Debug, Default)]
struct Figures {
    /// Since the last line.
    written: Written,
    /// Duration of the last whole cycle.
    last_time_ms: u64,
    /// What each channel's last finished dump holds.
    channels: BTreeMap<ChannelName, Written>,
}

impl Stats {
    /// A record was written to a dump that may yet fail.
    pub(crate) fn record(&self, bytes: u64) {
        let written = &mut self.lock().written;
        written.records += 1;
        written.bytes += bytes;
    }

    /// The dump of a channel is in its place.
    pub(crate) fn channel_dumped(&self, channel: &ChannelName, written: Written) {
        self.lock().channels.insert(channel.clone(), written);
    }

    /// There is no such channel any more.
    pub(crate) fn channel_removed(&self, channel: &ChannelName) {
        self.lock().channels.remove(channel);
    }

    /// A cycle has ended well.
    pub(crate) fn cycle_done(&self, took: Duration) {
        self.lock().last_time_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    }

    /// The next line; its counts start again.
    pub(crate) fn take_line(&self) -> StatsLine {
        let mut figures = self.lock();
        let written = std::mem::take(&mut figures.written);
        let mut line = StatsLine::new();
        line.item("records_written", written.records)
            .item("bytes_written", written.bytes)
            .item("last_time_ms", figures.last_time_ms);
        for (name, dumped) in &figures.channels {
            line.nested("channel", name, "records_written", dumped.records);
            line.nested("channel", name, "bytes_written", dumped.bytes);
        }
        line
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        // Figures are figures, also after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_start_again_with_each_line_and_sizes_stay() {
        let stats = Stats::default();
        let [a, b] = ["a", "b"].map(|name| name.parse::<ChannelName>().unwrap());
        stats.record(33);
        stats.record(40);
        stats.channel_dumped(&b, Written { records: 2, bytes: 73 });
        stats.channel_dumped(&a, Written::default());
        stats.cycle_done(Duration::from_micros(1_234_567));
        let channel_b = "channel/b/records_written:2 channel/b/bytes_written:73";
        assert_eq!(
            stats.take_line().as_str(),
            format!(
                "records_written:2 bytes_written:73 last_time_ms:1234 \
                 channel/a/records_written:0 channel/a/bytes_written:0 {channel_b}"
            )
        );
        stats.channel_removed(&a);
        let line = format!("records_written:0 bytes_written:0 last_time_ms:1234 {channel_b}");
        assert_eq!(stats.take_line().as_str(), line);
    }
}

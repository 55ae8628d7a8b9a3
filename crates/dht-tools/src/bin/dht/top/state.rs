//! What is known of the nodes, how it came to be, and what the person looks at.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use dht_client::{HashRange, NodeAddress};
use tokio::time::Instant;

use super::{
    Key,
    poll::{Heard, Report},
    socket::Local,
};

/// Points of a graph that are kept: more than the widest screen shows.
const HISTORY_MAX: usize = 512;

/// The latest points of a graph, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct History(VecDeque<u64>);

impl History {
    pub(super) fn push(&mut self, value: u64) {
        if self.0.len() == HISTORY_MAX {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The last so many.
    pub(super) fn last(&self, count: usize) -> Vec<u64> {
        self.0.iter().skip(self.0.len().saturating_sub(count)).copied().collect()
    }
}

/// A node as it is known now.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) address: NodeAddress,
    /// What it has told last; kept while it is away.
    pub(super) heard: Option<Heard>,
    /// Why it could not be asked the last time.
    pub(super) away: Option<String>,
    pub(super) local: Option<Result<Local, String>>,
    /// Records that it has more than before, per second.
    pub(super) change: f64,
    /// Requests per second, if it tells.
    pub(super) requests: Option<f64>,
    pub(super) latencies: History,
    at: Option<Instant>,
}

impl Node {
    pub(super) fn range(&self) -> Option<HashRange> {
        self.heard.as_ref().map(|heard| heard.info.hash_range)
    }

    fn hear(&mut self, report: Report) {
        let seconds = self.at.map(|at| report.at.saturating_duration_since(at).as_secs_f64());
        let seconds = seconds.filter(|seconds| *seconds > 0.0);
        let handled = |local: &Option<Result<Local, String>>| {
            local.as_ref().and_then(|local| local.as_ref().ok()?.requests)
        };
        self.requests = match (seconds, handled(&self.local), handled(&report.local)) {
            // It counts from 0 again after a restart.
            (Some(seconds), Some(before), Some(now)) => {
                Some(as_f64(now.saturating_sub(before)) / seconds)
            }
            _ => None,
        };
        self.local = report.local;
        self.at = Some(report.at);
        match report.heard {
            Err(why) => {
                self.change = 0.0;
                self.away = Some(why);
            }
            Ok(heard) => {
                let before = self.heard.as_ref().filter(|_| self.away.is_none());
                self.change = match (seconds, before) {
                    (Some(seconds), Some(before)) => {
                        (as_f64(heard.info.records) - as_f64(before.info.records)) / seconds
                    }
                    _ => 0.0,
                };
                let micros = u64::try_from(heard.latency.as_micros()).unwrap_or(u64::MAX);
                self.latencies.push(micros);
                (self.heard, self.away) = (Some(heard), None);
            }
        }
    }

    /// How old its oldest dump is.
    pub(super) fn dump_age(&self) -> DumpAge {
        let local = self.local.as_ref().and_then(|local| local.as_ref().ok());
        DumpAge::oldest(local.into_iter().flat_map(|local| local.dumps.values().copied()))
    }
}

/// How old the last good dumps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DumpAge {
    /// Nobody tells.
    NotTold,
    /// Some channel has none.
    Never,
    /// The oldest has so many seconds.
    Seconds(u64),
}

impl DumpAge {
    fn oldest(ages: impl Iterator<Item = Option<u64>>) -> Self {
        ages.fold(Self::NotTold, |oldest, age| match (oldest, age) {
            (Self::Never, _) | (_, None) => Self::Never,
            (Self::NotTold, Some(age)) => Self::Seconds(age),
            (Self::Seconds(oldest), Some(age)) => Self::Seconds(oldest.max(age)),
        })
    }
}

/// A channel over all nodes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Records that it has more than before, per second.
    pub(super) change: f64,
    /// Nodes that have it.
    pub(super) nodes: usize,
}

/// By what channels are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Records,
    Bytes,
    Change,
}

impl Sort {
    const fn next(self) -> Self {
        match self {
            Self::Name => Self::Records,
            Self::Records => Self::Bytes,
            Self::Bytes => Self::Change,
            Self::Change => Self::Name,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Records => "records",
            Self::Bytes => "bytes",
            Self::Change => "change",
        }
    }
}

/// The table that keys move in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Focus {
    Nodes,
    Channels,
}

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    pub(super) nodes: Vec<Node>,
    pub(super) channels: Vec<Channel>,
    pub(super) focus: Focus,
    /// The rows that are selected in both tables.
    pub(super) selected: [usize; 2],
    pub(super) sort: Sort,
    pub(super) paused: bool,
    pub(super) help: bool,
    /// Records, changes of records, requests (each per second, but the first), latency in µs.
    pub(super) records: History,
    pub(super) changes: History,
    pub(super) requests: History,
    pub(super) latencies: History,
    /// When the last point was made, and the channels' records then.
    ticked: Option<(Instant, BTreeMap<String, u64>)>,
}

impl State {
    pub(super) fn new(nodes: Vec<NodeAddress>) -> Self {
        let node = |address| Node {
            address,
            heard: None,
            away: None,
            local: None,
            change: 0.0,
            requests: None,
            latencies: History::default(),
            at: None,
        };
        Self {
            nodes: nodes.into_iter().map(node).collect(),
            channels: Vec::new(),
            focus: Focus::Nodes,
            selected: [0; 2],
            sort: Sort::Name,
            paused: false,
            help: false,
            records: History::default(),
            changes: History::default(),
            requests: History::default(),
            latencies: History::default(),
            ticked: None,
        }
    }

    /// Something was heard. While it is paused the screen stays as it is.
    pub(super) fn hear(&mut self, report: Report) {
        if !self.paused
            && let Some(node) = self.nodes.get_mut(report.node)
        {
            node.hear(report);
            self.add_up_channels();
        }
    }

    /// Another point for the graphs.
    pub(super) fn tick(&mut self) {
        self.tick_at(Instant::now());
    }

    pub(super) fn tick_at(&mut self, now: Instant) {
        if self.paused {
            return;
        }
        let (records, _) = self.totals();
        self.records.push(records);
        self.changes.push(self.changes_per_second());
        self.requests.push(as_u64(self.requests_per_second().unwrap_or(0.0)));
        self.latencies.push(u64::try_from(self.latency().as_micros()).unwrap_or(u64::MAX));
        let sizes = self.channels.iter().map(|channel| (channel.name.clone(), channel.records));
        let sizes: BTreeMap<_, _> = sizes.collect();
        if let Some((before, old)) = &self.ticked {
            let seconds = now.saturating_duration_since(*before).as_secs_f64().max(0.001);
            for channel in &mut self.channels {
                let old = old.get(&channel.name).copied().unwrap_or(channel.records);
                channel.change = (as_f64(channel.records) - as_f64(old)) / seconds;
            }
        }
        self.ticked = Some((now, sizes));
        self.sort_channels();
    }

    pub(super) fn press(&mut self, key: Key) {
        let rows = [self.nodes.len(), self.channels.len()];
        let table = usize::from(self.focus == Focus::Channels);
        let last = rows[table].saturating_sub(1);
        let row = &mut self.selected[table];
        match key {
            Key::Help => self.help = !self.help,
            _ if self.help => self.help = false,
            Key::Pause => self.paused = !self.paused,
            Key::Sort => {
                self.sort = self.sort.next();
                self.sort_channels();
            }
            Key::Switch => {
                self.focus = match self.focus {
                    Focus::Nodes => Focus::Channels,
                    Focus::Channels => Focus::Nodes,
                }
            }
            Key::Move(rows) => *row = row.saturating_add_signed(rows).min(last),
            Key::Home => *row = 0,
            Key::End => *row = last,
            Key::Quit | Key::Other => {}
        }
    }

    /// Records and bytes of all nodes, as they were told last.
    pub(super) fn totals(&self) -> (u64, u64) {
        let infos = self.nodes.iter().filter_map(|node| node.heard.as_ref());
        infos.fold((0, 0), |(records, bytes), heard| {
            (records.saturating_add(heard.info.records), bytes.saturating_add(heard.info.bytes))
        })
    }

    /// Records more or less per second, of all nodes.
    pub(super) fn changes_per_second(&self) -> u64 {
        as_u64(self.nodes.iter().map(|node| node.change.abs()).sum())
    }

    /// Of all nodes that tell.
    pub(super) fn requests_per_second(&self) -> Option<f64> {
        let rates: Vec<f64> = self.nodes.iter().filter_map(|node| node.requests).collect();
        if rates.is_empty() { None } else { Some(rates.iter().sum()) }
    }

    /// The mean of the nodes that answer.
    pub(super) fn latency(&self) -> Duration {
        let here = self.nodes.iter().filter(|node| node.away.is_none());
        let times: Vec<Duration> =
            here.filter_map(|node| Some(node.heard.as_ref()?.latency)).collect();
        let count = u32::try_from(times.len().max(1)).unwrap_or(u32::MAX);
        times.iter().sum::<Duration>() / count
    }

    /// How old a channel's oldest dump is, of the nodes that tell.
    pub(super) fn dump_age(&self, channel: &str) -> DumpAge {
        let locals = self.nodes.iter().filter_map(|node| node.local.as_ref()?.as_ref().ok());
        DumpAge::oldest(locals.filter_map(|local| local.dumps.get(channel).copied()))
    }

    fn add_up_channels(&mut self) {
        let mut sums: BTreeMap<&str, (u64, u64, usize)> = BTreeMap::new();
        for heard in self.nodes.iter().filter_map(|node| node.heard.as_ref()) {
            for (name, records, bytes) in &heard.channels {
                let sum = sums.entry(name).or_default();
                *sum = (sum.0.saturating_add(*records), sum.1.saturating_add(*bytes), sum.2 + 1);
            }
        }
        let change = |name: &str| {
            let old = self.channels.iter().find(|channel| channel.name == name);
            old.map_or(0.0, |channel| channel.change)
        };
        let channel = |(name, (records, bytes, nodes)): (&str, _)| {
            let (change, name) = (change(name), name.to_owned());
            Channel { name, records, bytes, change, nodes }
        };
        self.channels = sums.into_iter().map(channel).collect();
        self.sort_channels();
        self.selected[1] = self.selected[1].min(self.channels.len().saturating_sub(1));
    }

    fn sort_channels(&mut self) {
        match self.sort {
            Sort::Name => self.channels.sort_by(|a, b| a.name.cmp(&b.name)),
            Sort::Records => {
                self.channels.sort_by_key(|channel| std::cmp::Reverse(channel.records))
            }
            Sort::Bytes => self.channels.sort_by_key(|channel| std::cmp::Reverse(channel.bytes)),
            Sort::Change => {
                self.channels.sort_by(|a, b| b.change.abs().total_cmp(&a.change.abs()));
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
const fn as_f64(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, positive")]
fn as_u64(number: f64) -> u64 {
    number.max(0.0).round() as u64
}

//! What the progress line shows while a cycle runs: written by one thread, read by another.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Latencies of which the mean is shown. Source: spec `tools` 3.2.
const WINDOW: usize = 1000;

/// Of one thread: the first for all its requests, then one for each server if asked for.
#[derive(Debug)]
pub(crate) struct Live(Vec<Gauge>);

/// Some requests of a cycle, so far.
#[derive(Debug, Default)]
struct Gauge {
    count: AtomicU64,
    timed_out: AtomicU64,
    mean_ns: AtomicU64,
}

/// What gauges said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Requests that have ended.
    pub(crate) count: u64,
    pub(crate) timed_out: u64,
    /// Mean latency of the last ones.
    pub(crate) mean_ns: u64,
}

impl Live {
    pub(super) fn new(nodes: usize) -> Self {
        Self((0..=nodes).map(|_| Gauge::default()).collect())
    }

    /// What gauge `at` of several threads says together.
    pub(crate) fn read<'a>(threads: impl Iterator<Item = &'a Self>, at: usize) -> Reading {
        let (mut all, mut weighted) = (Reading::default(), 0);
        for gauge in threads.map(|live| &live.0[at]) {
            let count = gauge.count.load(Relaxed);
            all.count += count;
            all.timed_out += gauge.timed_out.load(Relaxed);
            weighted += u128::from(gauge.mean_ns.load(Relaxed)) * u128::from(count);
        }
        let mean = weighted.checked_div(u128::from(all.count)).unwrap_or(0);
        Reading { mean_ns: u64::try_from(mean).unwrap_or(u64::MAX), ..all }
    }
}

/// The writer's side of one gauge.
#[derive(Debug)]
pub(super) struct Window {
    recent: Box<[u64; WINDOW]>,
    filled: usize,
    next: usize,
    sum: u64,
    count: u64,
    timed_out: u64,
}

impl Window {
    pub(super) fn new() -> Self {
        let recent = Box::new([0; WINDOW]);
        Self { recent, filled: 0, next: 0, sum: 0, count: 0, timed_out: 0 }
    }

    pub(super) const fn answered(&mut self, ns: u64) {
        let oldest = &mut self.recent[self.next];
        self.sum = self.sum.saturating_sub(*oldest).saturating_add(ns);
        *oldest = ns;
        self.next = (self.next + 1) % WINDOW;
        if self.filled < WINDOW {
            self.filled += 1;
        }
        self.count += 1;
    }

    pub(super) fn failed(&mut self, timed_out: bool) {
        self.count += 1;
        self.timed_out += u64::from(timed_out);
    }

    /// Shows gauge `at` what there is.
    pub(super) fn show(&self, live: &Live, at: usize) {
        let gauge = &live.0[at];
        gauge.count.store(self.count, Relaxed);
        gauge.timed_out.store(self.timed_out, Relaxed);
        gauge.mean_ns.store(self.sum.checked_div(self.filled as u64).unwrap_or(0), Relaxed);
    }
}

//! What a thread counts: for the result, for the progress line, and what it tells on stderr.

use std::{
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use super::{Kind, Live, Plan, Refusal, Tally, clock::nanos, codec::Broken, live::Window};

/// Errors that are told in a cycle; the others are counted.
const ERRORS_TOLD_MAX: u64 = 100;

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("no node is responsible for the key")]
    NoNode,
    #[error("request timed out")]
    TimedOut,
    #[error("not answered when the cycle was over")]
    Unfinished,
    #[error("{0}")]
    Refused(Refusal),
    #[error("{0}")]
    Broken(Broken),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Record {
    tally: Tally,
    live: Arc<Live>,
    /// For all, then for each server if asked for.
    windows: Vec<Window>,
    long_after: Option<Duration>,
    errors: u64,
}

impl Record {
    pub(super) fn new(plan: &Plan) -> Self {
        let nodes = if plan.per_node { plan.targets.len() } else { 0 };
        Self {
            tally: Tally::new(nodes),
            live: Arc::new(Live::new(nodes)),
            windows: (0..=nodes).map(|_| Window::new()).collect(),
            long_after: plan.long_after,
            errors: 0,
        }
    }

    /// What it shows while it runs.
    pub(super) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// A cycle begins.
    pub(super) fn begin(&mut self) {
        self.errors = 0;
        for window in &mut self.windows {
            *window = Window::new();
        }
    }

    /// A cycle has ended: what became of its requests.
    pub(super) fn finish(&mut self) -> Tally {
        let nodes = self.tally.by_node.len();
        std::mem::replace(&mut self.tally, Tally::new(nodes))
    }

    /// A request to a server (none, if there is none for it) has ended after `ns`. `Ok(true)`:
    /// there was no such record.
    pub(super) fn ended(
        &mut self,
        target: Option<usize>,
        kind: Kind,
        ns: u64,
        result: Result<bool, Failure>,
    ) {
        let node = target.filter(|target| *target < self.tally.by_node.len());
        match result {
            Ok(missing) => {
                let long = self.long_after.is_some_and(|limit| ns > nanos(limit));
                self.tally.of_kind(kind).answered(ns, missing, long);
                self.windows[0].answered(ns);
                if let Some(node) = node {
                    self.tally.by_node[node].answered(ns, missing, long);
                    self.windows[node + 1].answered(ns);
                }
            }
            Err(failure) => {
                let timed_out = failure == Failure::TimedOut;
                self.tally.of_kind(kind).failed(timed_out);
                self.windows[0].failed(timed_out);
                if let Some(node) = node {
                    self.tally.by_node[node].failed(timed_out);
                    self.windows[node + 1].failed(timed_out);
                }
                self.tell(&failure);
            }
        }
    }

    /// Tells of an error on stderr, unless there were many.
    fn tell(&mut self, failure: &Failure) {
        self.errors += 1;
        // A closed stderr is no reason to stop.
        if self.errors <= ERRORS_TOLD_MAX {
            let _ = writeln!(io::stderr(), "Error in dht request: {failure}");
        }
        if self.errors == ERRORS_TOLD_MAX {
            let _ = writeln!(io::stderr(), "Further errors of this cycle are only counted");
        }
    }

    pub(super) fn show(&self) {
        for (at, window) in self.windows.iter().enumerate() {
            window.show(&self.live, at);
        }
    }
}

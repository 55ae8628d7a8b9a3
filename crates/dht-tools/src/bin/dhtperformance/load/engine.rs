//! A thread for each part of the load, one cycle after another.

use std::{io, sync::Arc, thread, time::Duration};

use super::{
    Clock, Live, Plan, Tally,
    clock::nanos,
    codec::Broken,
    worker::{Worker, share},
};

/// How often a watcher is called while a cycle runs. Source: spec `tools` 3.2.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// The workers, with their connections, which stay open from cycle to cycle.
#[derive(Debug)]
pub(crate) struct Engine {
    plan: Arc<Plan>,
    clock: Clock,
    workers: Vec<Worker>,
    live: Vec<Arc<Live>>,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error(transparent)]
    System(#[from] io::Error),
    #[error("{target}: {broken}")]
    Open { target: String, broken: Broken },
}

impl Engine {
    /// Opens all connections.
    pub(crate) fn start(plan: Plan, clock: Clock) -> Result<Self, EngineError> {
        let plan = Arc::new(plan);
        let workers = (0..plan.threads).map(|thread| Worker::new(&plan, thread, clock));
        let mut workers: Vec<_> = workers.collect::<Result<_, _>>()?;
        for worker in &mut workers {
            worker.open_all()?.map_err(|(target, broken)| EngineError::Open {
                target: plan.targets[target].name.to_string(),
                broken,
            })?;
        }
        let live = workers.iter().map(Worker::live).collect();
        Ok(Self { plan, clock, workers, live })
    }

    /// Runs one cycle of at most `requests` in at most `duration`; calls `watch` now and then.
    /// Returns what became of the requests, and how long they took in all.
    pub(crate) fn cycle(
        &mut self,
        requests: Option<u64>,
        duration: Option<Duration>,
        mut watch: impl FnMut(&[Arc<Live>]),
    ) -> io::Result<(Tally, Duration)> {
        let start = self.clock.now();
        let end = duration.map_or(u64::MAX, |duration| start.saturating_add(nanos(duration)));
        let threads = self.plan.threads;
        let tallies: io::Result<Vec<Tally>> = thread::scope(|scope| {
            let part = |(thread, worker)| {
                let worker: &mut Worker = worker;
                let quota = requests.map_or(u64::MAX, |all| share(all, threads, thread));
                let main = thread::current();
                scope.spawn(move || {
                    let tally = worker.cycle(start, quota, end);
                    main.unpark();
                    tally
                })
            };
            let parts: Vec<_> = self.workers.iter_mut().enumerate().map(part).collect();
            while !parts.iter().all(thread::ScopedJoinHandle::is_finished) {
                thread::park_timeout(WATCH_EVERY);
                watch(&self.live);
            }
            let join = |part: thread::ScopedJoinHandle<'_, _>| {
                part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            parts.into_iter().map(join).collect()
        });
        let took = Duration::from_nanos(self.clock.now() - start);
        let mut all = Tally::new(if self.plan.per_node { self.plan.targets.len() } else { 0 });
        for tally in &tallies? {
            all.add(tally);
        }
        Ok((all, took))
    }
}

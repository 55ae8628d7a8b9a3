//! The threads of a phase: each with connections of its own, all with one progress display.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use crate::{failure::Failure, progress::Progress, session::LegacySession};

/// Runs the same work on many threads. Every phase opens its connections anew.
#[derive(Debug)]
pub(super) struct Crew {
    session: LegacySession,
    workers: u64,
}

/// One thread of the crew, while a phase lasts.
pub(super) struct Worker<'a> {
    /// Its number.
    pub(super) number: u64,
    /// How many there are.
    pub(super) workers: u64,
    /// Its connections.
    pub(super) session: LegacySession,
    /// Counts what it did.
    pub(super) progress: &'a Progress,
    failed: &'a AtomicBool,
}

impl Worker<'_> {
    /// Whether another worker failed, so that there is no point in going on.
    pub(super) fn is_called_off(&self) -> bool {
        self.failed.load(Relaxed)
    }
}

impl Crew {
    pub(super) fn new(session: &LegacySession, workers: u64) -> Self {
        Self { session: session.for_thread(), workers }
    }

    /// How many workers there are.
    pub(super) const fn workers(&self) -> u64 {
        self.workers
    }

    /// Has `workers` threads do their part, and waits for all. The first failure is returned, and
    /// makes the others stop early.
    pub(super) fn work<T: Send>(
        &self,
        workers: u64,
        progress: &Progress,
        part: impl Fn(&mut Worker<'_>) -> Result<T, Failure> + Sync,
    ) -> Result<Vec<T>, Failure> {
        let failed = AtomicBool::new(false);
        let part = |number| {
            let session = self.session.for_thread();
            let mut worker = Worker { number, workers, session, progress, failed: &failed };
            let result = part(&mut worker);
            failed.fetch_or(result.is_err(), Relaxed);
            result
        };
        thread::scope(|scope| {
            let part = &part;
            let threads: Vec<_> =
                (0..workers).map(|number| scope.spawn(move || part(number))).collect();
            let results = threads.into_iter().map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            // All are joined before the first failure is looked at.
            results.collect::<Vec<_>>().into_iter().collect()
        })
    }
}

//! The thread that dumps channels while the node serves.
//!
//! ```text
//! schedule.rs    when which channel
//! dump.rs        one channel, step by step
//! dumps.rs       what became of it
//! ```
//!
//! It must not be felt: it copies a few records under a lock and writes them without one, rests
//! after each step half as long as it has read from the store, and leaves the processor to the
//! workers where the system knows priorities of threads.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use dht_storage::Store;

use super::DUMP_LOG;
use super::dump::{DumpTarget, LogCut, Outcome};
use super::dumps::Dumps;
use super::schedule::{Schedule, Turn};
use crate::durability::Keeper;
use crate::shared::Shared;

/// Longest rest after a step. Reading that takes longer was waiting for the processor.
const REST_MAX: Duration = Duration::from_millis(10);

/// How often to look whether the log has grown so much that a round of dumps is due.
const LOOK_AT_LOG: Duration = Duration::from_secs(1);

/// The thread. It ends with [`Dumper::stop`].
pub(crate) struct Dumper {
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

impl Dumper {
    /// Starts it.
    pub(crate) fn spawn(
        shared: Arc<Shared>,
        target: DumpTarget,
        mut schedule: Schedule,
    ) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("dumper".to_owned()).spawn(move || {
            let mut guard = TellOfPanic { dumps: &shared.dumps, ended: false };
            yield_to_workers();
            let Shared { store, dumps, keeper, .. } = &*shared;
            let keeper = keeper.as_deref();
            let duty = Duty { store, dumps, keeper, target: &target, stop: &stopped };
            duty.run(&mut schedule);
            guard.ended = true;
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends it, after the call to the disk that it may be waiting for. A dump that is being written
    /// is given up: its channel keeps the dump before.
    pub(crate) fn stop(self) {
        self.stop.set();
        // A panic has been told of.
        let _ = self.thread.join();
    }
}

/// What the thread works with.
struct Duty<'a> {
    store: &'a Store,
    dumps: &'a Dumps,
    keeper: Option<&'a Keeper>,
    target: &'a DumpTarget,
    stop: &'a Stop,
}

/// What a turn has left to do.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Another turn.
    Turn,
    /// Another turn after so long.
    Sleep(Duration),
    /// Nothing: it was told to stop.
    End,
}

impl Duty<'_> {
    fn run(&self, schedule: &mut Schedule) {
        loop {
            match self.turn(schedule) {
                Next::Turn => {}
                Next::Sleep(time) if self.stop.wait(time).is_continue() => {}
                Next::Sleep(_) | Next::End => return,
            }
        }
    }

    /// Does what the schedule says.
    fn turn(&self, schedule: &mut Schedule) -> Next {
        let now = (self.target.clock)();
        if !schedule.is_in_round() && self.keeper.is_some_and(|log| log.take_round(self.store)) {
            log::info!(target: DUMP_LOG, "Dumping all channels now, so that the log can go");
            schedule.begin_round(now);
        }
        let channels = || {
            if let Some(log) = self.keeper {
                log.round_begins(self.store);
            }
            let channels = self.store.channels();
            if channels.is_empty() {
                self.round_ends();
            }
            channels.iter().map(|channel| channel.name().clone()).collect()
        };
        let name = match schedule.turn(now, channels) {
            Turn::WaitUntil(at) => {
                let time = at.saturating_duration_since(now);
                let time = if self.keeper.is_some() { time.min(LOOK_AT_LOG) } else { time };
                return Next::Sleep(time);
            }
            Turn::Dump(name) => name,
        };
        let Some(channel) = self.store.channel(&name) else {
            // It was removed since the round began.
            if !schedule.is_in_round() {
                self.round_ends();
            }
            return Next::Turn;
        };
        let log = self.keeper.map(|keeper| LogCut { store: self.store, keeper });
        let mut rest = |worked: Duration| self.stop.wait((worked / 2).min(REST_MAX));
        match self.target.dump(&channel, log, self.dumps, &mut rest) {
            Ok(Outcome::Dumped | Outcome::Removed) => {
                if !schedule.is_in_round() {
                    self.round_ends();
                }
                Next::Turn
            }
            Ok(Outcome::Stopped) => Next::End,
            Err(error) => {
                log::error!(
                    target: DUMP_LOG,
                    "Channel '{name}' was not dumped: {error}. The dump before, if there was one, \
                     is unchanged, and the dump is tried again in {} s. Check room and state of \
                     the disk: a dump takes its size beside the dump before and the backup.",
                    schedule.retry().as_secs()
                );
                schedule.failed(name, (self.target.clock)());
                Next::Turn
            }
        }
    }

    /// The log may go as far as the dumps have its changes.
    fn round_ends(&self) {
        let Some(log) = self.keeper else { return };
        self.dumps.without_removals(|| {
            log.dumped(self.store, |channel| self.dumps.positions(channel.name()));
        });
    }
}

/// Where the thread sleeps, and is told to end.
#[derive(Debug, Default)]
struct Stop {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn set(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    /// Sleeps so long, or until it is set; then it breaks.
    fn wait(&self, time: Duration) -> ControlFlow<()> {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |is_set| !*is_set);
        let (is_set, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *is_set { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The node serves on without the thread, but somebody must know.
struct TellOfPanic<'a> {
    dumps: &'a Dumps,
    /// Not by a panic.
    ended: bool,
}

impl Drop for TellOfPanic<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.dumps.dumper_has_failed();
            log::error!(
                target: DUMP_LOG,
                "The thread that dumps has failed: no channel will be dumped before the node is \
                 stopped. Restart the node."
            );
        }
    }
}

/// This thread gets the processor when the workers leave it.
#[cfg(target_os = "linux")]
fn yield_to_workers() {
    /// A tenth of a worker's weight. It may be put aside while it holds a lock of the store; that
    /// was not to be seen in the latency of puts, not even on a machine with too much to do.
    const NICENESS: i32 = 10;
    // On Linux each thread has a niceness of its own, and "no process" is the calling thread.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        log::warn!(target: DUMP_LOG, "cannot lower the priority of the thread that dumps: {error}");
    }
}

/// Elsewhere the priority is that of the whole process.
#[cfg(not(target_os = "linux"))]
fn yield_to_workers() {}

#[cfg(test)]
#[path = "dumper_tests.rs"]
mod tests;

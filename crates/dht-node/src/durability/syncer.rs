//! Level `disk`: a thread for each worker that syncs what the worker has written.
//!
//! ```text
//! worker:  write -> request(ticket) -> goes on serving; the answers of that turn wait
//! syncer:  takes all that was requested so far -> one sync for all -> durable = ticket -> mail
//! worker:  releases the answers up to `durable`
//! ```
//!
//! While one sync runs, everything that is written meanwhile gathers for the next one: the more
//! writers wait, the more of them are served by one sync.

use std::io;
use std::mem;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use dht_dump::{Disk, DiskError, SharedFile};
use dht_log::Written;

/// What a syncer works with.
pub(crate) struct SyncerOptions {
    pub(crate) disk: Arc<dyn Disk>,
    /// The folder of the log.
    pub(crate) dir: std::path::PathBuf,
    /// Which worker's.
    pub(crate) worker: usize,
    /// Called when there is something to [`Syncer::take`].
    pub(crate) wake: Box<dyn Fn() + Send>,
}

/// A worker's handle on its thread. Dropping it ends the thread, after the sync that runs.
pub(crate) struct Syncer {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// A sync has ended.
    finished: Condvar,
}

#[derive(Default)]
struct Inner {
    /// What was written since the last sync began: at most one entry for each segment.
    dirty: Vec<Dirty>,
    /// A sync is wanted.
    is_wanted: bool,
    ticket: u64,
    done: Done,
    /// The ticket of the last sync that failed.
    failed: u64,
    stop: bool,
}

struct Dirty {
    file: Arc<dyn SharedFile>,
    segment: u64,
    end: u64,
    is_new: bool,
}

/// What has become of requests.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// All requests up to this ticket are on the disk.
    pub(crate) durable: u64,
    /// Up to where that segment is: number and offset.
    pub(crate) synced: (u64, u64),
    /// The first sync that failed since this was last taken.
    pub(crate) error: Option<DiskError>,
}

impl Syncer {
    /// Starts the thread.
    pub(crate) fn spawn(options: SyncerOptions) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let name = format!("sync-{}", options.worker);
        let thread = std::thread::Builder::new().name(name).spawn(move || shared.run(&options))?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// Something was written. With a ticket: somebody waits for it to be on the disk. Without one
    /// it is synced along with the next that is waited for, or when its segment is complete.
    pub(crate) fn written(&self, written: &Written, ticket: Option<u64>) {
        let mut inner = self.state.lock();
        let (segment, end) = (written.segment, written.end);
        match inner.dirty.last_mut().filter(|dirty| dirty.segment == segment) {
            Some(dirty) => dirty.end = end,
            None => {
                let (file, is_new) = (Arc::clone(&written.file), written.is_new);
                inner.dirty.push(Dirty { file, segment, end, is_new });
            }
        }
        inner.ticket = ticket.unwrap_or(inner.ticket);
        inner.is_wanted |= ticket.is_some() || written.closed.is_some();
        if inner.is_wanted {
            self.state.changed.notify_one();
        }
    }

    /// Waits until the write with this ticket is on the disk; `false` if a sync has failed.
    pub(crate) fn wait(&self, ticket: u64) -> bool {
        let waits = |inner: &mut Inner| inner.done.durable.max(inner.failed) < ticket;
        let inner = self.state.finished.wait_while(self.state.lock(), waits);
        inner.unwrap_or_else(PoisonError::into_inner).failed < ticket
    }

    /// What has become of the requests so far.
    pub(crate) fn take(&self) -> Done {
        let done = &mut self.state.lock().done;
        Done { durable: done.durable, synced: done.synced, error: done.error.take() }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.state.lock().stop = true;
        self.state.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say that was not said.
            let _ = thread.join();
        }
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, options: &SyncerOptions) {
        loop {
            let wait = |inner: &mut Inner| !inner.is_wanted && !inner.stop;
            let inner = self.changed.wait_while(self.lock(), wait);
            let mut inner = inner.unwrap_or_else(PoisonError::into_inner);
            if inner.stop {
                return;
            }
            inner.is_wanted = false;
            let (dirty, ticket) = (mem::take(&mut inner.dirty), inner.ticket);
            drop(inner);
            let result = sync(&*options.disk, &options.dir, &dirty);
            let mut inner = self.lock();
            match result {
                Ok(()) => {
                    inner.done.durable = ticket;
                    if let Some(last) = dirty.last() {
                        inner.done.synced = (last.segment, last.end);
                    }
                }
                Err(error) => {
                    inner.failed = ticket;
                    inner.done.error.get_or_insert(error);
                }
            }
            drop(inner);
            self.finished.notify_all();
            (options.wake)();
        }
    }
}

/// In the order in which they were written, so that a synced segment has its former ones before it.
fn sync(disk: &dyn Disk, dir: &Path, dirty: &[Dirty]) -> Result<(), DiskError> {
    for written in dirty {
        written.file.sync().map_err(DiskError::new("sync a log file in", dir))?;
        if written.is_new {
            disk.sync_dir(dir).map_err(DiskError::new("sync", dir))?;
        }
    }
    Ok(())
}

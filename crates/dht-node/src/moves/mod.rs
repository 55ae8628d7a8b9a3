//! Records on their way to other nodes, and from them.
//!
//! ```text
//! redistribute.rs   the legacy Redistribute: a range is set at once, what lies outside goes out
//! receiving.rs        its other end: what a taker remembers, so that nothing old replaces news
//! handover.rs       MovePart between nodes of ours: the giver serves until the taker has all
//! settle.rs           whose the part is, if that is not certain; what follows from that
//! taking.rs           its other end
//! lanes.rs          the connections over which records go
//! way.rs            whether they are compressed
//! changes.rs        which records changed since they were sent
//! peer.rs           the connection to the other node
//! journal.rs        what must be known after a crash
//! ```
//!
//! What goes out does so on a thread of its own, one at a time: it waits for the other node, and
//! that must hold nobody up. What it deletes, workers delete for it ([`Removal`]), by the same code
//! as a client's Remove. What comes in is requests like any other.

mod changes;
mod handover;
mod journal;
mod lanes;
mod peer;
mod receiving;
mod redistribute;
mod settle;
mod taking;
mod way;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use dht_storage::{Channel, Notify};
use dht_types::{HashRange, Key};

pub(crate) use handover::GivePart;
pub(crate) use journal::{JOURNAL_FILE, Journal, JournalError};
pub(crate) use receiving::Receiving;
pub(crate) use redistribute::{Redistribution, node_address};
pub(crate) use settle::resolve;
pub(crate) use taking::{ClaimStream, Job, PurgeStream, Taking};

use crate::context::Clock;
use crate::driver::ConnId;
use crate::mailbox::Mailbox;
use crate::ranges::Ranges;
use crate::shared::Shared;

/// Keys of one [`Removal`]: a worker is busy with it for well below a millisecond.
const REMOVAL_KEYS_MAX: usize = 1024;

/// How often a mover that waits for something looks whether the node stops.
const STOP_LOOK: Duration = Duration::from_millis(100);

/// What all know of moves.
pub(crate) struct Moves {
    state: Mutex<State>,
    stop: Stop,
    clock: Clock,
    /// While this node redistributes: the bytes that PutBatch may fill it to. 0 for no limit.
    batch_limit_bytes: AtomicU64,
}

struct State {
    /// A move goes out, or is cleaned up after.
    is_giving: bool,
    taking: Option<Taking>,
    /// Workers that store or remove records of a part that is not ours, at this moment.
    busy_with_part: usize,
    /// Who waits for the range to be synced, and whether somebody is at it.
    sync_waits: Vec<Arc<Job>>,
    is_syncing: bool,
    journal: Journal,
    threads: Vec<JoinHandle<()>>,
    next_worker: usize,
}

impl State {
    /// Changes the journal, on disk first. It may say that a part is ours: it must not be on the
    /// disk before the range is.
    fn note(&mut self, ranges: &Ranges, change: impl FnOnce(&mut Journal)) -> io::Result<()> {
        if ranges.is_kept() && !ranges.is_synced() {
            ranges.sync().map_err(io::Error::other)?;
        }
        self.journal.change(change)
    }
}

/// Which parts are on their way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MovesReport {
    /// One goes out, or is cleaned up after.
    pub(crate) is_giving: bool,
    /// This one comes in.
    pub(crate) taking: Option<HashRange>,
}

/// Tells the movers that the node stops.
#[derive(Default)]
struct Stop {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_set(&self) -> bool {
        *self.lock()
    }

    /// Waits so long, or until the node stops; true if it does.
    fn wait(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |is_set| !*is_set);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Records that a worker has to remove, and who waits for it.
pub(crate) struct Removal {
    pub(crate) channel: Arc<Channel>,
    pub(crate) keys: Vec<Key>,
    pub(crate) notify: Notify,
    done: mpsc::Sender<bool>,
}

impl std::fmt::Debug for Removal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Removal({}: {} keys)", self.channel.name(), self.keys.len())
    }
}

impl Removal {
    /// It is over; whether all of them are gone.
    pub(crate) fn done(self, all_gone: bool) {
        // A mover that has stopped does not care.
        let _ = self.done.send(all_gone);
    }
}

/// Whom to wake when there is news of a move: the connection that asked for it.
#[derive(Debug, Clone)]
pub(crate) struct Requester {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) conn: ConnId,
    /// Which of its streams; 0 in the legacy protocol.
    pub(crate) stream: u64,
}

impl Requester {
    fn wake(&self) {
        self.mailbox.wake_stream(self.conn, self.stream);
    }
}

/// Holds the right to give: one has it at a time.
pub(crate) struct GivingTurn {
    shared: Arc<Shared>,
}

impl Drop for GivingTurn {
    fn drop(&mut self) {
        self.shared.moves.batch_limit_bytes.store(0, Relaxed);
        self.shared.moves.lock().is_giving = false;
    }
}

impl Moves {
    pub(crate) fn new(journal: Journal, clock: Clock) -> Self {
        let state = State {
            is_giving: false,
            taking: None,
            busy_with_part: 0,
            sync_waits: Vec::new(),
            is_syncing: false,
            journal,
            threads: Vec::new(),
            next_worker: 0,
        };
        Self {
            state: Mutex::new(state),
            stop: Stop::default(),
            clock,
            batch_limit_bytes: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a part is on its way out or in.
    pub(crate) fn is_busy(&self) -> bool {
        let state = self.lock();
        state.is_giving || state.taking.as_ref().is_some_and(|taking| taking.is_alive(self.clock))
    }

    /// What is going on; waits for nobody.
    pub(crate) fn report(&self) -> MovesReport {
        let state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody begins or ends one at this moment, and may be writing the journal.
            Err(TryLockError::WouldBlock) => return MovesReport::default(),
        };
        let taking = state.taking.as_ref().filter(|taking| taking.is_alive(self.clock));
        MovesReport { is_giving: state.is_giving, taking: taking.map(|taking| taking.part()) }
    }

    /// The right to give, unless somebody has it, or a part is coming in.
    pub(crate) fn take_turn(shared: &Arc<Shared>) -> Option<GivingTurn> {
        let moves = &shared.moves;
        let mut state = moves.lock();
        let taking = state.taking.as_ref().is_some_and(|taking| taking.is_alive(moves.clock));
        if taking || std::mem::replace(&mut state.is_giving, true) {
            return None;
        }
        drop(state);
        Some(GivingTurn { shared: Arc::clone(shared) })
    }

    /// Runs a mover.
    pub(crate) fn spawn(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = std::thread::Builder::new().name("mover".to_owned()).spawn(work)?;
        let mut state = self.lock();
        state.threads.retain(|thread| !thread.is_finished());
        state.threads.push(thread);
        Ok(())
    }

    /// Ends the movers: what they have not sent stays. To be called while the workers run.
    pub(crate) fn stop(&self, ranges: &Ranges) {
        *self.stop.lock() = true;
        self.stop.changed.notify_all();
        let threads = std::mem::take(&mut self.lock().threads);
        for thread in threads {
            // A panic has been told of.
            let _ = thread.join();
        }
        if let Err(error) = self.lock().note(ranges, |_| {}) {
            log::error!("cannot write the journal of moves: {error}");
        }
    }

    /// Bytes that PutBatch may fill this node to; `None` for no limit.
    pub(crate) fn batch_limit_bytes(&self) -> Option<u64> {
        Some(self.batch_limit_bytes.load(Relaxed)).filter(|limit| *limit > 0)
    }

    /// Has a worker remove records, and waits for it. `false`: the node stops.
    fn remove(
        &self,
        shared: &Shared,
        channel: &Arc<Channel>,
        keys: &[Key],
        notify: Notify,
    ) -> bool {
        let (done, dones) = mpsc::channel();
        for keys in keys.chunks(REMOVAL_KEYS_MAX) {
            let (owned, keys) = (Arc::clone(channel), keys.to_vec());
            let removal = Removal { channel: owned, keys, notify, done: done.clone() };
            let mut state = self.lock();
            let worker = state.next_worker;
            state.next_worker += 1;
            drop(state);
            if !shared.ranges.leave_removal(worker, removal) {
                return false;
            }
            loop {
                match dones.recv_timeout(STOP_LOOK) {
                    Ok(true) => break,
                    Ok(false) => {
                        log::error!(
                            "Records of channel '{}' that are another node's by now stay here: \
                             the log cannot be written",
                            channel.name()
                        );
                        break;
                    }
                    Err(RecvTimeoutError::Disconnected) => return false,
                    Err(RecvTimeoutError::Timeout) if self.stop.is_set() => return false,
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
        }
        true
    }
}

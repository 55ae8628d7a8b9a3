//! What other threads leave for a worker: sockets to serve, connections to look after.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};

use crate::driver::ConnId;
use crate::moves::Removal;
use crate::session::Protocol;

/// Shared by a worker and everybody who has something for it.
///
/// A worker announces that it is about to sleep and then looks into the box once more; whoever
/// leaves something looks whether it sleeps. So a busy worker costs nobody a system call, and a
/// sleeping one is woken once.
#[derive(Debug)]
pub(crate) struct Mailbox {
    waker: mio::Waker,
    asleep: AtomicBool,
    /// The generation of the hash range that the worker goes by.
    seen: AtomicU64,
    /// The worker has begun a turn since it was last asked whether it lives.
    turned: AtomicBool,
    /// The last barrier that the worker has passed.
    passed: AtomicU64,
    mail: Mutex<Mail>,
}

/// A socket to serve.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) socket: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) protocol: Protocol,
}

/// What was left. Bounded by the connection limit and the number of subscriptions, as each
/// connection and each subscription stands in it once at most.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    /// Accepted sockets, counted already.
    pub(crate) sockets: Vec<Accepted>,
    /// Streams for which something has happened, and their connections.
    pub(crate) woken: Vec<(ConnId, u64)>,
    /// What a mover wants removed. It waits before it leaves another.
    pub(crate) removals: Vec<Removal>,
    /// The syncer of the worker's log has done something.
    pub(crate) synced: bool,
    /// The worker has to go through this barrier; see [`crate::admission`].
    pub(crate) barrier: Option<u64>,
    /// The worker has to end.
    pub(crate) stop: bool,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.sockets.is_empty()
            && self.woken.is_empty()
            && self.removals.is_empty()
            && !self.synced
            && self.barrier.is_none()
            && !self.stop
    }
}

impl Mailbox {
    pub(crate) fn new(waker: mio::Waker) -> Self {
        let (sockets, woken, removals) = (Vec::new(), Vec::new(), Vec::new());
        let mail = Mail { sockets, woken, removals, synced: false, barrier: None, stop: false };
        let (asleep, turned) = (AtomicBool::new(false), AtomicBool::new(true));
        let (seen, passed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { waker, asleep, seen, turned, passed, mail: Mutex::new(mail) }
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().expect("nobody panics while holding the mail")
    }

    /// Leaves something, and wakes the worker if it sleeps.
    fn leave(&self, put: impl FnOnce(&mut Mail)) {
        put(&mut self.lock());
        if self.asleep.swap(false, SeqCst)
            && let Err(error) = self.waker.wake()
        {
            log::error!("cannot wake a worker: {error}");
        }
    }

    /// A socket to serve from now on.
    pub(crate) fn leave_socket(&self, accepted: Accepted) {
        self.leave(|mail| mail.sockets.push(accepted));
    }

    /// Something has happened for a stream of this connection.
    pub(crate) fn wake_stream(&self, conn: ConnId, stream: u64) {
        self.leave(|mail| mail.woken.push((conn, stream)));
    }

    /// Records to be removed.
    pub(crate) fn leave_removal(&self, removal: Removal) {
        self.leave(|mail| mail.removals.push(removal));
    }

    /// Whether the worker has begun a turn since the last call; and asks it to begin another.
    pub(crate) fn take_life_sign(&self) -> bool {
        let lives = self.turned.swap(false, Relaxed);
        self.nudge();
        lives
    }

    /// There is something to see elsewhere.
    pub(crate) fn nudge(&self) {
        self.leave(|_| {});
    }

    /// The worker goes by this generation of the hash range.
    pub(crate) fn saw(&self, generation: u64) {
        self.seen.store(generation, SeqCst);
    }

    /// The generation that the worker goes by.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(SeqCst)
    }

    /// The syncer of the worker's log has done something.
    pub(crate) fn wake_synced(&self) {
        self.leave(|mail| mail.synced = true);
    }

    /// The worker has to go through all that has happened at its sockets.
    pub(crate) fn leave_barrier(&self, number: u64) {
        self.leave(|mail| mail.barrier = Some(number));
    }

    /// The worker has gone through a barrier.
    pub(crate) fn pass(&self, number: u64) {
        self.passed.store(number, SeqCst);
    }

    /// The last barrier that the worker has passed.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(SeqCst)
    }

    /// The worker has to close its connections and end.
    pub(crate) fn stop(&self) {
        self.leave(|mail| mail.stop = true);
    }

    /// Takes all that was left.
    pub(crate) fn take(&self) -> Mail {
        std::mem::take(&mut *self.lock())
    }

    /// The worker is about to sleep. `false`: there is mail.
    pub(crate) fn may_sleep(&self) -> bool {
        self.asleep.store(true, SeqCst);
        let may = self.lock().is_empty();
        if !may {
            self.asleep.store(false, SeqCst);
        }
        may
    }

    /// The worker begins a turn: nobody need wake it.
    pub(crate) fn awake(&self) {
        self.asleep.store(false, SeqCst);
        self.turned.store(true, Relaxed);
    }
}

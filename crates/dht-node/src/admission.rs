//! Which new connections are served, and how many there are: counted in the order in which clients
//! see it happen.
//!
//! The workers see that connections are closed, the control thread accepts new ones. So before that
//! refuses a connection above the limit, or answers how many there are, each worker goes through
//! what has happened at its sockets: a *barrier*.
//!
//! Compat: the original, which is one thread, sees these things in their order.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mio::Waker;
use socket2::{SockRef, TcpKeepalive};

use crate::driver::ConnId;
use crate::mailbox::{Accepted, Mailbox};
use crate::shared::Shared;

/// Keep-alive of accepted sockets: a dead peer is found after about 14 seconds.
/// Source: spec `node` 11.10.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_PROBES: u32 = 3;

/// Most connections above the limit that wait for a barrier; more are closed at once.
const OVER_LIMIT_MAX: usize = 64;

/// Longest time that a barrier waits for busy workers.
const BARRIER_WAIT_MAX: Duration = Duration::from_millis(100);

/// Turns of a worker until it has passed a barrier: the one that learns of it; one that sees all
/// that had happened before, and receives the last bytes of who has gone; one that closes.
pub(crate) const BARRIER_TURNS: u32 = 3;

/// The stream of a legacy connection, which has one at a time.
const ONLY_STREAM: u64 = 0;

/// Where workers ask how many connections there are.
#[derive(Debug, Default)]
pub(crate) struct CountQueries {
    /// Wakes the control thread. Not set: there is none that answers.
    control: OnceLock<Waker>,
    /// Bounded by the connection limit, as each connection asks for one thing at a time.
    waiting: Mutex<Vec<CountQuery>>,
}

/// One connection that asks.
#[derive(Debug)]
struct CountQuery {
    mailbox: Arc<Mailbox>,
    conn: ConnId,
    answered: Arc<AtomicBool>,
}

/// Whether all that happened before the query is counted.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicBool>);

impl Counted {
    pub(crate) fn is_done(&self) -> bool {
        self.0.load(SeqCst)
    }
}

impl CountQueries {
    /// From now on there is an [`Admission`], whose thread is woken by this.
    pub(crate) fn open(&self, control: Waker) {
        // There is one in a process.
        let _ = self.control.set(control);
    }

    /// Asks for a connection, whose stream is woken when it is done.
    pub(crate) fn ask(&self, mailbox: &Arc<Mailbox>, conn: ConnId) -> Counted {
        let answered = Arc::new(AtomicBool::new(self.control.get().is_none()));
        if !answered.load(SeqCst) {
            let (mailbox, answered) = (Arc::clone(mailbox), Arc::clone(&answered));
            self.lock().push(CountQuery { mailbox, conn, answered });
            self.wake_control();
        }
        Counted(answered)
    }

    /// A query is there, or a worker has passed a barrier.
    pub(crate) fn wake_control(&self) {
        if let Some(Err(error)) = self.control.get().map(Waker::wake) {
            log::error!("cannot wake the control thread: {error}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<CountQuery>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The control thread's part.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// Accepted above the limit, the earliest first.
    over_limit: VecDeque<Accepted>,
    barrier: Option<Barrier>,
    /// Of the last barrier.
    number: u64,
}

/// What the workers go through.
#[derive(Debug)]
struct Barrier {
    until: Instant,
    /// Are answered behind it.
    queries: Vec<CountQuery>,
    /// So many of the connections above the limit are judged behind it.
    over_limit: usize,
}

/// Queries that a barrier will answer.
#[derive(Debug)]
pub(crate) struct DueQueries(Vec<CountQuery>);

impl Admission {
    /// Returns a connection that is to be served. One above the limit waits for a barrier.
    pub(crate) fn admit(&mut self, accepted: Accepted, shared: &Shared) -> Option<Accepted> {
        let count = accepted.protocol.connections(shared);
        let mut waiting = self.over_limit.iter().map(|earlier| earlier.protocol);
        if !waiting.any(|protocol| protocol == accepted.protocol) && count.try_open() {
            return Some(accepted);
        }
        if self.over_limit.len() < OVER_LIMIT_MAX {
            self.over_limit.push_back(accepted);
        } else {
            count.refuse();
        }
        None
    }

    /// When [`Self::pass`] has to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.barrier.as_ref().map(|barrier| barrier.until)
    }

    /// What a new barrier is due for. Everything that was connected before now has to be accepted
    /// before it begins.
    pub(crate) fn due(&self, shared: &Shared) -> Option<DueQueries> {
        if self.barrier.is_some() {
            return None;
        }
        let queries = std::mem::take(&mut *shared.count_queries.lock());
        let is_due = !queries.is_empty() || !self.over_limit.is_empty();
        is_due.then_some(DueQueries(queries))
    }

    /// Begins a barrier.
    pub(crate) fn begin(&mut self, due: DueQueries, workers: &[Arc<Mailbox>], now: Instant) {
        self.number += 1;
        workers.iter().for_each(|worker| worker.leave_barrier(self.number));
        let over_limit = self.over_limit.len();
        self.barrier = Some(Barrier { until: now + BARRIER_WAIT_MAX, queries: due.0, over_limit });
    }

    /// Ends the barrier if all workers have passed it, or it is time. Returns the connections that
    /// are to be served; the others above the limit are closed.
    pub(crate) fn pass(
        &mut self,
        workers: &[Arc<Mailbox>],
        shared: &Shared,
        now: Instant,
    ) -> Vec<Accepted> {
        let all_passed = workers.iter().all(|worker| worker.passed() >= self.number);
        let Some(barrier) = self.barrier.take_if(|barrier| all_passed || barrier.until <= now)
        else {
            return Vec::new();
        };
        let judged = self.over_limit.drain(..barrier.over_limit);
        let admitted = judged.filter(|accepted| {
            let count = accepted.protocol.connections(shared);
            let is_admitted = count.try_open();
            if !is_admitted {
                count.refuse();
            }
            is_admitted
        });
        let admitted = admitted.collect();
        for CountQuery { mailbox, conn, answered } in barrier.queries {
            answered.store(true, SeqCst);
            mailbox.wake_stream(conn, ONLY_STREAM);
        }
        admitted
    }
}

/// Source: spec `node` 11.10.
pub(crate) fn set_options(socket: &mio::net::TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

//! The connections of one node: at most as many as the limit says, made on demand, kept for the
//! next request. Who finds none waits; too much that waits is refused.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use dht_protocol::legacy::{Answer, Arguments, Command};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use super::conn::{Conn, bytes_of};
use crate::{
    Error, ErrorKind, Limits, NodeAddress, RequestName,
    stats::{End, RequestCounts},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) address: NodeAddress,
    limits: Limits,
    permits: Semaphore,
    waiting_bytes: AtomicUsize,
    is_shut_down: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Conn>,
    /// Of a connection that was made before the last `drop_all`, and must not come back.
    generation: u64,
    counts: Vec<(Command, RequestCounts)>,
    bytes_sent: u64,
    bytes_received: u64,
    connects: u64,
}

/// Bytes that wait for a connection; they do no longer when this is dropped.
struct Waiting<'p>(&'p Pool, usize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting_bytes.fetch_sub(self.1, Relaxed);
    }
}

/// Counts a request's end even if its future is dropped.
struct Counting<'p> {
    pool: &'p Pool,
    command: Command,
    begun: Instant,
    end: End,
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        self.pool.count(self.command, |counts| counts.end(self.end, took));
    }
}

impl Pool {
    pub(super) fn new(address: NodeAddress, limits: Limits) -> Self {
        let permits = Semaphore::new(limits.legacy_connections_max.max(1));
        let (waiting_bytes, state) = (AtomicUsize::new(0), Mutex::default());
        let is_shut_down = watch::channel(false).0;
        Self { address, limits, permits, waiting_bytes, is_shut_down, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn error(&self, command: Command, kind: ErrorKind) -> Error {
        let request = Some(RequestName::Legacy(command));
        Error { node: Some(self.address.clone()), request, kind }
    }

    /// Sends a request that has a single answer, and waits for that.
    pub(super) async fn call<'a, R: Arguments<'a> + Answer>(
        &self,
        request: &R,
        timeout: Option<Duration>,
    ) -> Result<R::Answer, Error> {
        let mut sent = false;
        // One that is beyond all time is none.
        let end = timeout.and_then(|limit| Some((limit, Instant::now().checked_add(limit)?)));
        let result = self.attempt(request, end, &mut sent).await;
        result.map_err(|kind| {
            let kind = match kind {
                // As by neo: lost on the way, and perhaps done.
                ErrorKind::Closed | ErrorKind::Io(_) => {
                    ErrorKind::Disconnected { sent, reason: kind.to_string().into() }
                }
                other => other,
            };
            self.error(R::COMMAND, kind)
        })
    }

    async fn attempt<'a, R: Arguments<'a> + Answer>(
        &self,
        request: &R,
        end: Option<(Duration, Instant)>,
        sent: &mut bool,
    ) -> Result<R::Answer, ErrorKind> {
        let bytes = bytes_of(request);
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let waiting = self.waiting_bytes.fetch_add(bytes.len(), Relaxed) + bytes.len();
                let _waiting = Waiting(self, bytes.len());
                if waiting > self.limits.legacy_queue_bytes_max && waiting > bytes.len() {
                    return Err(ErrorKind::QueueFull(waiting - bytes.len()));
                }
                let permit = until(end, async { Ok(self.permits.acquire().await) }).await;
                // It had no connection all the time.
                let permit = permit.map_err(|kind| match kind {
                    ErrorKind::TimedOut(limit) => ErrorKind::ConnectTimedOut(limit),
                    other => other,
                })?;
                permit.map_err(|_| ErrorKind::ShutDown)?
            }
        };
        self.count(R::COMMAND, |counts| counts.started += 1);
        let begun = Instant::now();
        let mut counting = Counting { pool: self, command: R::COMMAND, begun, end: End::Dropped };
        let result = tokio::select! {
            result = until(end, self.on_connection(request, sent)) => result,
            () = self.shut_down_told() => Err(ErrorKind::ShutDown),
        };
        let result = result.map_err(|kind| match kind {
            ErrorKind::TimedOut(limit) if !*sent => ErrorKind::ConnectTimedOut(limit),
            ErrorKind::ShutDown if *sent => {
                ErrorKind::Disconnected { sent: true, reason: kind.to_string().into() }
            }
            other => other,
        });
        counting.end = match &result {
            Ok(_) | Err(ErrorKind::Status(_)) => End::Answered,
            Err(ErrorKind::TimedOut(_)) => End::TimedOut,
            Err(_) if *sent => End::Lost,
            Err(_) => End::NotSent,
        };
        drop(permit);
        result
    }

    async fn on_connection<'a, R: Arguments<'a> + Answer>(
        &self,
        request: &R,
        sent: &mut bool,
    ) -> Result<R::Answer, ErrorKind> {
        let (mut conn, generation) = match self.take_idle() {
            (Some(conn), generation) => (conn, generation),
            (None, generation) => (self.open().await?, generation),
        };
        *sent = true;
        let result = conn.call(request).await;
        let in_step = match &result {
            Ok(_) => true,
            Err(kind) => !kind.is_fatal(),
        };
        self.count_bytes(&mut conn);
        let mut state = self.state();
        if in_step && state.generation == generation {
            state.idle.push(conn);
        }
        result
    }

    /// Another connection.
    pub(super) async fn open(&self) -> Result<Conn, ErrorKind> {
        let conn = Conn::open(&self.address, &self.limits).await?;
        self.state().connects += 1;
        Ok(conn)
    }

    /// Counts what went over a connection since the last time.
    pub(super) fn count_bytes(&self, conn: &mut Conn) {
        let mut state = self.state();
        state.bytes_sent += std::mem::take(&mut conn.sent);
        state.bytes_received += std::mem::take(&mut conn.received);
    }

    async fn shut_down_told(&self) {
        // We have the sender.
        let _ = self.is_shut_down.subscribe().wait_for(|over| *over).await;
    }

    /// A connection that can be used; those that the node has closed meanwhile are left behind.
    fn take_idle(&self) -> (Option<Conn>, u64) {
        let mut state = self.state();
        let generation = state.generation;
        while let Some(conn) = state.idle.pop() {
            if conn.is_usable() {
                return (Some(conn), generation);
            }
        }
        (None, generation)
    }

    /// Closes all connections, those in use as soon as they are not.
    pub(super) fn drop_all(&self) {
        let idle = {
            let mut state = self.state();
            state.generation += 1;
            std::mem::take(&mut state.idle)
        };
        drop(idle);
    }

    pub(super) fn shut_down(&self) {
        self.permits.close();
        self.is_shut_down.send_replace(true);
        self.drop_all();
    }

    pub(super) fn count(&self, command: Command, change: impl FnOnce(&mut RequestCounts)) {
        let mut state = self.state();
        match state.counts.iter_mut().find(|(known, _)| *known == command) {
            Some((_, counts)) => change(counts),
            None => {
                let mut counts = RequestCounts::default();
                change(&mut counts);
                state.counts.push((command, counts));
            }
        }
    }

    pub(super) fn add_stats(&self, stats: &mut crate::Stats) {
        let state = self.state();
        for (command, counts) in &state.counts {
            stats.add_request(command.name(), counts);
        }
        stats.bytes_sent += state.bytes_sent;
        stats.bytes_received += state.bytes_received;
        stats.connects += state.connects;
    }

    pub(super) fn reset_counts(&self) {
        let mut state = self.state();
        for (_, counts) in &mut state.counts {
            *counts = RequestCounts { started: counts.active(), ..RequestCounts::default() };
        }
        (state.bytes_sent, state.bytes_received, state.connects) = (0, 0, 0);
    }
}

/// Waits for something until the time of the request is over.
async fn until<T>(
    end: Option<(Duration, Instant)>,
    wait: impl Future<Output = Result<T, ErrorKind>>,
) -> Result<T, ErrorKind> {
    match end {
        None => wait.await,
        Some((limit, end)) => {
            tokio::time::timeout_at(end, wait).await.unwrap_or(Err(ErrorKind::TimedOut(limit)))
        }
    }
}

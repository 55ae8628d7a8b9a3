//! One worker: a thread, an event loop, the connections that it serves for their whole life.
//!
//! ```text
//! wait -> for each ready connection: receive, execute into its output -> send each output once
//! ```
//!
//! A turn gives each connection one receive (64 KiB) and its streams a step each, so a scan of
//! millions of records and a thousand single requests share a worker without one starving the
//! other. What one turn has changed is complete, and logged, before the first answer of the turn
//! goes out.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::admission::BARRIER_TURNS;
use crate::alarms::Alarms;
use crate::connection::Connection;
use crate::context::{Clock, Context, UnixTime};
use crate::counters::Counters;
use crate::driver::{ConnId, Driver, Ready, Received};
use crate::durability::{Journal, JournalOptions};
use crate::handlers::remove_record;
use crate::mailbox::{Accepted, Mailbox};
use crate::moves::Removal;
use crate::session::{Session, TOGETHER_MIN};
use crate::shared::Shared;

/// Records of removed channels that a turn frees at most.
const RECLAIM_RECORDS_PER_TURN: usize = 512;

/// See the module.
pub(crate) struct Worker {
    driver: Driver,
    mailbox: Arc<Mailbox>,
    counters: Arc<Counters>,
    cx: Context,
    connections: Slab<Connection>,
    /// Connections that get a turn; each stands in it once at most.
    queue: VecDeque<ConnId>,
    /// Connections whose output is sent at the end of this turn.
    touched: Vec<ConnId>,
    /// Streams that wait for a time. One for each connection that is not authenticated yet, and two
    /// for each Mirror.
    alarms: Alarms,
    /// When what the Listens have gathered goes out next; `None` while nobody listens.
    next_flush: Option<Instant>,
    /// Memory of removed channels waits to be freed.
    reclaiming: bool,
    /// Connections with answers that wait until the log is on the disk, and for which ticket.
    held: VecDeque<(u64, ConnId)>,
    /// The barrier that it goes through, and turns that are left until it has passed.
    barrier: Option<(u64, u32)>,
}

impl Worker {
    pub(crate) fn new(
        number: usize,
        shared: Arc<Shared>,
        clock: Clock,
        unix_time: UnixTime,
    ) -> io::Result<Self> {
        let (driver, waker) = Driver::new(shared.settings.driver)?;
        let (mailbox, counters) = (Arc::new(Mailbox::new(waker)), Arc::new(Counters::default()));
        let journal = shared.keeper.as_ref().map(|keeper| {
            let mailbox = Arc::clone(&mailbox);
            let wake = Box::new(move || mailbox.wake_synced());
            Journal::new(JournalOptions { keeper: Arc::clone(keeper), worker: number, wake })
        });
        let journal = journal.transpose()?;
        let (own_mailbox, own_counters) = (Arc::clone(&mailbox), Arc::clone(&counters));
        Ok(Self {
            driver,
            cx: Context::new(shared, own_counters, own_mailbox, journal, clock, unix_time),
            mailbox,
            counters,
            connections: Slab::new(),
            queue: VecDeque::new(),
            touched: Vec::new(),
            alarms: Alarms::new(),
            next_flush: None,
            reclaiming: false,
            held: VecDeque::new(),
            barrier: None,
        })
    }

    /// Where others leave what this worker has to do.
    pub(crate) fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    /// What this worker counts.
    pub(crate) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Serves until told to stop; then closes all connections.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        loop {
            let timeout = self.timeout();
            self.driver.wait(timeout, &mut ready)?;
            self.mailbox.awake();
            self.cx.timing.turn_at = (self.cx.clock)();
            for event in ready.drain(..) {
                self.note(event);
            }
            if self.take_mail() {
                return Ok(());
            }
            self.look_at_ranges();
            self.ring_alarms();
            self.look_ahead();
            for _ in 0..self.queue.len() {
                if let Some(conn) = self.queue.pop_front() {
                    self.turn(conn);
                }
            }
            self.flush_listens();
            self.write_log();
            self.send_all();
            self.set_alarms();
            self.pass_barrier();
            self.reclaiming = self.cx.shared.store.reclaim(RECLAIM_RECORDS_PER_TURN);
        }
    }

    /// How long the driver may wait.
    fn timeout(&self) -> Option<Duration> {
        let is_busy = !self.queue.is_empty() || self.reclaiming || self.barrier.is_some();
        if is_busy || !self.mailbox.may_sleep() {
            return Some(Duration::ZERO);
        }
        let retry = self.cx.journal.as_ref().and_then(Journal::retry_at);
        let next = [self.alarms.next(), self.next_flush, retry].into_iter().flatten().min();
        next.map(|at| at.saturating_duration_since((self.cx.clock)()))
    }

    fn note(&mut self, event: Ready) {
        let Some(connection) = self.connections.get_mut(event.conn) else { return };
        connection.readable |= event.input;
        connection.ends |= event.ends;
        connection.writable |= event.output;
        self.enqueue(event.conn);
    }

    fn enqueue(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(conn)
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.queue.push_back(conn);
        }
    }

    /// Takes what others have left. `true`: it is time to end.
    fn take_mail(&mut self) -> bool {
        let mail = self.mailbox.take();
        for accepted in mail.sockets {
            self.adopt(accepted);
        }
        for (conn, stream) in mail.woken {
            self.wake(conn, stream);
        }
        for removal in mail.removals {
            let Removal { channel, keys, notify, .. } = &removal;
            let mut remove =
                |key: &dht_types::Key| remove_record(&mut self.cx, channel, *key, *notify).is_ok();
            // What the log does not take stays, and the mover is told.
            let all_gone = keys.iter().filter(|key| !remove(key)).count() == 0;
            removal.done(all_gone);
        }
        if mail.synced {
            self.release();
        }
        if let Some(number) = mail.barrier {
            self.barrier = Some((number, BARRIER_TURNS));
        }
        if mail.stop {
            for (_, connection) in std::mem::take(&mut self.connections) {
                self.close(connection);
            }
            if let Some(journal) = &mut self.cx.journal {
                journal.close(self.cx.clock);
            }
        }
        mail.stop
    }

    /// Ends a turn of a barrier.
    fn pass_barrier(&mut self) {
        let Some((number, turns_left)) = &mut self.barrier else { return };
        *turns_left -= 1;
        if *turns_left == 0 {
            self.mailbox.pass(*number);
            self.barrier = None;
            self.cx.shared.count_queries.wake_control();
        }
    }

    /// A connection may be another than the one that was meant, if that is gone: it then has
    /// nothing to do, which does no harm.
    fn wake(&mut self, conn: ConnId, stream: u64) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.wake(stream);
            self.enqueue(conn);
        }
    }

    /// Goes by the hash range of now, and has clients told of it.
    fn look_at_ranges(&mut self) {
        if !self.cx.refresh_view() {
            return;
        }
        let connections = self.connections.iter_mut();
        let curious = connections.filter_map(|(conn, c)| c.note_range_news().then_some(conn));
        let curious: Vec<ConnId> = curious.collect();
        curious.into_iter().for_each(|conn| self.enqueue(conn));
    }

    fn ring_alarms(&mut self) {
        if self.alarms.next().is_none() {
            return;
        }
        let now = (self.cx.clock)();
        while let Some(alarm) = self.alarms.pop_due(now) {
            self.wake(alarm.conn, alarm.stream);
        }
    }

    /// Takes over the alarms that this turn has set.
    fn set_alarms(&mut self) {
        if self.cx.alarms.is_empty() {
            return;
        }
        let connections = &self.connections;
        self.alarms.extend(self.cx.alarms.drain(..), |alarm| {
            connections.get(alarm.conn).is_some_and(|connection| connection.awaits(alarm))
        });
    }

    fn adopt(&mut self, accepted: Accepted) {
        let Accepted { socket, peer, protocol } = accepted;
        let entry = self.connections.vacant_entry();
        let conn = entry.key();
        self.cx.conn = conn;
        let now = (self.cx.clock)();
        let session = Session::new(protocol, &mut self.cx, now);
        entry.insert(Connection::new(session, peer, now));
        if let Err(error) = self.driver.add(conn, socket) {
            log::error!("cannot serve the connection of {peer}: {error}");
            self.remove(conn);
        }
    }

    fn remove(&mut self, conn: ConnId) {
        let connection = self.connections.remove(conn);
        self.close(connection);
    }

    fn close(&self, connection: Connection) {
        connection.protocol().connections(&self.cx.shared).close();
        connection.close(&self.cx);
    }

    /// Fetches the records that this turn is about into the cache, so that the connections' misses
    /// overlap; as far as the driver knows what they have received.
    fn look_ahead(&mut self) {
        if self.queue.len() < TOGETHER_MIN {
            return;
        }
        let (driver, connections) = (&self.driver, &self.connections);
        let records = self.queue.iter().filter_map(|&conn| {
            let bytes = driver.peek(conn)?;
            connections.get(conn)?.record_ahead(bytes)
        });
        self.cx.prefetch(records);
    }

    /// One turn of one connection: at most one receive, and what follows from it.
    fn turn(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.queued = false;
        self.cx.conn = conn;
        if connection.wants_input() {
            let received = match self.driver.receive(conn, connection.input()) {
                Received::Bytes(bytes, more) => Some((bytes, 0, more)),
                Received::Appended(len, more) => Some((&[][..], len, more)),
                Received::Nothing => Some((&[][..], 0, false)),
                Received::Closed => None,
            };
            match received {
                Some((bytes, appended, more)) => {
                    let arrived = bytes.len() + appended;
                    self.counters.bytes_received.add(arrived as u64);
                    // Behind the last bytes stands the end, which only another receive tells.
                    connection.readable = more || (arrived > 0 && connection.ends);
                    connection.work(&mut self.cx, bytes, appended);
                }
                None => connection.end_of_input(),
            }
        } else {
            connection.work(&mut self.cx, &[], 0);
        }
        if let Some(input) = connection.take_large_input() {
            self.driver.recycle(input);
        }
        if connection.listens() && self.next_flush.is_none() {
            self.next_flush = Some((self.cx.clock)() + self.cx.shared.settings.listen_flush_period);
        }
        self.touched.push(conn);
    }

    /// When it is time, hands on what the Listens have gathered.
    fn flush_listens(&mut self) {
        let Some(at) = self.next_flush else { return };
        let now = (self.cx.clock)();
        if now < at {
            return;
        }
        let mut listening = false;
        for (conn, connection) in &mut self.connections {
            if connection.listens() {
                listening = true;
                connection.flush();
                self.touched.push(conn);
            }
        }
        self.next_flush = listening.then(|| now + self.cx.shared.settings.listen_flush_period);
    }

    /// Writes what this turn has changed to the log, before any answer goes out.
    fn write_log(&mut self) {
        let Some(journal) = &mut self.cx.journal else { return };
        let fate = journal.write(self.cx.clock);
        let ticket = journal.ticket();
        for &conn in &self.touched {
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            if connection.has_logged(fate, ticket) {
                self.held.push_back((ticket, conn));
            }
        }
    }

    /// The log of earlier turns is on the disk: answers that waited for that may go out.
    fn release(&mut self) {
        let Some(durable) = self.cx.journal.as_mut().map(Journal::durable) else { return };
        // Without any, a sync has failed: nobody who waits may be told that all went well.
        let until = durable.unwrap_or(u64::MAX);
        while let Some(&(ticket, conn)) = self.held.front()
            && ticket <= until
        {
            self.held.pop_front();
            // If that is another one by now, this does no harm.
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            match durable {
                Some(durable) => connection.release(durable),
                None if connection.is_held() => connection.hang_up(),
                None => {}
            }
            self.touched.push(conn);
        }
    }

    /// Sends the output of every connection that had a turn, and says what comes next for it.
    fn send_all(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for conn in touched.drain(..) {
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            connection.send(&mut self.cx, |bytes| self.driver.send(conn, bytes));
            if connection.is_over() && self.driver.all_sent(conn) {
                self.driver.remove(conn);
                self.remove(conn);
            } else if connection.wants_turn() {
                self.enqueue(conn);
            }
        }
        self.touched = touched;
    }
}

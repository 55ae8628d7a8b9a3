//! One thread of the load: an event loop over its connections.
//!
//! ```text
//! due? -> requests to links -> send each output once -> wait -> receive: requests end -> due? ...
//! ```
//!
//! Times are taken once for each receive and once for each round of sends, not for each request:
//! what one receive brought has arrived at the same time.

use std::{collections::VecDeque, io, sync::Arc, thread, time::Duration};

use mio::{Events, Poll, Token};

use super::{
    Clock, Kind, Live, Op, Outcome, Pattern, Plan, Tally,
    clock::nanos,
    codec::Broken,
    link::{InFlight, Link, State},
    record::{Failure, Record},
    schedule::Schedule,
};

/// Most bytes of one receive.
const RECEIVE_BYTES: usize = 256 * 1024;
/// Most events of one wait.
const EVENTS_MAX: usize = 1024;
/// Time between two looks at what nobody reports: time limits, connections that are down.
const TICK: u64 = 50_000_000;
/// How long a connection that did not come about rests before the next try.
const RETRY_AFTER: u64 = 100_000_000;
/// How long a connection may take to come about, if no time limit is given.
const OPEN_WITHIN: u64 = 5_000_000_000;
/// Requests of an open loop that wait for a free connection. When there are more, the rest is made
/// later; it is due when it was due.
const PENDING_MAX: usize = 1 << 20;
/// How long requests may still take after the end of a cycle that has a duration.
const DRAIN: u64 = 30_000_000_000;
/// A wait cannot be told in less than this, and the system is late by about as much: when the next
/// request is due sooner, there is no sleep.
const SLEEP_MIN: u64 = 2_000_000;
/// A request that waits for a free connection.
#[derive(Debug, Clone, Copy)]
struct Pending {
    op: Op,
    start: u64,
}

/// The connections to one server.
#[derive(Debug, Default)]
struct Site {
    links: Vec<usize>,
    /// Where the search for a free one goes on.
    next: usize,
    /// Requests that the connections could take.
    room: usize,
    pending: VecDeque<Pending>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Worker {
    plan: Arc<Plan>,
    thread: usize,
    clock: Clock,
    poll: Poll,
    events: Events,
    buffer: Box<[u8]>,
    links: Vec<Link>,
    sites: Vec<Site>,
    /// What the last wait has reported; empty while it is looked at.
    ready: Vec<usize>,
    /// Links with output that was not tried to send.
    dirty: Vec<usize>,
    schedule: Schedule,
    record: Record,
    /// Requests that have not ended, sent or not.
    outstanding: u64,
    next_tick: u64,
}

impl Worker {
    /// For thread `thread` of the plan's.
    pub(super) fn new(plan: &Arc<Plan>, thread: usize, clock: Clock) -> io::Result<Self> {
        let mut sites: Vec<Site> = Vec::new();
        let mut links = Vec::new();
        for target in 0..plan.targets.len() {
            let share = share(plan.connections as u64, plan.threads, thread);
            let first = links.len();
            links.extend((0..share).map(|_| Link::new(plan, target)));
            sites.push(Site { links: (first..links.len()).collect(), ..Site::default() });
        }
        Ok(Self {
            thread,
            clock,
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
            links,
            sites,
            ready: Vec::new(),
            dirty: Vec::new(),
            schedule: Schedule::empty(plan),
            record: Record::new(plan),
            outstanding: 0,
            next_tick: 0,
            plan: Arc::clone(plan),
        })
    }

    /// What it shows while it runs.
    pub(super) fn live(&self) -> Arc<Live> {
        self.record.live()
    }

    /// Opens all connections. The first that does not come about is returned, with its target.
    pub(super) fn open_all(&mut self) -> io::Result<Result<(), (usize, Broken)>> {
        for at in 0..self.links.len() {
            if let Err(broken) = self.open(at) {
                return Ok(Err((self.links[at].target, broken)));
            }
        }
        while let Some(at) = self.links.iter().position(|link| link.state != State::Up) {
            let State::Opening { since } = self.links[at].state else {
                return Ok(Err((self.links[at].target, Broken::Closed)));
            };
            if self.clock.now() - since > self.open_within() {
                return Ok(Err((self.links[at].target, Broken::Connect(io::ErrorKind::TimedOut))));
            }
            self.wait(Duration::from_nanos(TICK))?;
            for at in self.ready() {
                if let Err(broken) = self.step(at) {
                    return Ok(Err((self.links[at].target, broken)));
                }
            }
        }
        Ok(Ok(()))
    }

    /// Runs one cycle: `quota` requests at most, made before `end`. All of them have ended then.
    pub(super) fn cycle(&mut self, start: u64, quota: u64, end: u64) -> io::Result<Tally> {
        self.schedule = Schedule::new(&self.plan, self.thread, start, quota, end);
        self.record.begin();
        loop {
            let now = self.clock.now();
            self.make_requests(now, None);
            self.flush_all();
            self.tick(now);
            self.record.show();
            if self.outstanding == 0 && !self.schedule.makes_more(now) {
                break;
            }
            if now > self.schedule.end().saturating_add(DRAIN) {
                self.give_up();
                break;
            }
            self.rest(now)?;
            let ready = self.ready();
            for at in &ready {
                if let Err(broken) = self.step(*at) {
                    self.broke(*at, &broken);
                }
            }
            self.ready = ready;
        }
        Ok(self.record.finish())
    }

    /// Makes the requests that are due. They go over link `near` if they can.
    fn make_requests(&mut self, now: u64, near: Option<usize>) {
        let window = (self.links.len() * self.plan.pipeline) as u64;
        while self.sites.iter().all(|site| site.pending.len() < PENDING_MAX)
            && let Some((op, start)) = self.schedule.next(now, self.outstanding, window)
        {
            self.make(op, start, now, near);
        }
    }

    fn make(&mut self, op: Op, start: u64, now: u64, near: Option<usize>) {
        self.outstanding += 1;
        let Some(target) = self.plan.targets.iter().position(|node| node.range.contains(op.key))
        else {
            self.ended(None, op.kind, start, now, Err(Failure::NoNode));
            return;
        };
        if self.sites[target].room == 0 {
            self.sites[target].pending.push_back(Pending { op, start });
        } else {
            self.assign(target, Pending { op, start }, now, near);
        }
    }

    /// Gives a request to a link. Its server's site has room.
    fn assign(&mut self, target: usize, request: Pending, now: u64, near: Option<usize>) {
        let site = &mut self.sites[target];
        let free = |at: &usize| self.links[*at].target == target && self.links[*at].room() > 0;
        let at = near.filter(free).unwrap_or_else(|| {
            loop {
                let at = site.links[site.next];
                site.next = (site.next + 1) % site.links.len();
                if self.links[at].room() > 0 {
                    return at;
                }
            }
        });
        site.room -= 1;
        self.links[at].send(request.op, request.start, now, &self.plan.value);
        if self.dirty.last() != Some(&at) {
            self.dirty.push(at);
        }
    }

    /// Gives waiting requests to the links that have become free.
    fn assign_pending(&mut self, target: usize, now: u64, near: Option<usize>) {
        while self.sites[target].room > 0
            && let Some(request) = self.sites[target].pending.pop_front()
        {
            self.assign(target, request, now, near);
        }
    }

    fn flush_all(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for at in dirty.drain(..) {
            if let Err(broken) = self.links[at].flush() {
                self.broke(at, &broken);
            }
        }
        self.dirty = dirty;
    }

    /// Sleeps until something can be done.
    fn rest(&mut self, now: u64) -> io::Result<()> {
        let tick = self.next_tick.saturating_sub(now);
        let due = self.schedule.wait(now);
        let makes_more = self.schedule.makes_more(now);
        match self.plan.pattern {
            Pattern::LockStep { .. } if self.outstanding == 0 && makes_more && due > 0 => {
                thread::sleep(Duration::from_nanos(due.min(tick)));
                self.wait(Duration::ZERO)
            }
            Pattern::Open { .. } if makes_more => {
                let sleep = if due < SLEEP_MIN { 0 } else { (due - SLEEP_MIN / 2).min(tick) };
                self.wait(Duration::from_nanos(sleep))
            }
            _ => self.wait(Duration::from_nanos(tick)),
        }
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other,
        }
    }

    /// The links that the last wait has reported.
    fn ready(&mut self) -> Vec<usize> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        ready.extend(self.events.iter().map(|event| event.token().0));
        ready
    }

    /// Does what can be done for a link that is ready.
    fn step(&mut self, at: usize) -> Result<(), Broken> {
        let link = &mut self.links[at];
        match link.state {
            State::Down { .. } => return Ok(()),
            State::Opening { .. } => {
                if !link.proved && link.opened()? {
                    self.came_up(at);
                }
            }
            State::Up => link.flush()?,
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = self.receive(at, &mut buffer);
        self.buffer = buffer;
        received
    }

    fn came_up(&mut self, at: usize) {
        let link = &self.links[at];
        let target = link.target;
        self.sites[target].room += link.room();
        self.assign_pending(target, self.clock.now(), None);
    }

    /// Receives until there is nothing more.
    fn receive(&mut self, at: usize, buffer: &mut [u8]) -> Result<(), Broken> {
        loop {
            let len = self.links[at].receive(buffer)?;
            if len == 0 {
                return Ok(());
            }
            let now = self.clock.now();
            let mut kept = std::mem::take(&mut self.links[at].input);
            let taken = if kept.is_empty() {
                let taken = self.take_in(at, &buffer[..len], now)?;
                kept.extend_from_slice(&buffer[taken..len]);
                0
            } else {
                kept.extend_from_slice(&buffer[..len]);
                self.take_in(at, &kept, now)?
            };
            kept.drain(..taken);
            self.links[at].input = kept;
            let target = self.links[at].target;
            self.assign_pending(target, now, Some(at));
            self.make_requests(now, Some(at));
            // A receive that was not filled has emptied the socket.
            if len < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Takes what is whole from the front of `input`; how many bytes that was.
    fn take_in(&mut self, at: usize, input: &[u8], now: u64) -> Result<usize, Broken> {
        let mut rest = input;
        if self.links[at].state != State::Up {
            self.links[at].proved = true;
            if !self.links[at].greet(&mut rest)? {
                return Ok(input.len() - rest.len());
            }
            self.came_up(at);
        }
        let mut now = now;
        while let Some((slot, outcome)) = self.links[at].codec.reply(&mut rest)? {
            let link = &mut self.links[at];
            link.proved = true;
            let InFlight { kind, start, .. } = link.take(slot);
            let target = link.target;
            self.sites[target].room += 1;
            let result = match outcome {
                Outcome::Refused(refusal) => Err(Failure::Refused(refusal)),
                Outcome::Done => Ok(false),
                Outcome::Missing => Ok(true),
            };
            self.ended(Some(target), kind, start, now, result);
            if let Some(processing) = self.plan.processing {
                thread::sleep(processing);
                now = self.clock.now();
            }
        }
        Ok(input.len() - rest.len())
    }

    /// Counts a request that has ended. `Ok(true)`: there was no such record.
    fn ended(
        &mut self,
        target: Option<usize>,
        kind: Kind,
        start: u64,
        now: u64,
        result: Result<bool, Failure>,
    ) {
        self.outstanding -= 1;
        self.record.ended(target, kind, now.saturating_sub(start), result);
    }

    fn open_within(&self) -> u64 {
        self.plan.client_timeout.map_or(OPEN_WITHIN, nanos)
    }

    fn open(&mut self, at: usize) -> Result<(), Broken> {
        let (link, now) = (&mut self.links[at], self.clock.now());
        let target = &self.plan.targets[link.target];
        link.open(&self.plan, target, self.poll.registry(), Token(at), now)
    }

    /// A connection has ended, or never came about: its requests have failed.
    fn broke(&mut self, at: usize, broken: &Broken) {
        let now = self.clock.now();
        let link = &mut self.links[at];
        let target = link.target;
        self.sites[target].room -= link.room();
        // A server that accepts nobody is not asked again at once.
        let retry_at = if link.proved { now } else { now + RETRY_AFTER };
        for InFlight { kind, start, .. } in link.close(retry_at) {
            self.ended(Some(target), kind, start, now, Err(Failure::Broken(broken.clone())));
        }
        if self.is_dead(target) {
            while let Some(Pending { op, start }) = self.sites[target].pending.pop_front() {
                let failure = Failure::Broken(broken.clone());
                self.ended(Some(target), op.kind, start, now, Err(failure));
            }
        }
    }

    /// Whether no connection to a server is there, or on its way.
    fn is_dead(&self, target: usize) -> bool {
        let mut links = self.sites[target].links.iter();
        links.all(|at| matches!(self.links[*at].state, State::Down { .. }))
    }

    /// Looks after what nobody reports.
    fn tick(&mut self, now: u64) {
        if now < self.next_tick {
            return;
        }
        let limit = self.plan.client_timeout.map(nanos);
        self.next_tick = now + limit.map_or(TICK, |limit| (limit / 8).clamp(1_000_000, TICK));
        for at in 0..self.links.len() {
            match self.links[at].state {
                State::Down { retry_at } if retry_at <= now => {
                    if let Err(broken) = self.open(at) {
                        self.broke(at, &broken);
                    }
                }
                State::Opening { since } if now.saturating_sub(since) > self.open_within() => {
                    self.broke(at, &Broken::Connect(io::ErrorKind::TimedOut));
                }
                State::Up => {
                    if let Some(limit) = limit {
                        self.time_out(at, now.saturating_sub(limit), now);
                    }
                }
                _ => {}
            }
        }
    }

    /// Ends the requests of a link that were sent before `limit`.
    fn time_out(&mut self, at: usize, limit: u64, now: u64) {
        let overdue: Vec<_> = self.links[at].overdue(limit).collect();
        let mut usable = true;
        for slot in overdue {
            let link = &mut self.links[at];
            let (InFlight { kind, start, .. }, target) = (link.take(slot), link.target);
            usable &= link.codec.forget(slot);
            self.sites[target].room += 1;
            self.ended(Some(target), kind, start, now, Err(Failure::TimedOut));
        }
        if !usable {
            self.links[at].proved = true;
            self.broke(at, &Broken::OtherTimedOut);
        }
    }

    /// The cycle is over, whatever has not ended yet.
    fn give_up(&mut self) {
        let now = self.clock.now();
        for target in 0..self.sites.len() {
            while let Some(Pending { op, start }) = self.sites[target].pending.pop_front() {
                self.ended(Some(target), op.kind, start, now, Err(Failure::Unfinished));
            }
        }
        for at in 0..self.links.len() {
            let link = &mut self.links[at];
            let target = link.target;
            self.sites[target].room -= link.room();
            for InFlight { kind, start, .. } in link.close(now) {
                self.ended(Some(target), kind, start, now, Err(Failure::Unfinished));
            }
        }
    }
}

/// What thread `thread` of `threads` has of `all`.
pub(super) fn share(all: u64, threads: usize, thread: usize) -> u64 {
    let (threads, thread) = (threads as u64, thread as u64);
    all / threads + u64::from(thread < all % threads)
}

//! One connection as requesters and its driver share it: running requests, bytes to be sent.
//!
//! ```text
//! requester                    Link, behind a lock                  driver (a task)
//! start: encode into out  -->  out, protocol state, slots  -->  takes out, sends it
//! await its slot          <--  slots                       <--  receives, fills slots, wakes
//! ```
//!
//! There is no task and no allocation for a request: it is a slot in a table, found by its id.
//! Whatever many tasks start before the driver gets its turn goes out with one send.
//!
//! Invariants: a slot is there from the start of a request until its future has the result or is
//! dropped. Wakers are called after the lock is released. Lock order: link, then stream.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use dht_protocol::neo::{
    self, Command, Request, RequestId,
    client::{ClientError, Event, Reply},
    requests::{HashRangeUpdate, UpdateMessage, UpdateReply},
};
use dht_types::HashRange;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::{
    slot::{Answer, Single, Wait},
    stream::Part,
};
use crate::{
    ErrorKind, Limits,
    stats::{End, RequestCounts},
};

#[derive(Debug)]
enum Slot {
    Single(Single),
    Stream(Arc<Part>),
    /// The GetHashRange that runs as long as the connection.
    HashRange,
}

/// Something that a node told about hash ranges.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RangeNews {
    /// Of the node itself.
    Own(HashRange),
    /// Of another node.
    Other(std::net::SocketAddrV4, HashRange),
}

/// What a piece of input led to, to be looked after once the lock is released.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    pub(crate) wakers: Vec<Waker>,
    pub(crate) news: Vec<RangeNews>,
    /// GetHashRange is not supported, or ended.
    pub(crate) no_ranges: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    state: Mutex<State>,
    limits: Limits,
}

#[derive(Debug)]
pub(crate) struct State {
    is_open: bool,
    /// There will be no connection any more.
    is_shut_down: bool,
    /// The node has said something on this connection.
    heard: bool,
    pub(crate) client: neo::Client,
    slots: FxHashMap<RequestId, Slot>,
    /// To be sent.
    pub(crate) out: Vec<u8>,
    /// Bytes of this connection that the driver has taken out of `out`.
    taken: u64,
    /// Bytes of those that the system has accepted.
    sent: u64,
    /// The driver, if it waits for output.
    driver: Option<Waker>,
    /// When the driver looks for requests that have timed out.
    next_look: Option<Instant>,
    /// The driver has to take over an earlier `next_look`.
    look_changed: bool,
    counts: [RequestCounts; COMMANDS],
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) connects: u64,
}

const COMMANDS: usize = Command::ALL.len();

/// The place of a command's counts. `ALL` is sorted by code, and the codes have gaps.
fn place(command: Command) -> usize {
    Command::ALL.partition_point(|other| (*other as u8) < command as u8)
}

impl Link {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State {
            is_open: false,
            is_shut_down: false,
            heard: false,
            client: neo::Client::new(),
            slots: FxHashMap::default(),
            out: Vec::new(),
            taken: 0,
            sent: 0,
            driver: None,
            next_look: None,
            look_changed: false,
            counts: Default::default(),
            bytes_sent: 0,
            bytes_received: 0,
            connects: 0,
        };
        Self { state: Mutex::new(state), limits }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics in between that would leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has been made. Asks for the node's range.
    pub(crate) fn open(&self) {
        let mut state = self.lock();
        let state = &mut *state;
        // Slots of the last connection may still wait for their futures.
        state.client = state.client.for_next_connection();
        state.out.clear();
        (state.taken, state.sent) = (0, 0);
        (state.is_open, state.heard) = (true, false);
        state.connects += 1;
        let id = state.client.start(neo::requests::GetHashRange, &mut state.out);
        state.slots.insert(id.expect("the first request"), Slot::HashRange);
    }

    /// Starts a request that has a single answer.
    pub(crate) fn start<'a>(
        self: &Arc<Self>,
        request: impl Into<Request<'a>>,
        timeout: Option<Duration>,
    ) -> Result<Call, ErrorKind> {
        let request = request.into();
        let command = request.command();
        let mut state = self.lock();
        let offset = state.end_of_output();
        let id = state.start(&request, &self.limits)?;
        let begun = Instant::now();
        // One that is beyond all time is none.
        let deadline = timeout.and_then(|timeout| begun.checked_add(timeout));
        state.counts[place(command)].started += 1;
        state.slots.insert(
            id,
            Slot::Single(Single {
                command,
                begun,
                timeout,
                deadline,
                release: false,
                offset,
                wait: Wait::Node(None),
                names: Vec::new(),
                names_bytes: 0,
            }),
        );
        state.expect_by(deadline);
        wake_driver(state);
        Ok(Call { link: Arc::clone(self), id, over: false })
    }

    /// Tells the node what is to become of the record of an Update.
    fn decide(&self, id: RequestId, message: &UpdateMessage<'_>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(Slot::Single(single)) = state.slots.get_mut(&id) else { return };
        if !matches!(single.wait, Wait::Decision) {
            return;
        }
        single.offset = state.taken + state.out.len() as u64;
        single.deadline = single.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        single.wait = Wait::Node(None);
        let deadline = single.deadline;
        // The protocol's state is that of the slot.
        let _ = state.client.update(id, message, &mut state.out);
        state.expect_by(deadline);
        wake_driver(guard);
    }

    fn poll_answer(&self, id: RequestId, cx: &mut Context<'_>) -> Poll<Result<Answer, ErrorKind>> {
        let mut state = self.lock();
        let Some(Slot::Single(single)) = state.slots.get_mut(&id) else {
            // A slot stays until its future has the result.
            let reason = "the request is not known any more".into();
            return Poll::Ready(Err(ErrorKind::Disconnected { sent: true, reason }));
        };
        match &mut single.wait {
            Wait::Taker(_) => {}
            Wait::Node(Some(waker)) if waker.will_wake(cx.waker()) => return Poll::Pending,
            Wait::Node(waker) => {
                *waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Wait::Decision | Wait::Nobody => return Poll::Pending,
        }
        let wait = std::mem::replace(&mut single.wait, Wait::Nobody);
        let Wait::Taker(answer) = wait else { return Poll::Pending };
        if matches!(answer, Ok(Answer::Record(_))) {
            single.wait = Wait::Decision;
        } else if !single.release {
            state.slots.remove(&id);
        }
        Poll::Ready(answer)
    }

    /// Nobody waits for this request any more.
    fn abandon(&self, id: RequestId) {
        let mut state = self.lock();
        state.abandon(id);
        wake_driver(state);
    }

    /// Takes what is to be sent; `false`: there is nothing, and the driver will be woken.
    pub(crate) fn take_output(&self, into: &mut Vec<u8>, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        if state.out.is_empty() {
            match &state.driver {
                Some(waker) if waker.will_wake(cx.waker()) => {}
                _ => state.driver = Some(cx.waker().clone()),
            }
            return false;
        }
        into.clear();
        std::mem::swap(&mut state.out, into);
        state.taken += into.len() as u64;
        true
    }

    /// The system has taken so many bytes.
    pub(crate) fn sent(&self, bytes: usize) {
        let mut state = self.lock();
        state.sent += bytes as u64;
        state.bytes_sent += bytes as u64;
    }

    /// Handles received bytes. What was taken is gone from `input`.
    pub(crate) fn receive(
        &self,
        input: &mut &[u8],
        aftermath: &mut Aftermath,
    ) -> Result<(), ClientError> {
        let now = Instant::now();
        let mut state = self.lock();
        let state = &mut *state;
        let len = input.len();
        while let Some(event) = state.client.next(input, &mut state.out)? {
            state.handle(&event, now, aftermath);
        }
        let taken = len - input.len();
        state.heard |= taken > 0;
        state.bytes_received += taken as u64;
        Ok(())
    }

    /// Ends requests whose time is over.
    pub(crate) fn look_for_timeouts(&self, now: Instant, aftermath: &mut Aftermath) {
        let mut state = self.lock();
        let due = |slot: &Slot| match slot {
            Slot::Single(single) => single.deadline,
            Slot::Stream(_) | Slot::HashRange => None,
        };
        let late: Vec<RequestId> = state
            .slots
            .iter()
            .filter(|(_, slot)| due(slot).is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            state.time_out(id, aftermath);
        }
        state.next_look = state.slots.values().filter_map(due).min();
    }

    /// When the driver has to look for timeouts, if that has become earlier.
    pub(crate) fn take_next_look(&self) -> Option<Option<Instant>> {
        let mut state = self.lock();
        std::mem::take(&mut state.look_changed).then_some(state.next_look)
    }

    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.lock().next_look
    }

    /// The connection is gone, for this reason: fails all that ran over it. Whether the node had
    /// said anything.
    pub(crate) fn close(&self, reason: &Arc<str>) -> bool {
        let mut aftermath = Aftermath::default();
        let mut state = self.lock();
        let state_ref = &mut *state;
        state_ref.is_open = false;
        state_ref.out.clear();
        state_ref.driver = None;
        state_ref.next_look = None;
        state_ref.slots.retain(|_, slot| match slot {
            Slot::HashRange => false,
            Slot::Stream(part) => {
                state_ref.counts[place(part.command())].end(End::Lost, Duration::ZERO);
                part.lost(reason, &mut aftermath.wakers);
                false
            }
            Slot::Single(single) => {
                let sent = single.offset < state_ref.sent;
                let end = if sent { End::Lost } else { End::NotSent };
                single.deadline = None;
                single.release = false;
                let waker = match &mut single.wait {
                    Wait::Taker(_) => return true,
                    Wait::Nobody => return false,
                    // Nothing was decided, so nothing has changed.
                    Wait::Decision => None,
                    Wait::Node(waker) => waker.take(),
                };
                let sent = sent && !matches!(single.wait, Wait::Decision);
                state_ref.counts[place(single.command)].end(end, Duration::ZERO);
                aftermath.wakers.extend(waker);
                let reason = Arc::clone(reason);
                single.wait = Wait::Taker(Err(ErrorKind::Disconnected { sent, reason }));
                true
            }
        });
        let heard = state.heard;
        drop(state);
        aftermath.wakers.into_iter().for_each(Waker::wake);
        heard
    }

    /// There will be no connection any more: what is started from now on says so.
    pub(crate) fn shut_down(&self) {
        self.lock().is_shut_down = true;
    }

    /// Starts a stream's part of this node, if there is a connection. Ends it if there never will
    /// be one.
    pub(crate) fn start_stream(&self, part: &Arc<Part>) {
        let mut state = self.lock();
        if state.is_open || state.is_shut_down {
            state.start_stream(part, &self.limits);
            wake_driver(state);
        }
    }

    /// Sends the control message that a stream needs now, if any.
    pub(crate) fn pump_stream(&self, part: &Part) {
        let mut guard = self.lock();
        if guard.is_open {
            let state = &mut *guard;
            part.pump(&mut state.client, &mut state.out);
            wake_driver(guard);
        }
    }

    /// Why nothing can be sent while there is no connection.
    pub(crate) fn absence(&self) -> ErrorKind {
        if self.lock().is_shut_down { ErrorKind::ShutDown } else { ErrorKind::NotConnected }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().is_open
    }

    /// The counts so far, by command.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, RequestCounts)> {
        let counts = self.lock().counts.clone();
        Command::ALL.iter().filter_map(move |command| {
            let counts = counts[place(*command)].clone();
            (counts.started > 0).then_some((command.name(), counts))
        })
    }

    pub(crate) fn reset_counts(&self) {
        let mut state = self.lock();
        for counts in &mut state.counts {
            // What runs now will end.
            *counts = RequestCounts { started: counts.active(), ..RequestCounts::default() };
        }
        (state.bytes_sent, state.bytes_received, state.connects) = (0, 0, 0);
    }
}

impl State {
    fn end_of_output(&self) -> u64 {
        self.taken + self.out.len() as u64
    }

    fn start(&mut self, request: &Request<'_>, limits: &Limits) -> Result<RequestId, ErrorKind> {
        if self.is_shut_down {
            return Err(ErrorKind::ShutDown);
        }
        if !self.is_open {
            return Err(ErrorKind::NotConnected);
        }
        let active = self.client.active_len();
        if active >= limits.requests_per_node_max {
            return Err(ErrorKind::TooManyRequests(active));
        }
        if self.out.len() >= limits.queue_bytes_max {
            return Err(ErrorKind::QueueFull(self.out.len()));
        }
        let started = self.client.start(*request, &mut self.out);
        started.map_err(|_| ErrorKind::TooManyRequests(active))
    }

    pub(crate) fn start_stream(&mut self, part: &Arc<Part>, limits: &Limits) {
        let started = part.start(|request| self.start(request, limits));
        if let Some((id, command)) = started {
            self.counts[place(command)].started += 1;
            self.slots.insert(id, Slot::Stream(Arc::clone(part)));
        }
    }

    /// A request has to be given up at this time at the latest.
    fn expect_by(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        if self.next_look.is_none_or(|look| deadline < look) {
            self.next_look = Some(deadline);
            self.look_changed = true;
        }
    }

    /// Counts the end of a request that was not answered.
    fn end(&mut self, command: Command, end: End) {
        self.counts[place(command)].end(end, Duration::ZERO);
    }

    fn abandon(&mut self, id: RequestId) {
        let Some(Slot::Single(single)) = self.slots.get_mut(&id) else { return };
        let command = single.command;
        match &single.wait {
            // The node's answer has been counted; it waits for us if it was a record.
            Wait::Taker(answer) => {
                if matches!(answer, Ok(Answer::Record(_))) {
                    single.wait = Wait::Decision;
                    self.abandon(id);
                } else if !single.release {
                    self.slots.remove(&id);
                } else {
                    single.wait = Wait::Nobody;
                }
            }
            Wait::Decision => {
                (single.wait, single.release) = (Wait::Nobody, true);
                let _ = self.client.update(id, &UpdateMessage::LeaveRecord, &mut self.out);
                self.end(command, End::Dropped);
            }
            // A node keeps an Update until it is told what to do.
            Wait::Node(_) if command == Command::Update => {
                (single.wait, single.release, single.deadline) = (Wait::Nobody, true, None);
                self.end(command, End::Dropped);
            }
            Wait::Node(_) => {
                self.slots.remove(&id);
                self.client.forget(id);
                self.end(command, End::Dropped);
            }
            Wait::Nobody => {}
        }
    }

    fn time_out(&mut self, id: RequestId, aftermath: &mut Aftermath) {
        let Some(Slot::Single(single)) = self.slots.get_mut(&id) else { return };
        single.deadline = None;
        let Wait::Node(waker) = &mut single.wait else { return };
        aftermath.wakers.extend(waker.take());
        let command = single.command;
        let limit = single.timeout.unwrap_or_default();
        single.wait = Wait::Taker(Err(ErrorKind::TimedOut(limit)));
        single.release = command == Command::Update;
        if !single.release {
            self.client.forget(id);
        }
        self.end(command, End::TimedOut);
    }

    fn handle(&mut self, event: &Event<'_>, now: Instant, aftermath: &mut Aftermath) {
        let Some(slot) = self.slots.get_mut(&event.id) else { return };
        match slot {
            Slot::HashRange => match event.reply {
                Reply::HashRange(range) => aftermath.news.push(RangeNews::Own(range)),
                Reply::HashRangeUpdate(HashRangeUpdate::ChangeHashRange(range)) => {
                    aftermath.news.push(RangeNews::Own(range));
                }
                Reply::HashRangeUpdate(HashRangeUpdate::NewNode(node, range)) => {
                    aftermath.news.push(RangeNews::Other(node, range));
                }
                _ => aftermath.no_ranges = true,
            },
            Slot::Stream(part) => {
                let part = Arc::clone(part);
                if event.is_last {
                    self.slots.remove(&event.id);
                    self.end(part.command(), End::Answered);
                }
                part.event(event, &mut aftermath.wakers);
                part.pump(&mut self.client, &mut self.out);
            }
            Slot::Single(single) => {
                if single.release {
                    if event.is_last {
                        single.release = false;
                        if matches!(single.wait, Wait::Nobody) {
                            self.slots.remove(&event.id);
                        }
                    } else if matches!(event.reply, Reply::Update(UpdateReply::RecordValue(_))) {
                        let leave = UpdateMessage::LeaveRecord;
                        let _ = self.client.update(event.id, &leave, &mut self.out);
                    }
                    return;
                }
                let Some(answer) = single.answer(event.reply) else { return };
                if event.is_last {
                    let (command, took) = (single.command, now - single.begun);
                    single.deadline = None;
                    self.counts[place(command)].end(End::Answered, took);
                }
                if matches!(answer, Ok(Answer::Record(_))) {
                    single.deadline = None;
                }
                let wait = std::mem::replace(&mut single.wait, Wait::Taker(answer));
                if let Wait::Node(waker) = wait {
                    aftermath.wakers.extend(waker);
                }
            }
        }
    }
}

/// Releases the lock, and then wakes the driver if it waits for output.
fn wake_driver(mut state: MutexGuard<'_, State>) {
    let driver = state.driver.take();
    drop(state);
    driver.into_iter().for_each(Waker::wake);
}

/// A request on its way. Dropping it gives it up; whether the node has done it is not known then.
#[derive(Debug)]
pub(crate) struct Call {
    link: Arc<Link>,
    id: RequestId,
    /// The slot is gone.
    over: bool,
}

impl Call {
    /// For an Update whose record was received.
    pub(crate) fn decide(&self, message: &UpdateMessage<'_>) {
        self.link.decide(self.id, message);
    }
}

impl Future for &mut Call {
    type Output = Result<Answer, ErrorKind>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(self.link.poll_answer(self.id, cx));
        self.over = !matches!(answer, Ok(Answer::Record(_)));
        Poll::Ready(answer)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.over {
            self.link.abandon(self.id);
        }
    }
}

//! A connection as its worker sees it: a session, bytes that wait, and what is known of the socket.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use dht_types::Key;

use crate::alarms::Alarm;
use crate::context::Context;
use crate::driver::Sent;
use crate::durability::{Fate, Level};
use crate::latency::Waiting;
use crate::session::{OUTPUT_BYTES_HIGH, Progress, Protocol, Session};

/// Largest input or output buffer that an idle connection keeps, in bytes.
const BUFFER_KEPT_BYTES: usize = 16 * 1024;

/// See the module.
pub(crate) struct Connection {
    session: Session,
    peer: SocketAddr,
    /// Bytes received and not taken by the session yet: at most one array within its limit and
    /// what came with the last receive.
    input: Vec<u8>,
    output: Output,
    /// The socket may hold bytes to receive.
    pub(crate) readable: bool,
    /// The peer's end has been announced, behind the bytes that are there.
    pub(crate) ends: bool,
    /// The socket may have room.
    pub(crate) writable: bool,
    /// The connection stands in the worker's queue.
    pub(crate) queued: bool,
    /// How far the session came in its last turn.
    progress: Progress,
    /// To be closed when the output is gone.
    closing: bool,
    /// The greatest durability level of a write in the last turn, and where its output began.
    wrote: (Level, usize),
    /// Since when its input has been there, and whose answers are not sent.
    waiting: Waiting,
}

/// Bytes to be sent.
#[derive(Debug)]
struct Output {
    bytes: Vec<u8>,
    /// So many of them are gone.
    sent: usize,
    /// From where on they wait for what, each by the length of `bytes`: answers to writes that are
    /// not on the disk yet, and what came after them.
    holds: VecDeque<(usize, u64)>,
}

impl Output {
    const fn new() -> Self {
        Self { bytes: Vec::new(), sent: 0, holds: VecDeque::new() }
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Those that may go out.
    fn free(&self) -> &[u8] {
        let end = self.holds.front().map_or(self.bytes.len(), |(from, _)| *from);
        &self.bytes[self.sent..end]
    }

    /// Drops what is gone from the front; how many bytes.
    fn compact(&mut self) -> usize {
        let gone = self.sent;
        if gone > 0 {
            self.bytes.drain(..self.sent);
            for (from, _) in &mut self.holds {
                *from -= self.sent;
            }
            self.sent = 0;
        }
        gone
    }

    fn advance(&mut self, sent: usize) {
        self.sent += sent;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(BUFFER_KEPT_BYTES);
            self.sent = 0;
        }
    }
}

impl Connection {
    pub(crate) const fn new(session: Session, peer: SocketAddr, now: Instant) -> Self {
        Self {
            session,
            peer,
            input: Vec::new(),
            output: Output::new(),
            readable: false,
            ends: false,
            writable: true,
            queued: false,
            progress: Progress::Idle,
            closing: false,
            wrote: (Level::Memory, 0),
            waiting: Waiting::new(now),
        }
    }

    /// Whether the next turn should receive. What was received before comes first.
    pub(crate) fn wants_input(&self) -> bool {
        let free = self.progress != Progress::InputWaits && !self.closing && self.has_room();
        self.readable && free && self.session.wants_input()
    }

    /// Whether there is anything to do in a next turn without waiting.
    pub(crate) fn wants_turn(&self) -> bool {
        let may_go_on = self.progress != Progress::Idle || self.wants_input();
        !self.closing && self.has_room() && may_go_on
    }

    fn has_room(&self) -> bool {
        self.output.waiting().len() < OUTPUT_BYTES_HIGH
    }

    /// Whether it listens to changes, and so has to be flushed.
    pub(crate) const fn listens(&self) -> bool {
        self.session.listens()
    }

    /// The record that its next turn will be about, if these are the bytes that it will receive.
    pub(crate) fn record_ahead<'a>(&'a self, bytes: &'a [u8]) -> Option<(&'a str, Key)> {
        let is_free = self.input.is_empty() && self.wants_input();
        if is_free { self.session.record_ahead(bytes) } else { None }
    }

    /// Whether all is said and sent.
    pub(crate) fn is_over(&self) -> bool {
        self.closing && self.output.is_empty()
    }

    /// The peer is gone: what it has not read is not for anybody.
    pub(crate) fn hang_up(&mut self) {
        self.closing = true;
        self.output = Output::new();
        self.waiting.forget();
    }

    /// The peer has sent its last byte. What it asked for is still sent.
    pub(crate) fn end_of_input(&mut self) {
        self.closing = true;
    }

    /// What was received and is not used yet, for the driver to put more behind it.
    pub(crate) const fn input(&mut self) -> &mut Vec<u8> {
        &mut self.input
    }

    /// An input too large to be kept, once nothing is in it.
    pub(crate) fn take_large_input(&mut self) -> Option<Vec<u8>> {
        let is_large = self.input.is_empty() && self.input.capacity() > BUFFER_KEPT_BYTES;
        is_large.then(|| std::mem::take(&mut self.input))
    }

    /// Lets the session work on what arrived, which is `received` and the last `appended` bytes of
    /// the input, and on what waits from before.
    pub(crate) fn work(&mut self, cx: &mut Context, received: &[u8], appended: usize) {
        let arrived = received.len() + appended;
        if self.closing || !self.has_room() {
            self.input.extend_from_slice(received);
            self.waiting.received(cx.timing.turn_at, arrived);
            self.session.gather(cx);
            // Whatever called for this turn calls once: its work is owed as soon as there is room.
            if self.progress == Progress::Idle {
                self.progress = Progress::Streaming;
            }
            return;
        }
        cx.peer = self.peer;
        // Sent bytes at the front would count as waiting.
        self.waiting.compact(self.output.compact());
        self.waiting.begin_turn(&mut cx.timing, arrived);
        let out = &mut self.output.bytes;
        let mark = out.len();
        let worked = if self.input.is_empty() {
            let mut rest = received;
            let worked = self.session.work(cx, &mut rest, out);
            self.input.extend_from_slice(rest);
            cx.counters.peaks.input_bytes.raise_to(self.input.len() as u64);
            worked
        } else {
            self.input.extend_from_slice(received);
            cx.counters.peaks.input_bytes.raise_to(self.input.len() as u64);
            let mut rest = &self.input[..];
            let worked = self.session.work(cx, &mut rest, out);
            let taken = self.input.len() - rest.len();
            self.input.drain(..taken);
            worked
        };
        let (waits, output) = (self.input.len(), self.output.bytes.len());
        self.waiting.end_turn(&mut cx.timing, arrived, waits, output);
        if let Some(journal) = &mut cx.journal {
            self.wrote = (journal.take_mark(), mark);
        }
        match worked {
            Ok(progress) => self.progress = progress,
            Err(reason) => {
                log::debug!("closing the connection of {}: {reason}", self.peer);
                self.progress = Progress::Idle;
                self.closing = true;
            }
        }
    }

    /// The log was written, or not, at the end of a turn: what may become of the answers to writes.
    /// `true`: some of them wait for this ticket.
    pub(crate) fn has_logged(&mut self, fate: Fate, ticket: u64) -> bool {
        let (level, mark) = std::mem::replace(&mut self.wrote, (Level::Memory, 0));
        if level > Level::Memory && fate == Fate::Lost {
            self.hang_up();
            return false;
        }
        let waits = level == Level::Disk && self.output.bytes.len() > mark;
        if waits {
            self.output.holds.push_back((mark, ticket));
        }
        waits
    }

    /// All writes up to this ticket are on the disk: their answers may go out.
    pub(crate) fn release(&mut self, durable: u64) {
        let is_durable = |(_, ticket): &(usize, u64)| *ticket <= durable;
        while self.output.holds.front().is_some_and(is_durable) {
            self.output.holds.pop_front();
        }
    }

    /// Whether it has answers that wait for the disk.
    pub(crate) fn is_held(&self) -> bool {
        !self.output.holds.is_empty()
    }

    /// Hands what was gathered for the next flush to the output.
    pub(crate) fn flush(&mut self) {
        self.session.flush(&mut self.output.bytes);
    }

    /// Sends what there is through `send`, if there may be room.
    pub(crate) fn send(&mut self, cx: &mut Context, send: impl FnOnce(&[u8]) -> Sent) {
        let waiting = self.output.free();
        if waiting.is_empty() || !self.writable {
            return;
        }
        cx.counters.peaks.output_bytes.raise_to(waiting.len() as u64);
        match send(waiting) {
            Sent::Closed => self.hang_up(),
            Sent::Bytes(sent) => {
                self.writable = sent == waiting.len();
                cx.counters.bytes_sent.add(sent as u64);
                self.output.advance(sent);
                let sent = if self.output.is_empty() { usize::MAX } else { self.output.sent };
                self.waiting.sent(sent, cx, self.peer);
            }
        }
    }

    /// The connection is closed: whatever it was doing is over.
    pub(crate) fn close(mut self, cx: &Context) {
        self.session.close(cx);
    }

    /// What it speaks.
    pub(crate) const fn protocol(&self) -> Protocol {
        self.session.protocol()
    }

    /// Whether one of its streams waits for this alarm.
    pub(crate) fn awaits(&self, alarm: &Alarm) -> bool {
        self.session.awaits(alarm)
    }

    /// The node's hash range may have changed. Returns whether somebody wants to know.
    pub(crate) fn note_range_news(&mut self) -> bool {
        self.session.note_range_news()
    }

    /// Something has happened for one of its streams.
    pub(crate) fn wake(&mut self, stream: u64) {
        self.session.wake(stream);
    }
}

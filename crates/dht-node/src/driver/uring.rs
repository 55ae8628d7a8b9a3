//! The driver for Linux: completions by io_uring.
//!
//! ```text
//! add ----> a receive that goes on, into buffers of the ring      receive: what they hold
//! send ---> a copy of the bytes, with the next wait               output: when it is gone
//! wait ---> one system call for all of that
//! ```
//!
//! It has the meaning of the driver by `mio`; what differs is who waits for whom:
//!
//! - The system receives before anybody asks. What a connection does not take in a turn is moved
//!   out of the ring into its own **stash**, so that slow ones do not use up the buffers of all,
//!   and its receive is cancelled until the stash is empty. So TCP slows the peer down. All
//!   stashes together grow by the ring's 8 MiB in a call at most, and each in a call or two.
//! - A connection has one send at a time. [`UringDriver::all_sent`] tells when nothing is on the
//!   way any more; before that it must not be removed in good order.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use rustix::io::Errno;
use slab::Slab;

use super::ring::{BUFFER_BYTES, Completion, Lease, Outcome, Ring};
use super::spares::Spares;
use super::{ConnId, RECEIVE_BYTES, RECEIVE_BYTES_MAX, Ready, Received, Sent};

/// Most bytes of one send; more wait in the connection's output.
const SEND_BYTES_MAX: usize = 256 * 1024;
/// Largest send buffer that an idle connection keeps, in bytes.
const SEND_KEPT_BYTES: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct UringDriver {
    ring: Ring,
    /// Where the waker's calls arrive; the ring watches it.
    waker: Poll,
    waker_events: Events,
    watched: bool,
    /// A receive has found no buffer.
    starved: bool,
    slots: Slab<Slot>,
    /// The slot of each connection.
    of_conn: Vec<Option<usize>>,
    /// Slots that may hold leases.
    holding: Vec<usize>,
    /// Slots whose receive has to be started.
    to_receive: Vec<usize>,
    /// What the last receive has lent out.
    lent: Option<Lease>,
    spares: Spares,
}

/// A socket, as long as the system has anything to do with it.
#[derive(Debug)]
struct Slot {
    socket: TcpStream,
    /// `None`: it was removed, and is closed when nothing runs any more.
    conn: Option<ConnId>,
    leases: VecDeque<Lease>,
    /// Received before the leases; `stash[..taken]` is gone.
    stash: Vec<u8>,
    taken: usize,
    receive: Receive,
    /// No byte will follow.
    ended: bool,
    /// A send is on the way.
    sending: bool,
    /// Nothing can be sent any more.
    broken: bool,
    /// Somebody waits for the end of the send.
    awaited: bool,
    /// For the next send.
    spare: Vec<u8>,
}

/// What the system does about the bytes of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receive {
    Stopped,
    Runs,
    Cancelling,
}

impl Slot {
    fn has_input(&self) -> bool {
        !self.leases.is_empty() || self.taken < self.stash.len()
    }

    /// Whether the receive should run and does not.
    fn wants_receive(&self) -> bool {
        self.receive == Receive::Stopped
            && !self.ended
            && self.conn.is_some()
            && self.taken == self.stash.len()
    }
}

impl UringDriver {
    /// A driver without sockets, and what ends its `wait` from another thread.
    pub(crate) fn new() -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), Token(0))?;
        let driver = Self {
            ring: Ring::new()?,
            waker: poll,
            waker_events: Events::with_capacity(1),
            watched: false,
            starved: false,
            slots: Slab::new(),
            of_conn: Vec::new(),
            holding: Vec::new(),
            to_receive: Vec::new(),
            lent: None,
            spares: Spares::default(),
        };
        Ok((driver, waker))
    }

    /// Whether the system lets us: makes a ring and has it do something.
    pub(crate) fn probe() -> io::Result<()> {
        let mut ring = Ring::new()?;
        ring.enter(0, Some(Duration::ZERO))
    }

    /// Takes a socket under a number that is free.
    pub(crate) fn add(&mut self, conn: ConnId, socket: TcpStream) -> io::Result<()> {
        // Else an operation that has to wait would fail.
        socket.set_nonblocking(false)?;
        let slot = self.slots.insert(Slot {
            socket,
            conn: Some(conn),
            leases: VecDeque::new(),
            stash: Vec::new(),
            taken: 0,
            receive: Receive::Stopped,
            ended: false,
            sending: false,
            broken: false,
            awaited: false,
            spare: Vec::new(),
        });
        if self.of_conn.len() <= conn {
            self.of_conn.resize(conn + 1, None);
        }
        self.of_conn[conn] = Some(slot);
        self.to_receive.push(slot);
        Ok(())
    }

    /// Closes a socket, as soon as the system has let go of it.
    pub(crate) fn remove(&mut self, conn: ConnId) {
        let Some(number) = self.of_conn.get_mut(conn).and_then(Option::take) else { return };
        let slot = &mut self.slots[number];
        slot.conn = None;
        for lease in std::mem::take(&mut slot.leases) {
            self.ring.give_back(lease);
        }
        self.spares.give(std::mem::take(&mut slot.stash));
        slot.taken = 0;
        // It ends whatever runs; the completions tell when.
        if slot.sending || self.cancel_receive(number).is_err() {
            let _ = self.slots[number].socket.shutdown(Shutdown::Both);
        }
        self.close_if_idle(number);
    }

    fn close_if_idle(&mut self, number: usize) {
        let slot = &self.slots[number];
        if slot.conn.is_none() && slot.receive == Receive::Stopped && !slot.sending {
            self.slots.remove(number);
        }
    }

    fn cancel_receive(&mut self, number: usize) -> io::Result<()> {
        let slot = &mut self.slots[number];
        if slot.receive == Receive::Runs {
            self.ring.cancel_receive(number)?;
            slot.receive = Receive::Cancelling;
        }
        Ok(())
    }

    /// Waits for anything to happen, at most `timeout` (for ever if `None`). May return without.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<Ready>,
    ) -> io::Result<()> {
        self.return_lent();
        self.stash_leases()?;
        if std::mem::take(&mut self.starved) {
            self.ring.add_more_buffers();
        }
        self.start_receives()?;
        let want = u32::from(timeout != Some(Duration::ZERO));
        self.ring.enter(want, timeout)?;
        self.take_completions(ready)?;
        // Sends are often completed by the call that starts them: that was no reason to return.
        if want > 0 && ready.is_empty() && self.watched {
            self.start_receives()?;
            self.ring.enter(want, timeout)?;
            self.take_completions(ready)?;
        }
        Ok(())
    }

    fn return_lent(&mut self) {
        if let Some(lease) = self.lent.take() {
            self.ring.give_back(lease);
        }
    }

    /// No buffer of the ring stays with a connection from turn to turn.
    fn stash_leases(&mut self) -> io::Result<()> {
        let mut holding = std::mem::take(&mut self.holding);
        for number in holding.drain(..) {
            // It may be closed by now, or even be another.
            let Some(slot) = self.slots.get_mut(number) else { continue };
            if slot.leases.is_empty() {
                continue;
            }
            if slot.stash.capacity() == 0 {
                slot.stash = self.spares.take();
            }
            slot.stash.drain(..slot.taken);
            slot.taken = 0;
            for lease in slot.leases.drain(..) {
                slot.stash.extend_from_slice(self.ring.bytes(&lease));
                self.ring.give_back(lease);
            }
            self.cancel_receive(number)?;
        }
        self.holding = holding;
        Ok(())
    }

    fn start_receives(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.watched, true) {
            self.ring.poll(self.waker.as_raw_fd())?;
        }
        let mut to_receive = std::mem::take(&mut self.to_receive);
        for number in to_receive.drain(..) {
            if let Some(slot) = self.slots.get_mut(number)
                && slot.wants_receive()
            {
                self.ring.receive(number, slot.socket.as_raw_fd())?;
                slot.receive = Receive::Runs;
            }
        }
        self.to_receive = to_receive;
        Ok(())
    }

    fn take_completions(&mut self, ready: &mut Vec<Ready>) -> io::Result<()> {
        while let Some(completion) = self.ring.next() {
            match completion {
                Completion::Received { slot, outcome, more } => {
                    self.received(slot, outcome, more, ready);
                }
                Completion::Sent { slot, result, bytes } => {
                    let sent = match result {
                        Ok(sent) => Some(sent),
                        Err(Errno::INTR | Errno::AGAIN) => Some(0),
                        Err(_) => None,
                    };
                    self.sent(slot, sent, bytes, ready)?;
                }
                Completion::NotCancelled { slot } => self.not_cancelled(slot),
                Completion::Polled => {
                    // Whoever woke us has left something in the mailbox: that is all.
                    self.waker.poll(&mut self.waker_events, Some(Duration::ZERO))?;
                    self.watched = false;
                }
            }
        }
        Ok(())
    }

    /// The receive was at work at that moment, or it is over, which its own completion tells.
    fn not_cancelled(&mut self, number: usize) {
        if let Some(slot) = self.slots.get_mut(number)
            && slot.receive == Receive::Cancelling
        {
            // With the next stash it is tried again.
            slot.receive = Receive::Runs;
            if slot.conn.is_none() {
                let _ = slot.socket.shutdown(Shutdown::Both);
            }
        }
    }

    fn received(&mut self, number: usize, outcome: Outcome, more: bool, ready: &mut Vec<Ready>) {
        let slot = &mut self.slots[number];
        if !more {
            slot.receive = Receive::Stopped;
            // If it should go on: what it was stopped for is looked at then.
            self.to_receive.push(number);
        }
        match (outcome, slot.conn) {
            (Outcome::Bytes(lease), None) => self.ring.give_back(lease),
            (Outcome::Bytes(lease), Some(_)) => {
                slot.leases.push_back(lease);
                self.holding.push(number);
            }
            (Outcome::End, _) => slot.ended = true,
            (Outcome::Failed, _) => (slot.ended, slot.broken) = (true, true),
            (Outcome::NoBuffer, _) => {
                self.starved = true;
                return self.close_if_idle(number);
            }
            (Outcome::Cancelled, _) => return self.close_if_idle(number),
        }
        match slot.conn {
            Some(conn) => {
                let (ends, output) = (slot.ended, slot.broken);
                ready.push(Ready { conn, input: true, ends, output });
            }
            None => self.close_if_idle(number),
        }
    }

    /// `sent`: how many bytes went out, if the connection is not broken.
    fn sent(
        &mut self,
        number: usize,
        sent: Option<usize>,
        mut bytes: Vec<u8>,
        ready: &mut Vec<Ready>,
    ) -> io::Result<()> {
        let slot = &mut self.slots[number];
        match sent {
            Some(sent) if sent < bytes.len() && slot.conn.is_some() => {
                bytes.drain(..sent);
                return self.ring.send(number, slot.socket.as_raw_fd(), bytes);
            }
            Some(_) => {}
            None => slot.broken = true,
        }
        slot.sending = false;
        bytes.clear();
        bytes.shrink_to(SEND_KEPT_BYTES);
        slot.spare = bytes;
        match slot.conn {
            Some(conn) if slot.awaited || slot.broken => {
                slot.awaited = false;
                ready.push(Ready { conn, input: slot.broken, ends: slot.ended, output: true });
            }
            Some(_) => {}
            None => self.close_if_idle(number),
        }
        Ok(())
    }

    /// What the next receive will take, if it lies in one buffer.
    pub(crate) fn peek(&self, conn: ConnId) -> Option<&[u8]> {
        let slot = &self.slots[self.of_conn.get(conn).copied().flatten()?];
        let is_next = slot.taken == slot.stash.len() && slot.leases.len() == 1;
        if is_next { slot.leases.front().map(|lease| self.ring.bytes(lease)) } else { None }
    }

    /// Takes bytes that have arrived.
    pub(crate) fn receive(&mut self, conn: ConnId, input: &mut Vec<u8>) -> Received<'_> {
        self.return_lent();
        let Some(number) = self.of_conn.get(conn).copied().flatten() else {
            return Received::Closed;
        };
        let slot = &mut self.slots[number];
        let is_one_piece = slot.taken == slot.stash.len() && slot.leases.len() == 1;
        if is_one_piece && input.is_empty() {
            let lease = slot.leases.pop_front().expect("there is one");
            let lease = self.lent.insert(lease);
            return Received::Bytes(self.ring.bytes(lease), slot.ended);
        }
        if !slot.has_input() {
            return if slot.ended { Received::Closed } else { Received::Nothing };
        }
        if input.capacity() == 0 {
            *input = self.spares.take();
        }
        let before = input.len();
        let end = before + before.clamp(RECEIVE_BYTES, RECEIVE_BYTES_MAX);
        let stashed = &slot.stash[slot.taken..];
        let stashed = &stashed[..stashed.len().min(end - before)];
        input.extend_from_slice(stashed);
        slot.taken += stashed.len();
        if slot.taken == slot.stash.len() {
            slot.taken = 0;
            self.spares.give(std::mem::take(&mut slot.stash));
            while input.len() + BUFFER_BYTES <= end
                && let Some(lease) = slot.leases.pop_front()
            {
                input.extend_from_slice(self.ring.bytes(&lease));
                self.ring.give_back(lease);
            }
            if slot.wants_receive() {
                self.to_receive.push(number);
            }
        }
        Received::Appended(input.len() - before, slot.has_input() || slot.ended)
    }

    /// See [`Driver::recycle`](super::Driver::recycle).
    pub(crate) fn recycle(&mut self, input: Vec<u8>) {
        self.spares.give(input);
    }

    /// Takes as much as there is room for; it goes out with the next wait.
    pub(crate) fn send(&mut self, conn: ConnId, bytes: &[u8]) -> Sent {
        let Some(number) = self.of_conn.get(conn).copied().flatten() else { return Sent::Closed };
        let slot = &mut self.slots[number];
        if slot.broken {
            return Sent::Closed;
        }
        if slot.sending {
            slot.awaited = true;
            return Sent::Bytes(0);
        }
        let len = bytes.len().min(SEND_BYTES_MAX);
        slot.awaited = len < bytes.len();
        let mut spare = std::mem::take(&mut slot.spare);
        spare.extend_from_slice(&bytes[..len]);
        slot.sending = true;
        if let Err(error) = self.ring.send(number, slot.socket.as_raw_fd(), spare) {
            log::error!("cannot send: {error}");
            (slot.sending, slot.broken) = (false, true);
            return Sent::Closed;
        }
        Sent::Bytes(len)
    }

    /// Whether nothing is on the way any more. If something is, `output` will tell when it is gone.
    pub(crate) fn all_sent(&mut self, conn: ConnId) -> bool {
        let Some(number) = self.of_conn.get(conn).copied().flatten() else { return true };
        let slot = &mut self.slots[number];
        slot.awaited |= slot.sending;
        !slot.sending || slot.broken
    }
}

//! The driver for every Linux: readiness by `mio` (epoll), edge-triggered.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token, Waker, net::TcpStream};

use super::spares::Spares;
use super::{ConnId, RECEIVE_BYTES, Ready, Received, Sent};

/// Most events that one wait reports; the others come with the next.
const EVENTS_MAX: usize = 1024;

const WAKE: Token = Token(usize::MAX);

/// See the module above.
#[derive(Debug)]
pub(crate) struct MioDriver {
    poll: Poll,
    events: Events,
    sockets: Vec<Option<TcpStream>>,
    buffer: Box<[u8]>,
    spares: Spares,
}

impl MioDriver {
    /// A driver without sockets, and what ends its `wait` from another thread.
    pub(crate) fn new() -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let events = Events::with_capacity(EVENTS_MAX);
        let buffer = vec![0; RECEIVE_BYTES].into_boxed_slice();
        Ok((Self { poll, events, sockets: Vec::new(), buffer, spares: Spares::default() }, waker))
    }

    /// Takes a socket under a number that is free.
    pub(crate) fn add(&mut self, conn: ConnId, socket: std::net::TcpStream) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(conn), both)?;
        if self.sockets.len() <= conn {
            self.sockets.resize_with(conn + 1, || None);
        }
        self.sockets[conn] = Some(socket);
        Ok(())
    }

    /// Closes a socket. The system forgets its registration with it.
    pub(crate) fn remove(&mut self, conn: ConnId) {
        self.sockets[conn] = None;
    }

    /// Waits for anything to happen, at most `timeout` (for ever if `None`).
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<Ready>,
    ) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in self.events.iter().filter(|event| event.token() != WAKE) {
            let ends = event.is_read_closed() || event.is_error();
            ready.push(Ready {
                conn: event.token().0,
                input: event.is_readable() || ends,
                ends,
                output: event.is_writable() || event.is_error(),
            });
        }
        Ok(())
    }

    /// Takes bytes that have arrived.
    pub(crate) fn receive(&mut self, conn: ConnId, input: &mut Vec<u8>) -> Received<'_> {
        let Some(socket) = &mut self.sockets[conn] else { return Received::Closed };
        loop {
            match socket.read(&mut self.buffer) {
                Ok(0) => return Received::Closed,
                // A receive that was not filled has emptied the socket: no second call to be told.
                Ok(len) => {
                    let is_filled = len == self.buffer.len();
                    // It looks like a large message, of which most will be kept for the next turn.
                    if is_filled && input.capacity() == 0 {
                        *input = self.spares.take();
                    }
                    return Received::Bytes(&self.buffer[..len], is_filled);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Received::Nothing,
                    ErrorKind::Interrupted => {}
                    _ => return Received::Closed,
                },
            }
        }
    }

    /// See [`Driver::recycle`](super::Driver::recycle).
    pub(crate) fn recycle(&mut self, input: Vec<u8>) {
        self.spares.give(input);
    }

    /// Sends as much as there is room for.
    pub(crate) fn send(&mut self, conn: ConnId, bytes: &[u8]) -> Sent {
        let Some(socket) = &mut self.sockets[conn] else { return Sent::Closed };
        let mut sent = 0;
        while sent < bytes.len() {
            match socket.write(&bytes[sent..]) {
                Ok(len) => sent += len,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => break,
                    ErrorKind::Interrupted => {}
                    _ => return Sent::Closed,
                },
            }
        }
        Sent::Bytes(sent)
    }
}

//! Sockets: which are ready, bytes in, bytes out. No protocol.
//!
//! A driver belongs to one worker. The boundary is the calls of [`Driver`]; behind it:
//!
//! ```text
//! mio      readiness (epoll), a system call for each receive and send
//! uring    completions (io_uring), one system call a turn        > ring    its unsafe part
//! ```

mod mio;
mod ring;
mod spares;
#[cfg(test)]
mod tests;
mod uring;

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use ::mio::Waker;

use self::mio::MioDriver;
use self::uring::UringDriver;
use crate::config::Io;

/// Most bytes that one receive takes of short messages, and so the most that one connection gets
/// done in one turn before the others have theirs.
const RECEIVE_BYTES: usize = 64 * 1024;

/// Most bytes that one receive takes.
pub(crate) const RECEIVE_BYTES_MAX: usize = 256 * 1024;

/// Which driver serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DriverKind {
    Epoll,
    Uring,
}

impl DriverKind {
    /// What the configuration means on this system. An error only if io_uring is asked for by name.
    pub(crate) fn choose(io: Io) -> io::Result<Self> {
        if io == Io::Epoll {
            return Ok(Self::Epoll);
        }
        match (UringDriver::probe(), io) {
            (Ok(()), _) => Ok(Self::Uring),
            (Err(error), Io::Uring) => Err(error),
            (Err(error), _) => {
                log::info!("The system refuses io_uring ({error}): using epoll");
                Ok(Self::Epoll)
            }
        }
    }
}

/// The sockets of one worker.
#[derive(Debug)]
pub(crate) enum Driver {
    Mio(Box<MioDriver>),
    Uring(Box<UringDriver>),
}

impl Driver {
    /// A driver without sockets, and what ends its `wait` from another thread.
    pub(crate) fn new(kind: DriverKind) -> io::Result<(Self, Waker)> {
        Ok(match kind {
            DriverKind::Epoll => {
                let (driver, waker) = MioDriver::new()?;
                (Self::Mio(driver.into()), waker)
            }
            DriverKind::Uring => {
                let (driver, waker) = UringDriver::new()?;
                (Self::Uring(driver.into()), waker)
            }
        })
    }

    /// Takes a socket under a number that is free.
    pub(crate) fn add(&mut self, conn: ConnId, socket: TcpStream) -> io::Result<()> {
        match self {
            Self::Mio(driver) => driver.add(conn, socket),
            Self::Uring(driver) => driver.add(conn, socket),
        }
    }

    /// Closes a socket.
    pub(crate) fn remove(&mut self, conn: ConnId) {
        match self {
            Self::Mio(driver) => driver.remove(conn),
            Self::Uring(driver) => driver.remove(conn),
        }
    }

    /// Waits for anything to happen, at most `timeout` (for ever if `None`). It may return without.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<Ready>,
    ) -> io::Result<()> {
        match self {
            Self::Mio(driver) => driver.wait(timeout, ready),
            Self::Uring(driver) => driver.wait(timeout, ready),
        }
    }

    /// Takes bytes that have arrived, at most [`RECEIVE_BYTES`]; or, so that a large message comes
    /// in few turns, as many as there are in `input` already, which is what the connection has
    /// received and not used, and at most [`RECEIVE_BYTES_MAX`].
    pub(crate) fn receive(&mut self, conn: ConnId, input: &mut Vec<u8>) -> Received<'_> {
        match self {
            Self::Mio(driver) => driver.receive(conn, input),
            Self::Uring(driver) => driver.receive(conn, input),
        }
    }

    /// Takes an input back that is empty and too large to be kept by a connection.
    pub(crate) fn recycle(&mut self, input: Vec<u8>) {
        match self {
            Self::Mio(driver) => driver.recycle(input),
            Self::Uring(driver) => driver.recycle(input),
        }
    }

    /// What the next [`Driver::receive`] will take for an empty input, if that is known and in one
    /// piece.
    pub(crate) fn peek(&self, conn: ConnId) -> Option<&[u8]> {
        match self {
            Self::Mio(_) => None,
            Self::Uring(driver) => driver.peek(conn),
        }
    }

    /// Sends as much as there is room for. It is on its way after the next wait at the latest.
    pub(crate) fn send(&mut self, conn: ConnId, bytes: &[u8]) -> Sent {
        match self {
            Self::Mio(driver) => driver.send(conn, bytes),
            Self::Uring(driver) => driver.send(conn, bytes),
        }
    }

    /// Whether all that was taken is in the system's hands, so that removing the connection loses
    /// nothing. If not, `output` will tell when it is.
    pub(crate) fn all_sent(&mut self, conn: ConnId) -> bool {
        match self {
            Self::Mio(_) => true,
            Self::Uring(driver) => driver.all_sent(conn),
        }
    }
}

/// Number of a connection within its worker; reused after the connection is gone.
pub(crate) type ConnId = usize;

/// What the system says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Whose socket it is.
    pub(crate) conn: ConnId,
    /// Bytes, an end or an error can be received.
    pub(crate) input: bool,
    /// The peer sends nothing any more; behind the bytes that are there stands the end.
    pub(crate) ends: bool,
    /// There is room to send.
    pub(crate) output: bool,
}

/// The outcome of one receive.
#[derive(Debug)]
pub(crate) enum Received<'a> {
    /// Bytes, and whether more may be waiting.
    Bytes(&'a [u8], bool),
    /// So many bytes, which are at the end of the connection's input, and whether more may be
    /// waiting.
    Appended(usize, bool),
    /// Nothing for now.
    Nothing,
    /// The peer has closed, or the connection broke.
    Closed,
}

/// The outcome of one send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// So many bytes went out; if not all, the driver says when there is room again.
    Bytes(usize),
    /// The connection broke.
    Closed,
}

//! Bytes to and from one node, with a limit on each wait.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use dht_protocol::wire::{DecodeError, Reader};
use socket2::{SockRef, TcpKeepalive};

use crate::{ErrorKind, NodeAddress};

/// How long a client waits. `None` or zero: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection to come about.
    pub connect: Option<Duration>,
    /// For each single wait for the node to send or take bytes.
    pub io: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Some(Duration::from_secs(5)), io: Some(Duration::from_secs(30)) }
    }
}

/// Bytes asked of the system in one read, at least.
const READ_BYTES: usize = 64 * 1024;

/// Keep-alive of the original's client: first probe, interval in seconds, number of probes.
/// Source: spec `protocol-legacy` 13.1.
const KEEPALIVE: (u64, u64, u32) = (5, 3, 3);

/// A connected socket and what it received that was not asked for yet: `buffer[start..end]`.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    io_timeout: Option<Duration>,
    /// Most bytes that are kept until they make a whole answer or message.
    input_bytes_max: usize,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Socket {
    pub(super) fn connect(
        node: &NodeAddress,
        timeouts: Timeouts,
        input_bytes_max: usize,
    ) -> Result<Self, ErrorKind> {
        let timeout = timeouts.connect.filter(|limit| !limit.is_zero());
        let stream = connect_any(node, timeout).map_err(|error| match (error.kind(), timeout) {
            (io::ErrorKind::TimedOut, Some(limit)) => ErrorKind::ConnectTimedOut(limit),
            _ => ErrorKind::Connect(error),
        })?;
        let io_timeout = timeouts.io.filter(|limit| !limit.is_zero());
        let buffer = Vec::new();
        let socket = Self { stream, io_timeout, input_bytes_max, buffer, start: 0, end: 0 };
        socket.configure().map_err(ErrorKind::Connect)?;
        Ok(socket)
    }

    fn configure(&self) -> io::Result<()> {
        let (idle, interval, probes) = KEEPALIVE;
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(idle))
            .with_interval(Duration::from_secs(interval))
            .with_retries(probes);
        SockRef::from(&self.stream).set_tcp_keepalive(&keepalive)?;
        self.stream.set_nodelay(true)?;
        self.stream.set_write_timeout(self.io_timeout)?;
        self.stream.set_read_timeout(self.io_timeout)
    }

    /// Lets reads wait for ever, or no longer than the limit again. A dead peer is still noticed,
    /// by keep-alive.
    pub(super) fn wait_for_ever(&self, for_ever: bool) -> Result<(), ErrorKind> {
        let limit = if for_ever { None } else { self.io_timeout };
        self.stream.set_read_timeout(limit).map_err(ErrorKind::Io)
    }

    /// Who is at the other end.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// Sends bytes, all of them.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.stream.write_all(bytes).map_err(|error| self.failure(error))
    }

    /// What was received and not taken yet.
    pub(super) fn received(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Takes bytes from the front of what was received.
    pub(super) fn take(&mut self, len: usize) {
        debug_assert!(len <= self.end - self.start, "only what is there can be taken");
        self.start += len;
    }

    /// Takes what `decode` reads from the received bytes; reads more while it says
    /// [`DecodeError::Truncated`].
    pub(super) fn receive<T>(
        &mut self,
        mut decode: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, ErrorKind> {
        loop {
            let mut r = Reader::new(self.received());
            match decode(&mut r) {
                Ok(item) => {
                    self.start = self.end - r.rest().len();
                    return Ok(item);
                }
                Err(DecodeError::Truncated { missing }) => self.read(missing)?,
                Err(error) => return Err(ErrorKind::Protocol(error)),
            }
        }
    }

    /// Reads once: anything from one byte on. At least `missing` bytes make the next thing whole.
    pub(super) fn read(&mut self, missing: usize) -> Result<(), ErrorKind> {
        self.make_room(missing)?;
        loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(ErrorKind::Closed),
                Ok(len) => {
                    self.end += len;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
    }

    fn make_room(&mut self, missing: usize) -> Result<(), ErrorKind> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let len = self.end.saturating_add(missing);
        if len > self.input_bytes_max {
            let (field, max) = ("answer", self.input_bytes_max);
            return Err(ErrorKind::Protocol(DecodeError::TooLong { field, len: len as u64, max }));
        }
        if self.buffer.len() < len {
            self.buffer.resize(self.end + missing.max(READ_BYTES), 0);
        }
        Ok(())
    }

    fn failure(&self, error: io::Error) -> ErrorKind {
        match (error.kind(), self.io_timeout) {
            // What the system says depends on the platform.
            (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, Some(limit)) => {
                ErrorKind::TimedOut(limit)
            }
            _ => ErrorKind::Io(error),
        }
    }
}

/// Tries every address that the host's name stands for.
fn connect_any(node: &NodeAddress, timeout: Option<Duration>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (node.host.as_str(), node.port).to_socket_addrs()? {
        let connected = match timeout {
            Some(limit) => TcpStream::connect_timeout(&address, limit),
            None => TcpStream::connect(address),
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

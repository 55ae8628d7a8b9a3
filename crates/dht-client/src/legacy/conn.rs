//! One legacy connection: bytes in and out, no limit on any wait.

use std::{io, mem::MaybeUninit};

use dht_protocol::{
    legacy::{Answer, Arguments, Status, encode, requests::decode},
    wire::{DecodeError, Reader, Writer},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{ErrorKind, Limits, NodeAddress, neo::connect};

/// Most bytes of one answer that are kept until it is complete.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes asked of the system in one read, at least.
const READ_BYTES: usize = 64 * 1024;

/// A connection that is in step.
#[derive(Debug)]
pub(super) struct Conn {
    stream: TcpStream,
    input: Vec<u8>,
    start: usize,
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Conn {
    pub(super) async fn open(node: &NodeAddress, limits: &Limits) -> Result<Self, ErrorKind> {
        let stream = connect(node, limits.connect_timeout).await?;
        Ok(Self { stream, input: Vec::new(), start: 0, received: 0, sent: 0 })
    }

    /// Whether the node has neither closed it nor sent what nobody asked for. It asks the system:
    /// what the runtime knows may be a moment old.
    pub(super) fn is_usable(&self) -> bool {
        let quiet = SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]);
        self.start == self.input.len()
            && matches!(quiet, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.stream.write_all(bytes).await.map_err(ErrorKind::Io)?;
        self.sent += bytes.len() as u64;
        Ok(())
    }

    /// Takes what `read` reads from the received bytes; receives more while it says
    /// [`DecodeError::Truncated`].
    pub(super) async fn receive<T>(
        &mut self,
        mut read: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, ErrorKind> {
        loop {
            let mut r = Reader::new(&self.input[self.start..]);
            match read(&mut r) {
                Ok(found) => {
                    self.start = self.input.len() - r.rest().len();
                    return Ok(found);
                }
                Err(DecodeError::Truncated { missing }) => self.read(missing).await?,
                Err(error) => return Err(ErrorKind::Protocol(error)),
            }
        }
    }

    async fn read(&mut self, missing: usize) -> Result<(), ErrorKind> {
        self.input.drain(..self.start);
        self.start = 0;
        let wanted = self.input.len().saturating_add(missing);
        if wanted > ANSWER_BYTES_MAX {
            let (field, max) = ("answer", ANSWER_BYTES_MAX);
            let error = DecodeError::TooLong { field, len: wanted as u64, max };
            return Err(ErrorKind::Protocol(error));
        }
        // What is announced is believed only as fast as it comes.
        self.input.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(ErrorKind::Closed),
            Ok(read) => {
                self.received += read as u64;
                Ok(())
            }
            Err(error) => Err(ErrorKind::Io(error)),
        }
    }

    /// Sends a request that has a single answer, and waits for that.
    pub(super) async fn call<'a, R: Arguments<'a> + Answer>(
        &mut self,
        request: &R,
    ) -> Result<R::Answer, ErrorKind> {
        self.send(&bytes_of(request)).await?;
        self.receive(decode::<R>).await?.map_err(ErrorKind::Status)
    }

    /// Sends a request whose answer is a stream, and waits for its status.
    pub(super) async fn start<'a, R: Arguments<'a>>(
        &mut self,
        request: &R,
    ) -> Result<(), ErrorKind> {
        self.send(&bytes_of(request)).await?;
        match self.receive(Status::decode).await? {
            Status::Ok => Ok(()),
            refused => Err(ErrorKind::Status(refused)),
        }
    }
}

/// The bytes of a request.
pub(super) fn bytes_of<'a, R: Arguments<'a>>(request: &R) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(request, &mut Writer::new(&mut bytes));
    bytes
}

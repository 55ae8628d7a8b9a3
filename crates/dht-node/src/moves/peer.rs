//! The connection from a mover to another node: requests go out, answers are waited for.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use dht_protocol::legacy::requests::{MoveMessage, MovePart, MoveReply, MoveToken};
use dht_protocol::legacy::{self, ARRAY_BYTES_MAX, Status};
use dht_protocol::wire::{DecodeError, Reader, Writer};

use super::{STOP_LOOK, Stop};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a node may take to answer: it may have to look through all that it holds.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = ARRAY_BYTES_MAX;

/// Why the other node could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddrV4, io::Error),
    #[error("the connection to {0} broke: {1}")]
    Io(SocketAddrV4, io::Error),
    #[error("{0} closed the connection")]
    Closed(SocketAddrV4),
    #[error("{0} did not answer for {1:?}")]
    TimedOut(SocketAddrV4, Duration),
    #[error("{0} sent no proper answer: {1}")]
    Answer(SocketAddrV4, DecodeError),
    #[error("{0} refused: {1}")]
    Status(SocketAddrV4, Status),
    #[error("{0} refused: {1}")]
    Refused(SocketAddrV4, String),
    #[error("{0} answered something else than was asked")]
    Unexpected(SocketAddrV4),
    #[error("this node stops")]
    Stopped,
}

/// See the module.
pub(super) struct Peer {
    address: SocketAddrV4,
    stream: TcpStream,
    input: Vec<u8>,
    /// Bytes to be sent; filled by the caller.
    pub(super) output: Vec<u8>,
}

impl Peer {
    pub(super) fn connect(address: SocketAddrV4) -> Result<Self, PeerError> {
        let failed = |error| PeerError::Connect(address, error);
        let stream =
            TcpStream::connect_timeout(&address.into(), CONNECT_TIMEOUT).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(STOP_LOOK)).map_err(failed)?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
        Ok(Self { address, stream, input: Vec::new(), output: Vec::new() })
    }

    /// Sends what was put into `output`.
    pub(super) fn send(&mut self) -> Result<(), PeerError> {
        let sent = self.stream.write_all(&self.output);
        self.output.clear();
        self.output.shrink_to(1024 * 1024);
        sent.map_err(|error| PeerError::Io(self.address, error))
    }

    /// Waits for an answer.
    pub(super) fn receive<T>(
        &mut self,
        stop: &Stop,
        decode: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, PeerError> {
        let mut waited = Duration::ZERO;
        loop {
            let mut r = Reader::new(&self.input);
            match decode(&mut r) {
                Ok(answer) => {
                    let taken = self.input.len() - r.rest().len();
                    self.input.drain(..taken);
                    return Ok(answer);
                }
                Err(DecodeError::Truncated { .. }) if self.input.len() < ANSWER_BYTES_MAX => {}
                Err(error) => return Err(PeerError::Answer(self.address, error)),
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(PeerError::Closed(self.address)),
                Ok(len) => self.input.extend_from_slice(&bytes[..len]),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        waited += STOP_LOOK;
                        if stop.is_set() {
                            return Err(PeerError::Stopped);
                        }
                        if waited >= ANSWER_TIMEOUT {
                            return Err(PeerError::TimedOut(self.address, waited));
                        }
                    }
                    io::ErrorKind::ConnectionReset => return Err(PeerError::Closed(self.address)),
                    _ => return Err(PeerError::Io(self.address, error)),
                },
            }
        }
    }

    /// Sends what is in `output` and waits for a status.
    pub(super) fn status(&mut self, stop: &Stop) -> Result<Status, PeerError> {
        self.send()?;
        self.receive(stop, Status::decode)
    }

    /// Puts a message about a move into `output`.
    pub(super) fn write(&mut self, message: &MoveMessage<'_>) {
        let mut bytes = Vec::new();
        message.encode(&mut Writer::new(&mut bytes));
        legacy::encode(&MovePart { message: &bytes }, &mut Writer::new(&mut self.output));
    }

    /// The same for records; `fill` appends their batch.
    pub(super) fn write_records(
        &mut self,
        token: MoveToken,
        channel: &str,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        MovePart::encode_records(token, channel, &mut Writer::new(&mut self.output), fill);
    }

    /// Waits for the reply to such a message.
    pub(super) fn reply(&mut self, stop: &Stop) -> Result<MoveReply, PeerError> {
        match self.receive(stop, legacy::requests::decode::<MovePart<'_>>)? {
            Ok(MoveReply::Refused(why)) => Err(PeerError::Refused(self.address, why)),
            Ok(reply) => Ok(reply),
            Err(status) => Err(PeerError::Status(self.address, status)),
        }
    }

    /// Sends a message about a move and waits for the reply.
    pub(super) fn ask(
        &mut self,
        stop: &Stop,
        message: &MoveMessage<'_>,
    ) -> Result<MoveReply, PeerError> {
        self.write(message);
        self.send()?;
        self.reply(stop)
    }

    pub(super) const fn address(&self) -> SocketAddrV4 {
        self.address
    }
}

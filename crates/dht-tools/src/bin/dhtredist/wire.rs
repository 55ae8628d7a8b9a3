//! A node about its moves: MovePart, which nodes of ours understand.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use dht_protocol::legacy::requests::{
    GetVersion, MOVE_VERSION, MoveInfo, MoveMessage, MovePart, MoveProgress, MoveReply, decode,
};
use dht_protocol::legacy::{self, Status};
use dht_protocol::wire::{DecodeError, Reader, Writer};
use dht_types::HashRange;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a node may be silent. While a move is under way it tells of it several times a second,
/// except while the taker clears up.
const SILENCE_MAX: Duration = Duration::from_secs(150);

/// How often a node has to close the connection on MovePart before it is taken for one of the
/// original, and the pause in between.
const ORIGINAL_TRIES: usize = 3;
const ORIGINAL_RETRY: Duration = Duration::from_millis(100);

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What kind of node it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Support {
    /// One of ours, and what it says of itself.
    Ours(MoveInfo),
    /// One of ours that moves in another way; its words.
    OtherVersion(String),
    /// One of the original.
    Original,
}

/// A conversation with one node.
pub(crate) struct Link {
    stream: TcpStream,
    input: Vec<u8>,
}

fn text(address: SocketAddrV4) -> impl Fn(io::Error) -> String {
    move |error| format!("node {address}: {error}")
}

/// A connection that does not wait for ever.
pub(crate) fn open(address: SocketAddrV4) -> Result<TcpStream, String> {
    let failed = text(address);
    let stream = TcpStream::connect_timeout(&address.into(), CONNECT_TIMEOUT)
        .map_err(|error| format!("node {address}: cannot connect: {error}"))?;
    stream.set_nodelay(true).map_err(&failed)?;
    stream.set_read_timeout(Some(SILENCE_MAX)).map_err(&failed)?;
    stream.set_write_timeout(Some(SILENCE_MAX)).map_err(&failed)?;
    Ok(stream)
}

impl Link {
    pub(crate) fn connect(address: SocketAddrV4) -> Result<Self, String> {
        Ok(Self { stream: open(address)?, input: Vec::new() })
    }

    fn send(&mut self, message: &MoveMessage<'_>) -> io::Result<()> {
        let (mut bytes, mut request) = (Vec::new(), Vec::new());
        message.encode(&mut Writer::new(&mut bytes));
        legacy::encode(&MovePart { message: &bytes }, &mut Writer::new(&mut request));
        self.stream.write_all(&request)
    }

    fn receive<T>(
        &mut self,
        read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> io::Result<T> {
        loop {
            let mut r = Reader::new(&self.input);
            match read(&mut r) {
                Ok(answer) => {
                    let taken = self.input.len() - r.rest().len();
                    self.input.drain(..taken);
                    return Ok(answer);
                }
                Err(DecodeError::Truncated { .. }) if self.input.len() < ANSWER_BYTES_MAX => {}
                Err(error) => return Err(io::Error::other(format!("malformed answer: {error}"))),
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                len => self.input.extend_from_slice(&bytes[..len]),
            }
        }
    }

    /// Starts a move and follows it to its end, telling of its progress.
    pub(crate) fn move_part(
        &mut self,
        part: HashRange,
        taker: SocketAddrV4,
        mut tell: impl FnMut(&MoveProgress),
    ) -> io::Result<MoveReply> {
        let address = taker.ip().to_string();
        let (version, port) = (MOVE_VERSION, taker.port());
        self.send(&MoveMessage::Start { version, part, address: &address, port })?;
        let status = self.receive(Status::decode)?;
        if status != Status::Ok {
            return Err(io::Error::other(format!("refused: {status}")));
        }
        loop {
            match self.receive(MoveReply::decode_array)? {
                MoveReply::Progress(progress) => tell(&progress),
                end => return Ok(end),
            }
        }
    }
}

/// Asks a node what it is. Whoever is killed, or cut off, closes the connection like a node of the
/// original: only who does so each time, and answers what that knows, is one.
pub(crate) fn support(address: SocketAddrV4) -> Result<Support, String> {
    for _ in 0..ORIGINAL_TRIES {
        if let Some(support) = ask(address)? {
            return Ok(support);
        }
        std::thread::sleep(ORIGINAL_RETRY);
    }
    Ok(Support::Original)
}

/// `None`: it closes the connection on MovePart.
fn ask(address: SocketAddrV4) -> Result<Option<Support>, String> {
    let mut link = Link::connect(address)?;
    let mut version = Vec::new();
    legacy::encode(&GetVersion, &mut Writer::new(&mut version));
    let sent = link.stream.write_all(&version);
    let known = sent.and_then(|()| link.receive(decode::<GetVersion>)).map_err(text(address))?;
    known.map_err(|status| format!("node {address}: it has no version: {status}"))?;
    let sent = link.send(&MoveMessage::Info { version: MOVE_VERSION });
    let reply = sent.and_then(|()| link.receive(decode::<MovePart<'_>>));
    match reply {
        Ok(Ok(MoveReply::Info(info))) => Ok(Some(Support::Ours(info))),
        Ok(Ok(MoveReply::Refused(why))) => Ok(Some(Support::OtherVersion(why))),
        Ok(other) => Err(format!("node {address}: unexpected answer: {other:?}")),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(text(address)(error)),
    }
}

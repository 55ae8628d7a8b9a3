//! One node: one request at a time.

use dht_protocol::{
    legacy::{
        API_VERSION, Answer, Arguments, Command, Status,
        requests::{
            Exists, Get, GetAll, GetAllFilter, GetAllKeys, GetResponsibleRange, GetVersion, Listen,
            Put, Remove, RemoveChannel, Value, decode,
        },
    },
    wire::Writer,
};
use dht_types::{ChannelName, HashRange, Key};

use super::stream::{Changes, Keys, Records};
use crate::{
    Error, ErrorKind, NodeAddress, RequestName,
    blocking::socket::{Socket, Timeouts},
};

/// Most bytes of one answer that are kept until it is complete. Above all single arrays; a list of
/// channels that is longer is refused.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A client of one node. It connects when a request needs it, and again after an error that ended
/// the connection; a request that failed is not repeated.
#[derive(Debug)]
pub struct Connection {
    node: NodeAddress,
    timeouts: Timeouts,
    socket: Option<Socket>,
    request: Vec<u8>,
}

impl Connection {
    /// A client that connects with its first request.
    #[must_use]
    pub const fn new(node: NodeAddress, timeouts: Timeouts) -> Self {
        Self { node, timeouts, socket: None, request: Vec::new() }
    }

    /// Connects now.
    pub fn connect(node: NodeAddress, timeouts: Timeouts) -> Result<Self, Error> {
        let mut connection = Self::new(node, timeouts);
        match connection.socket() {
            Ok(_) => Ok(connection),
            Err(kind) => Err(Error { node: Some(connection.node), request: None, kind }),
        }
    }

    /// The node's address.
    #[must_use]
    pub const fn node(&self) -> &NodeAddress {
        &self.node
    }

    /// The time limits.
    #[must_use]
    pub const fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Sends a request that has a single answer, and waits for that.
    ///
    /// Checks nothing before it sends: that is for the methods named after the requests.
    pub fn call<'a, R: Arguments<'a> + Answer>(&mut self, request: &R) -> Result<R::Answer, Error> {
        self.attempt(R::COMMAND, |connection| {
            connection.send(request)?;
            let answer = connection.socket()?.receive(decode::<R>)?;
            answer.map_err(ErrorKind::Status)
        })
    }

    /// Checks that the node speaks this version of the protocol, and asks for its hash range.
    pub fn handshake(&mut self) -> Result<HashRange, Error> {
        let version = self.call(&GetVersion)?;
        if version != API_VERSION {
            return Err(self.error(Command::GetVersion, ErrorKind::Version(version)));
        }
        self.call(&GetResponsibleRange)
    }

    /// A record's value; `None` if there is no record.
    pub fn get(&mut self, channel: &ChannelName, key: Key) -> Result<Option<Vec<u8>>, Error> {
        let value = self.call(&Get { channel, key: key.into() })?;
        Ok(if value.is_empty() { None } else { Some(value) })
    }

    /// Whether there is a record.
    pub fn exists(&mut self, channel: &ChannelName, key: Key) -> Result<bool, Error> {
        self.call(&Exists { channel, key: key.into() })
    }

    /// Stores a record, replacing the one that is there. The value must have at least one byte.
    pub fn put(&mut self, channel: &ChannelName, key: Key, value: &[u8]) -> Result<(), Error> {
        if value.is_empty() {
            return Err(self.error(Command::Put, ErrorKind::EmptyValue));
        }
        self.call(&Put { channel, key, value: Value::Bytes(value) })
    }

    /// Takes a record away. The node does not tell whether there was one.
    pub fn remove(&mut self, channel: &ChannelName, key: Key) -> Result<(), Error> {
        self.call(&Remove { channel, key })
    }

    /// Takes a channel away with all its records. The node does not tell whether there was one.
    pub fn remove_channel(&mut self, channel: &ChannelName) -> Result<(), Error> {
        self.call(&RemoveChannel { channel })
    }

    /// Every record of a channel.
    pub fn get_all(&mut self, channel: &ChannelName) -> Result<Records<'_>, Error> {
        self.start(&GetAll { channel })?;
        Ok(Records::new(self, Command::GetAll))
    }

    /// Every record of a channel whose value contains `filter`, which must have at least one byte.
    pub fn get_all_filter(
        &mut self,
        channel: &ChannelName,
        filter: &[u8],
    ) -> Result<Records<'_>, Error> {
        if filter.is_empty() {
            return Err(self.error(Command::GetAllFilter, ErrorKind::EmptyFilter));
        }
        self.start(&GetAllFilter { channel, filter })?;
        Ok(Records::new(self, Command::GetAllFilter))
    }

    /// Every key of a channel.
    pub fn get_all_keys(&mut self, channel: &ChannelName) -> Result<Keys<'_>, Error> {
        self.start(&GetAllKeys { channel })?;
        Ok(Keys::new(self))
    }

    /// Every record that is put into a channel from now on. A missing channel is created.
    pub fn listen(&mut self, channel: &ChannelName) -> Result<Changes<'_>, Error> {
        self.start(&Listen { channel })?;
        self.attempt(Command::Listen, |connection| connection.socket()?.wait_for_ever(true))?;
        Ok(Changes::new(self))
    }

    /// Closes the connection; the next request opens a new one.
    pub fn close(&mut self) {
        self.socket = None;
    }

    /// Sends a request whose answer is a stream, and waits for its status.
    fn start<'a, R: Arguments<'a>>(&mut self, request: &R) -> Result<(), Error> {
        self.attempt(R::COMMAND, |connection| {
            connection.send(request)?;
            match connection.socket()?.receive(Status::decode)? {
                Status::Ok => Ok(()),
                refused => Err(ErrorKind::Status(refused)),
            }
        })
    }

    fn send<'a, R: Arguments<'a>>(&mut self, request: &R) -> Result<(), ErrorKind> {
        let mut bytes = std::mem::take(&mut self.request);
        bytes.clear();
        dht_protocol::legacy::encode(request, &mut Writer::new(&mut bytes));
        let sent = self.socket().and_then(|socket| match socket.received() {
            [] => socket.send(&bytes),
            unasked => Err(ErrorKind::Unasked(unasked.len())),
        });
        self.request = bytes;
        sent
    }

    /// The open socket; connects if there is none.
    pub(super) fn socket(&mut self) -> Result<&mut Socket, ErrorKind> {
        if self.socket.is_none() {
            self.socket = Some(Socket::connect(&self.node, self.timeouts, ANSWER_BYTES_MAX)?);
        }
        Ok(self.socket.as_mut().expect("opened above"))
    }

    /// Takes a step of a request; an error that leaves the connection out of step closes it.
    pub(super) fn attempt<T>(
        &mut self,
        command: Command,
        step: impl FnOnce(&mut Self) -> Result<T, ErrorKind>,
    ) -> Result<T, Error> {
        step(self).map_err(|kind| {
            if kind.is_fatal() {
                self.close();
            }
            self.error(command, kind)
        })
    }

    fn error(&self, request: Command, kind: ErrorKind) -> Error {
        // Whichever request asked for the connection has nothing to do with its failure.
        let connecting = matches!(kind, ErrorKind::Connect(_) | ErrorKind::ConnectTimedOut(_));
        let request = if connecting { None } else { Some(RequestName::Legacy(request)) };
        Error { node: Some(self.node.clone()), request, kind }
    }
}

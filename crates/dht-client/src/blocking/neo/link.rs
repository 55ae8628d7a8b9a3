//! One open connection: the greeting, messages in and out, the node's hash range beside them.

use std::{
    io,
    net::{SocketAddr, SocketAddrV4},
    time::SystemTime,
};

use dht_protocol::neo::{
    Client, ClientHandshake, Command, Control, Request, RequestId,
    client::Reply,
    frame::{HEADER_BYTES, Header, REPLY_BODY_BYTES_MAX},
    requests::{GetHashRange, HashRangeUpdate, UpdateMessage},
};
use dht_types::HashRange;

use crate::{
    AuthenticationError, ClientCredentials, Error, ErrorKind, NodeAddress, RequestName,
    blocking::socket::{Socket, Timeouts},
};

/// News that are kept until somebody asks for them; the oldest make room.
pub const NEWS_MAX: usize = 1024;

/// Something that a node told about hash ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeNews {
    /// Another node, with the address of its neo listener; `None`: the node itself.
    pub about: Option<SocketAddrV4>,
    /// Its range from now on.
    pub range: HashRange,
}

/// An open and authenticated connection.
#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    client: Client,
    /// To be sent: nothing between two calls.
    out: Vec<u8>,
    hash_range: HashRange,
    /// What was told since somebody asked; at most one about each node.
    pub(super) news: Vec<RangeNews>,
}

impl Link {
    /// Connects, introduces the client, and asks for the node's range.
    pub(super) fn open(
        node: &NodeAddress,
        credentials: &ClientCredentials,
        timeouts: Timeouts,
    ) -> Result<Self, Error> {
        let failed = |request, kind| Error { node: Some(node.clone()), request, kind };
        let greeted = Socket::connect(node, timeouts, HEADER_BYTES + REPLY_BODY_BYTES_MAX)
            .and_then(|mut socket| greet(&mut socket, credentials).map(|()| socket));
        let socket = greeted.map_err(|kind| failed(None, kind))?;
        let (client, out, news) = (Client::new(), Vec::new(), Vec::new());
        let mut link = Self { socket, client, out, hash_range: HashRange::EMPTY, news };
        link.ask_hash_range()
            .map_err(|kind| failed(Some(RequestName::Neo(Command::GetHashRange)), kind))?;
        Ok(link)
    }

    /// Starts the GetHashRange that runs as long as the connection lives.
    fn ask_hash_range(&mut self) -> Result<(), ErrorKind> {
        let id = self.start(GetHashRange)?;
        let range = self.event(id, |reply| match reply {
            Reply::HashRange(range) => Ok(range),
            other => Err(failure(other)),
        })??;
        self.learn(RangeNews { about: None, range });
        Ok(())
    }

    /// The node's range, as far as it has been heard of.
    pub(super) const fn hash_range(&self) -> HashRange {
        self.hash_range
    }

    /// Who is at the other end.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.socket.peer()
    }

    /// Lets reads wait for ever, or no longer than the limit again.
    pub(super) fn wait_for_ever(&self, for_ever: bool) -> Result<(), ErrorKind> {
        self.socket.wait_for_ever(for_ever)
    }

    /// Sends a request's first message.
    pub(super) fn start<'a>(
        &mut self,
        request: impl Into<Request<'a>>,
    ) -> Result<RequestId, ErrorKind> {
        let id = self.client.start(request, &mut self.out);
        let id = id.expect("one request runs at a time, beside the GetHashRange");
        self.flush()?;
        Ok(id)
    }

    /// Sends a control message. `false`: the request does not wait for one.
    pub(super) fn control(&mut self, id: RequestId, control: Control) -> Result<bool, ErrorKind> {
        let sent = self.client.control(id, control, &mut self.out).is_ok();
        self.flush()?;
        Ok(sent)
    }

    /// Sends the second half of an Update that waits for it.
    pub(super) fn update(
        &mut self,
        id: RequestId,
        message: &UpdateMessage<'_>,
    ) -> Result<(), ErrorKind> {
        let sent = self.client.update(id, message, &mut self.out);
        sent.expect("the record was received, and nothing sent since");
        self.flush()
    }

    /// Waits for the next event of a request and has `read` look at it; takes in news meanwhile.
    pub(super) fn event<T>(
        &mut self,
        id: RequestId,
        read: impl FnOnce(Reply<'_>) -> T,
    ) -> Result<T, ErrorKind> {
        loop {
            let mut input = self.socket.received();
            let len = input.len();
            let event = self.client.next(&mut input, &mut self.out);
            let (news, missing) = match event.map_err(ErrorKind::NeoProtocol)? {
                Some(event) if event.id == id => {
                    let item = read(event.reply);
                    let taken = len - input.len();
                    self.socket.take(taken);
                    self.flush()?;
                    return Ok(item);
                }
                Some(event) => (range_news(event.reply), 0),
                None => (None, missing_bytes(input)),
            };
            let taken = len - input.len();
            self.socket.take(taken);
            if let Some(news) = news {
                self.learn(news);
            }
            if missing > 0 {
                self.socket.read(missing)?;
            }
        }
    }

    fn learn(&mut self, news: RangeNews) {
        if news.about.is_none() {
            self.hash_range = news.range;
        }
        self.news.retain(|known| known.about != news.about);
        if self.news.len() == NEWS_MAX {
            self.news.remove(0);
        }
        self.news.push(news);
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        let sent = if self.out.is_empty() { Ok(()) } else { self.socket.send(&self.out) };
        self.out.clear();
        sent
    }
}

const fn range_news(reply: Reply<'_>) -> Option<RangeNews> {
    match reply {
        Reply::HashRangeUpdate(HashRangeUpdate::NewNode(node, range)) => {
            Some(RangeNews { about: Some(node), range })
        }
        Reply::HashRangeUpdate(HashRangeUpdate::ChangeHashRange(range)) => {
            Some(RangeNews { about: None, range })
        }
        // Nothing else runs beside the request that is waited for.
        _ => None,
    }
}

/// How many bytes the message at the front of `input` needs at least.
fn missing_bytes(input: &[u8]) -> usize {
    match Header::peek(input, REPLY_BODY_BYTES_MAX) {
        Ok(Some(header)) => header.frame_bytes() - input.len(),
        // A header that breaks the rules has been refused before.
        Ok(None) | Err(_) => HEADER_BYTES - input.len().min(HEADER_BYTES - 1),
    }
}

/// What it means if a request does not end with one of its own results.
pub(super) const fn failure(reply: Reply<'_>) -> ErrorKind {
    match reply {
        Reply::Unsupported(_) => ErrorKind::Unsupported,
        _ => ErrorKind::NodeError,
    }
}

/// Plays the client's part of the greeting to its end.
fn greet(socket: &mut Socket, credentials: &ClientCredentials) -> Result<(), ErrorKind> {
    play_greeting(socket, credentials).map_err(|kind| match kind {
        ErrorKind::TimedOut(limit) => {
            ErrorKind::Authentication(AuthenticationError::TimedOut(limit))
        }
        ErrorKind::Closed => ErrorKind::Authentication(AuthenticationError::Closed),
        ErrorKind::Io(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            ErrorKind::Authentication(AuthenticationError::Closed)
        }
        other => other,
    })
}

fn play_greeting(socket: &mut Socket, credentials: &ClientCredentials) -> Result<(), ErrorKind> {
    let mut out = Vec::new();
    let mut handshake = ClientHandshake::new(&mut out);
    loop {
        if !out.is_empty() {
            socket.send(&out)?;
            out.clear();
        }
        socket.read(1)?;
        let mut input = socket.received();
        let len = input.len();
        let (name, key) = (credentials.name(), credentials.key());
        let accepted = handshake.receive(&mut input, unix_time_s(), name, key, &mut out);
        let taken = len - input.len();
        socket.take(taken);
        if accepted.map_err(|error| ErrorKind::Authentication(error.into()))? {
            return Ok(());
        }
    }
}

/// What our clock says. A clock before 1970 says 0, which the node rejects.
#[expect(clippy::disallowed_methods, reason = "the greeting has the client's clock in it")]
fn unix_time_s() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

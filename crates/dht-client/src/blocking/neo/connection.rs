//! One node: one request at a time.

use std::{net::SocketAddr, sync::Arc};

use dht_protocol::{
    neo::{
        CLIENT_VALUE_BYTES_MAX, Command, Request,
        client::Reply,
        requests::{
            self, Exists, ExistsReply, Get, GetAll, GetChannels, GetChannelsMessage, GetReply, Put,
            PutReply, Remove, RemoveChannel, RemoveChannelReply, RemoveReply,
        },
    },
    wire::DecodeError,
};
use dht_types::{ChannelName, HashRange, Key};

use super::{
    link::{Link, RangeNews, failure},
    stream::{Keys, Mirror, Records},
    update::{Decision, PendingUpdate, UpdateOutcome},
};
use crate::{ClientCredentials, Error, ErrorKind, NodeAddress, RequestName, blocking::Timeouts};

/// Most bytes of channel names that are collected; a list that is longer is refused.
const CHANNELS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A client of one node. It connects when a request needs it, and again after an error that ended
/// the connection; a request that failed is not repeated.
#[derive(Debug)]
pub struct Connection {
    node: NodeAddress,
    credentials: Arc<ClientCredentials>,
    timeouts: Timeouts,
    link: Option<Link>,
    /// Who answered last.
    peer: Option<SocketAddr>,
    /// What was told over connections that are closed now.
    news: Vec<RangeNews>,
}

/// Which records a GetAll has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanOptions<'a> {
    /// Only records whose value contains these bytes; all of them if empty.
    pub filter: &'a [u8],
    /// Go on behind this key: the last one that was received before the connection broke.
    pub continue_from: Option<Key>,
}

/// What a Mirror sends besides changes. Source: spec `protocol-neo` 14.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorOptions {
    /// Send all records at the start.
    pub initial_refresh: bool,
    /// Send all records again with this period, in seconds; 0 for never.
    pub periodic_refresh_s: u32,
}

impl Default for MirrorOptions {
    /// What the original's client asks for.
    fn default() -> Self {
        Self { initial_refresh: true, periodic_refresh_s: 360 }
    }
}

impl Connection {
    /// A client that connects with its first request. The port is that of the neo listener.
    #[must_use]
    pub const fn new(
        node: NodeAddress,
        credentials: Arc<ClientCredentials>,
        timeouts: Timeouts,
    ) -> Self {
        Self { node, credentials, timeouts, link: None, peer: None, news: Vec::new() }
    }

    /// Connects now: makes the greeting, and learns the node's range.
    pub fn connect(
        node: NodeAddress,
        credentials: Arc<ClientCredentials>,
        timeouts: Timeouts,
    ) -> Result<Self, Error> {
        let mut connection = Self::new(node, credentials, timeouts);
        connection.link()?;
        Ok(connection)
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

    /// Another client of the same node, for another thread; it connects with its first request.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(self.node.clone(), self.credentials.clone(), self.timeouts)
    }

    /// The node's range, as far as it has been heard of; connects if need be.
    pub fn hash_range(&mut self) -> Result<HashRange, Error> {
        Ok(self.link()?.hash_range())
    }

    /// What the node told about hash ranges since the last call, its own among them; the latest of
    /// each node. At most [`super::NEWS_MAX`] over each connection.
    pub fn take_range_news(&mut self) -> Vec<RangeNews> {
        let mut news = std::mem::take(&mut self.news);
        if let Some(link) = &mut self.link {
            news.append(&mut link.news);
        }
        news
    }

    /// A record's value; `None` if there is no record.
    pub fn get(&mut self, channel: &ChannelName, key: Key) -> Result<Option<Vec<u8>>, Error> {
        self.call(Get { channel, key }, |reply| match reply {
            Reply::Get(GetReply::Got(value)) => Ok(Some(value.to_vec())),
            Reply::Get(GetReply::NoRecord) => Ok(None),
            Reply::Get(GetReply::WrongNode) => Err(ErrorKind::WrongNode),
            other => Err(failure(other)),
        })
    }

    /// Whether there is a record.
    pub fn exists(&mut self, channel: &ChannelName, key: Key) -> Result<bool, Error> {
        self.call(Exists { channel, key }, |reply| match reply {
            Reply::Exists(ExistsReply::RecordExists) => Ok(true),
            Reply::Exists(ExistsReply::NoRecord) => Ok(false),
            Reply::Exists(ExistsReply::WrongNode) => Err(ErrorKind::WrongNode),
            other => Err(failure(other)),
        })
    }

    /// Stores a record, replacing the one that is there. The value must have at least one byte (an
    /// original node never answers a Get of an empty one) and at most [`CLIENT_VALUE_BYTES_MAX`].
    pub fn put(&mut self, channel: &ChannelName, key: Key, value: &[u8]) -> Result<(), Error> {
        check_value(value).map_err(|kind| self.error(Command::Put, kind))?;
        self.call(Put { channel, key, value }, |reply| match reply {
            Reply::Put(PutReply::Put) => Ok(()),
            Reply::Put(PutReply::WrongNode) => Err(ErrorKind::WrongNode),
            other => Err(failure(other)),
        })
    }

    /// Takes a record away; whether there was one.
    pub fn remove(&mut self, channel: &ChannelName, key: Key) -> Result<bool, Error> {
        self.call(Remove { channel, key }, |reply| match reply {
            Reply::Remove(RemoveReply::Removed) => Ok(true),
            Reply::Remove(RemoveReply::NoRecord) => Ok(false),
            Reply::Remove(RemoveReply::WrongNode) => Err(ErrorKind::WrongNode),
            other => Err(failure(other)),
        })
    }

    /// Reads a record, has `decide` look at it, and does what it says, unless somebody else changed
    /// the record meanwhile. The time limits do not count while `decide` is at work.
    pub fn update(
        &mut self,
        channel: &ChannelName,
        key: Key,
        decide: impl FnOnce(&[u8]) -> Decision,
    ) -> Result<UpdateOutcome, Error> {
        let Some(pending) = PendingUpdate::start(self, channel, key)? else {
            return Ok(UpdateOutcome::NoRecord);
        };
        match decide(pending.value()) {
            Decision::Write(value) => pending.write(&value),
            Decision::Remove => pending.remove().map(|()| UpdateOutcome::Done),
            Decision::Leave => pending.leave().map(|()| UpdateOutcome::Done),
        }
    }

    /// Takes a channel away with all its records; for the client named `admin` alone. The node does
    /// not tell whether there was one.
    ///
    /// Compat: an original node leaves any other client without an answer, so that this ends with
    /// [`ErrorKind::TimedOut`], not [`ErrorKind::NotPermitted`].
    pub fn remove_channel(&mut self, channel: &ChannelName) -> Result<(), Error> {
        self.call(RemoveChannel { channel }, |reply| match reply {
            Reply::RemoveChannel(RemoveChannelReply::ChannelRemoved) => Ok(()),
            Reply::RemoveChannel(RemoveChannelReply::NotPermitted) => Err(ErrorKind::NotPermitted),
            other => Err(failure(other)),
        })
    }

    /// The names of all channels, in the node's order.
    pub fn get_channels(&mut self) -> Result<Vec<String>, Error> {
        self.attempt(Command::GetChannels, |link| {
            let id = link.start(GetChannels)?;
            let (mut names, mut bytes) = (Vec::new(), 0);
            loop {
                let name = link.event(id, |reply| match reply {
                    Reply::GetChannels(GetChannelsMessage::ChannelName(name)) => {
                        Ok(Some(String::from_utf8_lossy(name).into_owned()))
                    }
                    Reply::GetChannels(GetChannelsMessage::Finished) => Ok(None),
                    other => Err(failure(other)),
                })??;
                let Some(name) = name else { return Ok(names) };
                bytes += name.len() + size_of::<String>();
                if bytes > CHANNELS_BYTES_MAX {
                    let (field, max) = ("list of channels", CHANNELS_BYTES_MAX);
                    let error = DecodeError::TooLong { field, len: bytes as u64, max };
                    return Err(ErrorKind::Protocol(error));
                }
                names.push(name);
            }
        })
    }

    /// The records of a channel.
    pub fn get_all(
        &mut self,
        channel: &ChannelName,
        options: ScanOptions<'_>,
    ) -> Result<Records<'_>, Error> {
        Records::start(self, &get_all(channel, options, false))
    }

    /// The keys of a channel.
    pub fn get_all_keys(
        &mut self,
        channel: &ChannelName,
        options: ScanOptions<'_>,
    ) -> Result<Keys<'_>, Error> {
        Keys::start(self, &get_all(channel, options, true))
    }

    /// Every change of a channel from now on, and its records if asked for. A missing channel is
    /// created.
    pub fn mirror(
        &mut self,
        channel: &ChannelName,
        options: MirrorOptions,
    ) -> Result<Mirror<'_>, Error> {
        let MirrorOptions { initial_refresh, periodic_refresh_s } = options;
        let start_suspended = false;
        let request =
            requests::Mirror { start_suspended, channel, initial_refresh, periodic_refresh_s };
        Mirror::start(self, &request)
    }

    /// Closes the connection; the next request opens a new one.
    pub fn close(&mut self) {
        if let Some(mut link) = self.link.take() {
            self.news.append(&mut link.news);
        }
    }

    /// Who answered last, whatever its name is in the nodes file.
    pub(super) const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Sends a request that has a single answer, and has `read` look at it.
    pub(super) fn call<'a, T>(
        &mut self,
        request: impl Into<Request<'a>>,
        read: impl FnOnce(Reply<'_>) -> Result<T, ErrorKind>,
    ) -> Result<T, Error> {
        let request = request.into();
        self.attempt(request.command(), |link| {
            let id = link.start(request)?;
            link.event(id, read)?
        })
    }

    /// Takes a step of a request; an error that leaves the connection out of step closes it.
    pub(super) fn attempt<T>(
        &mut self,
        command: Command,
        step: impl FnOnce(&mut Link) -> Result<T, ErrorKind>,
    ) -> Result<T, Error> {
        step(self.link()?).map_err(|kind| {
            if kind.is_fatal() {
                self.close();
            }
            self.error(command, kind)
        })
    }

    pub(super) fn error(&self, command: Command, kind: ErrorKind) -> Error {
        Error { node: Some(self.node.clone()), request: Some(RequestName::Neo(command)), kind }
    }

    /// The open connection; connects if there is none.
    fn link(&mut self) -> Result<&mut Link, Error> {
        if self.link.is_none() {
            let link = Link::open(&self.node, &self.credentials, self.timeouts)?;
            self.peer = link.peer();
            self.link = Some(link);
        }
        Ok(self.link.as_mut().expect("opened above"))
    }
}

fn get_all<'a>(channel: &'a ChannelName, options: ScanOptions<'a>, keys_only: bool) -> GetAll<'a> {
    let ScanOptions { filter, continue_from } = options;
    GetAll { start_suspended: false, channel, continue_from, keys_only, filter }
}

/// What may be put. Source: spec `protocol-neo` 10.1, 18.
pub(super) const fn check_value(value: &[u8]) -> Result<(), ErrorKind> {
    match value.len() {
        0 => Err(ErrorKind::EmptyValue),
        len if len > CLIENT_VALUE_BYTES_MAX => Err(ErrorKind::ValueTooBig(len)),
        _ => Ok(()),
    }
}

//! A client's side of an open connection: requests go out, their replies come back by id.
//!
//! ```text
//! start --> awaits fd --> awaits replies --> over       Put, Get, Exists, Remove, ...
//!              |              |    ^
//!              |              +----+                    GetHashRange, GetAll, Mirror, Update
//!              +--> fe, ff: over
//! ```
//!
//! The Acks that end a GetAll or a Mirror are appended to the output by [`Client::next`] itself.
//! A message for an id that nobody waits for is dropped; one that the request cannot get now, or
//! that cannot be read, closes the connection, so that everything starts afresh.
//! Source: spec `protocol-neo` 6, 14.3, 16.

mod request;

use dht_types::HashRange;
use request::Running;
use rustc_hash::FxHashMap;

use super::frame::{self, Frame, FrameError, FrameKind, REPLY_BODY_BYTES_MAX};
use super::requests::{
    ExistsReply, GetAllMessage, GetChannelsMessage, GetReply, HashRangeUpdate, MirrorMessage,
    MoveUpdate, PutReply, RemoveChannelReply, RemoveReply, UpdateMessage, UpdateReply,
};
use super::suspendable::ControlError;
use super::{Command, Control, Payload, REQUESTS_ACTIVE_MAX, Request, RequestId, Supported};
use crate::wire::{DecodeError, Reader};

/// Something that arrived for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The request.
    pub id: RequestId,
    /// What arrived.
    pub reply: Reply<'a>,
    /// Whether the request is over: nothing else will come for it.
    pub is_last: bool,
}

/// What can arrive for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The node does not know the request. Never [`Supported::Yes`].
    Unsupported(Supported),
    /// A status that means nothing, in place of a result. It counts as a failure of the node.
    UnknownStatus(u64),
    /// For a Put.
    Put(PutReply),
    /// For a Get, status and value together.
    Get(GetReply<'a>),
    /// For an Exists.
    Exists(ExistsReply),
    /// For a Remove.
    Remove(RemoveReply),
    /// For a RemoveChannel.
    RemoveChannel(RemoveChannelReply),
    /// For GetChannels.
    GetChannels(GetChannelsMessage<'a>),
    /// For GetHashRange, the first answer: the node's range.
    HashRange(HashRange),
    /// For GetHashRange, later.
    HashRangeUpdate(HashRangeUpdate),
    /// For an Update. After `RecordValue` it waits for [`Client::update`].
    Update(UpdateReply<'a>),
    /// For a GetAll. Never an Ack.
    GetAll(GetAllMessage<'a>),
    /// For a Mirror. Never an Ack.
    Mirror(MirrorMessage<'a>),
    /// For a MovePart.
    Move(MoveUpdate<'a>),
    /// For a GetAll or Mirror: the node has acknowledged this.
    Controlled(Control),
}

/// Why the connection has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// A header that breaks the rules.
    #[error("bad message header: {0}")]
    Frame(#[from] FrameError),
    /// The time for these is over.
    #[error("authentication message on an open connection")]
    Authentication,
    /// Bytes that are no message of the request.
    #[error("malformed message for a {}: {error}", .command.name())]
    Malformed {
        /// The request.
        command: Command,
        /// What is wrong.
        error: DecodeError,
    },
    /// A message of the request that it cannot get now.
    #[error("unexpected message for a {}", .0.name())]
    Unexpected(Command),
}

/// [`REQUESTS_ACTIVE_MAX`] requests run already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{REQUESTS_ACTIVE_MAX} requests run already")]
pub struct TooManyRequests;

/// No Update with this id waits for its second half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such Update waits for its second half")]
pub struct NotWaiting;

/// The requests of one connection.
#[derive(Debug)]
pub struct Client {
    /// Of the next request. Ids are never used twice: a late message finds nobody.
    next_id: RequestId,
    /// Ids are ours, so nobody can choose them to meet.
    running: FxHashMap<RequestId, Running>,
}

impl Client {
    /// A connection over which nothing runs yet.
    #[must_use]
    pub fn new() -> Self {
        let next_id = RequestId::new(1).expect("not 0");
        Self { next_id, running: FxHashMap::default() }
    }

    /// The client of the next connection to the same node. It goes on counting ids, so that none
    /// stands for two requests.
    #[must_use]
    pub fn for_next_connection(&self) -> Self {
        Self { next_id: self.next_id, running: FxHashMap::default() }
    }

    /// How many requests run.
    #[must_use]
    pub fn active_len(&self) -> usize {
        self.running.len()
    }

    /// The requests that run, in no order; when the connection breaks, all of them fail.
    pub fn active(&self) -> impl Iterator<Item = (RequestId, Command)> {
        self.running.iter().map(|(id, running)| (*id, running.command()))
    }

    /// Appends a request's first message.
    pub fn start<'a>(
        &mut self,
        request: impl Into<Request<'a>>,
        out: &mut Vec<u8>,
    ) -> Result<RequestId, TooManyRequests> {
        if self.running.len() >= REQUESTS_ACTIVE_MAX {
            return Err(TooManyRequests);
        }
        let (id, request) = (self.next_id, request.into());
        self.next_id = RequestId::new(id.get() + 1).expect("2^64 requests take longer than that");
        self.running.insert(id, Running::new(&request));
        frame::write_message(out, id, |w| request.encode(w));
        Ok(id)
    }

    /// Appends Suspend, Resume or Stop. [`Reply::Controlled`] will tell that it is acknowledged;
    /// if the request ends first, it will not, and the message counts as obeyed.
    pub fn control(
        &mut self,
        id: RequestId,
        control: Control,
        out: &mut Vec<u8>,
    ) -> Result<(), ControlError> {
        let suspendable = self.running.get_mut(&id).and_then(Running::suspendable);
        suspendable.ok_or(ControlError::NoRequest)?.control(control)?;
        control.write(id, out);
        Ok(())
    }

    /// Appends the second half of an Update that got [`UpdateReply::RecordValue`].
    pub fn update(
        &mut self,
        id: RequestId,
        message: &UpdateMessage<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), NotWaiting> {
        self.running.get_mut(&id).ok_or(NotWaiting)?.decide_update()?;
        message.write(id, out);
        Ok(())
    }

    /// Drops whatever will still arrive for a request. The node is not told, so it is for those
    /// alone that it answers at once; any other would run there as long as the connection lives.
    pub fn forget(&mut self, id: RequestId) {
        self.running.remove(&id);
    }

    /// Takes messages from the front of `input` up to one that means something to the caller;
    /// `None` asks for more bytes. What was appended to `out` must be sent.
    pub fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, ClientError> {
        while let Some(frame) = frame::next_frame_within(input, REPLY_BODY_BYTES_MAX)? {
            if let Some(event) = self.message(frame, out)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn message<'a>(
        &mut self,
        frame: Frame<'a>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, ClientError> {
        if frame.kind == FrameKind::Authentication {
            return Err(ClientError::Authentication);
        }
        let mut r = Reader::new(frame.body);
        let Some(id) = r.u64().ok().and_then(RequestId::new) else { return Ok(None) };
        let Some(running) = self.running.get_mut(&id) else { return Ok(None) };
        let Some(arrived) = running.receive(r.rest())? else { return Ok(None) };
        if arrived.needs_ack() {
            Control::Ack.write(id, out);
        }
        if arrived.is_last {
            self.running.remove(&id);
        }
        Ok(Some(Event { id, reply: arrived.reply, is_last: arrived.is_last }))
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

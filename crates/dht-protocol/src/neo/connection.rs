//! A node's side of an open connection: a client's messages, taken apart by request id.
//!
//! ```text
//!                  id not running                     id running
//! message --+----> code, version, arguments --+       |
//!           |        |           |            |       +-> Message, or
//!           |        | ff / fe   | fd         | fd    +-> Abandoned: it ends without a word
//!           |        v           v            v       |
//!           |     Refused     Refused       Start     +-> CloseReason
//!           +----> CloseReason
//! ```
//!
//! What the protocol itself has to say is appended to the output at once: `fd` before every
//! [`Event::Start`], and whatever a refused request is told. The caller says the rest, and
//! [`Server::finish`] when a request that runs is over, before it takes the next event. What can be
//! answered at once may also be taken by [`Server::look_ahead`], which changes nothing: so a caller
//! may look at many requests of one read before it executes the first, and stop between any two.
//! Source: spec `protocol-neo` 6, 9, 17.

use dht_types::ChannelNameError;

use super::Supported;
use super::active::Active;
use super::frame::{self, Frame, FrameError, FrameKind};
use super::requests::{ArgumentsError, CancelMove, UpdateMessage};
use super::{Command, Control, Payload, REQUESTS_ACTIVE_MAX, Request, RequestId, RequestKind};
use crate::wire::{DecodeError, Reader};

/// What a message amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A request starts. `fd` is written. If [`Event::kind`] is something, the request runs until
    /// [`Server::finish`]; if not, it is over once it is answered.
    Start {
        /// What its replies carry.
        id: RequestId,
        /// The request.
        request: Request<'a>,
    },
    /// A running request got a message.
    Message {
        /// Of a request that runs.
        id: RequestId,
        /// The message.
        message: Message<'a>,
    },
    /// A running request got what cannot be read, or waits for nothing: it is over, and the client
    /// is told nothing. Forget it.
    Abandoned {
        /// Of a request that ran until now.
        id: RequestId,
        /// What it was.
        kind: RequestKind,
    },
    /// A request was refused, and the client has been told. There is nothing to do but to count.
    Refused(Refusal),
}

/// What a running request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// For a GetAll or a Mirror: see [`super::Suspendable`].
    Control(Control),
    /// For an Update: its second half.
    Update(UpdateMessage<'a>),
    /// For a MovePart: give it up.
    CancelMove,
}

/// Why a request was refused. The connection stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Answered by `ff`.
    #[error("request code {0} is unknown")]
    UnknownCode(u8),
    /// Answered by `fe`.
    #[error("version {version} of {} is unknown", .command.name())]
    UnknownVersion {
        /// The request.
        command: Command,
        /// Its version as asked for.
        version: u8,
    },
    /// Answered by `fd` and silence.
    #[error("malformed {}: {error}", .command.name())]
    Malformed {
        /// The request.
        command: Command,
        /// What is wrong with its arguments.
        error: DecodeError,
    },
    /// Answered by `fd` and the request's Error.
    #[error("{}: {error}", .command.name())]
    ChannelName {
        /// The request.
        command: Command,
        /// What is wrong with the name.
        error: ChannelNameError,
    },
}

/// Why the connection has to be closed, without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// A header that breaks the rules.
    #[error("bad message header: {0}")]
    Frame(#[from] FrameError),
    /// The time for these is over.
    #[error("authentication message on an open connection")]
    Authentication,
    /// Forbidden.
    #[error("request id 0")]
    IdZero,
    /// The first message of an id has no code, or no version.
    #[error("request {0} starts with less than code and version")]
    StartTooShort(RequestId),
    /// One request too many.
    #[error("more than {REQUESTS_ACTIVE_MAX} requests at once")]
    TooManyRequests,
    /// An Ack for a request that has not ended: found by the caller, through
    /// [`super::suspendable::Reaction::Close`].
    #[error("request {0} got an Ack before its end")]
    EarlyAck(RequestId),
    /// A running request got a message of a type that it never gets, or an Update started with one.
    #[error("request {id} got a message of unknown type {kind}")]
    UnknownMessage {
        /// The request.
        id: RequestId,
        /// The type.
        kind: u64,
    },
}

impl Event<'_> {
    /// The kind of a request that starts and runs on; `None` for one that is answered at once, and
    /// for every other event.
    #[must_use]
    pub const fn kind(&self) -> Option<RequestKind> {
        match self {
            Self::Start { request, .. } => RequestKind::of(request),
            Self::Message { .. } | Self::Abandoned { .. } | Self::Refused(_) => None,
        }
    }
}

/// Reads the messages of one client.
#[derive(Debug, Default)]
pub struct Server {
    active: Active,
}

impl Server {
    /// A connection that was just opened: nothing runs.
    #[must_use]
    pub const fn new() -> Self {
        Self { active: Active::new() }
    }

    /// How many requests run.
    #[must_use]
    pub const fn active_len(&self) -> usize {
        self.active.len()
    }

    /// The requests that run, by id; all of them end with the connection.
    pub fn active(&self) -> impl Iterator<Item = (RequestId, RequestKind)> {
        self.active.iter()
    }

    /// The request is over. A message of this id starts a new one from now on.
    pub fn finish(&mut self, id: RequestId) {
        self.active.remove(id);
    }

    /// Takes one message from the front of `input`; `None` asks for more bytes and takes none.
    /// What was appended to `out` must be sent, even if this fails.
    pub fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, CloseReason> {
        match frame::next_frame(input)? {
            None => Ok(None),
            Some(Frame { kind: FrameKind::Authentication, .. }) => Err(CloseReason::Authentication),
            Some(Frame { kind: FrameKind::Request, body }) => self.message(body, out).map(Some),
        }
    }

    /// Takes a request from the front of `input` if it is there as a whole, well-formed and
    /// answered at once; of anything else nothing is taken, and [`Server::next`] says what it is.
    /// Neither the state nor the output change: the caller appends [`Supported::Yes`] when it
    /// executes the request. If it does not, it must not count its bytes as taken.
    pub fn look_ahead<'a>(&self, input: &mut &'a [u8]) -> Option<(RequestId, Request<'a>)> {
        let mut rest = *input;
        let Ok(Some(Frame { kind: FrameKind::Request, body })) = frame::next_frame(&mut rest)
        else {
            return None;
        };
        let mut r = Reader::new(body);
        let id = r.u64().ok().and_then(RequestId::new)?;
        if self.active.is_full() || self.active.get(id).is_some() {
            return None;
        }
        let command = Command::from_code(r.u8().ok()?)?;
        if r.u8().ok()? != command.version() {
            return None;
        }
        let request = Request::decode(command, &mut r).ok()?;
        if RequestKind::of(&request).is_some() {
            return None;
        }
        *input = rest;
        Some((id, request))
    }

    fn message<'a>(&mut self, body: &'a [u8], out: &mut Vec<u8>) -> Result<Event<'a>, CloseReason> {
        let mut r = Reader::new(body);
        let id = r.u64().ok().and_then(RequestId::new).ok_or(CloseReason::IdZero)?;
        match self.active.get(id) {
            None => self.start(id, r, out),
            Some(kind) => self.running(id, kind, r.rest()),
        }
    }

    fn start<'a>(
        &mut self,
        id: RequestId,
        mut r: Reader<'a>,
        out: &mut Vec<u8>,
    ) -> Result<Event<'a>, CloseReason> {
        if self.active.is_full() {
            return Err(CloseReason::TooManyRequests);
        }
        let (Ok(code), Ok(version)) = (r.u8(), r.u8()) else {
            return Err(CloseReason::StartTooShort(id));
        };
        let Some(command) = Command::from_code(code) else {
            Supported::No.write(id, out);
            return Ok(Event::Refused(Refusal::UnknownCode(code)));
        };
        if version != command.version() {
            Supported::NotThisVersion.write(id, out);
            return Ok(Event::Refused(Refusal::UnknownVersion { command, version }));
        }
        Supported::Yes.write(id, out);
        Ok(match Request::decode(command, &mut r) {
            Ok(request) => {
                if let Some(kind) = RequestKind::of(&request) {
                    self.active.insert(id, kind);
                }
                Event::Start { id, request }
            }
            Err(ArgumentsError::Malformed(error)) => {
                Event::Refused(Refusal::Malformed { command, error })
            }
            Err(ArgumentsError::ChannelName(error)) => {
                if let Some(status) = command.error_status() {
                    frame::write_byte(out, id, status);
                }
                Event::Refused(Refusal::ChannelName { command, error })
            }
        })
    }

    fn running<'a>(
        &mut self,
        id: RequestId,
        kind: RequestKind,
        payload: &'a [u8],
    ) -> Result<Event<'a>, CloseReason> {
        let message = match kind {
            RequestKind::GetHashRange => Err(DecodeError::Malformed { field: "message" }),
            RequestKind::GetAll | RequestKind::Mirror => {
                Control::decode(payload).map(Message::Control)
            }
            RequestKind::Update => UpdateMessage::decode(payload).map(Message::Update),
            RequestKind::MovePart => CancelMove::decode(payload).map(|_| Message::CancelMove),
        };
        match message {
            Ok(message) => Ok(Event::Message { id, message }),
            Err(DecodeError::Unknown { value, .. }) => {
                Err(CloseReason::UnknownMessage { id, kind: value })
            }
            Err(_) => {
                self.finish(id);
                Ok(Event::Abandoned { id, kind })
            }
        }
    }
}

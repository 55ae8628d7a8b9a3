//! What each request does. A request is a file here, with both protocols side by side, and an arm
//! in [`legacy`] or [`neo`].
//!
//! A handler gets the [`Context`] and the request, and appends its answer to the connection's
//! output. What cannot be answered at once becomes a [`Stream`].

mod exists;
mod get;
mod get_all;
mod get_hash_range;
mod info;
mod listen;
mod mirror;
mod move_part;
mod put;
mod put_batch;
mod redistribute;
mod remove;
mod remove_channel;
mod select;
mod update;

use std::time::Instant;

use dht_protocol::legacy::{self, CloseReason};
use dht_protocol::neo::suspendable::Reaction;
use dht_protocol::neo::{self, Control, RequestId};

pub(crate) use get::{NeoGets, neo_many as neo_gets};
pub(crate) use get_all::{GetAllStream, NeoGetAllStream};
pub(crate) use get_hash_range::RangeStream;
pub(crate) use info::CountStream;
pub(crate) use listen::{ListenStream, PENDING_KEYS_MAX};
pub(crate) use mirror::{MIRROR_CHANGES_MAX, MIRROR_EVENTS_MAX, MirrorStream};
pub(crate) use move_part::MoveStream;
pub(crate) use put::{NeoPuts, neo_many as neo_puts};
pub(crate) use redistribute::RedistributeStream;
pub(crate) use remove::remove_record;
pub(crate) use update::UpdateWait;

use crate::context::Context;
use crate::moves::{ClaimStream, PurgeStream};

/// How far a handler came.
pub(crate) enum Outcome {
    /// The answer is in the output.
    Done,
    /// The answer goes on, step by step.
    Stream(Stream),
    /// The connection has to be closed; what this request has written must not go out.
    Close(CloseReason),
}

/// An answer that takes many steps.
pub(crate) enum Stream {
    GetAll(Box<GetAllStream>),
    Listen(Box<ListenStream>),
    Redistribute(RedistributeStream),
    Count(CountStream),
    Move(MoveStream),
    Purge(Box<PurgeStream>),
    Claim(ClaimStream),
}

/// How far a step of a stream came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more to do at once.
    More,
    /// Nothing to do until something happens.
    Idle,
    /// The answer is complete.
    Done,
}

/// Executes a request of the legacy protocol.
pub(crate) fn legacy(
    cx: &mut Context,
    request: &legacy::Request<'_>,
    out: &mut Vec<u8>,
) -> Outcome {
    use legacy::Request;
    match request {
        Request::Put(request) => put::legacy(cx, request, out),
        Request::Get(request) => get::legacy(cx, request, out),
        Request::Exists(request) => exists::legacy(cx, request, out),
        Request::Remove(request) => remove::legacy(cx, request, out),
        Request::GetChannels(_) => info::get_channels(cx, out),
        Request::GetChannelSize(request) => info::get_channel_size(cx, request, out),
        Request::GetSize(_) => info::get_size(cx, out),
        Request::GetResponsibleRange(_) => info::get_responsible_range(cx, out),
        Request::RemoveChannel(request) => remove_channel::legacy(cx, request, out),
        Request::GetNumConnections(_) => info::get_num_connections(cx),
        Request::GetVersion(_) => info::get_version(out),
        Request::Listen(request) => listen::legacy(cx, request, out),
        Request::GetAll(request) => get_all::records(cx, request, out),
        Request::GetAllKeys(request) => get_all::keys(cx, request, out),
        Request::GetAllFilter(request) => get_all::filtered(cx, request, out),
        Request::PutBatch(request) => put_batch::legacy(cx, request, out),
        Request::Redistribute(request) => redistribute::legacy(cx, request, out),
        Request::Forward(request) => put_batch::forward(cx, request, out),
        Request::MovePart(request) => move_part::legacy(cx, request, out),
    }
}

/// A neo request that goes on after its first message.
pub(crate) enum NeoStream {
    /// Waits for changes of the node's range.
    GetHashRange(RangeStream),
    GetAll(Box<NeoGetAllStream>),
    Mirror(Box<MirrorStream>),
    Update(UpdateWait),
    Move(MoveStream),
}

impl NeoStream {
    pub(crate) const fn command(&self) -> neo::Command {
        match self {
            Self::GetHashRange(_) => neo::Command::GetHashRange,
            Self::GetAll(_) => neo::Command::GetAll,
            Self::Mirror(_) => neo::Command::Mirror,
            Self::Update(_) => neo::Command::Update,
            Self::Move(_) => neo::Command::MovePart,
        }
    }

    /// Does a bounded piece of what there is to do.
    pub(crate) fn step(&mut self, cx: &mut Context, id: RequestId, out: &mut Vec<u8>) -> Step {
        match self {
            Self::Update(_) => Step::Idle,
            Self::GetHashRange(stream) => stream.step(cx, id, out),
            Self::GetAll(stream) => stream.step(cx, id, out),
            Self::Mirror(stream) => stream.step(cx, id, out),
            Self::Move(stream) => stream.neo_step(id, out),
        }
    }

    /// Whether it has to be woken at this time.
    pub(crate) fn awaits(&self, at: Instant) -> bool {
        match self {
            Self::GetHashRange(_) | Self::Update(_) | Self::GetAll(_) | Self::Move(_) => false,
            Self::Mirror(stream) => stream.awaits(at),
        }
    }

    /// There is no room for output: takes over what would pile up elsewhere.
    pub(crate) fn gather(&mut self, cx: &Context) {
        if let Self::Mirror(stream) = self {
            stream.take_changes(cx);
        }
    }

    /// The client wants it to pause, go on or end. `None`: this request knows no such thing.
    pub(crate) fn control(&mut self, control: Control) -> Option<Reaction> {
        match self {
            Self::GetHashRange(_) | Self::Update(_) | Self::Move(_) => None,
            Self::GetAll(stream) => Some(stream.control(control)),
            Self::Mirror(stream) => Some(stream.control(control)),
        }
    }
}

/// Executes a request of the neo protocol; `fd` is said already. Returns what is left to do.
pub(crate) fn neo(
    cx: &mut Context,
    id: RequestId,
    request: &neo::Request<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<NeoStream>, neo::CloseReason> {
    use neo::Request;
    match request {
        Request::GetHashRange(_) => return Ok(Some(get_hash_range::neo(cx, id, out))),
        Request::Put(request) => put::neo(cx, id, request, out),
        Request::Get(request) => get::neo(cx, id, request, out),
        Request::Mirror(request) => return Ok(mirror::neo(cx, id, request, out)),
        Request::GetAll(request) => return Ok(get_all::neo(cx, id, request, out)),
        Request::GetChannels(_) => info::neo_get_channels(cx, id, out),
        Request::Exists(request) => exists::neo(cx, id, request, out),
        Request::Remove(request) => remove::neo(cx, id, request, out),
        Request::RemoveChannel(request) => remove_channel::neo(cx, id, request, out),
        Request::Update(request) => return update::neo(cx, id, request, out),
        Request::MovePart(request) => return Ok(move_part::neo(cx, id, request, out)),
    }
    Ok(None)
}

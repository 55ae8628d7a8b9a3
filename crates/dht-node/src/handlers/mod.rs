//! What each request does. A request is a file here and an arm in [`legacy`].
//!
//! A handler gets the [`Context`] and the request, and appends its answer to the connection's
//! output. What cannot be answered at once becomes a [`Stream`].

mod exists;
mod get;
mod get_all;
mod info;
mod listen;
mod put;
mod put_batch;
mod remove;
mod remove_channel;

use dht_protocol::legacy::{CloseReason, Request};

pub(crate) use get_all::GetAllStream;
pub(crate) use listen::ListenStream;

use crate::context::Context;

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
pub(crate) fn legacy(cx: &mut Context, request: &Request<'_>, out: &mut Vec<u8>) -> Outcome {
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
        Request::GetNumConnections(_) => info::get_num_connections(cx, out),
        Request::GetVersion(_) => info::get_version(out),
        Request::Listen(request) => listen::legacy(cx, request, out),
        Request::GetAll(request) => get_all::records(cx, request, out),
        Request::GetAllKeys(request) => get_all::keys(cx, request, out),
        Request::GetAllFilter(request) => get_all::filtered(cx, request, out),
        Request::PutBatch(request) => put_batch::legacy(cx, request, out),
    }
}

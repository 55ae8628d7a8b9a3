//! Redistribute, of the legacy protocol: another range for this node, and its records to others.
//!
//! What cannot work is refused here, before anything changes. (The original changes its range
//! first.)

use std::sync::Arc;

use dht_protocol::legacy::requests::{Redistribute, Taker};
use dht_protocol::legacy::{CloseReason, Status};
use dht_types::HashRange;

use super::{Outcome, Step, Stream};
use crate::context::{Context, writer};
use crate::moves::{Moves, Redistribution, Requester, node_address};

const LOG: &str = "dhtnode.request.RedistributeRequest";

/// A Redistribute that is under way.
pub(crate) struct RedistributeStream {
    work: Arc<Redistribution>,
}

pub(super) fn legacy(cx: &Context, request: &Redistribute<'_>, out: &mut Vec<u8>) -> Outcome {
    match start(cx, request) {
        Ok(work) => Outcome::Stream(Stream::Redistribute(RedistributeStream { work })),
        Err(Refusal::Status) => {
            Status::Error.encode(&mut writer(out));
            Outcome::Done
        }
        Err(Refusal::Close(reason)) => Outcome::Close(reason),
    }
}

enum Refusal {
    /// Answered by 500; the reason is in the log.
    Status,
    Close(CloseReason),
}

/// The checks in the order of the specification (`protocol-legacy` 7.17).
fn start(cx: &Context, request: &Redistribute<'_>) -> Result<Arc<Redistribution>, Refusal> {
    let Some(turn) = Moves::take_turn(&cx.shared) else {
        log::error!(target: LOG, "Attempt to start multiple simultaneous Redistribute requests");
        return Err(Refusal::Status);
    };
    let Ok(range) = HashRange::new(request.min, request.max) else {
        log::error!(target: LOG, "Received invalid hash range from client");
        return Err(Refusal::Status);
    };
    if range.is_empty() {
        // Compat: the original fails here.
        return Err(Refusal::Close(CloseReason::EmptyRange));
    }
    check(cx, request.takers).map_err(|(refusal, reason)| {
        log::error!(target: LOG, "Nothing is redistributed: {reason}");
        refusal
    })?;
    log::trace!(
        target: LOG, "New hash range: 0x{:016X}..0x{:016X}", range.min(), range.max()
    );
    for Taker { address, port, range } in request.takers {
        let (min, max) = (range.min(), range.max());
        log::trace!(target: LOG, "Forward to node {address}:{port} 0x{min:016X}..0x{max:016X}");
    }
    let requester = Requester { mailbox: Arc::clone(&cx.mailbox), conn: cx.conn, stream: 0 };
    Redistribution::start(turn, range, request.takers, requester).map_err(|error| {
        log::error!(target: LOG, "cannot start a thread for it: {error}");
        Refusal::Status
    })
}

/// Whether the takers can be what they are said to be.
fn check(cx: &Context, takers: &[Taker]) -> Result<(), (Refusal, String)> {
    if !cx.shared.ranges.is_kept() {
        let reason = "the node was started without a config file, so it would forget its new hash \
                      range; start it with --config FILE";
        return Err((Refusal::Status, reason.to_owned()));
    }
    let settings = &cx.shared.settings;
    for (at, taker) in takers.iter().enumerate() {
        let Taker { address, port, .. } = taker;
        // Whatever the peer sent stands in the log, so it must not break the line.
        let node = format!("{}:{port}", address.escape_debug());
        if node_address(address, *port).is_none() {
            return Err((Refusal::Status, format!("{node} is no IPv4 address and port")));
        }
        if (address, port) == (&settings.address, &settings.port) {
            return Err((Refusal::Status, format!("{node} is this node itself")));
        }
        if let Some(reason) = conflict(&node, taker, &takers[..at]) {
            // Compat: the original fails here. (Its range is another one by then.)
            return Err((Refusal::Close(CloseReason::ConflictingTakers), reason));
        }
    }
    Ok(())
}

/// Why a taker cannot get its range beside those that are listed before it.
fn conflict(node: &str, taker: &Taker, earlier: &[Taker]) -> Option<String> {
    if taker.range.is_empty() {
        return Some(format!("the range of {node} is empty, so nothing can go there"));
    }
    earlier.iter().find_map(|other| {
        if (&taker.address, taker.port) == (&other.address, other.port) {
            return Some(format!("{node} is listed twice"));
        }
        let overlaps = taker.range.overlaps(other.range);
        overlaps
            .then(|| format!("the ranges of {node} and {}:{} overlap", other.address, other.port))
    })
}

impl RedistributeStream {
    pub(crate) fn step(&self, out: &mut Vec<u8>) -> Step {
        let Some(status) = self.work.status() else { return Step::Idle };
        status.encode(&mut writer(out));
        Step::Done
    }
}

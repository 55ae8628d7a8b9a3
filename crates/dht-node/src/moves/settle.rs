//! Whose a part is, when the giver does not know it for certain, and what follows from that.
//!
//! ```text
//! settle > the taker says: mine > let go in memory > config file, journal > clean up
//!        > not mine, or not any more > taken back
//!        > nothing: asked again, until it says something
//! ```
//!
//! Nothing of the part is removed here before the taker's range is on its disk and ours, smaller,
//! on our own; so until then everything can be taken back.

use std::net::SocketAddrV4;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use dht_protocol::legacy::requests::{MoveMessage, MoveReply};
use dht_protocol::neo::requests::HashRangeUpdate;
use dht_storage::{Cursor, Notify, Usage};
use dht_types::{HashRange, Key};

use super::GivingTurn;
use super::journal::Pending;
use super::peer::{Peer, PeerError};
use super::redistribute::node_address;
use crate::node::NEO_PORT_OFFSET;
use crate::ranges::{joined, without};
use crate::shared::Shared;

/// How long scans that began before the claim may go on to see the part here.
const OLD_SCANS_MAX: Duration = Duration::from_secs(5);

/// Pause between two questions to a taker that does not answer.
const SETTLE_RETRY: Duration = Duration::from_millis(500);

/// Records that are looked at between two looks at other things.
const SCAN_RECORDS: usize = 8192;

/// Finds out whose the part of the last run is, and acts on it; and removes what it has left of
/// others' parts. To be started with the node.
pub(crate) fn resolve(
    turn: GivingTurn,
    pending: Option<Pending>,
    mut leftovers: Vec<HashRange>,
) -> std::io::Result<()> {
    let shared = Arc::clone(&turn.shared);
    shared.moves.spawn(move || {
        if let Some(pending) = pending {
            match settle(&turn.shared, &pending) {
                Verdict::Taken => leftovers.push(pending.part),
                Verdict::Ours => {}
                Verdict::Stopped => return,
            }
        }
        if !leftovers.is_empty() {
            clean_up(&turn.shared, &leftovers);
        }
    })
}

/// Whose a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The taker's.
    Taken,
    Ours,
    /// Not known, and the node stops.
    Stopped,
}

/// Asks the taker whose the part is, for as long as it takes, and acts on it.
pub(super) fn settle(shared: &Shared, pending: &Pending) -> Verdict {
    let Pending { token, part, address, port } = pending;
    let mut complained = false;
    let mut complain = |error: &dyn std::fmt::Display| {
        if std::mem::replace(&mut complained, true) {
            return;
        }
        let state = if shared.ranges.current().0.disputed.is_some() {
            "is not known, so it is served by neither"
        } else {
            "is not known for certain, so nothing of it is removed here"
        };
        log::error!(
            "Whether {part} belongs to this node or to {address}:{port} {state} until that one \
             answers: {error}. Start it; if it is gone for good, stop this node and remove the \
             line 'pending' from {}",
            shared.settings.data_dir.join(super::JOURNAL_FILE).display()
        );
    };
    loop {
        let ask = || -> Result<MoveReply, PeerError> {
            let address = node_address(address, *port).expect("both ways to a move check it");
            let mut peer = Peer::connect(address)?;
            let cancel = MoveMessage::Cancel { token: *token, part: *part };
            peer.ask(&shared.moves.stop, &cancel)
        };
        match ask() {
            Ok(MoveReply::Claimed(range)) => {
                let_go(shared, pending, range);
                match note_let_go(shared, pending) {
                    Ok(()) => return Verdict::Taken,
                    Err(error) => complain(&error),
                }
            }
            Ok(MoveReply::NotClaimed) => {
                take_back(shared, *part);
                return Verdict::Ours;
            }
            Ok(_) => {}
            Err(_) if shared.moves.stop.is_set() => return Verdict::Stopped,
            Err(error) => complain(&error),
        }
        if shared.moves.stop.wait(SETTLE_RETRY) {
            return Verdict::Stopped;
        }
    }
}

/// The part is the taker's: acts on it in memory, so that requests wait no longer. After a crash
/// before [`note_let_go`] the journal's `pending` leads here again.
pub(super) fn let_go(shared: &Shared, pending: &Pending, taker_range: HashRange) {
    let Pending { part, address, port, .. } = pending;
    let state = shared.moves.lock();
    let mut noted = state.journal.clone();
    noted.add_foreign(*part);
    let view = shared.ranges.current().0;
    if let Some(left) = without(view.owned, *part) {
        let taker = node_address(address, port.saturating_add(NEO_PORT_OFFSET));
        let news = taker.map(|taker: SocketAddrV4| HashRangeUpdate::NewNode(taker, taker_range));
        shared.ranges.tell(news.into_iter().chain([HashRangeUpdate::ChangeHashRange(left)]));
    }
    shared.ranges.change(|view| {
        view.owned = without(view.owned, *part).unwrap_or(view.owned);
        view.foreign = noted.foreign;
        view.frozen = None;
        view.disputed = None;
    });
}

/// Does the same on disk, now that the taker's range is on its own.
fn note_let_go(shared: &Shared, pending: &Pending) -> Result<(), String> {
    let mut state = shared.moves.lock();
    let left = shared.ranges.current().0.owned;
    shared.ranges.save(left).map_err(|error| error.to_string())?;
    let noted = state.note(&shared.ranges, |journal| {
        journal.add_foreign(pending.part);
        journal.pending = None;
    });
    noted.map_err(|error| format!("cannot write the journal of moves: {error}"))
}

/// The part is not the taker's: it did not claim it, or lost its power before that was on its disk.
/// All of it is still here.
fn take_back(shared: &Shared, part: HashRange) {
    let mut state = shared.moves.lock();
    if let Err(error) = state.note(&shared.ranges, |journal| journal.pending = None) {
        log::error!("cannot write the journal of moves: {error}");
    }
    let foreign = state.journal.foreign.clone();
    let view = shared.ranges.current().0;
    // A part that is disputed was not let go yet.
    let back = joined(view.owned, part).filter(|_| view.disputed.is_none());
    if let Some(owned) = back {
        shared.ranges.tell([HashRangeUpdate::ChangeHashRange(owned)]);
    }
    shared.ranges.change(|view| {
        view.owned = back.unwrap_or(view.owned);
        view.foreign = foreign;
        view.disputed = None;
    });
    log::info!("{part} is still ours");
}

/// Removes what is left here of parts that are not ours, when no scan is at it any more. Also what
/// was loaded of them: what is only left out comes back with the part, if it comes back, at the
/// start after that.
pub(super) fn clean_up(shared: &Shared, parts: &[HashRange]) {
    let mut removed = 0;
    let give_up = (shared.moves.clock)() + OLD_SCANS_MAX;
    while shared.ranges.past_is_in_use() && (shared.moves.clock)() < give_up {
        if shared.moves.stop.wait(Duration::from_millis(10)) {
            return;
        }
    }
    for channel in shared.store.channels() {
        let mut cursor = Some(Cursor::START);
        while let Some(from) = cursor {
            let mut found: Vec<Key> = Vec::new();
            cursor = channel.scan(from, SCAN_RECORDS, |key, _| {
                if parts.iter().any(|part| part.contains(key)) {
                    found.push(key);
                }
                ControlFlow::Continue(())
            });
            removed += found.len();
            if !found.is_empty() && !shared.moves.remove(shared, &channel, &found, Notify::No) {
                return;
            }
            if shared.moves.stop.is_set() {
                return;
            }
        }
    }
    let Usage { records, .. } = shared.store.usage();
    let parts: Vec<_> = parts.iter().map(ToString::to_string).collect();
    log::info!(
        "Removed what was left of {}: {removed} records; {records} records are left",
        parts.join(", ")
    );
}

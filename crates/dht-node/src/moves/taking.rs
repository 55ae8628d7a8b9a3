//! The taker's end of a MovePart.
//!
//! ```text
//! Begin > [ purge: leftovers of the part ] > Records ... > Claim: the part is ours
//!                                                        > Cancel > [ purge ]
//! ```
//!
//! Until the claim nobody sees what came: requests for the part are refused, scans leave it out. A
//! move of which nothing is heard for [`LEASE`] may be replaced by another one.
//!
//! Clients wait for the claim, so what takes time is done at the beginning: the config file with
//! the new range is written and synced, and only takes its name. That it did is synced afterwards;
//! until then no giver is told for good that the part is ours ([`SyncStream`]).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use dht_protocol::legacy::Status;
use dht_protocol::legacy::requests::{MoveReply, MoveToken};
use dht_protocol::neo::requests::HashRangeUpdate;
use dht_storage::{Channel, Cursor, Notify};
use dht_types::HashRange;

use super::{Moves, Requester};
use crate::context::{Clock, Context, writer};
use crate::durability::Level;
use crate::handlers::{Step, remove_record};
use crate::range_file::Prepared;
use crate::ranges::joined;
use crate::shared::Shared;

/// How long a giver may be silent.
const LEASE: Duration = Duration::from_secs(10);

/// Records that one step of a purge looks at.
const PURGE_RECORDS: usize = 4096;

/// A part that is coming in.
#[derive(Debug)]
pub(crate) struct Taking {
    token: MoveToken,
    part: HashRange,
    last: Instant,
    /// The config file as it will be.
    prepared: Prepared,
}

impl Taking {
    pub(super) fn is_alive(&self, clock: Clock) -> bool {
        clock().saturating_duration_since(self.last) < LEASE
    }
}

impl Moves {
    /// A giver announces a part. `Err` says why not.
    pub(crate) fn begin_taking(
        shared: &Shared,
        token: MoveToken,
        part: HashRange,
        value_bytes: u64,
    ) -> Result<(), String> {
        let moves = &shared.moves;
        let mut state = moves.lock();
        if state.is_giving || state.taking.as_ref().is_some_and(|t| t.is_alive(moves.clock)) {
            return Err("busy: another move is under way here; try again later".to_owned());
        }
        if !shared.ranges.is_kept() {
            return Err("the taker was started without a config file, so it would forget its new \
                        hash range; start it with --config FILE"
                .to_owned());
        }
        let owned = shared.ranges.current().0.owned;
        let Some(range) = joined(owned, part) else {
            return Err(format!(
                "{part} does not join the taker's hash range {owned}: a node has one range"
            ));
        };
        let limit = shared.settings.bytes_max;
        let bytes = shared.bytes();
        if limit > 0 && bytes.saturating_add(value_bytes) > limit {
            return Err(format!(
                "no room: about {value_bytes} bytes would come to {bytes}, and the taker's \
                 size_limit is {limit}"
            ));
        }
        // The one before it vanishes first: they have the same name.
        state.taking = None;
        let prepared = shared
            .ranges
            .prepare(range)
            .map_err(|error| format!("the taker cannot keep a new hash range: {error}"))?;
        state
            .journal
            .change(|journal| journal.add_foreign(part))
            .map_err(|error| format!("the taker cannot write its journal of moves: {error}"))?;
        let foreign = state.journal.foreign.clone();
        shared.ranges.change(|view| view.foreign = foreign);
        state.taking = Some(Taking { token, part, last: (moves.clock)(), prepared });
        Ok(())
    }

    /// The part that a move brings, if that is under way.
    pub(crate) fn taking(&self, token: MoveToken) -> Option<HashRange> {
        let mut state = self.lock();
        let taking = state.taking.as_mut().filter(|taking| taking.token == token)?;
        taking.last = (self.clock)();
        Some(taking.part)
    }

    /// Makes the part ours. Returns the whole range.
    pub(crate) fn claim(shared: &Shared, token: MoveToken) -> Result<HashRange, String> {
        let mut state = shared.moves.lock();
        let Some(Taking { part, prepared, .. }) = state.taking.take_if(|t| t.token == token) else {
            return Err(
                "there is no such move here; it was cancelled, or the node started anew".to_owned()
            );
        };
        let owned = shared.ranges.current().0.owned;
        let range = joined(owned, part).ok_or("the taker's hash range has changed meanwhile")?;
        let mut kept = shared.ranges.switch(prepared, range);
        // A write that survives a power cut needs a range that does.
        if kept.is_ok() && shared.greatest_level() == Level::Disk {
            kept = shared.ranges.sync();
        }
        if let Err(error) = kept {
            // It may have come as far as to be written.
            let _ = shared.ranges.save(owned);
            return Err(format!("the taker cannot keep its new hash range: {error}"));
        }
        // The giver waits. Until this is on disk the range in the config file, which goes before,
        // says the same; and it will be when a part leaves, as the journal is written for that.
        state.journal.defer(|journal| {
            journal.remove_foreign(part);
            journal.add_claimed(token);
        });
        let foreign = state.journal.foreign.clone();
        shared.ranges.tell([HashRangeUpdate::ChangeHashRange(range)]);
        shared.ranges.change(|view| {
            view.owned = range;
            view.foreign = foreign;
        });
        log::info!("Taken over: {part}; the hash range is {range} now");
        Ok(range)
    }

    /// Ends a move that has not been claimed. Says whether it was.
    pub(crate) fn cancel(shared: &Shared, token: MoveToken, part: HashRange) -> MoveReply {
        let mut state = shared.moves.lock();
        let owned = shared.ranges.current().0.owned;
        let covers = owned.min() <= part.min() && part.max() <= owned.max() && !part.is_empty();
        if state.journal.is_claimed(token) || covers {
            return MoveReply::Claimed(owned);
        }
        state.taking.take_if(|taking| taking.token == token);
        MoveReply::NotClaimed
    }

    /// Has the range synced on a thread of its own: a worker has other things to do.
    fn sync_range(shared: &Arc<Shared>, wait: &Arc<SyncWait>) {
        let moves = &shared.moves;
        let mut state = moves.lock();
        state.sync_waits.push(Arc::clone(wait));
        if std::mem::replace(&mut state.is_syncing, true) {
            return;
        }
        drop(state);
        let owned = Arc::clone(shared);
        let spawned = moves.spawn(move || {
            let synced = owned.ranges.sync();
            owned.moves.sync_ended(synced.map_err(|error| error.to_string()));
        });
        if let Err(error) = spawned {
            moves.sync_ended(Err(error.to_string()));
        }
    }

    fn sync_ended(&self, synced: Result<(), String>) {
        if let Err(error) = synced {
            log::error!("the new hash range cannot be synced: {error}");
        }
        let mut state = self.lock();
        state.is_syncing = false;
        let waits = std::mem::take(&mut state.sync_waits);
        drop(state);
        for wait in waits {
            wait.has_ended.store(true, SeqCst);
            wait.requester.wake();
        }
    }
}

/// A connection that waits for a sync. Each has one at most.
pub(super) struct SyncWait {
    has_ended: AtomicBool,
    requester: Requester,
}

/// Tells a giver that a part is ours, once that would outlive a power cut: it forgets it then.
pub(crate) struct SyncStream {
    reply: MoveReply,
    wait: Arc<SyncWait>,
}

impl SyncStream {
    pub(crate) fn new(cx: &Context, reply: MoveReply) -> Self {
        let requester = Requester { mailbox: Arc::clone(&cx.mailbox), conn: cx.conn, stream: 0 };
        let wait = Arc::new(SyncWait { has_ended: AtomicBool::new(false), requester });
        Moves::sync_range(&cx.shared, &wait);
        Self { reply, wait }
    }

    pub(crate) fn step(&self, cx: &Context, out: &mut Vec<u8>) -> Step {
        if !self.wait.has_ended.load(SeqCst) {
            return Step::Idle;
        }
        Status::Ok.encode(&mut writer(out));
        if cx.shared.ranges.is_synced() {
            self.reply.encode_array(&mut writer(out));
        } else {
            let why = "the taker's new hash range is not on its disk yet; its log may say why";
            MoveReply::Refused(why.to_owned()).encode_array(&mut writer(out));
        }
        Step::Done
    }
}

/// Removes what lies here of a part that is not ours, step by step; then replies.
pub(crate) struct PurgeStream {
    part: HashRange,
    /// Keeps the move alive meanwhile.
    token: MoveToken,
    channels: Vec<Arc<Channel>>,
    cursor: Cursor,
    reply: MoveReply,
}

impl PurgeStream {
    pub(crate) fn new(
        part: HashRange,
        token: MoveToken,
        channels: Vec<Arc<Channel>>,
        reply: MoveReply,
    ) -> Self {
        Self { part, token, channels, cursor: Cursor::START, reply }
    }

    pub(crate) fn step(&mut self, cx: &mut Context, out: &mut Vec<u8>) -> Step {
        let Some(channel) = self.channels.last() else {
            Status::Ok.encode(&mut writer(out));
            self.reply.encode_array(&mut writer(out));
            return Step::Done;
        };
        let (part, mut found) = (self.part, Vec::new());
        let rest = channel.scan(self.cursor, PURGE_RECORDS, |key, _| {
            if part.contains(key) {
                found.push(key);
            }
            ControlFlow::Continue(())
        });
        for key in found {
            // The part may have been claimed by now, by another move.
            if !cx.shared.ranges.current().0.owned.contains(key)
                && let Err(error) = remove_record(cx, channel, key, Notify::No)
            {
                self.reply = MoveReply::Refused(format!("the taker cannot clear up: {error}"));
            }
        }
        cx.shared.moves.taking(self.token);
        match rest {
            Some(cursor) => self.cursor = cursor,
            None => {
                self.channels.pop();
                self.cursor = Cursor::START;
            }
        }
        Step::More
    }
}

//! The taker's end of a MovePart.
//!
//! ```text
//! Begin > [ purge: leftovers of the part ] > Records ... > Claim: the part is ours
//!                                                        > Cancel > [ purge ]
//! ```
//!
//! Until the claim nobody sees what came: requests for the part are refused, scans leave it out. A
//! move of which nothing is heard for [`LEASE`] may be replaced by another one.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dht_protocol::legacy::Status;
use dht_protocol::legacy::requests::{MoveReply, MoveToken};
use dht_protocol::neo::requests::HashRangeUpdate;
use dht_storage::{Channel, Cursor, Notify};
use dht_types::HashRange;

use super::Moves;
use crate::context::{Clock, Context, writer};
use crate::handlers::{Step, remove_record};
use crate::ranges::joined;
use crate::shared::Shared;

/// How long a giver may be silent.
const LEASE: Duration = Duration::from_secs(10);

/// Records that one step of a purge looks at.
const PURGE_RECORDS: usize = 4096;

/// A part that is coming in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taking {
    token: MoveToken,
    part: HashRange,
    last: Instant,
}

impl Taking {
    pub(super) const fn part(&self) -> HashRange {
        self.part
    }

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
        if joined(owned, part).is_none() {
            return Err(format!(
                "{part} does not join the taker's hash range {owned}: a node has one range"
            ));
        }
        let limit = shared.settings.bytes_max;
        let bytes = shared.bytes();
        if limit > 0 && bytes.saturating_add(value_bytes) > limit {
            return Err(format!(
                "no room: about {value_bytes} bytes would come to {bytes}, and the taker's \
                 size_limit is {limit}"
            ));
        }
        state
            .journal
            .change(|journal| journal.add_foreign(part))
            .map_err(|error| format!("the taker cannot write its journal of moves: {error}"))?;
        let foreign = state.journal.foreign.clone();
        shared.ranges.change(|view| view.foreign = foreign);
        state.taking = Some(Taking { token, part, last: (moves.clock)() });
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
        let Some(taking) = state.taking.filter(|taking| taking.token == token) else {
            return Err(
                "there is no such move here; it was cancelled, or the node started anew".to_owned()
            );
        };
        let part = taking.part;
        let owned = shared.ranges.current().0.owned;
        let range = joined(owned, part).ok_or("the taker's hash range has changed meanwhile")?;
        if let Err(error) = shared.ranges.save(range) {
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
        state.taking = None;
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
        if state.taking.is_some_and(|taking| taking.token == token) {
            state.taking = None;
        }
        MoveReply::NotClaimed
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

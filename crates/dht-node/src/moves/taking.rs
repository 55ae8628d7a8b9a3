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
//! until then no giver is told for good that the part is ours. A [`Job`] does either.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dht_protocol::legacy::Status;
use dht_protocol::legacy::requests::{MoveReply, MoveToken};
use dht_protocol::neo::requests::HashRangeUpdate;
use dht_storage::{Channel, Cursor, Notify};
use dht_types::HashRange;

use super::{Moves, Requester, State};
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
    /// The config file as it will be. Before it is there, nothing may come in.
    prepared: Option<Prepared>,
}

impl Taking {
    pub(super) const fn part(&self) -> HashRange {
        self.part
    }

    pub(super) fn is_alive(&self, clock: Clock) -> bool {
        clock().saturating_duration_since(self.last) < LEASE
    }
}

/// Whether a purge may go on.
enum Purge {
    Go,
    /// Another worker is busy there, for less than a turn.
    Wait,
    /// A later move has begun, and purges by itself.
    Over,
}

impl State {
    /// The giver of a move has said something. Its part, if it may bring records.
    fn keep_alive(&mut self, token: MoveToken, now: Instant) -> Option<HashRange> {
        let is_it = |taking: &&mut Taking| taking.token == token && taking.prepared.is_some();
        let taking = self.taking.as_mut().filter(is_it)?;
        taking.last = now;
        Some(taking.part)
    }
}

impl Moves {
    /// A giver announces a part. `Err` says why not; else the job says whether it may send.
    pub(crate) fn begin_taking(
        shared: &Arc<Shared>,
        token: MoveToken,
        part: HashRange,
        value_bytes: u64,
        requester: Requester,
    ) -> Result<Arc<Job>, String> {
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
        // The one before it vanishes first: they prepare the same file.
        state.taking = None;
        state.taking = Some(Taking { token, part, last: (moves.clock)(), prepared: None });
        drop(state);
        let job = Job::new(requester);
        let (owned, done) = (Arc::clone(shared), Arc::clone(&job));
        let spawned = moves.spawn(move || done.end(Self::prepare(&owned, token, part, range)));
        spawned.map_err(|error| {
            moves.lock().taking.take_if(|taking| taking.token == token);
            format!("the taker cannot start a thread for it: {error}")
        })?;
        Ok(job)
    }

    /// Brings to disk what has to be there before a part comes in.
    fn prepare(
        shared: &Shared,
        token: MoveToken,
        part: HashRange,
        range: HashRange,
    ) -> Result<(), String> {
        let moves = &shared.moves;
        let prepared = shared.ranges.prepare(range);
        let mut state = moves.lock();
        let kept =
            prepared.map_err(|error| format!("the taker cannot keep a new hash range: {error}"));
        let noted = kept.and_then(|prepared| {
            let noted = state.note(&shared.ranges, |journal| journal.begin_taking(token, part));
            noted
                .map(|()| prepared)
                .map_err(|error| format!("the taker cannot write its journal of moves: {error}"))
        });
        let foreign = state.journal.foreign.clone();
        let Some(taking) = state.taking.as_mut().filter(|taking| taking.token == token) else {
            return Err("it was cancelled or replaced meanwhile".to_owned());
        };
        match noted {
            Ok(prepared) => {
                taking.prepared = Some(prepared);
                taking.last = (moves.clock)();
                shared.ranges.change(|view| view.foreign = foreign);
                Ok(())
            }
            Err(why) => {
                state.taking = None;
                Err(why)
            }
        }
    }

    /// The part that a move brings, if that is under way.
    pub(crate) fn taking(&self, token: MoveToken) -> Option<HashRange> {
        self.lock().keep_alive(token, (self.clock)())
    }

    /// The same for who stores records of it now, and says [`Moves::leave_part`] afterwards.
    pub(crate) fn store_in_part(&self, token: MoveToken) -> Option<HashRange> {
        let mut state = self.lock();
        let part = state.keep_alive(token, (self.clock)())?;
        state.busy_with_part += 1;
        Some(part)
    }

    /// Whether a purge may go on; then it says [`Moves::leave_part`] afterwards. Several workers
    /// take records, so one may still store some of a move that another has ended or replaced: a
    /// purge waits for it. And one of an earlier move must not remove what a later one brings.
    fn purge_part(&self, token: MoveToken) -> Purge {
        let mut state = self.lock();
        state.keep_alive(token, (self.clock)());
        if state.taking.as_ref().is_some_and(|taking| taking.token != token) {
            return Purge::Over;
        }
        if state.busy_with_part > 0 {
            return Purge::Wait;
        }
        state.busy_with_part += 1;
        Purge::Go
    }

    pub(crate) fn leave_part(&self) {
        self.lock().busy_with_part -= 1;
    }

    /// Makes the part ours; what came of it is in the log. Returns the whole range.
    fn claim(shared: &Shared, token: MoveToken) -> Result<HashRange, String> {
        let mut state = shared.moves.lock();
        let taking = state.taking.take_if(|taking| taking.token == token);
        let Some(Taking { part, prepared: Some(prepared), .. }) = taking else {
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
        Ok(range)
    }

    /// Something that belongs to the move could not be done here, so it must not be claimed: the
    /// giver may have asked for that already.
    pub(crate) fn void(&self, token: MoveToken) {
        self.lock().taking.take_if(|taking| taking.token == token);
    }

    /// Ends a move that has not been claimed. Says whether it was.
    pub(crate) fn cancel(shared: &Shared, token: MoveToken, part: HashRange) -> MoveReply {
        let mut state = shared.moves.lock();
        let owned = shared.ranges.current().0.owned;
        if state.journal.is_claimed(token) || owned.covers(part) {
            return MoveReply::Claimed(owned);
        }
        state.taking.take_if(|taking| taking.token == token);
        MoveReply::NotClaimed
    }

    /// Has the range synced. The job ends when it is, or cannot be.
    pub(crate) fn sync_range(shared: &Arc<Shared>, requester: Requester) -> Arc<Job> {
        let moves = &shared.moves;
        let job = Job::new(requester);
        let mut state = moves.lock();
        state.sync_waits.push(Arc::clone(&job));
        if std::mem::replace(&mut state.is_syncing, true) {
            return job;
        }
        drop(state);
        let owned = Arc::clone(shared);
        let spawned = moves.spawn(move || {
            let synced = owned.ranges.sync().map_err(|error| error.to_string());
            // It may have changed again behind the sync.
            let is_synced = owned.ranges.is_synced();
            if is_synced && synced.is_ok() {
                // Not at the claim: clients wait for that, and a line may wait for the disk.
                log::info!("Taken over; the hash range is {} now", owned.ranges.current().0.owned);
            }
            let late = || "the taker's new hash range is not on its disk yet".to_owned();
            owned.moves.sync_ended(&synced.and_then(|()| is_synced.then_some(()).ok_or_else(late)));
        });
        if let Err(error) = spawned {
            moves.sync_ended(&Err(error.to_string()));
        }
        job
    }

    fn sync_ended(&self, synced: &Result<(), String>) {
        let mut state = self.lock();
        state.is_syncing = false;
        let waits = std::mem::take(&mut state.sync_waits);
        drop(state);
        for wait in waits {
            wait.end(synced.clone());
        }
    }
}

/// What a thread of its own does for a connection: what would hold a worker up.
pub(crate) struct Job {
    outcome: Mutex<Option<Result<(), String>>>,
    requester: Requester,
}

impl Job {
    fn new(requester: Requester) -> Arc<Self> {
        Arc::new(Self { outcome: Mutex::new(None), requester })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Result<(), String>>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, outcome: Result<(), String>) {
        *self.lock() = Some(outcome);
        self.requester.wake();
    }
}

/// Makes the part ours in the turn after that in which it was asked for. Then what came with the
/// question is in the log: as soon as the part is ours another worker may serve it, and a crash
/// must not find records of it lost.
pub(crate) struct ClaimStream {
    token: MoveToken,
    is_logged: bool,
}

impl ClaimStream {
    pub(crate) const fn new(token: MoveToken) -> Self {
        Self { token, is_logged: false }
    }

    pub(crate) fn step(&mut self, cx: &Context, out: &mut Vec<u8>) -> Step {
        if !std::mem::replace(&mut self.is_logged, true) {
            return Step::More;
        }
        let claimed = Moves::claim(&cx.shared, self.token);
        let reply = claimed.map_or_else(MoveReply::Refused, MoveReply::Claimed);
        Status::Ok.encode(&mut writer(out));
        reply.encode_array(&mut writer(out));
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
    /// Comes first; if it fails, that is the reply.
    job: Option<Arc<Job>>,
    reply: MoveReply,
}

impl PurgeStream {
    pub(crate) fn new(
        part: HashRange,
        token: MoveToken,
        channels: Vec<Arc<Channel>>,
        reply: MoveReply,
    ) -> Self {
        Self { part, token, channels, cursor: Cursor::START, job: None, reply }
    }

    /// The same when this has been done.
    pub(crate) fn after(self, job: Arc<Job>) -> Self {
        Self { job: Some(job), ..self }
    }

    /// Whether the job is still under way.
    fn waits(&mut self) -> bool {
        let Some(job) = self.job.take() else { return false };
        let outcome = job.lock().take();
        match outcome {
            None => self.job = Some(job),
            Some(Ok(())) => {}
            Some(Err(why)) => {
                self.reply = MoveReply::Refused(why);
                self.channels.clear();
            }
        }
        self.job.is_some()
    }

    pub(crate) fn step(&mut self, cx: &mut Context, out: &mut Vec<u8>) -> Step {
        if self.waits() {
            return Step::Idle;
        }
        let Some(channel) = self.channels.last() else {
            Status::Ok.encode(&mut writer(out));
            self.reply.encode_array(&mut writer(out));
            return Step::Done;
        };
        match cx.shared.moves.purge_part(self.token) {
            Purge::Go => {}
            Purge::Wait => return Step::More,
            Purge::Over => {
                self.channels.clear();
                return Step::More;
            }
        }
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
                cx.shared.moves.void(self.token);
            }
        }
        cx.shared.moves.leave_part();
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

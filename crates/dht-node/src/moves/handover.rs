//! The giver's end of a MovePart, on a thread of its own.
//!
//! ```text
//! Begin > copy: scan and changes, in batches > catch up with the changes
//!       > freeze: requests for the part wait > last changes > Claim > the part is the taker's
//!       > clients are told > requests go on: refused, with the news before the refusal
//!       > the taker is asked until it has synced its range > ours is kept, smaller
//!       > what is left of the part here is removed
//! ```
//!
//! Until the claim the giver answers everything, so nobody notices; the taker shows nothing. If the
//! answer to the claim is lost, requests for the part are refused until the taker has said whose it
//! is. Why no record is lost: see ARCHITECTURE.md, "Moving a part".

use std::collections::HashSet;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dht_protocol::legacy::requests::{
    MOVE_VERSION, MoveMessage, MoveProgress, MoveReply, MoveToken,
};
use dht_types::HashRange;

use super::changes::Feed;
use super::journal::Pending;
use super::lanes::{Batches, Lanes};
use super::peer::{Peer, PeerError};
use super::redistribute::node_address;
use super::settle::{Verdict, clean_up, let_go, settle};
use super::{GivingTurn, Requester};
use crate::shared::Shared;

/// How often whoever asked for the move hears of its progress.
const PROGRESS_PERIOD: Duration = Duration::from_millis(250);

/// The giver says something at least so often, well within the taker's lease.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// The part is frozen when no more changes than this are left to send.
const CHANGES_AT_FREEZE: usize = 1024;

/// If changes keep coming faster than they can be sent, it is frozen after so long all the same.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);

/// A move, as whoever asked for it sees it.
pub(crate) struct GivePart {
    state: Mutex<State>,
    cancelled: AtomicBool,
    requester: Requester,
}

#[derive(Default)]
struct State {
    progress: MoveProgress,
    /// The reply that ends it.
    ended: Option<MoveReply>,
    /// There is progress that was not told.
    is_news: bool,
}

/// Why a move did not come about. The part is still here, whole.
#[derive(Debug, thiserror::Error)]
enum MoveError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("cancelled")]
    Cancelled,
    #[error("cannot write the journal of moves: {0}")]
    Journal(std::io::Error),
    #[error("a worker of the giver is stuck")]
    Stuck,
}

impl GivePart {
    /// Starts the move. The part lies at an end of the range, the address is one.
    pub(crate) fn start(
        turn: GivingTurn,
        part: HashRange,
        address: &str,
        port: u16,
        requester: Requester,
    ) -> std::io::Result<Arc<Self>> {
        let state = Mutex::default();
        let this = Arc::new(Self { state, cancelled: AtomicBool::new(false), requester });
        let shared = Arc::clone(&turn.shared);
        let token = MoveToken(getrandom::u64().map_err(std::io::Error::other)?);
        let pending = Pending { token, part, address: address.to_owned(), port };
        let job = Arc::clone(&this);
        shared.moves.spawn(move || run(turn, &job, &pending))?;
        Ok(this)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the move up, if that is still possible.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    /// What there is to tell, and whether it is the end.
    pub(crate) fn news(&self) -> Option<(MoveReply, bool)> {
        let mut state = self.lock();
        if let Some(ended) = state.ended.take() {
            return Some((ended, true));
        }
        let is_news = std::mem::take(&mut state.is_news);
        is_news.then(|| (MoveReply::Progress(state.progress), false))
    }

    fn tell(&self, progress: MoveProgress) {
        let mut state = self.lock();
        state.progress = progress;
        state.is_news = true;
        drop(state);
        self.requester.wake();
    }

    fn end(&self, reply: MoveReply) {
        self.lock().ended = Some(reply);
        self.requester.wake();
    }
}

fn run(turn: GivingTurn, job: &Arc<GivePart>, pending: &Pending) {
    let shared = &Arc::clone(&turn.shared);
    log::info!("Giving {} to node {}:{}", pending.part, pending.address, pending.port);
    let moved = match Giver::begin(shared, job, pending) {
        Ok(mut giver) => giver.give(),
        Err(error) => Err(error),
    };
    match moved {
        Ok(progress) => {
            log::info!(
                "Gave {} to node {}:{}: {} records, {} bytes; requests for it waited {} us",
                pending.part,
                pending.address,
                pending.port,
                progress.records,
                progress.value_bytes,
                progress.pause_micros
            );
            job.end(MoveReply::Finished(progress));
            clean_up(shared, &[pending.part]);
        }
        Err(error) => {
            log::warn!("{} stays here: {error}", pending.part);
            // Whoever asks again at once must find the turn free.
            drop(turn);
            job.end(MoveReply::Refused(error.to_string()));
        }
    }
}

/// A move that the taker has agreed to.
struct Giver<'a> {
    shared: &'a Arc<Shared>,
    job: &'a Arc<GivePart>,
    pending: &'a Pending,
    address: SocketAddrV4,
    lanes: Lanes<'a>,
    feeds: Vec<Feed>,
    /// The store's generation that the feeds belong to.
    generation: Option<u64>,
    batches: Batches,
    progress: MoveProgress,
    last_said: Instant,
    last_told: Instant,
}

impl<'a> Giver<'a> {
    fn begin(
        shared: &'a Arc<Shared>,
        job: &'a Arc<GivePart>,
        pending: &'a Pending,
    ) -> Result<Self, MoveError> {
        let address = node_address(&pending.address, pending.port);
        let address = address.expect("both ways to a move check it");
        let mut peer = Peer::connect(address)?;
        let (part, usage) = (pending.part, shared.store.usage());
        let value_bytes = share(usage.value_bytes, part, shared.ranges.current().0.owned);
        let records = share(usage.records, part, shared.ranges.current().0.owned);
        let (version, token) = (MOVE_VERSION, pending.token);
        let begin = MoveMessage::Begin { version, token, part, records, value_bytes };
        peer.ask(&shared.moves.stop, &begin)?;
        let progress = MoveProgress { scanned_of: usage.records, ..MoveProgress::default() };
        let now = (shared.moves.clock)();
        Ok(Self {
            shared,
            job,
            pending,
            lanes: Lanes::new(&shared.moves.stop, token, peer),
            address,
            feeds: Vec::new(),
            generation: None,
            batches: Batches::new(1),
            progress,
            last_said: now,
            last_told: now,
        })
    }

    fn now(&self) -> Instant {
        (self.shared.moves.clock)()
    }

    fn give(&mut self) -> Result<MoveProgress, MoveError> {
        let copied = self.note_pending().and_then(|()| self.copy());
        if let Err(error) = copied {
            self.give_up();
            return Err(error);
        }
        let frozen_at = self.now();
        let generation = self.shared.ranges.change(|v| v.frozen = Some(self.pending.part));
        if let Err(error) = self.send_the_last(generation) {
            self.shared.ranges.change(|view| view.frozen = None);
            self.give_up();
            return Err(error);
        }
        let all_sent_at = self.now();
        match self.lanes.claim() {
            Ok(MoveReply::Claimed(range)) => {
                let_go(self.shared, self.pending, range);
                self.note_pause(frozen_at, all_sent_at);
                self.settle()?;
            }
            Err(error @ PeerError::Refused(..)) => {
                self.shared.ranges.change(|view| view.frozen = None);
                self.give_up();
                return Err(error.into());
            }
            // It has been told to claim, and nothing came back.
            Ok(_) | Err(_) => {
                self.shared.ranges.change(|view| {
                    view.frozen = None;
                    view.disputed = Some(self.pending.part);
                });
                self.note_pause(frozen_at, all_sent_at);
                self.settle()?;
            }
        }
        Ok(self.progress)
    }

    fn note_pause(&mut self, frozen_at: Instant, all_sent_at: Instant) {
        let thawed_at = self.now();
        let pause = thawed_at.saturating_duration_since(frozen_at);
        self.progress.pause_micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        log::info!(
            "Requests for {} waited {pause:?}, {:?} of it for the taker",
            self.pending.part,
            thawed_at.saturating_duration_since(all_sent_at)
        );
    }

    fn settle(&self) -> Result<(), MoveError> {
        match settle(self.shared, self.pending) {
            Verdict::Taken => Ok(()),
            Verdict::Ours => Err(PeerError::Closed(self.address).into()),
            Verdict::Stopped => Err(PeerError::Stopped.into()),
        }
    }

    /// From here on a start of this node asks the taker first.
    fn note_pending(&self) -> Result<(), MoveError> {
        let pending = Some(self.pending.clone());
        let mut state = self.shared.moves.lock();
        let noted = state.note(&self.shared.ranges, |journal| journal.pending = pending);
        noted.map_err(MoveError::Journal)
    }

    /// Tells the taker that nothing comes of it. It forgets the move by itself otherwise.
    fn give_up(&mut self) {
        let Pending { token, part, .. } = *self.pending;
        if let Ok(mut peer) = Peer::connect(self.address) {
            let _ = peer.ask(&self.shared.moves.stop, &MoveMessage::Cancel { token, part });
        }
        let mut state = self.shared.moves.lock();
        if let Err(error) = state.note(&self.shared.ranges, |journal| journal.pending = None) {
            log::error!("cannot write the journal of moves: {error}");
        }
    }

    /// Sends all records, and then the changes, until few are left.
    fn copy(&mut self) -> Result<(), MoveError> {
        self.lanes.widen()?;
        self.batches = Batches::new(self.lanes.count());
        let mut give_up_catching_up = None;
        loop {
            self.take_in_channels()?;
            let mut is_scanning = false;
            let mut changes = 0;
            for at in 0..self.feeds.len() {
                self.pump(at)?;
                is_scanning |= self.feeds[at].is_scanning();
                self.look_for_changes(at)?;
                changes += self.feeds[at].changes();
            }
            if is_scanning {
                continue;
            }
            let now = self.now();
            let until = *give_up_catching_up.get_or_insert(now + CATCH_UP_MAX);
            if changes <= CHANGES_AT_FREEZE || now >= until {
                return self.send_changes();
            }
        }
    }

    /// Goes over to one lane, and sends what has changed meanwhile, so that little is left for the
    /// freeze.
    fn send_changes(&mut self) -> Result<(), MoveError> {
        self.lanes.narrow()?;
        self.batches = Batches::new(self.lanes.count());
        for at in 0..self.feeds.len() {
            self.look_for_changes(at)?;
            self.pump(at)?;
        }
        Ok(())
    }

    /// Sends what is left once no request can change anything.
    fn send_the_last(&mut self, generation: u64) -> Result<(), MoveError> {
        if !self.shared.ranges.wait_until_seen(generation) {
            return Err(MoveError::Stuck);
        }
        loop {
            self.take_in_channels()?;
            let mut is_done = true;
            for at in 0..self.feeds.len() {
                self.look_for_changes(at)?;
                if self.feeds[at].is_scanning() || self.feeds[at].changes() > 0 {
                    is_done = false;
                    self.pump(at)?;
                }
            }
            if is_done {
                return Ok(());
            }
        }
    }

    /// Subscribes to channels that are new.
    fn take_in_channels(&mut self) -> Result<(), MoveError> {
        let generation = self.shared.store.generation();
        if self.generation == Some(generation) {
            return Ok(());
        }
        // Those that were removed go first: there may be others of their names by now.
        for at in 0..self.feeds.len() {
            if self.feeds[at].channel.is_removed() {
                self.drop_channel(at)?;
            }
        }
        self.feeds.retain(|feed| !feed.channel.is_removed());
        let known: HashSet<_> = self.feeds.iter().map(|feed| Arc::as_ptr(&feed.channel)).collect();
        let channels = self.shared.store.channels();
        let new = channels.into_iter().filter(|channel| !known.contains(&Arc::as_ptr(channel)));
        let new: Vec<Feed> = new.map(Feed::new).collect();
        self.feeds.extend(new);
        self.generation = Some(generation);
        Ok(())
    }

    fn drop_channel(&mut self, at: usize) -> Result<(), MoveError> {
        self.lanes.drop_channel(self.feeds[at].channel.name())?;
        self.last_said = self.now();
        Ok(())
    }

    /// Takes changes over; if some were lost, the channel starts afresh.
    fn look_for_changes(&mut self, at: usize) -> Result<(), MoveError> {
        if self.feeds[at].take_changes(self.pending.part) {
            return Ok(());
        }
        log::warn!(
            "Channel '{}' changes faster than it moves; it is sent again",
            self.feeds[at].channel.name()
        );
        // Removals were lost as well.
        self.drop_channel(at)?;
        self.feeds[at].restart();
        Ok(())
    }

    /// Sends at most a batch of a channel over each lane.
    fn pump(&mut self, at: usize) -> Result<(), MoveError> {
        if self.job.cancelled.load(Relaxed) {
            return Err(MoveError::Cancelled);
        }
        if self.shared.moves.stop.is_set() {
            return Err(PeerError::Stopped.into());
        }
        let gathered = self.feeds[at].gather(self.pending.part, &mut self.batches);
        self.progress.records += gathered.records;
        self.progress.value_bytes += gathered.value_bytes;
        self.progress.scanned += gathered.scanned;
        let now = self.now();
        if now.saturating_duration_since(self.last_told) >= PROGRESS_PERIOD {
            self.last_told = now;
            self.job.tell(self.progress);
        }
        let silent = now.saturating_duration_since(self.last_said) >= KEEP_ALIVE;
        if self.batches.bytes() == 0 && !silent {
            return Ok(());
        }
        self.last_said = now;
        Ok(self.lanes.send(self.feeds[at].channel.name(), &mut self.batches, now)?)
    }
}

/// About how much of `amount` lies in a part of a range.
fn share(amount: u64, part: HashRange, range: HashRange) -> u64 {
    let width = |range: HashRange| u128::from(range.max().saturating_sub(range.min())) + 1;
    let share = u128::from(amount) * width(part) / width(range).max(1);
    u64::try_from(share).unwrap_or(u64::MAX)
}

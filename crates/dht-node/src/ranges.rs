//! Which keys this node is responsible for, now and in the next moment.
//!
//! ```text
//! Ranges    what all share: the current view, its generation, what clients are told of changes
//!   |  a worker looks at the generation once a turn, a mover tells it to
//! RangeView what one worker goes by in one turn; immutable
//! ```
//!
//! Nothing on the way of a request is shared: it asks the view that its worker holds. So a mover
//! that changes the view has to wait until every worker goes by the new one
//! ([`Ranges::wait_until_seen`]); then no request that the old one let pass is still under way.
//!
//! Invariant: a key that is frozen is neither read nor written by anybody.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use dht_protocol::neo::requests::HashRangeUpdate;
use dht_types::{HashRange, Key};

use crate::mailbox::Mailbox;
use crate::moves::{Receiving, Removal};
use crate::range_file::{self, Prepared, RangeFileError};

/// Changes that are kept for clients which have not read them yet; the older ones are replaced by
/// the node's range of now.
const NEWS_MAX: usize = 16_384;

/// How often a mover looks whether all workers have seen a change.
const SEEN_LOOK: Duration = Duration::from_micros(50);
/// How often it does so at most: 5 seconds. A turn of a worker takes milliseconds.
const SEEN_LOOKS_MAX: u32 = 100_000;

/// What a worker goes by.
#[derive(Debug, Clone)]
pub(crate) struct RangeView {
    /// The keys that this node is responsible for.
    pub(crate) owned: HashRange,
    /// Redistribute: what takers get. What is still here of it is read here.
    pub(crate) giving: Vec<HashRange>,
    /// Redistribute: what was gained, while givers may send what they had of it.
    pub(crate) receiving: Option<Arc<Receiving>>,
    /// Parts that were given away, or are being taken: what lies here of them is nobody's answer.
    pub(crate) foreign: Vec<HashRange>,
    /// A part on the point of changing hands: its requests wait.
    pub(crate) frozen: Option<HashRange>,
    /// A part of which only another node knows whether it is ours: its requests are refused.
    pub(crate) disputed: Option<HashRange>,
}

impl RangeView {
    fn new(owned: HashRange, foreign: Vec<HashRange>, disputed: Option<HashRange>) -> Self {
        Self { owned, giving: Vec::new(), receiving: None, foreign, frozen: None, disputed }
    }

    /// Whether this node answers for the key.
    pub(crate) fn owns(&self, key: Key) -> bool {
        self.owned.contains(key) && !self.disputed.is_some_and(|part| part.contains(key))
    }

    pub(crate) fn is_frozen(&self, key: Key) -> bool {
        self.frozen.is_some_and(|part| part.contains(key))
    }

    /// Whether a record of this key may be here although another node gets it.
    pub(crate) fn gives(&self, key: Key) -> bool {
        contains(&self.giving, key)
    }

    /// Whether a record of this key, if there is one here, must not be shown.
    pub(crate) fn hides(&self, key: Key) -> bool {
        !self.foreign.is_empty() && contains(&self.foreign, key) && !self.owned.contains(key)
    }

    /// Whether the key once was here, so that its absence says nothing.
    pub(crate) fn has_moved(&self, key: Key) -> bool {
        !self.owns(key) && (self.gives(key) || self.disputes(key) || self.hides(key))
    }

    fn disputes(&self, key: Key) -> bool {
        self.disputed.is_some_and(|part| part.contains(key))
    }
}

fn contains(parts: &[HashRange], key: Key) -> bool {
    parts.iter().any(|part| part.contains(key))
}

/// See the module.
pub(crate) struct Ranges {
    current: Mutex<Arc<RangeView>>,
    /// Grows with every change of the view or of the news.
    generation: AtomicU64,
    changed: Condvar,
    /// Those before it that somebody still goes by: a worker in this turn, or a scan.
    past: Mutex<Vec<Weak<RangeView>>>,
    news: Mutex<News>,
    workers: OnceLock<Vec<Arc<Mailbox>>>,
    /// Where the range is kept; none if the node was started without a config file.
    file: Option<PathBuf>,
    /// Counts how often the file was replaced, and how many of these would outlive a power cut.
    replaced: AtomicU64,
    synced: AtomicU64,
}

/// What clients are told, in order.
#[derive(Debug, Default)]
struct News {
    /// So many were there before `updates`.
    forgotten: u64,
    updates: Vec<HashRangeUpdate>,
}

/// How far a client is in the news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NewsPosition(u64);

impl Ranges {
    pub(crate) fn new(
        owned: HashRange,
        foreign: Vec<HashRange>,
        disputed: Option<HashRange>,
        file: Option<PathBuf>,
    ) -> Self {
        Self {
            current: Mutex::new(Arc::new(RangeView::new(owned, foreign, disputed))),
            generation: AtomicU64::new(1),
            changed: Condvar::new(),
            past: Mutex::default(),
            news: Mutex::default(),
            workers: OnceLock::new(),
            file,
            // Whether the last run came to sync it is not known.
            replaced: AtomicU64::new(1),
            synced: AtomicU64::new(0),
        }
    }

    /// Who has to see a change. Called once, before anything changes.
    pub(crate) fn set_workers(&self, workers: Vec<Arc<Mailbox>>) {
        assert!(self.workers.set(workers).is_ok(), "there is one set of workers");
    }

    fn lock(&self) -> MutexGuard<'_, Arc<RangeView>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    /// The view of now, and its generation.
    pub(crate) fn current(&self) -> (Arc<RangeView>, u64) {
        let view = self.lock();
        (Arc::clone(&view), self.generation())
    }

    /// Whether a change of the range would outlive the process.
    pub(crate) const fn is_kept(&self) -> bool {
        self.file.is_some()
    }

    /// Makes the range that the node has after its next start.
    pub(crate) fn save(&self, range: HashRange) -> Result<(), RangeFileError> {
        let file = self.file.as_ref().ok_or(RangeFileError::NoFile)?;
        let replaced = self.replaced.fetch_add(1, SeqCst) + 1;
        range_file::rewrite(file, range)?;
        self.synced.fetch_max(replaced, SeqCst);
        Ok(())
    }

    /// Does ahead what [`Ranges::switch`] would need time for.
    pub(crate) fn prepare(&self, range: HashRange) -> Result<Prepared, RangeFileError> {
        Prepared::new(self.file.as_ref().ok_or(RangeFileError::NoFile)?, range)
    }

    /// Makes the range that the node has after its next start, unless the power fails before
    /// [`Ranges::sync`].
    pub(crate) fn switch(&self, to: Prepared, range: HashRange) -> Result<(), RangeFileError> {
        let path = self.file.clone().ok_or(RangeFileError::NoFile)?;
        self.replaced.fetch_add(1, SeqCst);
        let is_done = to.take_name(range).map_err(|source| RangeFileError::Io { path, source })?;
        if is_done { Ok(()) } else { self.save(range) }
    }

    /// Whether the range would outlive a power cut.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced.load(SeqCst) >= self.replaced.load(SeqCst)
    }

    /// Makes it so.
    pub(crate) fn sync(&self) -> Result<(), RangeFileError> {
        let replaced = self.replaced.load(SeqCst);
        range_file::sync_name(self.file.as_ref().ok_or(RangeFileError::NoFile)?)?;
        self.synced.fetch_max(replaced, SeqCst);
        Ok(())
    }

    /// Changes the view. Returns its generation.
    pub(crate) fn change(&self, change: impl FnOnce(&mut RangeView)) -> u64 {
        let mut current = self.lock();
        let mut view = RangeView::clone(&current);
        change(&mut view);
        let before = std::mem::replace(&mut *current, Arc::new(view));
        let generation = self.generation.fetch_add(1, SeqCst) + 1;
        self.changed.notify_all();
        drop(current);
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.retain(|view| view.strong_count() > 0);
        past.push(Arc::downgrade(&before));
        drop((past, before));
        self.nudge();
        generation
    }

    /// Whether somebody still goes by a view that was.
    pub(crate) fn past_is_in_use(&self) -> bool {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.iter().any(|view| view.strong_count() > 0)
    }

    /// Tells the clients who want to know.
    pub(crate) fn tell(&self, updates: impl IntoIterator<Item = HashRangeUpdate>) {
        let mut news = self.lock_news();
        news.updates.extend(updates);
        if news.updates.len() > NEWS_MAX {
            news.forgotten += news.updates.len() as u64;
            news.updates.clear();
        }
        drop(news);
        self.generation.fetch_add(1, SeqCst);
        self.nudge();
    }

    /// Leaves something to be removed for one of the workers. `false`: there is none.
    pub(crate) fn leave_removal(&self, worker: usize, removal: Removal) -> bool {
        let workers = self.workers.get().map_or(&[][..], Vec::as_slice);
        let Some(mailbox) = workers.get(worker % workers.len().max(1)) else { return false };
        mailbox.leave_removal(removal);
        true
    }

    /// Has every worker look at the generation.
    fn nudge(&self) {
        for worker in self.workers.get().into_iter().flatten() {
            worker.nudge();
        }
    }

    /// Waits until no worker goes by a view older than `generation`. `false`: one is stuck.
    pub(crate) fn wait_until_seen(&self, generation: u64) -> bool {
        for worker in self.workers.get().into_iter().flatten() {
            let mut looks = 0;
            while worker.seen() < generation {
                if looks == SEEN_LOOKS_MAX {
                    return false;
                }
                looks += 1;
                std::thread::sleep(SEEN_LOOK);
            }
        }
        true
    }

    /// Waits for a view of another generation, but not longer than that.
    pub(crate) fn wait_for_change(&self, generation: u64, time: Duration) {
        let current = self.lock();
        let same = |_: &mut Arc<RangeView>| self.generation() == generation;
        drop(self.changed.wait_timeout_while(current, time, same));
    }

    /// Behind everything that was told so far, with the range that it amounts to.
    pub(crate) fn subscribe(&self) -> (HashRange, NewsPosition) {
        // In this order: a change in between is told twice rather than never.
        let position = {
            let news = self.lock_news();
            NewsPosition(news.forgotten + news.updates.len() as u64)
        };
        (self.lock().owned, position)
    }

    /// What was told behind `position`, which goes on to the end.
    pub(crate) fn news(&self, position: &mut NewsPosition) -> Vec<HashRangeUpdate> {
        let owned = self.lock().owned;
        let news = self.lock_news();
        let end = news.forgotten + news.updates.len() as u64;
        let from = std::mem::replace(&mut position.0, end);
        match from.checked_sub(news.forgotten) {
            Some(at) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX).min(news.updates.len());
                news.updates[at..].to_vec()
            }
            // Compat: none; the original keeps any number.
            None => {
                let mut updates = vec![HashRangeUpdate::ChangeHashRange(owned)];
                updates.extend_from_slice(&news.updates);
                updates
            }
        }
    }
}

/// What is left of `range` without `part`, which lies at one of its ends or is all of it.
pub(crate) fn without(range: HashRange, part: HashRange) -> Option<HashRange> {
    if part.is_empty() || range.is_empty() || part.min() < range.min() || part.max() > range.max() {
        return None;
    }
    match (part.min() == range.min(), part.max() == range.max()) {
        (true, true) => Some(HashRange::EMPTY),
        (true, false) => HashRange::new(part.max() + 1, range.max()).ok(),
        (false, true) => HashRange::new(range.min(), part.min() - 1).ok(),
        (false, false) => None,
    }
}

/// Both together, if they are side by side or `range` is empty.
pub(crate) fn joined(range: HashRange, part: HashRange) -> Option<HashRange> {
    if part.is_empty() {
        return None;
    }
    if range.is_empty() {
        return Some(part);
    }
    if range.max().checked_add(1) == Some(part.min()) {
        return HashRange::new(range.min(), part.max()).ok();
    }
    if part.max().checked_add(1) == Some(range.min()) {
        return HashRange::new(part.min(), range.max()).ok();
    }
    None
}

/// What `new` has that `old` has not: at most two parts.
pub(crate) fn gained(old: HashRange, new: HashRange) -> Vec<HashRange> {
    if !new.overlaps(old) {
        return if new.is_empty() { Vec::new() } else { vec![new] };
    }
    let below = (new.min() < old.min()).then(|| HashRange::new(new.min(), old.min() - 1));
    let above = (new.max() > old.max()).then(|| HashRange::new(old.max() + 1, new.max()));
    [below, above].into_iter().flatten().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: u64, max: u64) -> HashRange {
        HashRange::new(min, max).expect("valid")
    }

    #[test]
    fn a_part_leaves_at_an_end_and_joins_side_by_side() {
        let all = range(10, 20);
        assert_eq!(without(all, range(10, 12)), Some(range(13, 20)));
        assert_eq!(without(all, range(15, 20)), Some(range(10, 14)));
        assert_eq!(without(all, all), Some(HashRange::EMPTY));
        for part in [range(11, 12), range(5, 12), range(15, 25), HashRange::EMPTY] {
            assert_eq!(without(all, part), None, "{part}");
        }
        assert_eq!(joined(all, range(21, 30)), Some(range(10, 30)));
        assert_eq!(joined(all, range(0, 9)), Some(range(0, 20)));
        assert_eq!(joined(HashRange::EMPTY, all), Some(all));
        for part in [range(0, 8), range(22, 30), range(15, 30), HashRange::EMPTY] {
            assert_eq!(joined(all, part), None, "{part}");
        }
        assert_eq!(joined(HashRange::FULL, range(0, 0)), None);
    }

    #[test]
    fn what_is_gained_is_what_was_not_there_before() {
        let old = range(10, 20);
        assert_eq!(gained(old, range(12, 18)), []);
        assert_eq!(gained(old, range(5, 15)), [range(5, 9)]);
        assert_eq!(gained(old, range(5, 25)), [range(5, 9), range(21, 25)]);
        assert_eq!(gained(old, range(30, 40)), [range(30, 40)]);
        assert_eq!(gained(HashRange::EMPTY, old), [old]);
        assert_eq!(gained(old, HashRange::EMPTY), []);
    }

    #[test]
    fn news_come_in_order_and_a_client_that_lags_gets_the_range_of_now() {
        let ranges = Ranges::new(HashRange::FULL, Vec::new(), None, None);
        let (_, mut position) = ranges.subscribe();
        let mut late = position;
        let update = |min| HashRangeUpdate::ChangeHashRange(range(min, u64::MAX));
        ranges.tell([update(1), update(2)]);
        assert_eq!(ranges.news(&mut position), [update(1), update(2)]);
        assert_eq!(ranges.news(&mut position), []);
        (0..NEWS_MAX as u64).for_each(|min| ranges.tell([update(min)]));
        let now = HashRangeUpdate::ChangeHashRange(HashRange::FULL);
        assert_eq!(ranges.news(&mut late)[0], now);
    }

    #[test]
    fn what_has_moved_is_hidden_and_a_part_that_comes_back_is_not() {
        let mut view = RangeView::new(range(0, 9), vec![range(10, 19)], None);
        let key = |position: u64| Key(position.reverse_bits());
        assert!(view.owns(key(9)) && !view.owns(key(10)));
        assert!(view.hides(key(10)) && view.has_moved(key(10)) && !view.hides(key(20)));
        assert!(!view.has_moved(key(20)), "it never was here");
        view.owned = range(0, 19);
        assert!(!view.hides(key(10)) && view.owns(key(10)));
        view.disputed = Some(range(15, 19));
        assert!(!view.owns(key(15)) && view.has_moved(key(15)) && view.owns(key(14)));
    }
}

//! The changes that wait for a Mirror's client: in order, bounded, and no removal lost.

use std::collections::VecDeque;

use dht_storage::Event;
use dht_types::Key;
use rustc_hash::FxHashSet;

/// Most changes that wait, 4 MiB of them. Source: spec `protocol-neo` 14.5.
const CHANGES_MAX: usize = 262_144;

/// Most changes that wait if nearly all of them are removals, which nothing but the queue
/// remembers; 16 MiB of them.
pub(crate) const REMOVALS_MAX: usize = 4 * CHANGES_MAX;

/// A long queue is folded once for so many changes, so that each of them pays for a few others at
/// most, however little there is to fold.
const CHANGES_PER_FOLD: usize = CHANGES_MAX / 2;

/// When the queue is long, earlier changes of a key that changed again are forgotten: the last one
/// tells all. If that is not enough, the puts are forgotten too, for a refresh brings them back.
/// What is left are removals, one for each key. Only if there are more than [`REMOVALS_MAX`] of
/// them is one lost.
#[derive(Debug, Default)]
pub(super) struct ChangeQueue {
    changes: VecDeque<Event>,
    /// Changes that were added, or lost, since the queue was folded or empty.
    since_fold: usize,
}

/// What a queue has forgotten and a refresh has to bring back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Loss {
    /// Nothing.
    None,
    /// Puts, with all earlier changes of their keys: the refresh may begin at once.
    Puts,
    /// Anything. An earlier removal may still wait for a key whose put was lost: the refresh must
    /// not begin before all that waits now is sent, or the removal would undo it.
    Any,
}

impl ChangeQueue {
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The earliest change.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let change = self.changes.pop_front();
        if self.changes.is_empty() {
            self.since_fold = 0;
            self.changes.shrink_to(CHANGES_MAX / 64);
        }
        change
    }

    /// Adds changes, in order.
    pub(super) fn extend(&mut self, changes: impl Iterator<Item = Event>) -> Loss {
        let mut loss = Loss::None;
        for change in changes {
            if self.changes.len() >= CHANGES_MAX && self.since_fold >= CHANGES_PER_FOLD {
                loss = loss.max(self.fold());
            }
            self.since_fold += 1;
            if self.changes.len() < REMOVALS_MAX {
                self.changes.push_back(change);
            } else {
                loss = Loss::Any;
            }
        }
        loss
    }

    /// Makes room.
    fn fold(&mut self) -> Loss {
        let mut seen = FxHashSet::default();
        let mut kept: VecDeque<Event> = VecDeque::new();
        for change in self.changes.drain(..).rev() {
            if seen.insert(key_of(change)) {
                kept.push_front(change);
            }
        }
        let lost = kept.len() > CHANGES_MAX / 2;
        if lost {
            kept.retain(|change| matches!(change, Event::Removed(_)));
        }
        self.changes = kept;
        self.since_fold = 0;
        if lost { Loss::Puts } else { Loss::None }
    }
}

const fn key_of(change: Event) -> Key {
    match change {
        Event::Put(key) | Event::Removed(key) => key,
    }
}

#[cfg(test)]
mod tests {
    use dht_testkit::for_seeds;

    use super::*;

    fn drain(queue: &mut ChangeQueue) -> Vec<Event> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn changes_come_out_in_order_and_repeated_ones_repeatedly() {
        let changes = [1, 2, 1, 1].map(|key| Event::Put(Key(key)));
        let mut queue = ChangeQueue::default();
        assert_eq!(queue.extend(changes.into_iter()), Loss::None);
        assert_eq!(drain(&mut queue), changes);
        assert!(queue.is_empty());
    }

    #[test]
    fn few_keys_never_overflow() {
        let mut queue = ChangeQueue::default();
        let many = (0..3 * CHANGES_MAX as u64).map(|i| Event::Put(Key(i % 1000)));
        assert_eq!(queue.extend(many.chain([Event::Removed(Key(7))])), Loss::None);
        assert!(queue.changes.len() <= CHANGES_MAX);
        let left = drain(&mut queue);
        assert_eq!(left.last(), Some(&Event::Removed(Key(7))));
        assert!((0..1000).all(|key| left.contains(&Event::Put(Key(key)))));
    }

    #[test]
    fn on_overflow_puts_are_lost_and_removals_are_not() {
        let count = 2 * CHANGES_MAX as u64;
        let mut queue = ChangeQueue::default();
        let mixed = (0..count).map(|i| match i % 3 {
            0 => Event::Removed(Key(i)),
            _ => Event::Put(Key(i)),
        });
        assert_eq!(queue.extend(mixed), Loss::Puts);
        let removed: Vec<Event> =
            drain(&mut queue).into_iter().filter(|c| matches!(c, Event::Removed(_))).collect();
        let expected: Vec<Event> = (0..count).step_by(3).map(|i| Event::Removed(Key(i))).collect();
        assert_eq!(removed, expected);
    }

    #[test]
    fn removals_are_bounded_too() {
        let mut queue = ChangeQueue::default();
        // Many more than there is room for: a fold for each of them would take hours.
        let removals = (0..2 * REMOVALS_MAX as u64).map(|i| Event::Removed(Key(i)));
        assert_eq!(queue.extend(removals), Loss::Any, "the client is told");
        assert_eq!(queue.changes.len(), REMOVALS_MAX);
        let put = queue.extend(std::iter::once(Event::Put(Key(0))));
        assert_eq!(put, Loss::Any, "the removal that waits must not come behind its refresh");
    }

    #[test]
    fn what_a_mirror_ends_with_is_what_the_channel_holds() {
        // The client applies the changes with the values of the end, then a refresh if one is due.
        for_seeds(3, |rng| {
            let mut queue = ChangeQueue::default();
            let (mut channel, mut mirror) = (FxHashSet::default(), FxHashSet::default());
            let mut refresh = false;
            for _ in 0..2 * CHANGES_MAX {
                let key = Key(rng.below(400_000));
                let change = if rng.one_in(3) {
                    channel.remove(&key);
                    Event::Removed(key)
                } else {
                    channel.insert(key);
                    Event::Put(key)
                };
                refresh |= queue.extend(std::iter::once(change)) != Loss::None;
            }
            for change in drain(&mut queue) {
                match change {
                    Event::Removed(key) => drop(mirror.remove(&key)),
                    Event::Put(key) if channel.contains(&key) => drop(mirror.insert(key)),
                    Event::Put(_) => {}
                }
            }
            if refresh {
                mirror.extend(channel.iter().copied());
            }
            assert!(mirror == channel);
        });
    }
}

//! The changes that wait for a Mirror's client: in order, bounded, and no removal forgotten.

use std::collections::{BTreeSet, VecDeque};

use dht_storage::Event;
use dht_types::Key;

/// Most changes that wait, 4 MiB of them. Source: spec `protocol-neo` 14.5.
const CHANGES_MAX: usize = 262_144;

/// Most keys of removals that found no room and are remembered; some 8 MiB of them.
const LOST_REMOVALS_MAX: usize = 3 * CHANGES_MAX;

/// Most of both.
pub(crate) const WAITING_MAX: usize = CHANGES_MAX + LOST_REMOVALS_MAX;

/// Compat: the first changes are kept; what finds no room is lost, as in the original.
///
/// A refresh brings lost puts back. Of lost removals the keys are remembered, as nothing else tells
/// of them; one is forgotten only if there are [`LOST_REMOVALS_MAX`] of them.
#[derive(Debug, Default)]
pub(super) struct ChangeQueue {
    changes: VecDeque<Event>,
    lost_removals: BTreeSet<Key>,
}

impl ChangeQueue {
    /// Changes that wait, and lost removals.
    pub(super) fn len(&self) -> usize {
        self.changes.len() + self.lost_removals.len()
    }

    /// Whether no change waits.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The earliest change.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let change = self.changes.pop_front();
        if self.changes.is_empty() {
            self.changes.shrink_to(CHANGES_MAX / 64);
        }
        change
    }

    /// Whether a removal was lost.
    pub(super) fn has_lost_removals(&self) -> bool {
        !self.lost_removals.is_empty()
    }

    /// A key of which a removal was lost. It may have been put again since.
    pub(super) fn pop_lost_removal(&mut self) -> Option<Key> {
        self.lost_removals.pop_first()
    }

    /// Adds changes, in order. Returns how many were lost.
    pub(super) fn extend(&mut self, changes: impl Iterator<Item = Event>) -> u64 {
        let mut lost = 0;
        for change in changes {
            if self.changes.len() < CHANGES_MAX {
                self.changes.push_back(change);
                continue;
            }
            lost += 1;
            if let Event::Removed(key) = change
                && self.lost_removals.len() < LOST_REMOVALS_MAX
            {
                self.lost_removals.insert(key);
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use dht_testkit::for_seeds;

    use super::*;

    fn drain(queue: &mut ChangeQueue) -> Vec<Event> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    fn drain_lost(queue: &mut ChangeQueue) -> Vec<Key> {
        std::iter::from_fn(|| queue.pop_lost_removal()).collect()
    }

    #[test]
    fn changes_come_out_in_order_and_repeated_ones_repeatedly() {
        let changes = [1, 2, 1, 1].map(|key| Event::Put(Key(key)));
        let mut queue = ChangeQueue::default();
        assert_eq!(queue.extend(changes.into_iter()), 0);
        assert_eq!(drain(&mut queue), changes);
        assert!(queue.is_empty());
    }

    #[test]
    fn the_first_changes_are_kept_and_of_the_others_the_removals() {
        let count = 2 * CHANGES_MAX as u64;
        let mixed: Vec<Event> = (0..count)
            .map(|i| if i % 3 == 0 { Event::Removed(Key(i)) } else { Event::Put(Key(i)) })
            .collect();
        let mut queue = ChangeQueue::default();
        assert_eq!(queue.extend(mixed.iter().copied()), CHANGES_MAX as u64);
        assert_eq!(drain(&mut queue), mixed[..CHANGES_MAX]);
        let lost: Vec<Key> = (CHANGES_MAX as u64..count).filter(|i| i % 3 == 0).map(Key).collect();
        assert_eq!(drain_lost(&mut queue), lost);
    }

    #[test]
    fn there_is_room_again_when_some_were_sent() {
        let mut queue = ChangeQueue::default();
        let puts = (0..=CHANGES_MAX as u64).map(|i| Event::Put(Key(i)));
        assert_eq!(queue.extend(puts), 1);
        queue.pop();
        let removals = [7, 8].map(|key| Event::Removed(Key(key)));
        assert_eq!(queue.extend(removals.into_iter()), 1);
        assert_eq!(drain(&mut queue).last(), Some(&Event::Removed(Key(7))));
        assert_eq!(drain_lost(&mut queue), [Key(8)]);
    }

    #[test]
    fn removals_are_bounded_too() {
        let mut queue = ChangeQueue::default();
        let removals = (0..2 * WAITING_MAX as u64).map(|i| Event::Removed(Key(i)));
        assert_eq!(queue.extend(removals), (2 * WAITING_MAX - CHANGES_MAX) as u64);
        assert_eq!(queue.len(), WAITING_MAX);
    }

    #[test]
    fn what_a_mirror_ends_with_is_what_the_channel_holds() {
        // The client applies the changes with the values of the end, then what heals the losses.
        for_seeds(3, |rng| {
            let mut queue = ChangeQueue::default();
            let (mut channel, mut mirror) = (BTreeSet::new(), BTreeSet::new());
            let mut lost = 0;
            for _ in 0..2 * CHANGES_MAX {
                let key = Key(rng.below(400_000));
                let change = if rng.one_in(3) {
                    channel.remove(&key);
                    Event::Removed(key)
                } else {
                    channel.insert(key);
                    Event::Put(key)
                };
                lost += queue.extend(std::iter::once(change));
            }
            for change in drain(&mut queue) {
                match change {
                    Event::Removed(key) => drop(mirror.remove(&key)),
                    Event::Put(key) if channel.contains(&key) => drop(mirror.insert(key)),
                    Event::Put(_) => {}
                }
            }
            assert!(lost > 0 && mirror != channel);
            for key in drain_lost(&mut queue).iter().filter(|key| !channel.contains(key)) {
                mirror.remove(key);
            }
            mirror.extend(channel.iter().copied());
            assert!(mirror == channel);
        });
    }
}

//! Which records of a channel still have to be sent to the taker.
//!
//! A feed subscribes to the channel and then scans it. What the scan reads before a change is sent
//! again because of the change; what it reads after it is right anyway. So when the scan is at its
//! end and no change is left, the taker has what the giver has.

use std::ops::ControlFlow;
use std::sync::Arc;

use dht_protocol::legacy::requests::{Moved, encode_moved};
use dht_protocol::wire::Writer;
use dht_storage::{Channel, Cursor, Event, Interest, Subscription};
use dht_types::{HashRange, Key};
use rustc_hash::FxHashSet;

use super::lanes::Batches;

/// Changes that are kept for a feed. If there are more, its channel is sent afresh.
const CHANGES_MAX: usize = 1024 * 1024;

/// Bytes of records that go into one batch, a larger record excepted.
const BATCH_BYTES: usize = 256 * 1024;

/// Records that one step of a scan looks at: those of full batches, if they are small.
const SCAN_RECORDS: usize = 16_384;

/// See the module.
pub(super) struct Feed {
    pub(super) channel: Arc<Channel>,
    subscription: Subscription,
    /// Where the scan goes on; `None` at its end.
    cursor: Option<Cursor>,
    events: Vec<Event>,
    /// Changed keys that were taken over, each once.
    changed: Vec<Key>,
    /// The same, to be looked up.
    known: FxHashSet<Key>,
}

/// What the last piece of work came to.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) records: u64,
    pub(super) value_bytes: u64,
    pub(super) scanned: u64,
}

impl Feed {
    pub(super) fn new(channel: Arc<Channel>) -> Self {
        // The mover looks by itself.
        let subscription = channel.subscribe(Interest::Every, CHANGES_MAX, Box::new(|| {}));
        Self {
            channel,
            subscription,
            cursor: Some(Cursor::START),
            events: Vec::new(),
            changed: Vec::new(),
            known: FxHashSet::default(),
        }
    }

    pub(super) const fn is_scanning(&self) -> bool {
        self.cursor.is_some()
    }

    /// Takes changes over. `false`: some were lost, so that all has to be sent again.
    pub(super) fn take_changes(&mut self, part: HashRange) -> bool {
        self.subscription.drain(&mut self.events);
        for event in self.events.drain(..) {
            let (Event::Put(key) | Event::Removed(key)) = event;
            if part.contains(key) && self.known.insert(key) {
                self.changed.push(key);
            }
        }
        self.events.shrink_to(4096);
        self.subscription.take_dropped() == 0
    }

    /// Changes that were taken over and not sent.
    pub(super) fn changes(&self) -> usize {
        self.changed.len()
    }

    /// Starts from the beginning.
    pub(super) fn restart(&mut self) {
        self.cursor = Some(Cursor::START);
        self.changed.clear();
        self.known.clear();
    }

    /// Puts records into empty batches: what the scan finds next, and behind it what has changed.
    pub(super) fn gather(&mut self, part: HashRange, batches: &mut Batches) -> Gathered {
        let mut gathered = Gathered::default();
        self.scan(part, batches, &mut gathered);
        let scanned_bytes = batches.bytes();
        while batches.bytes() - scanned_bytes < BATCH_BYTES
            && let Some(key) = self.changed.pop()
        {
            self.known.remove(&key);
            let batch = batches.of(key);
            let found = self.channel.get(key, |value| {
                encode_moved(&mut Writer::new(batch), Moved { key, value: Some(value) });
                value.len()
            });
            if found.is_none() {
                encode_moved(&mut Writer::new(batch), Moved { key, value: None });
            }
            gathered.records += 1;
            gathered.value_bytes += found.unwrap_or(0) as u64;
        }
        gathered
    }

    fn scan(&mut self, part: HashRange, batches: &mut Batches, gathered: &mut Gathered) {
        let Some(cursor) = self.cursor else { return };
        self.cursor = self.channel.scan(cursor, SCAN_RECORDS, |key, value| {
            if part.contains(key) {
                let batch = batches.of(key);
                if batch.len() >= BATCH_BYTES {
                    return ControlFlow::Break(());
                }
                encode_moved(&mut Writer::new(batch), Moved { key, value: Some(value) });
                gathered.records += 1;
                gathered.value_bytes += value.len() as u64;
            }
            gathered.scanned += 1;
            ControlFlow::Continue(())
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dht_protocol::legacy::requests::next_moved;
    use dht_protocol::wire::Reader;
    use dht_storage::{Notify, Store, StoreOptions};
    use dht_testkit::for_seeds;

    use super::*;

    /// Applies a batch as a taker does.
    fn apply(batch: &[u8], taken: &mut BTreeMap<Key, Vec<u8>>) {
        let mut r = Reader::new(batch);
        while let Some(record) = next_moved(&mut r) {
            let Moved { key, value } = record.expect("our own");
            match value {
                Some(value) => drop(taken.insert(key, value.to_vec())),
                None => drop(taken.remove(&key)),
            }
        }
    }

    /// Whatever happens meanwhile, also silently, the taker has in the end what the giver has.
    #[test]
    fn the_taker_ends_with_what_the_giver_has() {
        for_seeds(60, |rng| {
            let store = Store::new(StoreOptions { shard_bits: 3, seed: rng.next() });
            let channel = store.channel_or_create(&"ch".parse().expect("valid")).expect("room");
            let part = HashRange::new(1 << 62, u64::MAX >> 1).expect("valid");
            let change = |rng: &mut dht_testkit::Rng| {
                let key = Key(rng.below(600));
                let notify = *rng.pick(&[Notify::No, Notify::Always, Notify::IfPresent]);
                if rng.below(3) == 0 {
                    channel.remove(key, notify);
                } else {
                    let value = rng.bytes(0..3000);
                    channel.put(key, &value, notify).expect("room");
                }
            };
            (0..500).for_each(|_| change(rng));
            let mut feed = Feed::new(Arc::clone(&channel));
            let (mut taken, mut changing) = (BTreeMap::new(), 200);
            loop {
                let mut batches = Batches::new(3);
                assert!(feed.take_changes(part));
                feed.gather(part, &mut batches);
                for _ in 0..rng.below(20).min(changing) {
                    change(rng);
                    changing -= 1;
                }
                batches.iter().for_each(|batch| apply(batch, &mut taken));
                feed.take_changes(part);
                if !feed.is_scanning() && feed.changes() == 0 && changing == 0 {
                    break;
                }
                changing = changing.saturating_sub(1);
            }
            let mut given = BTreeMap::new();
            channel.scan(Cursor::START, usize::MAX, |key, value| {
                if part.contains(key) {
                    given.insert(key, value.to_vec());
                }
                ControlFlow::Continue(())
            });
            assert_eq!(taken, given);
        });
    }
}

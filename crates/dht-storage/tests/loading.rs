//! Many records at a time, and a dump that is loaded: it is in the scan order of another store.

// These files are tests from end to end; clippy knows only functions with `#[test]` as such.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use dht_storage::{
    Channel, Cursor, Event, Interest, Notify, PutError, Sequence, Store, StoreOptions,
};
use dht_testkit::{Rng, for_seeds};
use dht_types::Key;

fn store(seed: u64) -> (Store, Arc<Channel>) {
    let store = Store::new(StoreOptions { shard_bits: 2, seed });
    let channel = store.channel_or_create(&"ch".parse().unwrap()).unwrap();
    (store, channel)
}

/// All keys in scan order.
fn keys(channel: &Channel) -> Vec<Key> {
    let mut keys = Vec::new();
    let end = channel.scan(Cursor::START, usize::MAX, |key, _| {
        keys.push(key);
        ControlFlow::Continue(())
    });
    assert!(end.is_none());
    keys
}

/// Where the first tenth of `keys` comes in the scan order of a store that has all of them: how
/// many in each tenth.
fn spread(seed: u64, keys: &[Key]) -> [usize; 10] {
    let (_, channel) = store(seed);
    channel.put_many(keys.iter().map(|key| (*key, &b"value"[..]))).unwrap();
    let first: HashSet<u64> = keys[..keys.len() / 10].iter().map(|key| key.0).collect();
    let mut spread = [0; 10];
    for (at, key) in self::keys(&channel).iter().enumerate() {
        spread[at * 10 / keys.len()] += usize::from(first.contains(&key.0));
    }
    spread
}

/// Records that come in the order in which they will lie would fill one end of each segment, and
/// the look-up before each put would go through all of it: the table clusters. It does not if what
/// comes together lies anywhere, which is what the seed is for. (How much slower it would be, tells
/// `cargo bench -p dht-storage -- reload`.)
#[test]
fn a_dump_in_scan_order_does_not_cluster_the_table() {
    let mut rng = Rng::new(5);
    for records in [20_000, 100_000] {
        let (_, dumped) = store(1);
        for _ in 0..records {
            dumped.put(Key(rng.next()), b"value", Notify::No).unwrap();
        }
        let dumped = keys(&dumped);
        for seed in 2..6 {
            let even = records / 100;
            let spread = spread(seed, &dumped);
            assert!(
                spread.iter().all(|count| (even * 3 / 4..even * 5 / 4).contains(count)),
                "{spread:?}"
            );
        }
        assert_eq!(spread(1, &dumped)[0], records / 10, "without the seed");
    }
}

/// Puts records with numbers; each is greater than the one before, and heard of by those alone who
/// want to know of every change.
fn check_numbers<'v>(
    channel: &Channel,
    records: impl Iterator<Item = (Key, &'v [u8])> + Clone,
    sequence: &mut Sequence,
) {
    let wakes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&wakes);
    let wake = Box::new(move || {
        counted.fetch_add(1, SeqCst);
    });
    let every = channel.subscribe(Interest::Every, 1000, wake);
    let all = channel.subscribe(Interest::All, 1000, Box::new(|| panic!("nobody else is told")));
    let (mut numbers, mut events) = (vec![*sequence], Vec::new());
    channel.put_many_numbered(records.clone(), sequence, &mut numbers).unwrap();
    assert!(numbers.is_sorted_by(|before, number| before < number), "{numbers:?}");
    assert_eq!(numbers.last(), Some(&*sequence));
    every.drain(&mut events);
    let expected: Vec<Event> = records.map(|(key, _)| Event::Put(key)).collect();
    assert_eq!((numbers.len(), &events), (expected.len() + 1, &expected));
    assert_eq!(wakes.load(SeqCst), usize::from(!expected.is_empty()));
    all.drain(&mut events);
    assert_eq!(events.len(), expected.len());
}

#[test]
fn records_that_are_put_together_are_those_that_are_put_one_by_one() {
    for_seeds(50, |rng| {
        let (store, channel) = store(rng.next());
        let mut model = BTreeMap::new();
        let mut sequence = Sequence::default();
        for _ in 0..20 {
            // Few keys, so that they come again, also within one call.
            let count = rng.below(100);
            let mut records: Vec<(Key, Vec<u8>)> =
                (0..count).map(|_| (Key(rng.below(200)), rng.bytes(0..40))).collect();
            if rng.one_in(2) {
                records.sort_by_key(|(key, _)| channel.shard_of(*key));
            }
            let put = records.iter().map(|(key, value)| (*key, &value[..]));
            if rng.one_in(2) {
                channel.put_many(put).unwrap();
            } else {
                check_numbers(&channel, put, &mut sequence);
            }
            assert!(records.iter().all(|(key, _)| channel.shard_of(*key) < store.shard_count()));
            model.extend(records);
            for key in (0..10).map(|_| Key(rng.below(200))) {
                assert_eq!(channel.remove(key, Notify::No), model.remove(&key).is_some());
            }
        }
        assert_eq!(channel.usage().records, model.len() as u64);
        for (key, value) in model {
            assert_eq!(channel.get(key, <[u8]>::to_vec), Some(value));
        }
        store.remove_channel("ch");
        assert_eq!(channel.put_many([(Key(1), &b"value"[..])]), Err(PutError::Closed));
        assert_eq!(channel.put_many([]), Ok(()));
        let mut numbers = Vec::new();
        let put = channel.put_many_numbered([(Key(1), &b""[..])], &mut sequence, &mut numbers);
        assert_eq!((put, numbers.len()), (Err(PutError::Closed), 0));
    });
}

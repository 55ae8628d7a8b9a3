//! Many records put at a time, and a dump that is loaded: it is in the scan order of another store.

// These files are tests from end to end; clippy knows only functions with `#[test]` as such.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;

use dht_storage::{
    Channel, Cursor, Event, Interest, Notify, PutError, Sequence, Store, StoreOptions, Usage,
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

/// The order, the events, the numbers and the records of single puts; and keys that come again.
#[test]
fn puts_that_came_together_are_puts_one_after_the_other() {
    for_seeds(50, |rng| {
        let shard_bits = *rng.pick(&[0, 2, 6]);
        let store = Store::new(StoreOptions { shard_bits, seed: rng.next() });
        let channel = store.channel_or_create(&"ch".parse().unwrap()).unwrap();
        let wakes = Arc::new(AtomicUsize::new(0));
        let (counted, reader) = (Arc::clone(&wakes), Arc::clone(&channel));
        // No lock is held: it may look any record up.
        let wake = move || {
            (0..100).for_each(|key| _ = reader.contains(Key(key)));
            counted.fetch_add(1, SeqCst);
        };
        let puts = channel.subscribe(Interest::Puts, 1000, Box::new(wake));
        let (mut model, mut sequence) = (BTreeMap::new(), Sequence::default());
        for round in 1..20 {
            let records: Vec<(Key, Vec<u8>)> =
                (0..1 + rng.below(80)).map(|_| (Key(rng.below(100)), rng.bytes(0..300))).collect();
            let together: Vec<(Key, &[u8])> =
                records.iter().map(|(key, value)| (*key, &value[..])).collect();
            let mut numbers = vec![sequence];
            let number = |number| numbers.push(number);
            channel.put_together(&together, &mut sequence, number).unwrap();
            assert!(numbers.is_sorted_by(|before, number| before < number), "{numbers:?}");
            assert_eq!((numbers.len(), numbers.last()), (records.len() + 1, Some(&sequence)));
            let mut events = Vec::new();
            puts.drain(&mut events);
            assert!(events.into_iter().eq(records.iter().map(|(key, _)| Event::Put(*key))));
            assert_eq!(wakes.load(SeqCst), round, "woken by the first");
            model.extend(records);
            let key = Key(rng.below(100));
            assert_eq!(channel.remove(key, Notify::No), model.remove(&key).is_some());
        }
        assert!(
            (0..100)
                .map(Key)
                .all(|key| channel.get(key, <[u8]>::to_vec).as_ref() == model.get(&key))
        );
        let value_bytes = model.values().map(|value| value.len() as u64).sum();
        assert_eq!(store.usage(), Usage { records: model.len() as u64, value_bytes });
        assert_eq!(store.usage(), channel.usage());

        store.remove_channel("ch");
        let closed = channel.put_together(&[(Key(1), b"value")], &mut sequence, |_| panic!("none"));
        assert_eq!((closed, store.usage()), (Err(PutError::Closed), Usage::default()));
    });
}

/// Who finds a lock taken waits for it with no other in its hands.
#[test]
fn puts_wait_for_no_lock_while_they_hold_one() {
    let (_store, channel) = store(1);
    let other = |key: &Key| channel.shard_of(*key) != channel.shard_of(Key(0));
    let first = (1..).map(Key).find(other).unwrap();
    channel.put(Key(0), b"old", Notify::No).unwrap();
    let (is_held, goes_on) = (Barrier::new(2), Barrier::new(2));
    let mut numbers = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            channel.get(Key(0), |_| {
                is_held.wait();
                goes_on.wait();
            })
        });
        is_held.wait();
        let puts = scope.spawn(|| {
            let records = [(first, &b"first"[..]), (Key(0), b"second"), (first, b"third")];
            let number = |number| numbers.push(number);
            channel.put_together(&records, &mut Sequence::default(), number)
        });
        while channel.get(first, <[u8]>::to_vec).is_none() {
            thread::yield_now();
        }
        assert_eq!(channel.get(first, <[u8]>::to_vec).as_deref(), Some(&b"first"[..]));
        goes_on.wait();
        puts.join().unwrap().unwrap();
    });
    assert!(numbers.len() == 3 && numbers.is_sorted_by(|before, number| before < number));
    assert_eq!(channel.get(first, <[u8]>::to_vec).as_deref(), Some(&b"third"[..]));
    assert_eq!(channel.get(Key(0), <[u8]>::to_vec).as_deref(), Some(&b"second"[..]));
}

//! The store against a `BTreeMap`, and what it promises beyond that: scans, accounting, memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use dht_storage::{
    Change, Channel, Cursor, ENTRIES_MOVED_MAX, Notify, PutError, PutOutcome, Sequence, Store,
    StoreOptions, Usage,
};
use dht_testkit::{Rng, for_seeds};
use dht_types::{ChannelName, Key};

/// Miri runs the same tests, shorter.
const fn scaled(count: usize) -> usize {
    if cfg!(miri) { count.div_ceil(50) } else { count }
}

/// The default options, but few shards for Miri: their memory is slow to make there.
fn options() -> StoreOptions {
    StoreOptions { shard_bits: if cfg!(miri) { 1 } else { 6 }, seed: 0 }
}

fn name(name: &str) -> ChannelName {
    name.parse().expect("a valid name")
}

fn store(rng: &mut Rng) -> Store {
    let shard_bits = if cfg!(miri) { 1 } else { *rng.pick(&[0, 1, 4, 6]) };
    Store::new(StoreOptions { shard_bits, seed: rng.next() })
}

/// A length: mostly small, sometimes around the limits of slots, sometimes large.
fn some_bytes(rng: &mut Rng) -> Vec<u8> {
    let longest = *rng.pick(&[1, 8, 40, 200, 600, 1_100, 5_000]);
    let longest = if rng.one_in(50) { 100_000 } else { longest };
    let longest = if cfg!(miri) { longest.min(200) } else { longest };
    rng.bytes(0..longest + 1)
}

fn put(channel: &Channel, key: Key, value: &[u8]) {
    channel.put(key, value, Notify::No).expect("there is memory");
}

fn scan_all(channel: &Channel, budget: usize) -> Vec<(Key, Vec<u8>)> {
    let (mut records, mut cursor) = (Vec::new(), Some(Cursor::START));
    while let Some(from) = cursor {
        let before = records.len();
        cursor = channel.scan(from, budget, |key, value| {
            records.push((key, value.to_vec()));
            ControlFlow::Continue(())
        });
        assert!(records.len() - before <= budget);
    }
    records
}

fn assert_agrees(channel: &Channel, model: &BTreeMap<Key, Vec<u8>>, budget: usize) {
    let value_bytes = model.values().map(|value| value.len() as u64).sum();
    assert_eq!(channel.usage(), Usage { records: model.len() as u64, value_bytes });
    let records = scan_all(channel, budget);
    assert_eq!(records.len(), model.len(), "each record once");
    assert_eq!(&records.into_iter().collect::<BTreeMap<_, _>>(), model);
}

/// One random operation on both; a few kinds are drawn more often than others.
fn step(rng: &mut Rng, channel: &Channel, model: &mut BTreeMap<Key, Vec<u8>>, keys: u64) {
    let key = Key(rng.below(keys));
    let old = model.get(&key).cloned();
    assert_eq!(channel.get(key, <[u8]>::to_vec), old);
    assert_eq!(channel.contains(key), old.is_some());
    match rng.below(8) {
        0..4 => {
            let value = some_bytes(rng);
            let outcome = PutOutcome { replaced: old.is_some() };
            assert_eq!(channel.put(key, &value, Notify::No), Ok(outcome));
            model.insert(key, value);
        }
        4..7 => {
            assert_eq!(channel.remove(key, Notify::No), old.is_some());
            model.remove(&key);
        }
        _ => {
            let value = some_bytes(rng);
            let seen = channel.update(key, Notify::No, |found| {
                let seen = found.map(<[u8]>::to_vec);
                match found.map_or(0, <[u8]>::len) % 3 {
                    0 => Change::Put(&value, seen),
                    1 => Change::Remove(seen),
                    _ => Change::Keep(seen),
                }
            });
            assert_eq!(seen, Ok(old.clone()));
            match old.map_or(0, |old| old.len()) % 3 {
                0 => drop(model.insert(key, value)),
                1 => drop(model.remove(&key)),
                _ => {}
            }
        }
    }
}

#[test]
fn a_store_agrees_with_btreemaps() {
    for_seeds(scaled(40) as u64, |rng| {
        let store = store(rng);
        let channels = ["a", "b"].map(|channel| store.channel_or_create(&name(channel)).unwrap());
        let mut models = [BTreeMap::new(), BTreeMap::new()];
        let keys = *rng.pick(&[3, 50, 2_000]);
        for _ in 0..scaled(3_000) {
            let at = rng.within(0..2);
            step(rng, &channels[at], &mut models[at], keys);
        }
        for (channel, model) in channels.iter().zip(&models) {
            assert_agrees(channel, model, rng.within(1..100));
        }
        assert_eq!(store.usage(), channels[0].usage() + channels[1].usage());
    });
}

#[test]
fn a_table_that_grows_and_shrinks_agrees_with_a_btreemap() {
    for_seeds(scaled(8) as u64, |rng| {
        // One shard, so that its table has many segments.
        let store = Store::new(StoreOptions { shard_bits: 0, seed: rng.next() });
        let channel = store.channel_or_create(&name("c")).unwrap();
        let (mut model, mut keys) = (BTreeMap::new(), Vec::new());
        for _ in 0..scaled(30_000) {
            let (key, value) = (Key(rng.next()), rng.bytes(0..12));
            channel.put(key, &value, Notify::No).unwrap();
            model.insert(key, value);
            keys.push(key);
        }
        assert_agrees(&channel, &model, 1_000);
        let grown = store.memory();
        while model.len() > 10 {
            let key = keys.swap_remove(rng.within(0..keys.len()));
            assert!(channel.remove(key, Notify::No) && !channel.remove(key, Notify::No));
            model.remove(&key);
        }
        assert_agrees(&channel, &model, 1);
        assert!(store.memory().index * 4 < grown.index + 4096, "the index shrinks");
        assert!(store.entries_moved_max() <= ENTRIES_MOVED_MAX);
        keys.iter().for_each(|&key| assert!(channel.remove(key, Notify::No)));
        let memory = store.memory();
        assert_eq!((memory.mapped, memory.index, memory.tables), (0, 0, 0), "nothing is kept");
    });
}

#[test]
fn a_scan_returns_what_is_there_throughout_exactly_once() {
    for_seeds(scaled(60) as u64, |rng| {
        let store = store(rng);
        let channel = store.channel_or_create(&name("c")).unwrap();
        let steady: BTreeSet<Key> = (0..scaled(1_500) as u64).map(|key| Key(key * 2)).collect();
        steady.iter().for_each(|&key| put(&channel, key, b"steady"));
        let (mut seen, mut cursor) = (BTreeSet::new(), Some(Cursor::START));
        while let Some(from) = cursor {
            let mut left = rng.below(200); // The visitor may have enough before the budget is used.
            let mut last = None;
            cursor = channel.scan(from, rng.within(1..200), |key, _| {
                if left == 0 {
                    return ControlFlow::Break(());
                }
                left -= 1;
                last = Some(key);
                assert!(seen.insert(key), "{key} came twice");
                ControlFlow::Continue(())
            });
            // Resuming behind a key is the same, even if its record is gone.
            if let (Some(key), Some(next)) = (last, cursor) {
                assert!(channel.cursor_after(key) <= next);
            }
            for _ in 0..rng.below(50) {
                let key = Key(rng.below(1 << 12) * 2 + 1);
                match rng.below(2) {
                    0 => put(&channel, key, &some_bytes(rng)),
                    _ => drop(channel.remove(key, Notify::No)),
                }
                let key = Key(rng.within(0..steady.len()) as u64 * 2);
                channel.put(key, &some_bytes(rng), Notify::No).unwrap();
            }
        }
        assert_eq!(seen.intersection(&steady).count(), steady.len(), "none was missed");
    });
}

#[test]
fn a_scan_goes_on_behind_a_removed_record() {
    let store = Store::new(options());
    let channel = store.channel_or_create(&name("c")).unwrap();
    let records = scaled(1_000) as u64;
    (0..records).for_each(|key| put(&channel, Key(key), b"v"));
    let (mut count, mut cursor) = (0, Cursor::START);
    loop {
        let mut last = None;
        channel.scan(cursor, 1, |key, _| {
            last = Some(key);
            ControlFlow::Continue(())
        });
        let Some(key) = last else { break };
        count += 1;
        cursor = channel.cursor_after(key);
        assert!(channel.remove(key, Notify::No));
    }
    assert_eq!((count, store.usage()), (records, Usage::default()));
    assert_eq!(channel.scan(Cursor::END, 1, |_, _| ControlFlow::Continue(())), None);
    assert_eq!(channel.scan(Cursor::START, 0, |_, _| panic!("no budget")), Some(Cursor::START));
}

#[test]
fn looking_many_up_is_looking_up_each() {
    for_seeds(scaled(20) as u64, |rng| {
        let store = store(rng);
        let channel = store.channel_or_create(&name("c")).unwrap();
        for _ in 0..scaled(2_000) {
            channel.put(Key(rng.below(4_000)), &some_bytes(rng), Notify::No).unwrap();
        }
        let keys: Vec<_> = (0..rng.below(100)).map(|_| Key(rng.below(4_000))).collect();
        let mut found = Vec::new();
        channel.get_many(&keys, |at, value| found.push((at, value.map(<[u8]>::to_vec))));
        let each = keys.iter().map(|&key| channel.get(key, <[u8]>::to_vec)).enumerate();
        assert!(each.eq(found));
    });
}

#[test]
fn a_removed_channel_is_gone_at_once_and_its_memory_soon() {
    for_seeds(scaled(10) as u64, |rng| {
        let store = store(rng);
        let kept = store.channel_or_create(&name("kept")).unwrap();
        let old = store.channel_or_create(&name("c")).unwrap();
        let mut model = BTreeMap::new();
        for _ in 0..scaled(4_000) {
            step(rng, &kept, &mut model, 1_000);
            let (key, value) = (Key(rng.below(3_000)), some_bytes(rng));
            old.put(key, &value, Notify::No).unwrap();
        }
        let generation = store.generation();
        assert!(store.remove_channel("c") && !store.remove_channel("c"));
        assert!(generation != store.generation() && old.is_removed());
        assert_eq!((old.usage(), store.usage()), (Usage::default(), kept.usage()));

        // Its successor under the same name, and with the same number, does not inherit anything.
        let new = store.channel_or_create(&name("c")).unwrap();
        assert_eq!(new.usage(), Usage::default());
        assert_eq!(scan_all(&new, 100), []);
        new.put(Key(7), b"new", Notify::No).unwrap();
        assert_eq!(old.put(Key(7), b"old", Notify::No), Err(PutError::Closed));
        assert!(!old.contains(Key(7)) && !old.remove(Key(7), Notify::No));
        assert_eq!(old.scan(Cursor::START, 9, |_, _| panic!("it is gone")), None);
        while store.reclaim(rng.within(1..500)) {}
        assert_eq!(new.get(Key(7), <[u8]>::to_vec).as_deref(), Some(&b"new"[..]));
        assert_agrees(&kept, &model, 50);

        assert!(store.remove_channel("c") && store.remove_channel("kept"));
        while store.reclaim(1_000) {}
        assert_eq!(store.memory(), Default::default(), "all memory went back");
    });
}

#[test]
fn writes_reclaim_a_removed_channel_on_the_way() {
    let ten = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|key| (Key(key), &b"v"[..]));
    for together in [false, true] {
        let store = Store::new(StoreOptions { shard_bits: 0, seed: 1 });
        let [old, new] =
            ["old", "new"].map(|channel| store.channel_or_create(&name(channel)).unwrap());
        let records = scaled(10_000) as u64;
        (0..records).for_each(|key| put(&old, Key(key), &[0; 100]));
        let full = store.memory();
        store.remove_channel("old");
        for _ in 0..records / 4 / 10 {
            if together {
                new.put_together(&ten, &mut Sequence::default(), |_| {}).unwrap();
            } else {
                ten.iter().for_each(|(key, value)| put(&new, *key, value));
            }
        }
        assert!(!store.reclaim(0), "nothing is left to do");
        assert!(store.memory().records < full.records / 50);
    }
}

#[test]
fn values_that_are_too_big_change_nothing() {
    let store = Store::new(options());
    let channel = store.channel_or_create(&name("c")).unwrap();
    channel.put(Key(1), b"before", Notify::No).unwrap();
    // Zeros that are never written cost no memory.
    let too_big = vec![0; if cfg!(miri) { return } else { dht_storage::VALUE_BYTES_MAX + 1 }];
    assert_eq!(channel.put(Key(1), &too_big, Notify::No), Err(PutError::TooBig));
    assert_eq!(channel.put(Key(2), &too_big, Notify::No), Err(PutError::TooBig));
    assert_eq!(channel.get(Key(1), <[u8]>::to_vec).as_deref(), Some(&b"before"[..]));
    assert_eq!(store.usage(), Usage { records: 1, value_bytes: 6 });
    let (records, mut puts) = ([(Key(3), &b"v"[..]), (Key(1), &too_big), (Key(4), b"v")], 0);
    let together = channel.put_together(&records, &mut Sequence::default(), |_| puts += 1);
    assert_eq!((together, puts), (Err(PutError::TooBig), 1), "the first is put");
    assert!(channel.contains(Key(3)) && !channel.contains(Key(4)));
    assert_eq!(channel.get(Key(1), <[u8]>::to_vec).as_deref(), Some(&b"before"[..]));
    assert_eq!(store.usage(), Usage { records: 2, value_bytes: 7 });
}

#[test]
fn channels_are_listed_by_name_and_counted() {
    let store = Store::new(options());
    for channel in ["b", "c", "a", "b"] {
        store.channel_or_create(&name(channel)).unwrap();
    }
    store.remove_channel("c");
    let channels = store.channels();
    let names: Vec<_> = channels.iter().map(|channel| channel.name().as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(store.channel("c").is_none() && store.channel("a").is_some());
}

/// What a move of a hash range leaves behind: every span a little full.
#[test]
#[cfg_attr(miri, ignore = "too many records")]
fn memory_that_became_sparse_is_given_back() {
    for_seeds(4, |rng| {
        let store = Store::new(StoreOptions { shard_bits: 0, seed: rng.next() });
        let channels = ["a", "b"].map(|channel| store.channel_or_create(&name(channel)).unwrap());
        let mut models = [BTreeMap::new(), BTreeMap::new()];
        for key in (0..40_000).map(Key) {
            let longest = *rng.pick(&[91, 120]);
            let (at, value) = (rng.within(0..2), rng.bytes(90..longest));
            put(&channels[at], key, &value);
            models[at].insert(key, value);
        }
        let full = store.memory();
        for (channel, model) in channels.iter().zip(&mut models) {
            model.retain(|key, _| key.0 % 5 == 0 || !channel.remove(*key, Notify::No));
        }
        // Changes while the evacuation goes on.
        for _ in 0..2_000 {
            let key = Key(rng.below(40_000));
            if rng.one_in(3) {
                let value = rng.bytes(90..120);
                put(&channels[0], key, &value);
                models[0].insert(key, value);
            } else {
                assert_eq!(channels[0].remove(key, Notify::No), models[0].remove(&key).is_some());
            }
        }
        while store.reclaim(rng.within(1..500)) {}
        let sparse = store.memory();
        assert!(sparse.touched < full.touched * 2 / 5, "{} of {}", sparse.touched, full.touched);
        assert!(sparse.touched < sparse.records * 2, "{sparse:?}");
        for (channel, model) in channels.iter().zip(&models) {
            assert_agrees(channel, model, 100);
        }
        assert!(store.remove_channel("a") && store.remove_channel("b"));
        while store.reclaim(1_000) {}
        assert_eq!(store.memory(), Default::default(), "all memory went back");
    });
}

/// Lengths change all the time, so that slots wait for records of a length that fewer have.
#[test]
#[cfg_attr(miri, ignore = "too many records")]
fn memory_stays_dense_while_lengths_change() {
    for_seeds(2, |rng| {
        let store = Store::new(StoreOptions { shard_bits: 0, seed: rng.next() });
        let channel = store.channel_or_create(&name("c")).unwrap();
        let bytes = rng.bytes(200..201);
        let mut lens = vec![100; 30_000];
        (0..).zip(&lens).for_each(|(key, &len)| put(&channel, Key(key), &bytes[..len]));
        for longest in [140, 70, 200] {
            for _ in 0..60_000 {
                let (key, len) = (rng.within(0..lens.len()), rng.within(longest - 20..longest));
                put(&channel, Key(key as u64), &bytes[..len]);
                lens[key] = len;
            }
            while store.reclaim(rng.within(1..500)) {}
            let memory = store.memory();
            // An eighth is left alone, and an eighth may be freed before the next look.
            assert!(memory.touched * 3 < memory.records * 4, "{memory:?}");
        }
        let model = (0..).map(Key).zip(lens.iter().map(|&len| bytes[..len].to_vec())).collect();
        assert_agrees(&channel, &model, 100);
    });
}

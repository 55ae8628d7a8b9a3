//! Instructions of single operations, for `cargo xtask instructions`: 100,000 records of 100 bytes,
//! random keys.
#![expect(clippy::cast_possible_truncation, reason = "counts fit in memory")]

use std::{hint::black_box, ops::ControlFlow, sync::Arc};

use dht_storage::{Channel, Cursor, Notify, Sequence, Store, StoreOptions};
use dht_testkit::{
    Rng,
    instructions::{Case, run},
};
use dht_types::Key;

const RECORDS: u64 = 100_000;
const VALUE: [u8; 150] = [7; 150];
const VALUE_BYTES: usize = 100;

fn main() {
    run(&[
        Case { name: "storage-get", prepare: |count| each(count, 0, get) },
        Case { name: "storage-get-absent", prepare: |count| each(count, RECORDS, get) },
        Case { name: "storage-get-many-16", prepare: |count| get_many(count, 16) },
        Case { name: "storage-get-many-64", prepare: |count| get_many(count, 64) },
        Case { name: "storage-prefetch-64", prepare: prefetch },
        Case { name: "storage-put-new", prepare: |count| each(count, RECORDS, put) },
        Case { name: "storage-put-over", prepare: |count| each(count, 0, put) },
        Case { name: "storage-put-over-other-length", prepare: |count| each(count, 0, put_other) },
        Case { name: "storage-put-together-16", prepare: |count| put_together(count, 16) },
        Case { name: "storage-put-together-64", prepare: |count| put_together(count, 64) },
        Case { name: "storage-remove", prepare: |count| each(count, 0, remove) },
        Case { name: "storage-scan", prepare: scan },
    ]);
}

fn open() -> Arc<Channel> {
    let store = Store::new(StoreOptions { shard_bits: 6, seed: 0x5eed });
    let name = "bench".parse().expect("a valid name");
    let channel = store.channel_or_create(&name).expect("there is room for a channel");
    (0..RECORDS).for_each(|key| put(&channel, Key(key)));
    channel
}

/// Keys from `first` on, `count` of them, in a random order.
fn keys(first: u64, count: u64) -> Vec<Key> {
    let (mut rng, mut keys) = (Rng::new(1), (first..first + RECORDS).collect::<Vec<u64>>());
    for at in (1..keys.len()).rev() {
        keys.swap(at, rng.within(0..at + 1));
    }
    keys.into_iter().take(count as usize).map(Key).collect()
}

fn each(count: u64, first: u64, f: fn(&Channel, Key)) -> Box<dyn FnMut()> {
    let (channel, keys) = (open(), keys(first, count));
    Box::new(move || keys.iter().for_each(|&key| f(&channel, key)))
}

fn get(channel: &Channel, key: Key) {
    _ = black_box(channel.get(key, ends));
}

fn put(channel: &Channel, key: Key) {
    channel.put(key, &VALUE[..VALUE_BYTES], Notify::No).expect("there is memory");
}

fn put_other(channel: &Channel, key: Key) {
    let bytes = VALUE_BYTES / 2 + key.0 as usize % VALUE_BYTES;
    channel.put(key, &VALUE[..bytes], Notify::No).expect("there is memory");
}

fn remove(channel: &Channel, key: Key) {
    assert!(channel.remove(key, Notify::No));
}

/// Reads the ends of a value, as little as shows that it is there.
fn ends(value: &[u8]) -> u64 {
    u64::from(value[0]) + u64::from(value[value.len() - 1])
}

fn get_many(count: u64, batch: usize) -> Box<dyn FnMut()> {
    let (channel, keys) = (open(), keys(0, count));
    Box::new(move || {
        for keys in keys.chunks(batch) {
            channel.get_many(keys, |_, value| _ = black_box(value.map(ends)));
        }
    })
}

fn put_together(count: u64, batch: usize) -> Box<dyn FnMut()> {
    let (channel, keys) = (open(), keys(0, count));
    let records: Vec<_> = keys.into_iter().map(|key| (key, &VALUE[..VALUE_BYTES])).collect();
    let mut sequence = Sequence::default();
    Box::new(move || {
        for records in records.chunks(batch) {
            let put = channel.put_together(records, &mut sequence, |number| _ = black_box(number));
            put.expect("there is memory");
        }
    })
}

fn prefetch(count: u64) -> Box<dyn FnMut()> {
    let (channel, keys) = (open(), keys(0, count));
    Box::new(move || keys.chunks(64).for_each(|keys| channel.prefetch(keys)))
}

fn scan(count: u64) -> Box<dyn FnMut()> {
    let channel = open();
    Box::new(move || {
        let (mut left, mut cursor) = (count as usize, Some(Cursor::START));
        while let Some(from) = cursor
            && left > 0
        {
            cursor = channel.scan(from, left.min(256), |_, value| {
                left -= 1;
                black_box(ends(value));
                ControlFlow::Continue(())
            });
        }
    })
}

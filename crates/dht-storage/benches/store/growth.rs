//! Growth: pauses, loading in the order of another store, and a bound that needs no clock.

use std::{ops::ControlFlow, time::Instant};

use dht_storage::{Cursor, ENTRIES_MOVED_MAX, Store, StoreOptions};
use dht_testkit::Rng;

use crate::{Map, VALUE_BYTES, channel, open, put, timed};

pub(crate) fn pauses(records: usize) {
    println!("\nlongest inserts up to {records} records, in microseconds");
    println!("{:>12} {:>10} {:>10} {:>10}", "", "99.99 %", "99.999 %", "longest");
    let value = [7; VALUE_BYTES];
    let (_store, channel) = open();
    print_pauses("store", records, |key| put(&channel, key, &value));
    drop(channel);
    let mut map = Map::new();
    print_pauses("hashbrown", records, |key| drop(map.insert(key, value.into())));
}

fn print_pauses(name: &str, records: usize, mut insert: impl FnMut(u64)) {
    let mut rng = Rng::new(5);
    let mut times: Vec<u32> = vec![0; records];
    for time in &mut times {
        let key = rng.next();
        *time = timed(|| insert(key)).as_nanos() as u32;
    }
    times.sort_unstable();
    let at = |part: f64| f64::from(times[((records - 1) as f64 * part) as usize]) / 1e3;
    println!("{name:>12} {:>10.1} {:>10.1} {:>10.1}", at(0.9999), at(0.99999), at(1.0));
}

/// Loading what another store has dumped, beside records in random order, and beside a store with
/// the seed of that other one, which is what the seed is against.
pub(crate) fn reload(records: usize) {
    const SEED: u64 = 0x5eed;
    let mut rng = Rng::new(7);
    let random: Vec<u64> = (0..records).map(|_| rng.next()).collect();
    let store = |seed| Store::new(StoreOptions { shard_bits: 6, seed });
    let time = |seed, keys: &[u64]| {
        let store = store(seed);
        let channel = channel(&store, "reload");
        let value = [7; VALUE_BYTES];
        timed(|| keys.iter().for_each(|key| put(&channel, *key, &value)))
    };
    let dumped = {
        let store = store(SEED);
        let channel = channel(&store, "reload");
        random.iter().for_each(|key| put(&channel, *key, b"v"));
        let mut keys = Vec::with_capacity(records);
        channel.scan(Cursor::START, usize::MAX, |key, _| {
            keys.push(key.0);
            ControlFlow::Continue(())
        });
        keys
    };
    println!("\nputs of {records} records in the scan order of another store");
    for (name, seed, keys) in [
        ("random order", SEED + 1, &random),
        ("scan order, other seed", SEED + 1, &dumped),
        ("scan order, same seed", SEED, &dumped),
    ] {
        let rate = records as f64 / time(seed, keys).as_secs_f64() / 1e6;
        println!("  {name:>24}: {rate:.2} M records/s");
    }
}

/// The deterministic form of "no pause grows with the number of records", checked after each
/// million.
pub(crate) fn growth(records: usize) {
    let store = Store::new(StoreOptions { shard_bits: 0, seed: 0x5eed });
    let (channel, mut rng) = (channel(&store, "growth"), Rng::new(6));
    let start = Instant::now();
    for count in 1..=records {
        put(&channel, rng.next(), b"v");
        if count % 1_000_000 == 0 {
            assert!(store.entries_moved_max() <= ENTRIES_MOVED_MAX, "after {count} records");
        }
    }
    println!(
        "\nmost entries moved by one insert, 0 to {records} records in one shard: {} \
         (bound {ENTRIES_MOVED_MAX}; {:.1} s)",
        store.entries_moved_max(),
        start.elapsed().as_secs_f64()
    );
}

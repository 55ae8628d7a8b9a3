//! Speed beside hashbrown, in turns: a slice of the work for one, and then the same for the other.

use std::{hint::black_box, ops::ControlFlow, time::Duration};

use dht_storage::{Channel, Cursor, Notify, Sequence};
use dht_testkit::Rng;
use dht_types::Key;

use crate::{Map, ROUNDS, VALUE_BYTES, median, open, put, timed};

/// Operations of a slice.
const SLICE: usize = 20_000;

/// Nanoseconds per operation of both maps, slice by slice.
#[derive(Default)]
struct Case {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Case {
    fn run(&mut self, operations: usize, ours: impl FnOnce(), theirs: impl FnOnce()) {
        let per_operation = |time: Duration| time.as_secs_f64() * 1e9 / operations as f64;
        self.ours.push(per_operation(timed(ours)));
        self.theirs.push(per_operation(timed(theirs)));
    }

    fn print(&self, name: &str, goal: &str) {
        let ratios = self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs);
        let [ours, theirs] = [&self.ours, &self.theirs].map(|times| median(times.clone()));
        let ratio = median(ratios.collect());
        println!("{name:>22} {ours:>10.1} {theirs:>10.1} {ratio:>8.2} {goal:>8}");
    }
}

pub(crate) fn speed(records: usize) {
    println!("\nns per operation, {records} records of {VALUE_BYTES} bytes, one thread");
    println!("{:>22} {:>10} {:>10} {:>8} {:>8}", "", "store", "hashbrown", "ratio", "goal");
    let (_store, channel) = open();
    let mut map = Map::new();
    let mut keys: Vec<u64> = {
        let mut rng = Rng::new(2);
        (0..records).map(|_| rng.next()).collect()
    };
    insert(&channel, &mut map, &keys);
    shuffle(&mut keys, &mut Rng::new(3));
    get(&channel, &map, &keys);
    overwrite(&channel, &mut map, &keys);
    scan(&channel, &map);
    remove(&channel, &mut map, &keys);
}

fn shuffle(keys: &mut [u64], rng: &mut Rng) {
    for at in (1..keys.len()).rev() {
        keys.swap(at, rng.within(0..at + 1));
    }
}

/// The slices of the rounds: different keys in each, as long as there are enough.
fn slices(keys: &[u64], cases: usize) -> impl Iterator<Item = &[u64]> {
    keys.chunks_exact(SLICE.min(keys.len() / 10)).cycle().skip(cases * ROUNDS).take(ROUNDS)
}

fn insert(channel: &Channel, map: &mut Map, keys: &[u64]) {
    let (value, mut case) = ([7; VALUE_BYTES], Case::default());
    for keys in keys.chunks(SLICE) {
        case.run(
            keys.len(),
            || keys.iter().for_each(|&key| put(channel, key, &value)),
            || keys.iter().for_each(|&key| drop(map.insert(key, value.into()))),
        );
    }
    let mean = |times: &[f64]| vec![times.iter().sum::<f64>() / times.len() as f64];
    Case { ours: mean(&case.ours), theirs: mean(&case.theirs) }.print("insert (mean)", "");
}

/// Reads the ends of a value, as an answer would.
pub(crate) fn touch(value: &[u8]) -> u64 {
    u64::from(value[0]) + u64::from(value[value.len() - 1])
}

fn get_each(channel: &Channel, keys: &[u64]) -> u64 {
    keys.iter().filter_map(|&key| channel.get(Key(key), touch)).sum()
}

fn get_batches(channel: &Channel, keys: &[u64], batch: usize) -> u64 {
    let mut sum = 0;
    let mut batched = Vec::with_capacity(batch);
    for keys in keys.chunks(batch) {
        batched.clear();
        batched.extend(keys.iter().map(|&key| Key(key)));
        channel.get_many(&batched, |_, value| sum += value.map_or(0, touch));
    }
    sum
}

fn get_prefetched(channel: &Channel, keys: &[u64], batch: usize) -> u64 {
    let mut sum = 0;
    let mut batched = Vec::with_capacity(batch);
    for keys in keys.chunks(batch) {
        batched.clear();
        batched.extend(keys.iter().map(|&key| Key(key)));
        channel.prefetch(&batched);
        sum += get_each(channel, keys);
    }
    sum
}

/// Gets of which each waits for the one before, as a client's that waits for each answer. Without
/// that the processor works on several of hashbrown's at a time; a lock keeps it from that.
fn get_chained(channel: &Channel, keys: &[u64]) -> u64 {
    keys.iter().fold(0, |sum, &key| sum + channel.get(Key(chained(key, sum)), touch).unwrap_or(0))
}

/// The key itself, but known only when `sum` is: a sum of bytes has no highest bit.
fn chained(key: u64, sum: u64) -> u64 {
    black_box(key ^ (sum & 1 << 63))
}

fn get_from_map(map: &Map, keys: &[u64]) -> u64 {
    keys.iter().filter_map(|key| map.get(key).map(|value| touch(value))).sum()
}

fn get_from_map_chained(map: &Map, keys: &[u64]) -> u64 {
    let get = |key| map.get(&key).map_or(0, |value| touch(value));
    keys.iter().fold(0, |sum, &key| sum + get(chained(key, sum)))
}

/// A way to look keys up, and the goal for its time in units of hashbrown's.
type Lookup = (&'static str, &'static str, fn(&Channel, &[u64]) -> u64, fn(&Map, &[u64]) -> u64);

const LOOKUPS: [Lookup; 6] = [
    ("get", "1.00", get_each, get_from_map),
    ("get, each after one", "1.00", get_chained, get_from_map_chained),
    ("get_many 16", "", |channel, keys| get_batches(channel, keys, 16), get_from_map),
    ("get_many 64", "0.60", |channel, keys| get_batches(channel, keys, 64), get_from_map),
    ("prefetch 16, get", "", |channel, keys| get_prefetched(channel, keys, 16), get_from_map),
    ("prefetch 64, get", "", |channel, keys| get_prefetched(channel, keys, 64), get_from_map),
];

fn get(channel: &Channel, map: &Map, keys: &[u64]) {
    let mut cases = LOOKUPS.map(|_| Case::default());
    let mut miss = Case::default();
    let slice = SLICE.min(keys.len() / LOOKUPS.len());
    let mut rng = Rng::new(4);
    for round in 0..ROUNDS {
        // Other keys in each round and case, so that no cache knows them.
        let parts = keys.chunks_exact(slice).cycle().skip(round * LOOKUPS.len());
        for ((keys, case), (_, _, ours, theirs)) in parts.zip(&mut cases).zip(LOOKUPS) {
            let ours = || _ = black_box(ours(channel, keys));
            case.run(slice, ours, || _ = black_box(theirs(map, keys)));
        }
        let absent: Vec<u64> = (0..slice).map(|_| rng.next()).collect();
        let ours = || _ = black_box(get_each(channel, &absent));
        miss.run(slice, ours, || _ = black_box(get_from_map(map, &absent)));
    }
    for (case, (name, goal, ..)) in cases.iter().zip(LOOKUPS) {
        case.print(name, goal);
    }
    miss.print("miss", "");
}

/// A way to put values over others.
type Overwrite = (&'static str, fn(&Channel, &[u64]));

const OVERWRITES: [Overwrite; 3] = [
    ("overwrite", put_each),
    ("prefetch 64, put", put_prefetched),
    ("put_together 64", put_batches),
];

const NEW_VALUE: [u8; VALUE_BYTES] = [8; VALUE_BYTES];

fn put_each(channel: &Channel, keys: &[u64]) {
    keys.iter().for_each(|&key| put(channel, key, &NEW_VALUE));
}

fn put_prefetched(channel: &Channel, keys: &[u64]) {
    for keys in keys.chunks(64) {
        let batch: Vec<Key> = keys.iter().map(|&key| Key(key)).collect();
        channel.prefetch(&batch);
        put_each(channel, keys);
    }
}

fn put_batches(channel: &Channel, keys: &[u64]) {
    let mut sequence = Sequence::default();
    for keys in keys.chunks(64) {
        let batch: Vec<_> = keys.iter().map(|&key| (Key(key), &NEW_VALUE[..])).collect();
        channel.put_together(&batch, &mut sequence, |_| {}).expect("there is memory");
    }
}

fn overwrite(channel: &Channel, map: &mut Map, keys: &[u64]) {
    let mut cases = OVERWRITES.map(|_| Case::default());
    let slice = SLICE.min(keys.len() / OVERWRITES.len());
    let mut parts = keys.chunks_exact(slice).cycle().skip(3 * ROUNDS);
    for _ in 0..ROUNDS {
        for ((_, ours), case) in OVERWRITES.iter().zip(&mut cases) {
            let keys = parts.next().expect("it goes round");
            let theirs = || keys.iter().for_each(|&key| drop(map.insert(key, NEW_VALUE.into())));
            case.run(slice, || ours(channel, keys), theirs);
        }
    }
    for (case, (name, _)) in cases.iter().zip(OVERWRITES) {
        case.print(name, "");
    }
}

fn scan(channel: &Channel, map: &Map) {
    let mut case = Case::default();
    for _ in 0..3 {
        case.run(
            map.len(),
            || {
                let (mut sum, mut cursor) = (0, Some(Cursor::START));
                while let Some(from) = cursor {
                    cursor = channel.scan(from, 256, |_, value| {
                        sum += touch(value);
                        ControlFlow::Continue(())
                    });
                }
                black_box(sum);
            },
            || _ = black_box(map.values().map(|value| touch(value)).sum::<u64>()),
        );
    }
    case.print("scan", "");
}

fn remove(channel: &Channel, map: &mut Map, keys: &[u64]) {
    let mut case = Case::default();
    for keys in slices(keys, 0) {
        case.run(
            keys.len(),
            || keys.iter().for_each(|&key| assert!(channel.remove(Key(key), Notify::No))),
            || keys.iter().for_each(|key| assert!(map.remove(key).is_some())),
        );
    }
    case.print("remove", "");
}

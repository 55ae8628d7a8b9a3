//! The store beside `hashbrown::HashMap<u64, Box<[u8]>>`, the map it is measured by.
//!
//! ```text
//! cargo bench -p dht-storage                  all sections, 5 million records: some minutes
//! cargo bench -p dht-storage -- speed         one section: memory, churn, small, speed, workers,
//!                                             reload, pauses, growth
//! cargo bench -p dht-storage -- speed 1000000 with another number of records
//! ```
//!
//! Memory is the growth of the resident set, each case in a fresh process. Speed is measured in
//! turns, a slice of the work for one map and then the same for the other; the table shows medians
//! of the slices, and of their ratios.
#![expect(clippy::disallowed_methods, reason = "measuring time is its purpose")]
#![expect(clippy::cast_possible_truncation, reason = "counts fit in memory")]

use std::{
    hint::black_box,
    ops::ControlFlow,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use dht_storage::{Channel, Cursor, ENTRIES_MOVED_MAX, Notify, Store, StoreOptions};
use dht_testkit::Rng;
use dht_types::Key;
use hashbrown::HashMap;

const RECORDS: usize = 5_000_000;
/// Records of the growth section, which stores one byte each.
const GROWTH_RECORDS: usize = 20_000_000;
const VALUE_BYTES: usize = 100;
/// Operations of the churn section.
const CHURN: usize = 10_000_000;
const MIB: f64 = 1_048_576.0;
/// Operations of a slice, and slices of a case.
const SLICE: usize = 20_000;
const ROUNDS: usize = 31;
/// Operations of each worker in a round of the workers section.
const WORKER_OPERATIONS: usize = 200_000;

type Map = HashMap<u64, Box<[u8]>>;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [kind, bytes, records] = &args[..] {
        return child(kind, number(bytes), number(records));
    }
    let records = args.get(1).map(|arg| number(arg));
    let section = args.first().map_or("all", String::as_str);
    let runs = |name| section == name || section == "all";
    if runs("memory") {
        memory(records.unwrap_or(RECORDS));
    }
    if runs("churn") {
        churn(records.unwrap_or(RECORDS));
    }
    if runs("small") {
        small();
    }
    if runs("speed") {
        speed(records.unwrap_or(RECORDS));
    }
    if runs("workers") {
        workers(records.unwrap_or(RECORDS));
    }
    if runs("reload") {
        reload(records.unwrap_or(RECORDS));
    }
    if runs("pauses") {
        pauses(records.unwrap_or(RECORDS));
    }
    if runs("growth") {
        growth(records.unwrap_or(GROWTH_RECORDS));
    }
}

fn number(text: &str) -> usize {
    text.parse().expect("a number of records or bytes")
}

fn open() -> (Store, Arc<Channel>) {
    let store = Store::new(StoreOptions { shard_bits: 6, seed: 0x5eed });
    let channel = channel(&store, "bench");
    (store, channel)
}

fn channel(store: &Store, name: &str) -> Arc<Channel> {
    let name = name.parse().expect("a valid name");
    store.channel_or_create(&name).expect("there is room for some channels")
}

fn put(channel: &Channel, key: u64, value: &[u8]) {
    channel.put(Key(key), value, Notify::No).expect("there is memory");
}

// ---- memory ----

fn memory(records: usize) {
    println!("\nresident bytes per record beyond 8 of key and the value, {records} records");
    println!("{:>8} {:>10} {:>10} {:>10} {:>8}", "value", "store", "worst", "hashbrown", "goal");
    for (bytes, goal) in [(16, 14), (100, 14), (1000, 24)] {
        let [ours, theirs] = ["store", "map"].map(|kind| {
            let resident = in_child(kind, bytes, records);
            resident as f64 / records as f64 - 8.0 - bytes as f64
        });
        let worst = in_child("worst", bytes, records) as f64 / 100.0;
        println!("{bytes:>8} {ours:>10.2} {worst:>10.2} {theirs:>10.2} {goal:>8}");
    }
    println!("worst: the most on the way, from {} records on", records / 20);
}

// ---- churn ----

/// A store that was written and emptied at random, beside one that only ever held what is left.
fn churn(records: usize) {
    println!(
        "\nresident MiB, {records} records, {CHURN} random puts of changing sizes and removes"
    );
    println!(
        "{:>8} {:>22} {:>10} {:>10} {:>8} {:>8}",
        "value", "", "churned", "fresh", "ratio", "goal"
    );
    for bytes in [16, 100, 1000] {
        for (name, goal, kinds) in [
            ("after them", "1.25", ["churned", "fresh"]),
            ("3 of 4 removed then", "", ["churned-sparse", "fresh-sparse"]),
        ] {
            let [ours, fresh] = kinds.map(|kind| in_child(kind, bytes, records) as f64 / MIB);
            let ratio = ours / fresh;
            println!("{bytes:>8} {name:>22} {ours:>10.1} {fresh:>10.1} {ratio:>8.2} {goal:>8}");
        }
    }
}

/// Length of each record after all operations, `None` for those that are not there. Tells `f` of
/// each operation.
fn churned(
    bytes: usize,
    records: usize,
    is_sparse: bool,
    mut f: impl FnMut(u64, Option<usize>),
) -> Vec<Option<usize>> {
    let mut rng = Rng::new(8);
    let mut lens = vec![Some(bytes); records];
    let mut change = |lens: &mut Vec<_>, at: usize, len| {
        lens[at] = len;
        f(at as u64, len);
    };
    (0..records).for_each(|at| change(&mut lens, at, Some(bytes)));
    for _ in 0..CHURN {
        let len = (rng.below(5) > 0).then(|| rng.within(bytes / 2..bytes * 3 / 2));
        change(&mut lens, rng.within(0..records), len);
    }
    if is_sparse {
        (0..records).filter(|at| at % 4 > 0).for_each(|at| change(&mut lens, at, None));
    }
    lens
}

/// Runs one case in a process of its own, whose resident set nothing has touched before.
fn in_child(kind: &str, bytes: usize, records: usize) -> u64 {
    let program = std::env::current_exe().expect("the system knows the program's path");
    let args = [kind, &bytes.to_string(), &records.to_string()].map(str::to_owned);
    let output = Command::new(program).args(args).output().expect("a child can be started");
    let text = String::from_utf8(output.stdout).expect("it prints a number");
    text.trim().parse().unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn child(kind: &str, bytes: usize, records: usize) {
    let (value, mut rng) = (vec![7; bytes], Rng::new(1));
    let before = resident_bytes();
    match kind {
        "store" => {
            let (_store, channel) = open();
            (0..records).for_each(|_| put(&channel, rng.next(), &value));
            println!("{}", resident_bytes() - before);
        }
        "map" => {
            let mut map = Map::new();
            for _ in 0..records {
                map.insert(rng.next(), value.clone().into_boxed_slice());
            }
            println!("{}", resident_bytes() - before);
        }
        "worst" => {
            let (_store, channel) = open();
            let mut worst = 0_f64;
            for count in 1..=records {
                put(&channel, rng.next(), &value);
                if count >= records / 20 && count % (records / 200) == 0 {
                    let each = (resident_bytes() - before) as f64 / count as f64;
                    worst = worst.max(each - 8.0 - bytes as f64);
                }
            }
            println!("{:.0}", worst * 100.0);
        }
        "churned" | "churned-sparse" => {
            let (store, channel) = open();
            let value = vec![7; 2 * bytes];
            let lens = churned(bytes, records, kind == "churned-sparse", |key, len| match len {
                Some(len) => put(&channel, key, &value[..len]),
                None => _ = channel.remove(Key(key), Notify::No),
            });
            while store.reclaim(records) {}
            println!("{}", resident_bytes() - before - size_of_val(&lens[..]) as u64);
        }
        "fresh" | "fresh-sparse" => {
            let lens = churned(bytes, records, kind == "fresh-sparse", |_, _| {});
            let value = vec![7; 2 * bytes];
            let (_store, channel) = open();
            for (key, len) in lens.iter().enumerate() {
                if let Some(len) = *len {
                    put(&channel, key as u64, &value[..len]);
                }
            }
            println!("{}", resident_bytes() - before - size_of_val(&lens[..]) as u64);
        }
        "small" => {
            let (store, _) = open();
            let channels: Vec<_> = (0..1000).map(|at| channel(&store, &format!("c{at}"))).collect();
            for channel in &channels {
                (0..10).for_each(|_| put(channel, rng.next(), &value));
            }
            println!("{}", (resident_bytes() - before) / 1000);
        }
        other => panic!("no such case: {other}"),
    }
}

/// The resident set, from the second field of `/proc/self/statm`, in pages of 4 KiB.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm.split(' ').nth(1).and_then(|field| field.parse::<u64>().ok());
    pages.expect("the second field is a number") * 4096
}

fn small() {
    let bytes = in_child("small", 100, 10);
    println!(
        "\na channel of ten 100-byte records, of 1000 such channels: {bytes} bytes (goal 8192)"
    );
}

// ---- speed ----

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

fn timed(f: impl FnOnce()) -> Duration {
    let start = Instant::now();
    f();
    start.elapsed()
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn speed(records: usize) {
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
fn touch(value: &[u8]) -> u64 {
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

fn overwrite(channel: &Channel, map: &mut Map, keys: &[u64]) {
    let (value, mut case) = ([8; VALUE_BYTES], Case::default());
    for keys in slices(keys, 3) {
        case.run(
            keys.len(),
            || keys.iter().for_each(|&key| put(channel, key, &value)),
            || keys.iter().for_each(|&key| drop(map.insert(key, value.into()))),
        );
    }
    case.print("overwrite", "");
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

// ---- workers ----

/// What a second worker adds: each does one put to nine gets of random keys. On a machine with
/// other work to do only the processor time says something; it knows what threads make one another
/// wait for in the memory, and not the time that they sleep.
fn workers(records: usize) {
    println!("\nrate of two workers beside one, {records} records of {VALUE_BYTES} bytes");
    let (_store, channel) = open();
    let keys = records as u64;
    (0..keys).for_each(|key| put(&channel, key, &[7; VALUE_BYTES]));
    let run = |seed: u64| {
        let (mut rng, mut sum) = (Rng::new(seed), 0);
        let before = processor_nanos();
        for at in 0..WORKER_OPERATIONS {
            match at % 10 {
                0 => put(&channel, rng.below(keys), &[8; VALUE_BYTES]),
                _ => sum += channel.get(Key(rng.below(keys)), touch).unwrap_or(0),
            }
        }
        black_box(sum);
        processor_nanos() - before
    };
    let (mut wall, mut processor) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS as u64 {
        let (mut one, mut two) = (0, 0);
        let time_one = timed(|| one = run(3 * round));
        let time_two = timed(|| {
            two = std::thread::scope(|scope| {
                let other = scope.spawn(|| run(3 * round + 1));
                run(3 * round + 2) + other.join().expect("it does not panic")
            });
        });
        wall.push(2.0 * time_one.as_secs_f64() / time_two.as_secs_f64());
        processor.push(4.0 * one as f64 / two as f64);
    }
    let [wall, processor] = [wall, processor].map(median);
    println!("  by the clock {wall:.2}, by processor time {processor:.2} (goal 1.8)");
}

/// How long this thread has run, in nanoseconds: the first field of its `schedstat`.
fn processor_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    text.split(' ').next().and_then(|field| field.parse().ok()).expect("it is a number")
}

// ---- pauses ----

fn pauses(records: usize) {
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

// ---- growth ----

/// Loading what another store has dumped, beside records in random order, and beside a store with
/// the seed of that other one, which is what the seed is against.
fn reload(records: usize) {
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
fn growth(records: usize) {
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

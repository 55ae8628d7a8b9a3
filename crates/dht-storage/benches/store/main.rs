//! The store beside `hashbrown::HashMap<u64, Box<[u8]>>`, the map it is measured by.
//!
//! ```text
//! cargo bench -p dht-storage                  all sections, 5 million records: some minutes
//! cargo bench -p dht-storage -- speed         one section: memory, churn, small, speed, workers,
//!                                             contention, reload, pauses, growth
//! cargo bench -p dht-storage -- speed 1000000 with another number of records
//! ```
//!
//! Memory is the growth of the resident set, each case in a fresh process. Speed is measured in
//! turns, a slice of the work for one map and then the same for the other; the table shows medians
//! of the slices, and of their ratios.
#![expect(clippy::disallowed_methods, reason = "measuring time is its purpose")]
#![expect(clippy::cast_possible_truncation, reason = "counts fit in memory")]

mod contention;
mod growth;
mod memory;
mod speed;
mod workers;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dht_storage::{Channel, Notify, Store, StoreOptions};
use dht_types::Key;
use hashbrown::HashMap;

const RECORDS: usize = 5_000_000;
/// Records of the growth section, which stores one byte each.
const GROWTH_RECORDS: usize = 20_000_000;
const VALUE_BYTES: usize = 100;
/// How often a case is measured.
const ROUNDS: usize = 31;

type Map = HashMap<u64, Box<[u8]>>;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [kind, bytes, records] = &args[..] {
        return memory::child(kind, number(bytes), number(records));
    }
    let records = args.get(1).map(|arg| number(arg));
    let section = args.first().map_or("all", String::as_str);
    let runs = |name| section == name || section == "all";
    if runs("memory") {
        memory::memory(records.unwrap_or(RECORDS));
    }
    if runs("churn") {
        memory::churn(records.unwrap_or(RECORDS));
    }
    if runs("small") {
        memory::small();
    }
    if runs("speed") {
        speed::speed(records.unwrap_or(RECORDS));
    }
    if runs("workers") {
        workers::workers(records.unwrap_or(RECORDS));
    }
    if runs("contention") {
        contention::contention(records.unwrap_or(RECORDS));
    }
    if runs("reload") {
        growth::reload(records.unwrap_or(RECORDS));
    }
    if runs("pauses") {
        growth::pauses(records.unwrap_or(RECORDS));
    }
    if runs("growth") {
        growth::growth(records.unwrap_or(GROWTH_RECORDS));
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

fn timed(f: impl FnOnce()) -> Duration {
    let start = Instant::now();
    f();
    start.elapsed()
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

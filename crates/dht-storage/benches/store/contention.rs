//! What many workers would lose to the locks of shards: a simulation, because a machine with two
//! cores cannot show it.
//!
//! ```text
//! worker   | parses, answers, sends: `outside` | waits | holds the lock of a random shard | ...
//! ```
//!
//! How long a lock is held is measured here, one get or put after another; a lock and a record that
//! another core had last are further away, so [`TRANSFER`] is added. What a worker does between two
//! requests is taken from docs/performance.md. Who waits does so in the order of arrival. A batch
//! first holds the shards of 16 keys at a time, those that are free, as `Store::prefetch` does.
//! Memory bandwidth and the system's network are not part of it.

use std::{cmp::Reverse, collections::BinaryHeap, hint::black_box};

use dht_testkit::Rng;
use dht_types::Key;

use crate::{ROUNDS, VALUE_BYTES, median, open, put, speed::touch, timed};

/// Nanoseconds, as all times here: two lines out of another core's cache.
const TRANSFER: u64 = 200;
/// Requests of each worker.
const REQUESTS: u64 = 50_000;
/// Keys of a batch whose shards are locked together.
const BATCH: u64 = 16;
/// Requests between two looks at the clock.
const SLICE: u64 = 1_000;

/// What all workers do.
struct Load {
    name: &'static str,
    /// Between two requests.
    outside: u64,
    /// One request in so many is about one and the same key; 0: none.
    hot_one_in: u64,
    is_batched: bool,
}

const LOADS: [Load; 4] = [
    Load { name: "1 in flight", outside: 6_000, hot_one_in: 0, is_batched: false },
    Load { name: "1 in flight, 1/10 one key", outside: 6_000, hot_one_in: 10, is_batched: false },
    Load { name: "64 in flight", outside: 250, hot_one_in: 0, is_batched: true },
    Load { name: "64 in flight, 1/10 one key", outside: 250, hot_one_in: 10, is_batched: true },
];

/// What a run came to.
struct Outcome {
    /// When the last worker was ready.
    end: u64,
    /// Of the workers' time, that in which they wait for a lock.
    waiting: f64,
    /// Of the batches' keys, those whose shard was locked by somebody else.
    not_prefetched: f64,
}

pub(crate) fn contention(records: usize) {
    let hold = measured_hold(records as u64) + TRANSFER;
    println!(
        "\nsimulated workers; a lock is held for {hold} ns, of which {TRANSFER} are for lines"
    );
    println!("of other cores' caches (none with one worker); one put to nine gets");
    println!(
        "{:>28} {:>8} {:>7} {:>9} {:>9} {:>15}",
        "", "workers", "shards", "speed-up", "waiting", "not prefetched"
    );
    for load in &LOADS {
        let alone = Simulation::new(load, 1, hold - TRANSFER).run();
        for workers in [2, 4, 16, 64] {
            let outcome = Simulation::new(load, workers, hold).run();
            println!(
                "{:>28} {workers:>8} {:>7} {:>9.1} {:>7.1} % {:>13.1} %",
                load.name,
                shards(workers),
                (alone.end * workers as u64) as f64 / outcome.end as f64,
                outcome.waiting * 100.0,
                outcome.not_prefetched * 100.0
            );
        }
    }
}

/// As the node chooses: 16 for each worker, 64 to 1024.
fn shards(workers: usize) -> usize {
    (16 * workers).next_power_of_two().clamp(64, 1024)
}

/// How long one operation on a random record takes, all of it: a little more than its lock is held.
fn measured_hold(records: u64) -> u64 {
    let (_store, channel) = open();
    (0..records).for_each(|key| put(&channel, key, &[7; VALUE_BYTES]));
    let mut rng = Rng::new(1);
    let slice = |_| {
        let time = timed(|| {
            for at in 0..SLICE {
                match at % 10 {
                    0 => put(&channel, rng.below(records), &[8; VALUE_BYTES]),
                    _ => _ = black_box(channel.get(Key(rng.below(records)), touch)),
                }
            }
        });
        time.as_nanos() as f64 / SLICE as f64
    };
    median((0..ROUNDS).map(slice).collect()) as u64
}

/// Workers and locks. Times are since the start.
struct Simulation<'a> {
    load: &'a Load,
    hold: u64,
    rng: Rng,
    /// When each shard is free again.
    free_at: Vec<u64>,
    /// Requests that each worker still has, and whether the next batch is prefetched.
    left: Vec<(u64, bool)>,
    waited: u64,
    /// Keys of batches, and those whose shard was locked.
    tried: u64,
    missed: u64,
}

impl<'a> Simulation<'a> {
    fn new(load: &'a Load, workers: usize, hold: u64) -> Self {
        let (free_at, left) = (vec![0; shards(workers)], vec![(REQUESTS, false); workers]);
        let rng = Rng::new(9);
        Self { load, hold, rng, free_at, left, waited: 0, tried: 0, missed: 0 }
    }

    fn run(mut self) -> Outcome {
        let workers = self.left.len();
        let mut next: BinaryHeap<_> = (0..workers).map(|worker| Reverse((0, worker))).collect();
        let mut end = 0;
        while let Some(Reverse((now, worker))) = next.pop() {
            end = end.max(now);
            let (left, is_prefetched) = self.left[worker];
            if left == 0 {
                continue;
            }
            let starts_batch = self.load.is_batched && left.is_multiple_of(BATCH);
            let then = if starts_batch && !is_prefetched {
                self.left[worker].1 = true;
                self.prefetch(now)
            } else {
                self.left[worker] = (left - 1, false);
                self.request(now)
            };
            next.push(Reverse((then, worker)));
        }
        Outcome {
            end,
            waiting: self.waited as f64 / (end * workers as u64) as f64,
            not_prefetched: self.missed as f64 / self.tried.max(1) as f64,
        }
    }

    fn shard(&mut self) -> usize {
        let is_hot = self.load.hot_one_in > 0 && self.rng.below(self.load.hot_one_in) == 0;
        if is_hot { 0 } else { self.rng.within(0..self.free_at.len()) }
    }

    /// Their misses overlap: all keys of a batch take about as long as one.
    fn prefetch(&mut self, now: u64) -> u64 {
        let until = now + self.hold;
        self.tried += BATCH;
        for _ in 0..BATCH {
            let shard = self.shard();
            match &mut self.free_at[shard] {
                free_at if *free_at <= now => *free_at = until,
                // Locked for a key of the same batch.
                free_at if *free_at == until => {}
                _ => self.missed += 1,
            }
        }
        until
    }

    fn request(&mut self, now: u64) -> u64 {
        let shard = self.shard();
        let start = now.max(self.free_at[shard]);
        self.waited += start - now;
        // After a batch the record is near.
        let hold = if self.load.is_batched { self.hold / 4 } else { self.hold };
        self.free_at[shard] = start + hold;
        // Half to one and a half times: workers do not march in step.
        start + hold + self.load.outside / 2 + self.rng.below(self.load.outside)
    }
}

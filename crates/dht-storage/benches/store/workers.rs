//! What a second worker adds.

use std::hint::black_box;

use dht_testkit::Rng;
use dht_types::Key;

use crate::{ROUNDS, VALUE_BYTES, median, open, put, speed::touch, timed};

/// Operations of each worker in a round.
const OPERATIONS: usize = 200_000;

/// What a second worker adds: each does one put to nine gets of random keys. On a machine with
/// other work to do only the processor time says something; it knows what threads make one another
/// wait for in the memory, and not the time that they sleep.
pub(crate) fn workers(records: usize) {
    println!("\nrate of two workers beside one, {records} records of {VALUE_BYTES} bytes");
    let (_store, channel) = open();
    let keys = records as u64;
    (0..keys).for_each(|key| put(&channel, key, &[7; VALUE_BYTES]));
    let run = |seed: u64| {
        let (mut rng, mut sum) = (Rng::new(seed), 0);
        let before = processor_nanos();
        for at in 0..OPERATIONS {
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

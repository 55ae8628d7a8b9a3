//! Keys, kinds and counts.

use std::time::Duration;

use dht_testkit::for_seeds;

use super::{stock::Stock, worker::share, *};

pub(super) fn plan(keys: Keys, mix: &[(Kind, u32)], threads: usize) -> Plan {
    Plan {
        protocol: Protocol::Legacy,
        targets: Vec::new(),
        channel: "test".parse().expect("a name"),
        mix: mix.to_vec(),
        keys,
        value: [0][..].into(),
        pattern: Pattern::Closed,
        connections: threads,
        pipeline: 1,
        threads,
        requests: Some(1),
        duration: None,
        client_timeout: None,
        long_after: Some(Duration::from_micros(1)),
        processing: None,
        per_node: false,
        seed: 17,
    }
}

fn keys(keys: Keys, len: usize) -> Vec<u64> {
    let mut stock = Stock::new(&plan(keys, &[(Kind::Get, 1)], 1), 0);
    (0..len).map(|_| stock.next().key.0).collect()
}

#[test]
fn the_threads_of_a_sequence_have_every_key_once() {
    let plan = plan(Keys::Sequential { count: 10 }, &[(Kind::Get, 1)], 3);
    let mut all = Vec::new();
    for thread in 0..3 {
        let mut stock = Stock::new(&plan, thread);
        all.extend((0..share(10, 3, thread)).map(|_| stock.next().key.0));
    }
    all.sort_unstable();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
    assert_eq!(keys(Keys::Sequential { count: 2 }, 5), [0, 1, 0, 1, 0]);
    assert_eq!(keys(Keys::Single(Key(7)), 2), [7, 7]);
}

#[test]
fn random_keys_stay_within_their_number_and_have_their_shape() {
    let draws = 20_000;
    let share = |keys: &[u64], key: u64| {
        keys.iter().filter(|found| **found == key).count() as f64 / draws as f64
    };
    let uniform = keys(Keys::Uniform { count: 4 }, draws);
    assert!(uniform.iter().all(|key| *key < 4));
    assert!((0.22..0.28).contains(&share(&uniform, 3)));
    // The harmonic number of 100 is 5.187: key 0 has 1 / 5.187 of the draws, key 9 a tenth of that.
    let zipfian = keys(Keys::Zipfian { count: 100, exponent: 1.0 }, draws);
    assert!(zipfian.iter().all(|key| *key < 100));
    assert!((0.17..0.215).contains(&share(&zipfian, 0)), "{}", share(&zipfian, 0));
    assert!((0.015..0.024).contains(&share(&zipfian, 9)), "{}", share(&zipfian, 9));
    assert_eq!(keys(Keys::Zipfian { count: 1, exponent: 0.99 }, 3), [0, 0, 0]);
}

#[test]
fn the_latency_at_a_fraction_is_that_of_the_sorted_list() {
    for_seeds(50, |rng| {
        let mut counts = Counts::new();
        let mut sorted: Vec<u64> = (0..=rng.below(300)).map(|_| 1 + rng.below(2000)).collect();
        for ns in &sorted {
            counts.answered(*ns, false, false);
        }
        sorted.sort_unstable();
        for fraction in [0.0, 0.5, 0.66, 0.75, 0.99, 0.995, 0.999, 1.0] {
            let last = sorted.len() - 1;
            let is_within = |index: &usize| *index as f64 <= fraction * last as f64;
            let index = (0..=last).take_while(is_within).last().expect("the first is within");
            // Up to 2047 the histogram has a place for each value.
            assert_eq!(counts.at(fraction), sorted[index], "{fraction} of {sorted:?}");
        }
    });
    assert_eq!(Counts::new().at(0.5), 0);
}

#[test]
fn tallies_add_up() {
    let mut one = Tally::new(1);
    one.of_kind(Kind::Get).answered(5_000_000_123, true, true);
    one.of_kind(Kind::Put).failed(true);
    let mut sum = Tally::new(1);
    sum.add(&one);
    sum.add(&one);
    let total = sum.total();
    assert_eq!((total.len(), total.answered_len(), total.failed), (4, 2, 2));
    assert_eq!((total.missing, total.long, total.timed_out), (2, 2, 2));
    assert_eq!(total.at(1.0), 5_000_000_123, "the longest is exact");
    assert_eq!(sum.kinds().map(|(kind, _)| kind).collect::<Vec<_>>(), [Kind::Get, Kind::Put]);
}

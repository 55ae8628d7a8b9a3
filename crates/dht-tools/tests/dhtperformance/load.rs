//! Which requests are made.

use std::time::Duration;

use dht_client::blocking::{Timeouts, legacy::Connection};
use dht_types::{ChannelName, Key};

use crate::setup::{Bench, number, objects};

fn client(bench: &Bench) -> Connection {
    let address = bench.nodes[0].address().to_string();
    Connection::new(address.parse().expect("an address"), Timeouts::default())
}

/// The keys of a channel, sorted.
fn keys(bench: &Bench, channel: &str) -> Vec<Key> {
    let channel: ChannelName = channel.parse().expect("a name");
    let mut client = client(bench);
    let keys = client.get_all_keys(&channel).expect("the node answers");
    let mut keys: Vec<_> = keys.collect::<Result<_, _>>().expect("whole");
    keys.sort();
    keys
}

pub(crate) fn what_is_put_is_found() {
    let bench = Bench::start();
    bench.json("-c a -m put -n 30 -p 7 -s 100 -i 1");
    assert_eq!(keys(&bench, "a"), (0..30).map(Key).collect::<Vec<_>>());
    let channel: ChannelName = "a".parse().expect("a name");
    let value = client(&bench).get(&channel, Key(29)).expect("answered").expect("put");
    assert_eq!(value.len(), 100);
    let cycles = bench.json("-c a -m get -n 40 -p 3 -i 2");
    assert_eq!(cycles.len(), 2);
    for cycle in &cycles {
        let counts =
            ["requests", "failed", "missing"].map(|name| number(cycle, &format!("/{name}")));
        assert_eq!(counts, [40, 0, 10]);
    }
    let filled = bench.json("-c b -m exists -n 25 --fill -i 1");
    assert_eq!(number(&filled[0], "/missing"), 0);
    bench.json("-c b -m remove -n 24 -i 1");
    assert_eq!(keys(&bench, "b"), [Key(24)]);
}

pub(crate) fn neo_carries_many_at_once() {
    let bench = Bench::start();
    let line = "-c neo -m put -n 5000 -s 50 --mode closed --connections 3 --pipeline 64 -i 1";
    let ran = bench.run_neo(&format!("{line} --json -"));
    let put = &objects(&ran)[0];
    assert_eq!([number(put, "/requests"), number(put, "/failed")], [5000, 0]);
    assert_eq!(keys(&bench, "neo").len(), 5000);
    for (command, missing) in [("get", 10), ("exists", 10), ("remove", 10)] {
        let line =
            format!("-c neo -m {command} -n 5010 --mode closed --pipeline 100 -i 1 --json -");
        let cycle = &objects(&bench.run_neo(&line))[0];
        assert_eq!(
            [number(cycle, "/missing"), number(cycle, "/failed")],
            [missing, 0],
            "{command}"
        );
    }
    assert_eq!(keys(&bench, "neo"), []);
    let stepped = bench.run_neo("-c neo -m put -n 10 -p 4 -i 1 --json -");
    assert_eq!(number(&objects(&stepped)[0], "/requests"), 10);
}

pub(crate) fn a_mix_has_its_kinds_in_proportion() {
    let bench = Bench::start();
    let line = "--mix get=80,put=20 --keys zipfian --key-count 100 -n 2000 --mode closed -p 8 -i 1";
    let cycle = &bench.json(line)[0];
    let (get, put) =
        (number(cycle, "/by_kind/get/requests"), number(cycle, "/by_kind/put/requests"));
    assert_eq!(get + put, 2000);
    assert!((1500..1700).contains(&get), "about 1600: {get}");
    assert!(keys(&bench, "test").iter().all(|key| key.0 < 100));
    let again = &bench.json(line)[0];
    assert_eq!(number(again, "/by_kind/get/requests"), get, "the seed is the same");
}

pub(crate) fn threads_share_the_work() {
    let bench = Bench::start();
    let line = "-m put -n 1001 --mode closed -p 5 --threads 3 -i 2";
    for cycle in bench.json(line) {
        assert_eq!(number(&cycle, "/requests"), 1001);
    }
    assert_eq!(keys(&bench, "test"), (0..1001).map(Key).collect::<Vec<_>>());
}

pub(crate) fn a_single_key_is_the_only_one() {
    let bench = Bench::start();
    bench.json("-m put -n 9 -p 2 -k 0xdead -i 1");
    assert_eq!(keys(&bench, "test"), [Key(0xdead)]);
}

pub(crate) fn a_rate_is_kept() {
    let bench = Bench::start();
    let cycle = &bench.json("-n 11 -r 100 -i 1")[0];
    let seconds = cycle["seconds"].as_f64().expect("a number");
    assert!(seconds >= 0.1, "ten slots of 10 ms: {seconds}");
    // Each request takes longer than its slot of 1 us: the original sleeps for ages then.
    let late = &bench.json("-n 20 -d 1000 -r 999999 -i 1")[0];
    assert_eq!(number(late, "/requests"), 20);
    let slept = Duration::from_secs_f64(late["seconds"].as_f64().expect("a number"));
    assert!(slept >= Duration::from_millis(20), "a sleep of 1 ms after each reply: {slept:?}");
}

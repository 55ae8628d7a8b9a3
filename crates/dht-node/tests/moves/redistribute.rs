//! The legacy Redistribute: all moves, nothing old replaces news, the range is kept.

use std::collections::BTreeMap;

use dht_protocol::legacy::Request;
use dht_protocol::legacy::requests::{Forward, PutBatch, Taker};
use dht_testkit::Peer;
use dht_types::{HashRange, Key};

use crate::support::{
    ERROR, Node, OK, ask, batch, cluster, encode, lower_half, name, redistribute, small, upper_half,
};

/// Records of which every other one lies in the upper half; some empty, some large.
fn sample() -> BTreeMap<u64, Vec<u8>> {
    let size = |key| match key % 50 {
        0 | 1 => 0,
        2 | 3 => 300_000,
        4 | 5 => 65_504,
        other => small(other) * 7,
    };
    (0..600).map(|key| (key, vec![b'v'; size(key)])).collect()
}

/// Puts records whatever their size.
fn fill(node: &Node, channel: &str, records: &BTreeMap<u64, Vec<u8>>) {
    let records: Vec<_> = records.iter().map(|(key, value)| (*key, &value[..])).collect();
    let blob = batch(&records);
    let forward = Request::Forward(Forward { channel, batch: &blob });
    assert_eq!(ask(node, &encode(&forward)), OK);
}

fn split(records: &BTreeMap<u64, Vec<u8>>, range: HashRange) -> BTreeMap<u64, Vec<u8>> {
    let inside = records.iter().filter(|(key, _)| range.contains(Key(**key)));
    inside.map(|(key, value)| (*key, value.clone())).collect()
}

#[test]
fn every_record_moves_the_empty_and_the_large_ones_too() {
    let (giver, taker) = (Node::start(HashRange::FULL), Node::start(HashRange::EMPTY));
    let records = sample();
    fill(&giver, "ch", &records);
    fill(&giver, "other", &records);
    assert_eq!(ask(&taker, &redistribute(upper_half(), &[])), OK);
    let request = redistribute(lower_half(), &[taker.taker(upper_half())]);
    assert_eq!(ask(&giver, &request), OK);
    for channel in ["ch", "other"] {
        assert_eq!(giver.records(channel), split(&records, lower_half()));
        assert_eq!(taker.records(channel), split(&records, upper_half()));
    }
    assert_eq!((giver.range(), taker.range()), (lower_half(), upper_half()));
    let log = giver.log();
    for line in [
        "New hash range: 0x0000000000000000..0x7FFFFFFFFFFFFFFF",
        "Setting hash range: 0x0000000000000000..0x7FFFFFFFFFFFFFFF",
        "Starting redistribution. Calculated maximum storage size = ",
        "Redistributing channel 'ch'",
        "Finished redistributing channel 'ch': 600/600 records iterated, channel now contains 300",
        "(300000 bytes) individually",
        "Finishing redistribution.",
    ] {
        assert!(log.contains(line), "{line} is not in: {log}");
    }
    assert!(giver.config().contains("maxval = 0x7fffffffffffffff\n"), "{}", giver.config());
    let mut cluster = cluster(&[&giver, &taker]);
    assert_eq!(cluster.get(&name("ch"), Key(7)).expect("there").as_ref(), records.get(&7));
}

#[test]
fn the_range_outlives_a_crash_and_the_config_file_keeps_its_layout() {
    let node = Node::start(HashRange::FULL);
    let before = node.config();
    assert_eq!(ask(&node, &redistribute(upper_half(), &[])), OK);
    let expected = before.replace("minval = 0x0000000000000000", "minval = 0x8000000000000000");
    assert_eq!(node.config(), expected);
    let node = node.crash_and_restart();
    assert_eq!(node.range(), upper_half());
}

#[test]
fn what_is_forwarded_replaces_nothing_and_brings_nothing_back() {
    let taker = Node::start(HashRange::EMPTY);
    assert_eq!(ask(&taker, &redistribute(upper_half(), &[])), OK);
    let (mut client, ch) = (taker.client(), name("ch"));
    client.put(&ch, Key(1), b"new").expect("ours");
    client.put(&ch, Key(3), b"x").expect("ours");
    client.remove(&ch, Key(3)).expect("ours");
    client.remove(&ch, Key(5)).expect("ours");
    client.remove_channel(&name("gone")).expect("anybody may");
    let blob = batch(&[(1, b"old"), (3, b"old"), (5, b"old"), (7, b"old")]);
    for (batch_of, expected) in [
        (encode(&Request::Forward(Forward { channel: "ch", batch: &blob })), "ch"),
        (encode(&Request::PutBatch(PutBatch { channel: "ch", batch: &blob })), "ch"),
        (encode(&Request::Forward(Forward { channel: "gone", batch: &blob })), "gone"),
    ] {
        assert_eq!(ask(&taker, &batch_of), OK, "{expected}");
    }
    let expected = BTreeMap::from([(1, b"new".to_vec()), (7, b"old".to_vec())]);
    assert_eq!(taker.records("ch"), expected);
    assert_eq!(taker.records("gone"), BTreeMap::new());
    let node = Node::start(HashRange::FULL);
    for value in [&b"old"[..], b"newer"] {
        let blob = batch(&[(1, value)]);
        let put = Request::PutBatch(PutBatch { channel: "ch", batch: &blob });
        assert_eq!(ask(&node, &encode(&put)), OK);
    }
    assert_eq!(node.records("ch"), BTreeMap::from([(1, b"newer".to_vec())]), "as ever");
}

#[test]
fn what_cannot_work_is_refused_and_nothing_changes() {
    let node = Node::start(HashRange::FULL);
    let other = |address: &str, port, range| Taker { address: address.to_owned(), port, range };
    let own = node.address();
    // The original closes the connection.
    let closing = [
        vec![other("127.0.0.1", 1, upper_half()), other("127.0.0.1", 1, lower_half())],
        vec![other("127.0.0.1", 1, upper_half()), other("127.0.0.1", 2, HashRange::FULL)],
        vec![other("127.0.0.1", 1, HashRange::EMPTY)],
    ];
    for takers in &closing {
        let mut peer: Peer = node.connect();
        peer.send(&redistribute(lower_half(), takers));
        assert_eq!(peer.receive_to_end(), b"", "{takers:?}");
    }
    // It accepts these.
    let refused = [
        vec![other("local\nhost", 1, upper_half())],
        vec![other(&own.ip().to_string(), own.port(), upper_half())],
    ];
    for takers in &refused {
        assert_eq!(ask(&node, &redistribute(lower_half(), takers)), ERROR, "{takers:?}");
    }
    let log = node.log();
    let bad_address = r"local\nhost:1 is no IPv4 address";
    for reason in ["is listed twice", "overlap", "is empty", bad_address, "is this node itself"] {
        assert!(log.contains(reason), "{reason}: {log}");
    }
    // A new range that is none: 500; the empty one: the connection is closed.
    let mut peer: Peer = node.connect();
    peer.send_hex("21000000 0200000000000000 0100000000000000 0000000000000000");
    assert_eq!(peer.receive_u32(), ERROR);
    peer.send(&redistribute(HashRange::EMPTY, &[]));
    assert_eq!(peer.receive_to_end(), b"");
    assert_eq!(node.range(), HashRange::FULL);
    assert!(node.config().contains("minval = 0x0000000000000000"));
}

/// Neo clients hear of the taker first, of the smaller range when all has gone, and meanwhile
/// nobody is told that there is no record.
#[test]
fn clients_are_told_of_the_smaller_range_when_all_has_gone() {
    let (giver, taker) = (Node::start(HashRange::FULL), Node::start(HashRange::EMPTY));
    fill(&giver, "ch", &sample());
    let mut neo = giver.neo();
    assert_eq!(neo.hash_range().expect("it answers"), HashRange::FULL);
    neo.take_range_news();
    // The taker refuses for now: nothing can go.
    let request = redistribute(lower_half(), &[taker.taker(upper_half())]);
    let mut waiting = giver.connect();
    waiting.send(&request);
    let ch = name("ch");
    dht_testkit::wait_for("the range to be set", || (giver.range() == lower_half()).then_some(()));
    assert_eq!(ask(&giver, &request), ERROR, "one at a time");
    let there = sample()[&7].clone();
    assert_eq!(neo.get(&ch, Key(7)).expect("it is still here"), Some(there.clone()));
    assert!(neo.get(&ch, Key(10_001)).is_err(), "nobody knows yet");
    assert!(neo.put(&ch, Key(7), b"x").is_err(), "the taker's by now");
    assert_eq!(giver.client().get(&ch, Key(7)).expect("still here"), Some(there));
    let news = neo.take_range_news();
    assert_eq!(news.len(), 1, "{news:?}");
    assert_eq!(
        (news[0].about.map(|a| a.port()), news[0].range),
        (Some(taker.address().port() + 100), upper_half())
    );
    assert_eq!(ask(&taker, &redistribute(upper_half(), &[])), OK);
    assert_eq!(waiting.receive_u32(), OK);
    assert!(neo.get(&ch, Key(7)).is_err(), "gone, and not just absent");
    let news = neo.take_range_news();
    assert_eq!((news[0].about, news[0].range), (None, lower_half()));
}

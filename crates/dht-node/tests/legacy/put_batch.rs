//! PutBatch, record by record, and batches that are none. Source: spec `protocol-legacy` 7.10, 8.

use dht_testkit::legacy::{self, array, key, status};
use dht_testkit::{NodeSettings, for_seeds, from_hex};

use crate::support::{Client, Node, Records, blob, blob_of, record, unique};

/// A key of the node in [`half_a_node`]: its lowest bit is the highest of its place.
const OURS: u64 = 1;
/// A key that is some other node's.
const FOREIGN: u64 = 2;

/// A node that owns the upper half of the hash space.
fn half_a_node() -> Node {
    Node::with(&NodeSettings::default().with("Server", "minval", "0x8000000000000000"))
}

/// What is in the channel after a batch that stops at its third record.
fn the_first_two() -> Records {
    unique([(11, b"first".to_vec()), (13, b"second".to_vec())])
}

/// Two good records, then these bytes, then another good record.
fn stopped_by(third: &[u8]) -> Vec<u8> {
    let good = [record(11, b"first"), record(13, b"second")].concat();
    blob(&[&good, third, &record(15, b"not reached")].concat())
}

#[test]
fn all_records_of_a_good_batch_are_stored() {
    let node = Node::start();
    let mut peer = node.connect();
    let worked_example = from_hex(
        "23 00 00 00 00 00 00 00
         06 10 00 00 00 00 00 00 00 30 29 00 00 0c 64 65
         61 64 03 00 00 00 00 00 00 00 61 62 63 11 00 00",
    );
    assert_eq!(peer.ask(&legacy::put_batch("ch", &worked_example)), status::OK);
    assert_eq!(peer.get("ch", 0xdead), b"abc");
    let later_wins = blob_of(&[(1, b"1"), (0xdead, b"replaced"), (1, b"one")]);
    assert_eq!(peer.ask(&legacy::put_batch("ch", &later_wins)), status::OK);
    let expected = unique([(1, b"one".to_vec()), (0xdead, b"replaced".to_vec())]);
    assert_eq!(peer.records("ch"), expected);
}

#[test]
fn a_batch_without_records_makes_the_channel() {
    let node = Node::start();
    let mut peer = node.connect();
    let empty = from_hex("0000000000000000 110000");
    assert_eq!(peer.ask(&legacy::put_batch("ch", &empty)), status::OK);
    assert_eq!(peer.channels(), ["ch"]);
    assert!(peer.records("ch").is_empty());
}

#[test]
fn the_first_record_that_is_refused_ends_the_batch_with_its_status() {
    for (third, expected) in [
        (record(OURS, b""), status::EMPTY_VALUE),
        (record(FOREIGN, b""), status::EMPTY_VALUE),
        ([array(b"malformed"), array(b"")].concat(), status::EMPTY_VALUE),
        (record(FOREIGN, b"value"), status::WRONG_NODE),
    ] {
        let node = half_a_node();
        let mut peer = node.connect();
        assert_eq!(peer.ask(&legacy::put_batch("ch", &stopped_by(&third))), expected);
        assert_eq!(peer.records("ch"), the_first_two(), "what came before stays");
    }
}

#[test]
fn a_malformed_key_or_record_closes_the_connection_and_what_came_before_stays() {
    let past_the_end = [&key(OURS)[..], &1_000_u64.to_le_bytes(), b"short"].concat();
    for third in [
        [array(b"malformed"), array(b"value")].concat(),
        [array(b""), array(b"value")].concat(),
        [array(b"0000000000000000f"), array(b"value")].concat(),
        past_the_end,
        [&key(OURS)[..], &u64::MAX.to_le_bytes()].concat(),
        u64::MAX.to_le_bytes().to_vec(),
    ] {
        let node = half_a_node();
        let mut peer = node.connect();
        peer.send(&legacy::put_batch("ch", &stopped_by(&third)));
        peer.assert_closed();
        assert_eq!(node.connect().records("ch"), the_first_two());
    }
}

#[test]
fn records_may_be_longer_than_any_put() {
    let node = Node::start();
    let mut peer = node.connect();
    let long = vec![7; 3_000_000];
    assert_eq!(peer.ask(&legacy::put_batch("ch", &blob_of(&[(1, &long)]))), status::OK);
    assert!(peer.get("ch", 1) == long);
    assert!(peer.records("ch")[&1] == long);
}

/// Blobs that no decompressor may accept. Section 8 tells what they did to the original.
fn bad_blobs() -> Vec<Vec<u8>> {
    let good = blob_of(&[(1, &[7; 1_000]), (2, &b"abcdefgh".repeat(100))]);
    let with_length = |len: u64| [&len.to_le_bytes(), &good[8..]].concat();
    let len = u64::from_le_bytes(good[..8].try_into().expect("eight bytes"));
    let mut bad = vec![
        b"".to_vec(),
        vec![0; 4],
        vec![0; 7],
        vec![0; 8],
        from_hex("0000000000000000 1100"),
        from_hex("0000000000000000 110000 00"),
        from_hex("0100000000000000 110000"),
        with_length(len - 1),
        with_length(len + 1),
        with_length(0),
        with_length(1 << 31),
        with_length(1 << 63),
        with_length(u64::MAX),
        [&good[..], b"\0"].concat(),
    ];
    bad.extend((0..good.len()).map(|len| good[..len].to_vec()));
    bad
}

#[test]
fn a_blob_that_does_not_decompress_closes_the_connection_and_nothing_else() {
    let node = Node::start();
    for bad in bad_blobs() {
        let mut peer = node.connect();
        peer.send(&legacy::put_batch("ch", &bad));
        peer.assert_closed();
    }
    let mut peer = node.connect();
    assert_eq!(peer.channels(), ["ch"]);
    assert!(peer.records("ch").is_empty());
}

#[test]
fn noise_in_a_blob_does_no_harm() {
    let node = Node::start();
    for_seeds(300, |rng| {
        let mut damaged = blob_of(&[(rng.next(), &rng.bytes(1..300)), (2, &[7; 600])]);
        for _ in 0..rng.within(1..4) {
            let at = rng.within(0..damaged.len());
            damaged[at] ^= rng.bytes(1..2)[0];
        }
        let mut peer = node.connect();
        peer.send(&legacy::put_batch("ch", &damaged));
        peer.finish_sending();
        // Damage inside a value is not noticed by anybody.
        let answer = peer.receive_to_end();
        assert!(answer.is_empty() || answer.len() == 4, "{answer:?}");
    });
    node.connect().assert_usable();
}

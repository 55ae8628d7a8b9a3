//! GetAll, GetAllKeys, GetAllFilter. Source: spec `protocol-legacy` 7.13 to 7.15, 8; the checks of
//! `test-cases` A.1.

use dht_testkit::legacy::{self, status};
use dht_testkit::{NodeSettings, Peer, Rng};

use crate::support::{Client, Node, Records, blob_of, keys, pairs, unique, workers};

/// Bytes of a record in a batch besides its value.
const RECORD_BYTES: usize = 32;
/// Bytes of a record in a batch of GetAllKeys.
const KEY_BYTES: usize = 24;
/// `batch_size` in these tests.
const BATCH_BYTES: usize = 65_535;

/// Records of one channel, put in one go.
fn put_all(peer: &mut Peer, channel: &str, records: &Records) {
    for some in records.iter().collect::<Vec<_>>().chunks(1_000) {
        let puts = some.iter().flat_map(|(key, value)| legacy::put(channel, **key, value));
        peer.send(&puts.collect::<Vec<_>>());
        for _ in some {
            assert_eq!(peer.receive_u32(), status::OK);
        }
    }
}

fn filtered(peer: &mut Peer, channel: &str, filter: &[u8]) -> Records {
    let batches = peer.batches(&legacy::get_all_filter(channel, filter));
    unique(batches.iter().flat_map(|batch| pairs(batch)))
}

#[test]
fn nothing_to_tell_is_one_batch_without_records() {
    let node = Node::start();
    let mut peer = node.connect();
    peer.put("full", 1, b"value");
    assert_eq!(peer.ask(&legacy::put_batch("empty", &blob_of(&[]))), status::OK);
    for request in [
        legacy::get_all("unknown"),
        legacy::get_all_keys("unknown"),
        legacy::get_all_filter("unknown", b"x"),
        legacy::get_all("empty"),
        legacy::get_all_keys("empty"),
        legacy::get_all_filter("empty", b"x"),
        legacy::get_all_filter("full", b"x"),
    ] {
        peer.send(&request);
        peer.expect_hex("c8000000 0b00000000000000 0000000000000000 110000 0000000000000000");
    }
}

/// What the original's test suite compares with its own map.
fn verify(peer: &mut Peer, channel: &str, records: &Records) {
    let (count, _) = peer.size(&legacy::get_channel_size(channel));
    assert_eq!(count, records.len() as u64);
    assert_eq!(peer.records(channel), *records);
    let with_0 = records.iter().filter(|(_, value)| value.contains(&b'0'));
    assert_eq!(filtered(peer, channel, b"0"), unique(with_0.map(|(k, v)| (*k, v.clone()))));
    let batches = peer.batches(&legacy::get_all_keys(channel));
    let found = unique(batches.iter().flat_map(|batch| keys(batch)).map(|key| (key, Vec::new())));
    assert!(found.keys().eq(records.keys()));
    let (mut requests, mut expected) = (Vec::new(), Vec::new());
    for (key, value) in records {
        requests.extend([legacy::exists(channel, *key), legacy::get(channel, *key)].concat());
        expected.extend([&status::OK.to_le_bytes()[..], &[1], &status::OK.to_le_bytes()].concat());
        expected.extend(legacy::array(value));
    }
    let mut sending = Peer(peer.0.try_clone().expect("a socket"));
    let sender = std::thread::spawn(move || sending.send(&requests));
    assert!(peer.receive(expected.len()) == expected);
    sender.join().expect("all was sent");
}

/// The 64-bit FNV-1a hash of the bytes of a number, as the original's tests spread their keys.
fn spread(number: u32) -> u64 {
    number.to_le_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[test]
fn ten_thousand_records_are_put_and_every_second_removed() {
    let node = Node::with(&workers(2));
    let mut peer = node.connect();
    for (channel, key_of) in [("ordered", u64::from as fn(u32) -> u64), ("unordered", spread)] {
        let text = |key: u64| (key, key.to_string().into_bytes());
        let mut records = unique((0..10_000).map(|number| text(key_of(number))));
        put_all(&mut peer, channel, &records);
        verify(&mut peer, channel, &records);
        for number in (0..10_000).step_by(2) {
            let key = key_of(number);
            records.remove(&key);
            assert_eq!(peer.ask(&legacy::remove(channel, key)), status::OK);
        }
        verify(&mut peer, channel, &records);
    }
}

#[test]
fn batches_are_as_full_as_they_can_be() {
    for batch_bytes in [1024, BATCH_BYTES] {
        let settings =
            NodeSettings::default().with("Options_Memory", "batch_size", &batch_bytes.to_string());
        let node = Node::with(&settings);
        let mut peer = node.connect();
        let mut rng = Rng::new(1);
        let records = unique((0..3_000).map(|key| (key, rng.bytes(1..200))));
        put_all(&mut peer, "ch", &records);

        let batches = peer.batches(&legacy::get_all("ch"));
        assert!(batches.len() > 2);
        for two in batches.windows(2) {
            let (_, next) = &pairs(&two[1])[0];
            assert!(two[0].len() <= batch_bytes);
            assert!(two[0].len() + RECORD_BYTES + next.len() > batch_bytes, "one more had fitted");
        }
        let batches = peer.batches(&legacy::get_all_keys("ch"));
        let (last, full) = batches.split_last().expect("some");
        assert!(full.iter().all(|batch| batch.len() == batch_bytes / KEY_BYTES * KEY_BYTES));
        assert!(last.len() <= batch_bytes);
    }
}

#[test]
fn records_over_the_batch_size_travel_alone_and_none_is_left_out() {
    let node = Node::start();
    let mut peer = node.connect();
    let mut records = unique((0..500).map(|key| (key, vec![b'v'; 300])));
    put_all(&mut peer, "ch", &records);
    let fits = BATCH_BYTES - RECORD_BYTES;
    for (key, value_bytes) in [(1_000, fits), (1_001, fits + 1), (1_002, 200_000), (1_003, 70_000)]
    {
        let value = vec![b'w'; value_bytes];
        assert_eq!(peer.ask(&legacy::put_batch("ch", &blob_of(&[(key, &value)]))), status::OK);
        records.insert(key, value);
    }
    let batches: Vec<_> =
        peer.batches(&legacy::get_all("ch")).iter().map(|batch| pairs(batch)).collect();
    for batch in &batches {
        let big = batch.iter().any(|(_, value)| value.len() > fits);
        assert!(!big || batch.len() == 1, "a big record is not alone");
    }
    assert!(unique(batches.into_iter().flatten()) == records);
    assert_eq!(filtered(&mut peer, "ch", b"ww").len(), 4);
}

#[test]
fn a_filter_is_a_substring_of_the_value() {
    let node = Node::start();
    let mut peer = node.connect();
    let values: [&[u8]; 8] = [
        b"needle",
        b"needle at the start",
        b"the end needle",
        b"a needle inside",
        b"neeedle",
        b"NEEDLE",
        b"needl",
        b"\0\xff\0needle\0",
    ];
    let records = unique((0..).zip(values).map(|(key, value)| (key, value.to_vec())));
    put_all(&mut peer, "ch", &records);
    for (filter, expected) in [
        (&b"needle"[..], &[0, 1, 2, 3, 7][..]),
        (b"needle ", &[1, 3]),
        (b"n", &[0, 1, 2, 3, 4, 6, 7]),
        (b"\0\xff", &[7]),
        (b"\xff\0\0", &[]),
        (b"needle at the start and more than that", &[]),
        (b"", &[0, 1, 2, 3, 4, 5, 6, 7]),
    ] {
        let found: Vec<u64> = filtered(&mut peer, "ch", filter).into_keys().collect();
        assert_eq!(found, expected, "{}", filter.escape_ascii());
    }
    assert_eq!(filtered(&mut peer, "ch", b"\0\xff")[&7], b"\0\xff\0needle\0", "the value is whole");
}

#[test]
fn a_filter_that_finds_little_in_much_finds_it_all() {
    let node = Node::with(&workers(1));
    let mut peer = node.connect();
    let text = |key: u64| (key, format!("value {key}").into_bytes());
    let records = unique((0..30_000).map(text));
    put_all(&mut peer, "ch", &records);
    assert_eq!(filtered(&mut peer, "ch", b"e 12345"), unique([text(12_345)]));
    assert!(filtered(&mut peer, "ch", b"absent").is_empty());
}

#[test]
fn requests_behind_a_scan_are_answered_behind_it() {
    let node = Node::start();
    let mut peer = node.connect();
    let records = unique((0..5_000).map(|key| (key, vec![7; 100])));
    put_all(&mut peer, "ch", &records);
    let scan = legacy::get_all("ch");
    let pipeline = [&scan[..], &legacy::get("ch", 1), &scan, &legacy::get_version()].concat();
    assert_eq!(peer.batches(&pipeline).iter().flat_map(|batch| pairs(batch)).count(), 5_000);
    assert_eq!((peer.receive_u32(), peer.receive_array()), (status::OK, vec![7; 100]));
    assert_eq!(peer.batches(b"").iter().flat_map(|batch| pairs(batch)).count(), 5_000);
    peer.expect_hex("c8000000 0800000000000000 3230313130343031");
}

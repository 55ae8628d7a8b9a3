//! Arrays and values at their limits, what a limit on memory refuses, the sizes that are reported.
//! Source: spec `protocol-legacy` 3, 7.5, 7.9; `node` 11.1.

use std::collections::VecDeque;

use dht_testkit::legacy::{self, ARRAY_BYTES_MAX, array, key, request, status};
use dht_testkit::{NodeSettings, Rng};

use crate::support::{Client, Node, blob, blob_of, record, workers};

/// What an empty channel is said to take, in bytes.
const CHANNEL_BYTES: u64 = 525_376;
/// What a record is said to take besides its value, in bytes.
const RECORD_BYTES: u64 = 56;

#[test]
fn a_put_takes_batch_size_less_32_bytes_and_no_more() {
    for batch_bytes in [1024, 65_535, 65_536] {
        let settings =
            NodeSettings::default().with("Options_Memory", "batch_size", &batch_bytes.to_string());
        let node = Node::with(&settings);
        let mut peer = node.connect();
        let longest = vec![7; batch_bytes - 32];
        peer.put("ch", 1, &longest);
        let longer = vec![8; batch_bytes - 31];
        assert_eq!(peer.ask(&legacy::put("ch", 1, &longer)), status::VALUE_TOO_BIG);
        assert_eq!(peer.get("ch", 1), longest);
    }
}

#[test]
fn a_put_of_any_length_is_read_to_its_end_and_refused() {
    let node = Node::start();
    let mut peer = node.connect();
    let huge = vec![7; ARRAY_BYTES_MAX + 1];
    assert_eq!(peer.ask(&legacy::put("ch", 1, &huge)), status::VALUE_TOO_BIG);
    peer.assert_usable();
}

#[test]
fn an_array_of_exactly_the_limit_is_an_argument_like_any_other() {
    let node = Node::start();
    let mut peer = node.connect();
    let longest = array(&vec![b'c'; ARRAY_BYTES_MAX]);
    assert_eq!(peer.ask(&request(7, &[&longest, &key(1)])), status::BAD_CHANNEL_NAME);
    assert_eq!(peer.ask(&request(7, &[&array(b"unknown"), &longest])), status::OK);
    assert_eq!(peer.receive_array(), b"");
    peer.put("ch", 1, b"value");
    let request = request(31, &[&array(b"ch"), &longest]);
    assert_eq!(peer.batches(&request), [b""]);
    peer.assert_usable();
}

#[test]
fn an_array_over_the_limit_is_read_to_its_end_and_then_the_connection_is_closed() {
    let node = Node::start();
    let longer = array(&vec![b'c'; ARRAY_BYTES_MAX + 1]);
    for request in [
        request(1, &[&longer]),
        request(1, &[&array(b"ch"), &longer]),
        request(7, &[&array(b"unknown"), &longer]),
        request(25, &[&longer]),
        request(31, &[&array(b"ch"), &longer]),
        request(31, &[&array(b"bad name"), &longer]),
        request(34, &[&array(b"ch"), &longer]),
    ] {
        let mut peer = node.connect();
        // That all of it can be sent says that all of it is read.
        peer.send(&request);
        peer.assert_closed();
    }
    assert_eq!(node.connect().channels(), [""; 0]);
}

#[test]
fn an_absurd_length_is_waited_for_until_the_client_gives_up() {
    let node = Node::start();
    let mut first = node.connect();
    node.wait_for_connections(&mut first, 1);
    for len in [u64::MAX, 1 << 63, 1 << 40] {
        for head in [request(29, &[]), request(7, &[&array(b"ch")]), request(34, &[&array(b"ch")])]
        {
            let mut peer = node.connect();
            peer.send(&head);
            peer.send(&len.to_le_bytes());
            peer.send(&vec![0; 300_000]);
            peer.finish_sending();
            peer.assert_closed();
        }
    }
    node.wait_for_connections(&mut first, 1);
}

#[test]
fn a_batch_of_exactly_the_limit_is_stored() {
    let node = Node::start();
    let mut peer = node.connect();
    let noise = Rng::new(1).bytes(ARRAY_BYTES_MAX..ARRAY_BYTES_MAX + 1);
    // Noise does not compress: what is added is the same for lengths so close to each other.
    let mut value_bytes = ARRAY_BYTES_MAX - 100_000;
    let mut batch = blob_of(&[(1, &noise[..value_bytes])]);
    while batch.len() != ARRAY_BYTES_MAX {
        value_bytes = value_bytes + ARRAY_BYTES_MAX - batch.len();
        batch = blob_of(&[(1, &noise[..value_bytes])]);
    }
    assert_eq!(peer.ask(&legacy::put_batch("ch", &batch)), status::OK);
    assert_eq!(peer.get("ch", 1), noise[..value_bytes]);
}

#[test]
fn sizes_are_those_of_the_original_and_return_to_the_base() {
    let node = Node::start();
    let mut peer = node.connect();
    for (record, value) in [(1, &b"one"[..]), (2, b"second"), (3, b"3")] {
        peer.put("a", record, value);
    }
    peer.put("b", 1, &[7; 1000]);
    let a = 3 * RECORD_BYTES + 10;
    let b = RECORD_BYTES + 1000;
    assert_eq!(peer.size(&legacy::get_channel_size("a")), (3, CHANNEL_BYTES + a));
    assert_eq!(peer.size(&legacy::get_channel_size("b")), (1, CHANNEL_BYTES + b));
    assert_eq!(peer.size(&legacy::get_size()), (4, 2 * CHANNEL_BYTES + a + b));

    peer.put("b", 1, &[7; 10]);
    assert_eq!(peer.size(&legacy::get_channel_size("b")), (1, CHANNEL_BYTES + RECORD_BYTES + 10));
    for record in 1..=3 {
        assert_eq!(peer.ask(&legacy::remove("a", record)), status::OK);
    }
    assert_eq!(peer.size(&legacy::get_channel_size("a")), (0, CHANNEL_BYTES));
    for channel in ["a", "b"] {
        assert_eq!(peer.ask(&legacy::remove_channel(channel)), status::OK);
    }
    assert_eq!(peer.size(&legacy::get_size()), (0, 0));
}

/// A node that takes one channel and `bytes` more.
fn node_with_room_for(bytes: u64) -> Node {
    let limit = (CHANNEL_BYTES + bytes).to_string();
    Node::with(&NodeSettings::default().with("Options_Memory", "size_limit", &limit))
}

#[test]
fn the_size_limit_compares_what_is_stored_and_the_value_that_comes() {
    let node = node_with_room_for(RECORD_BYTES + 100 + 10);
    let mut peer = node.connect();
    peer.put("ch", 1, &[7; 100]);
    assert_eq!(peer.ask(&legacy::put("ch", 2, &[7; 11])), status::OUT_OF_MEMORY);
    assert_eq!(peer.ask(&legacy::put("ch", 2, b"")), status::EMPTY_VALUE);
    peer.put("ch", 2, &[7; 10]);
    // What the record itself takes is not asked for before, so the limit is passed now.
    for value in [&[7; 1][..], &[7; 100]] {
        assert_eq!(peer.ask(&legacy::put("ch", 1, value)), status::OUT_OF_MEMORY);
        assert_eq!(peer.ask(&legacy::put("other", 1, value)), status::OUT_OF_MEMORY);
    }
    assert_eq!(peer.channels(), ["ch"], "a refused Put makes no channel");
    assert_eq!(peer.ask(&legacy::remove("ch", 1)), status::OK);
    peer.put("ch", 3, b"room again");
}

#[test]
fn the_size_limit_ends_a_batch_and_leaves_what_came_before() {
    let node = node_with_room_for(2 * RECORD_BYTES + 20);
    let mut peer = node.connect();
    let raw: Vec<u8> = (1..=4).flat_map(|key| record(key, &[7; 10])).collect();
    assert_eq!(peer.ask(&legacy::put_batch("ch", &blob(&raw))), status::OUT_OF_MEMORY);
    assert_eq!(peer.records("ch").into_keys().collect::<Vec<_>>(), [1, 2]);
    let late_empty = blob_of(&[(5, b"")]);
    assert_eq!(peer.ask(&legacy::put_batch("ch", &late_empty)), status::EMPTY_VALUE);
}

#[test]
fn connections_over_the_limit_are_closed_without_a_byte() {
    let node = Node::with(&NodeSettings::default().with("Server", "connection_limit", "2"));
    let mut first = node.connect();
    let mut second = node.connect();
    second.assert_usable();
    for _ in 0..10 {
        node.connect().assert_closed();
    }
    first.assert_usable();
    drop(second);
    assert_eq!(first.num_connections(), 1);
    node.connect().assert_usable();
}

/// Whoever takes the place of one that is gone is no more than the limit allows.
#[test]
fn a_connection_that_was_closed_before_does_not_count() {
    for io in ["epoll", "auto"] {
        let settings = workers(3).with("Server", "connection_limit", "3");
        let node = Node::with(&settings.with("Performance", "io", io));
        let mut peers = VecDeque::from([node.connect(), node.connect(), node.connect()]);
        for _ in 0..300 {
            let mut gone = peers.pop_front().expect("there are three");
            // It still has to be read that it asked for something.
            gone.send(&legacy::get_version());
            drop(gone);
            let mut next = node.connect();
            next.assert_usable();
            peers.push_back(next);
        }
    }
}

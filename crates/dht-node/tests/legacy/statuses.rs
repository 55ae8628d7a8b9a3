//! Every request, every status, in the order of the checks. Source: spec `protocol-legacy` 6, 7.

use dht_testkit::legacy::{self, array, key, request, status};
use dht_testkit::{NodeSettings, Peer, to_hex};

use crate::support::{Client, Node, blob_of};

/// A key of the node in [`half_a_node`]: its lowest bit is the highest of its place.
const OURS: u64 = 1;
/// A key that is some other node's.
const FOREIGN: u64 = 2;
/// Longest value of a Put with the default settings of the tests.
const VALUE_BYTES_MAX: usize = 65_535 - 32;

/// Names that no channel can have.
fn bad_names() -> Vec<Vec<u8>> {
    let too_long = vec![b'c'; dht_types::CHANNEL_NAME_BYTES_MAX + 1];
    let names: [&[u8]; 8] = [b"", b"a b", b"a/b", b"../x", b"a.tcm", b"a\0", b"\xc3\xa4", b"\xff"];
    names.into_iter().map(<[u8]>::to_vec).chain([too_long]).collect()
}

/// A node that owns the upper half of the hash space.
fn half_a_node() -> Node {
    Node::with(&NodeSettings::default().with("Server", "minval", "0x8000000000000000"))
}

/// A Put with a key as it is.
fn put_with_key(channel: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    request(1, &[&array(channel.as_bytes()), &array(key), &array(value)])
}

fn malformed_keys() -> [&'static [u8]; 7] {
    [
        b"",
        b"1",
        b"000000000000dea",
        b"0000000000000dead",
        b"0x000000000000de",
        b"00000000 000dead",
        b"000000000000deag",
    ]
}

#[test]
fn a_bad_channel_name_is_refused_by_every_request_and_the_connection_goes_on() {
    let node = half_a_node();
    let mut peer = node.connect();
    for name in bad_names() {
        let name = array(&name);
        let too_long = array(&vec![7; VALUE_BYTES_MAX + 1]);
        let requests = [
            request(1, &[&name, &key(FOREIGN), &too_long]),
            request(1, &[&name, &array(b"malformed"), &array(b"")]),
            request(7, &[&name, &key(OURS)]),
            request(7, &[&name, &array(b"malformed")]),
            request(11, &[&name, &key(OURS)]),
            request(12, &[&name, &key(FOREIGN)]),
            request(12, &[&name, &array(b"malformed")]),
            request(18, &[&name]),
            request(22, &[&name]),
            request(25, &[&name]),
            request(29, &[&name]),
            request(30, &[&name]),
            request(31, &[&name, &array(b"filter")]),
            request(34, &[&name, &array(b"no batch")]),
        ];
        for request in requests {
            assert_eq!(peer.ask(&request), status::BAD_CHANNEL_NAME, "{}", to_hex(&request[..12]));
        }
    }
    peer.assert_usable();
    assert_eq!(peer.channels(), [""; 0]);
}

#[test]
fn the_longest_and_the_oddest_names_are_channels() {
    let node = Node::start();
    let mut peer = node.connect();
    let longest = "c".repeat(dht_types::CHANNEL_NAME_BYTES_MAX);
    let mut names = ["-", "A", "Z_z-09", "_", "a", longest.as_str()];
    for (record, name) in (0..).zip(names) {
        peer.put(name, record, name.as_bytes());
    }
    names.sort_unstable();
    assert_eq!(peer.channels(), names, "case matters");
    assert_eq!(peer.get("A", 1), b"A");
    assert_eq!(peer.get("a", 1), b"");
}

#[test]
fn put_checks_in_the_order_of_the_specification() {
    let node = half_a_node();
    let mut peer = node.connect();
    let (too_long, longest) = (vec![7; VALUE_BYTES_MAX + 1], vec![7; VALUE_BYTES_MAX]);
    for (record, value, expected) in [
        (FOREIGN, &too_long[..], status::WRONG_NODE),
        (FOREIGN, b"", status::WRONG_NODE),
        (FOREIGN, b"value", status::WRONG_NODE),
        (OURS, &too_long, status::VALUE_TOO_BIG),
        (OURS, b"", status::EMPTY_VALUE),
    ] {
        let answer = peer.ask(&legacy::put("ch", record, value));
        assert_eq!(answer, expected, "key {record}, {} bytes", value.len());
    }
    assert_eq!(peer.channels(), [""; 0], "a refused Put makes no channel");
    peer.put("ch", OURS, &longest);
    peer.put("ch", OURS, b"v");
    assert_eq!(peer.get("ch", OURS), b"v", "a Put replaces");
}

#[test]
fn a_malformed_key_closes_the_connection_before_anything_else_is_checked() {
    let node = half_a_node();
    for malformed in malformed_keys() {
        let mut peer = node.connect();
        peer.send(&put_with_key("ch", malformed, &vec![7; VALUE_BYTES_MAX + 1]));
        peer.assert_closed();

        let mut peer = node.connect();
        peer.send(&request(12, &[&array(b"unknown"), &array(malformed)]));
        peer.assert_closed();
    }
    assert_eq!(node.connect().channels(), [""; 0]);
}

#[test]
fn get_and_exists_look_at_the_key_only_if_there_is_the_channel() {
    let node = half_a_node();
    let mut peer = node.connect();
    peer.put("ch", OURS, b"value");
    for malformed in malformed_keys() {
        let ask =
            |code, channel: &str| request(code, &[&array(channel.as_bytes()), &array(malformed)]);
        assert_eq!(peer.ask(&ask(7, "unknown")), status::OK);
        assert_eq!(peer.receive_array(), b"");
        assert_eq!(peer.ask(&ask(11, "unknown")), status::OK);
        assert_eq!(peer.receive(1), [0]);
        for code in [7, 11] {
            let mut peer = node.connect();
            peer.send(&ask(code, "ch"));
            peer.assert_closed();
        }
    }
    peer.assert_usable();
}

#[test]
fn keys_are_read_in_either_case() {
    let node = Node::start();
    let mut peer = node.connect();
    assert_eq!(peer.ask(&put_with_key("ch", b"00000000DEADbeef", b"value")), status::OK);
    assert_eq!(peer.get("ch", 0xdead_beef), b"value");
    assert_eq!(peer.records("ch").into_keys().collect::<Vec<_>>(), [0xdead_beef]);
}

#[test]
fn reads_are_not_checked_against_the_range_and_removes_are() {
    let node = half_a_node();
    let mut peer = node.connect();
    peer.put("ch", OURS, b"value");
    for channel in ["ch", "unknown"] {
        assert_eq!(peer.get(channel, FOREIGN), b"");
        assert!(!peer.exists(channel, FOREIGN));
        assert_eq!(peer.ask(&legacy::remove(channel, FOREIGN)), status::WRONG_NODE);
    }
    assert_eq!(peer.ask(&legacy::get_responsible_range()), status::OK);
    assert_eq!((peer.receive_u64(), peer.receive_u64()), (1 << 63, u64::MAX));
}

#[test]
fn remove_and_remove_channel_succeed_whether_or_not_there_is_anything() {
    let node = Node::start();
    let mut peer = node.connect();
    for request in [legacy::remove("ch", 1), legacy::remove_channel("ch")] {
        assert_eq!(peer.ask(&request), status::OK);
    }
    assert_eq!(peer.channels(), [""; 0], "neither makes the channel");
    peer.put("ch", 1, b"value");
    assert!(peer.exists("ch", 1));
    assert_eq!(peer.ask(&legacy::remove("ch", 1)), status::OK);
    assert!(!peer.exists("ch", 1));
    assert_eq!(peer.ask(&legacy::remove("ch", 1)), status::OK);
    assert_eq!(peer.channels(), ["ch"], "an empty channel stays");
    peer.put("ch", 1, b"value");
    assert_eq!(peer.ask(&legacy::remove_channel("ch")), status::OK);
    assert_eq!(peer.channels(), [""; 0]);
    assert_eq!(peer.get("ch", 1), b"");
}

#[test]
fn only_put_put_batch_and_listen_make_a_channel() {
    let node = Node::start();
    let mut peer = node.connect();
    peer.get("a", 1);
    peer.exists("b", 1);
    assert_eq!(peer.size(&legacy::get_channel_size("c")), (0, 0));
    for (request, expected) in [
        (legacy::get_all("d"), 1),
        (legacy::get_all_keys("e"), 1),
        (legacy::get_all_filter("f", b"x"), 1),
    ] {
        assert_eq!(peer.batches(&request).len(), expected);
    }
    assert_eq!(peer.channels(), [""; 0]);
    peer.put("put", 1, b"value");
    assert_eq!(peer.ask(&legacy::put_batch("batch", &blob_of(&[]))), status::OK);
    assert_eq!(peer.ask(&legacy::listen("listen")), status::OK);
    assert_eq!(peer.channels(), ["batch", "listen", "put"]);
}

#[test]
fn the_node_tells_of_itself_in_the_bytes_of_the_original() {
    let node = Node::start();
    let mut peer = node.connect();
    node.wait_for_connections(&mut peer, 1);
    peer.send(&legacy::get_version());
    peer.expect_hex("c8000000 0800000000000000 3230313130343031");
    peer.send(&legacy::get_responsible_range());
    peer.expect_hex("c8000000 0000000000000000 ffffffffffffffff");
    peer.send(&legacy::get_channels());
    peer.expect_hex("c8000000 0000000000000000");
    let port = to_hex(&node.address().port().to_le_bytes());
    let head = format!("c8000000 0900000000000000 3132372e302e302e31 {port}");
    for (request, rest) in [
        (legacy::get_num_connections(), "0100000000000000"),
        (legacy::get_size(), "0000000000000000 0000000000000000"),
        (legacy::get_channel_size("ch"), "0000000000000000 0000000000000000"),
    ] {
        peer.send(&request);
        peer.expect_hex(&format!("{head} {rest}"));
    }
}

#[test]
fn connections_are_counted_while_they_are_open() {
    let node = Node::with(&crate::support::workers(3));
    let mut first = node.connect();
    node.wait_for_connections(&mut first, 1);
    let mut others: Vec<Peer> = (0..20).map(|_| node.connect()).collect();
    others.iter_mut().for_each(Client::assert_usable);
    assert_eq!(first.num_connections(), 21);
    others.truncate(5);
    assert_eq!(first.num_connections(), 6);
    for _ in 0..200 {
        let other = node.connect();
        assert_eq!(first.num_connections(), 7, "although it has not asked for anything");
        drop(other);
        assert_eq!(first.num_connections(), 6);
    }
}

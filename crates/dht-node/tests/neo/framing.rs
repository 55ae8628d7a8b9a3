//! Messages of an open connection: ids, codes, lengths, and what they may do to it. Source: spec
//! `protocol-neo` 3, 6, 9, 17.

use std::io::Write;
use std::net::Shutdown;

use dht_testkit::for_seeds;

use crate::bounds::peak_memory;
use crate::support::{CHANNEL, Client, Node};
use crate::wire::{
    self, GetAll, Mirror, REQUEST, SUPPORTED, UNKNOWN_CODE, UNKNOWN_VERSION, array, header,
};

/// Most requests that may run over one connection.
const REQUESTS_ACTIVE_MAX: u64 = 5000;

/// Longest body of a message.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// The codes of all requests.
const CODES: [u8; 11] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 211];

#[test]
fn unknown_codes_and_versions_are_told_and_the_connection_stays() {
    let node = Node::start();
    let mut client = node.client();
    for code in (0..=255).filter(|code| !CODES.contains(code)) {
        for version in [0, 1] {
            let id = client.start(&[code, version, 1, 2, 3]);
            assert_eq!(client.receive(id), [UNKNOWN_CODE]);
        }
    }
    for code in CODES {
        for version in [1, 2, 255] {
            let id = client.start(&[&[code, version], &wire::get(CHANNEL, 1)[2..]].concat());
            assert_eq!(client.receive(id), [UNKNOWN_VERSION]);
        }
    }
    assert!(client.channels().is_empty());
}

#[test]
fn arguments_that_end_early_are_silent_and_the_connection_stays() {
    let node = Node::start();
    let mut client = node.admin();
    let requests = [
        wire::put(CHANNEL, 1, b"value"),
        wire::get(CHANNEL, 1),
        wire::exists(CHANNEL, 1),
        wire::remove(CHANNEL, 1),
        wire::remove_channel(CHANNEL),
        wire::update_get(CHANNEL, 1),
        wire::update_at_once(CHANNEL, 1, b"old", b"new"),
        GetAll { channel: CHANNEL, filter: b"x", ..GetAll::default() }.encode(),
        Mirror { channel: CHANNEL, ..Mirror::default() }.encode(),
    ];
    for request in &requests {
        for len in 2..request.len() {
            let id = client.start(&request[..len]);
            assert_eq!(client.receive(id), [SUPPORTED]);
        }
    }
    // An array that claims more than there is.
    for len in [u64::MAX, u64::MAX - 15, 1 << 63, 1 << 32, 3] {
        let request = [&[3, 0], &len.to_le_bytes()[..], b"ch"].concat();
        client.start_supported(&request);
    }
    for id in 1..client.new_id() {
        client.send(id, &wire::get_hash_range());
        assert_eq!(client.receive(id), [SUPPORTED], "nothing was said before, and the id is free");
        let _ = client.receive(id);
        client.send(id, b"");
    }
    assert!(client.channels().is_empty());
}

#[test]
fn trailing_bytes_are_ignored_where_the_original_ignores_them() {
    let node = Node::start();
    let mut client = node.admin();
    client.put(CHANNEL, 1, b"value");
    let with_tail = |request: Vec<u8>| [&request[..], &[0]].concat();
    assert_eq!(client.ask(&with_tail(wire::put(CHANNEL, 1, b"more"))), [1]);
    assert_eq!(client.ask(&with_tail(wire::exists(CHANNEL, 1))), [1]);
    assert_eq!(client.ask(&with_tail(wire::get(CHANNEL, 2))), [1]);
    assert_eq!(client.ask(&with_tail(wire::get_channels())), [&[2], &array(CHANNEL)[..]].concat());
    for request in [
        wire::remove(CHANNEL, 1),
        GetAll { channel: CHANNEL, ..GetAll::default() }.encode(),
        Mirror { channel: CHANNEL, ..Mirror::default() }.encode(),
    ] {
        let id = client.start_supported(&with_tail(request));
        client.assert_silent(id);
    }
    assert_eq!(client.get(CHANNEL, 1).as_deref(), Some(&b"more"[..]), "nothing was removed");
    assert_eq!(client.ask(&with_tail(wire::remove_channel(CHANNEL))), [1]);
}

#[test]
fn a_bool_is_true_unless_it_is_zero() {
    let node = Node::start();
    let mut client = node.client();
    client.put(CHANNEL, 1, b"value");
    let mut request = GetAll { channel: CHANNEL, ..GetAll::default() }.encode();
    let keys_only = request.len() - 9;
    request[keys_only] = 0x80;
    let id = client.start_stream(&request);
    assert_eq!(client.batches_to_the_end(id), [array(1_u64.to_le_bytes())]);
}

#[test]
fn ids_are_anything_but_zero() {
    let node = Node::start();
    let mut client = node.client();
    for id in [u64::MAX, 1 << 63, 1, 0x0102_0304_0506_0708] {
        client.send(id, &wire::exists(CHANNEL, 1));
        assert_eq!((client.receive(id), client.receive(id)), (vec![SUPPORTED], vec![2]));
    }
    client.send(0, &wire::exists(CHANNEL, 1));
    client.assert_closed();
}

#[test]
fn a_start_without_code_and_version_closes_the_connection() {
    let node = Node::start();
    for payload in [&b""[..], &[1], &[99]] {
        let mut client = node.client();
        client.send(1, payload);
        client.assert_closed();
    }
    for len in 0..8 {
        let mut client = node.client();
        client.peer.send(&wire::frame(REQUEST, &vec![1; len]));
        client.assert_closed();
    }
}

#[test]
fn what_was_asked_before_a_mistake_is_done_and_answered() {
    let node = Node::start();
    let mut client = node.client();
    let mut bytes = wire::message(1, &wire::put(CHANNEL, 1, b"value"));
    bytes.extend(wire::message(2, &wire::exists(CHANNEL, 1)));
    bytes.extend(wire::message(0, &wire::exists(CHANNEL, 1)));
    bytes.extend(wire::message(3, &wire::remove(CHANNEL, 1)));
    client.peer.send(&bytes);
    assert_eq!((client.receive(1), client.receive(1)), (vec![SUPPORTED], vec![1]));
    assert_eq!((client.receive(2), client.receive(2)), (vec![SUPPORTED], vec![1]));
    client.assert_closed();
    assert_eq!(node.client().get(CHANNEL, 1).as_deref(), Some(&b"value"[..]));
}

#[test]
fn bodies_beyond_the_limit_close_the_connection_at_their_header() {
    let node = Node::start();
    for len in [BODY_BYTES_MAX + 1, 1 << 32, 1 << 62, u64::MAX - 9, u64::MAX] {
        let mut client = node.client();
        client.peer.send(&header(REQUEST, len));
        client.assert_closed();
    }
    // Within the limit the node waits for the body, and takes no memory for it ahead.
    let mut waiting: Vec<Client> = (0..50).map(|_| node.client()).collect();
    for client in &mut waiting {
        client.peer.send(&header(REQUEST, BODY_BYTES_MAX));
    }
    let mut client = node.client();
    client.put(CHANNEL, 1, b"value");
    let peak = peak_memory(&node);
    assert!(peak < 512 << 20, "{peak} bytes for 50 headers");
}

#[test]
fn so_many_requests_may_run_and_not_one_more() {
    let node = Node::start();
    let mut client = node.client();
    let start = |id| wire::message(id, &wire::get_hash_range());
    client.peer.send(&(1..=REQUESTS_ACTIVE_MAX).flat_map(start).collect::<Vec<u8>>());
    for id in 1..=REQUESTS_ACTIVE_MAX {
        assert_eq!((client.receive(id).len(), client.receive(id).len()), (1, 16));
    }
    // One that ends makes room for another.
    client.send(17, b"");
    client.send(6000, &wire::exists(CHANNEL, 1));
    assert_eq!((client.receive(6000), client.receive(6000)), (vec![SUPPORTED], vec![2]));
    client.send(6001, &wire::get_hash_range());
    assert_eq!(client.receive(6001), [SUPPORTED]);
    let _ = client.receive(6001);
    client.send(6002, &wire::get_hash_range());
    client.assert_closed();
    // The limit is each connection's own.
    node.client().put(CHANNEL, 1, b"value");
}

#[test]
fn any_bytes_close_the_connection_or_leave_it_usable_and_others_unharmed() {
    let node = Node::start();
    let mut witness = node.client();
    witness.put("witness", 1, b"value");
    for_seeds(200, |rng| {
        let mut client = node.client();
        for _ in 0..rng.within(1..6) {
            let request = match rng.below(4) {
                0 => rng.bytes(0..60),
                1 => [&[rng.within(0..11).to_le_bytes()[0], 0], &rng.bytes(0..40)[..]].concat(),
                _ => {
                    let mut request = wire::put(CHANNEL, rng.next(), b"value");
                    let at = rng.within(0..request.len());
                    request[at] ^= 1 << rng.below(8);
                    request
                }
            };
            // It may be closed already.
            let _ = client.peer.0.write_all(&wire::message(rng.below(3) + 1, &request));
        }
        let _ = client.peer.0.shutdown(Shutdown::Write);
        let _ = client.peer.receive_to_end();
    });
    assert_eq!(witness.get("witness", 1).as_deref(), Some(&b"value"[..]));
}

//! One store, two protocols: what one of them does the other one sees.

use dht_testkit::legacy::{self, array, key, status};
use dht_testkit::{Peer, wait_for};

use crate::mirror::{CHANGES, Told, told};
use crate::support::{CHANNEL, Node, workers};
use crate::wire;

/// Sends a legacy request, which has to succeed.
fn ok(peer: &mut Peer, request: &[u8]) {
    peer.send(request);
    assert_eq!(peer.receive_u32(), status::OK);
}

/// The value that a legacy Get finds.
fn legacy_get(peer: &mut Peer, record: u64) -> Vec<u8> {
    ok(peer, &legacy::get(CHANNEL, record));
    peer.receive_array()
}

fn legacy_exists(peer: &mut Peer, record: u64) -> bool {
    ok(peer, &legacy::exists(CHANNEL, record));
    peer.receive(1) == [1]
}

/// The channels that a legacy GetChannels lists.
fn legacy_channels(peer: &mut Peer) -> Vec<Vec<u8>> {
    ok(peer, &legacy::get_channels());
    std::iter::repeat_with(|| peer.receive_array()).take_while(|name| !name.is_empty()).collect()
}

/// A legacy connection that listens to the channel.
fn listener(node: &Node) -> Peer {
    let mut peer = node.connect();
    ok(&mut peer, &legacy::listen(CHANNEL));
    peer
}

/// What a Listen tells of a changed record.
fn assert_listener_told(listener: &mut Peer, record: u64, value: &[u8]) {
    let expected = [key(record), array(value)].concat();
    assert_eq!(listener.receive(expected.len()), expected);
}

#[test]
fn what_legacy_clients_write_neo_clients_see() {
    let node = Node::with(&workers(2));
    let (mut peer, mut client) = (node.connect(), node.client());
    let mirror = client.start_stream(&CHANGES.encode());
    ok(&mut peer, &legacy::put(CHANNEL, 7, b"value"));
    assert_eq!(told(&mut client, mirror), Told::changed(7, b"value"));
    assert_eq!(client.get(CHANNEL, 7).as_deref(), Some(&b"value"[..]));
    assert_eq!(client.ask(&wire::exists(CHANNEL, 7)), [1]);
    assert_eq!(client.records(CHANNEL), [(7, b"value".to_vec())].into());
    assert_eq!(client.channels(), [CHANNEL]);
    let update = client.start_supported(&wire::update_get(CHANNEL, 7));
    assert_eq!(client.receive(update), [&[5], &array(b"value")[..]].concat());
    // A legacy Put in between makes the Update conflict.
    ok(&mut peer, &legacy::put(CHANNEL, 7, b"other"));
    client.send(update, &wire::update_record(b"value", b"lost"));
    assert_eq!(client.receive(update), [8]);
    assert_eq!(told(&mut client, mirror), Told::changed(7, b"other"));
    ok(&mut peer, &legacy::remove(CHANNEL, 7));
    assert_eq!(told(&mut client, mirror), Told::Deleted(7));
    assert_eq!(client.get(CHANNEL, 7), None);
    assert_eq!(client.ask(&wire::exists(CHANNEL, 7)), [2]);
    ok(&mut peer, &legacy::remove_channel(CHANNEL));
    assert_eq!(told(&mut client, mirror), Told::ChannelRemoved);
    assert!(client.channels().is_empty());
}

#[test]
fn what_neo_clients_write_legacy_clients_see() {
    let node = Node::with(&workers(2));
    let (mut peer, mut client) = (node.connect(), node.admin());
    let mut listening = listener(&node);
    client.put(CHANNEL, 7, b"value");
    assert_listener_told(&mut listening, 7, b"value");
    assert_eq!(legacy_get(&mut peer, 7), b"value");
    assert!(legacy_exists(&mut peer, 7));
    assert_eq!(legacy_channels(&mut peer), [CHANNEL.as_bytes()]);

    assert_eq!(client.ask(&wire::update_at_once(CHANNEL, 7, b"value", b"new")), [6]);
    assert_listener_told(&mut listening, 7, b"new");
    // A Listen tells of no removal: the next that it tells is the next Put.
    client.remove(CHANNEL, 7);
    assert_eq!(legacy_get(&mut peer, 7), b"");
    assert!(!legacy_exists(&mut peer, 7));
    client.put(CHANNEL, 8, b"next");
    assert_listener_told(&mut listening, 8, b"next");

    client.remove_channel(CHANNEL);
    assert_eq!(listening.receive(16), [0; 16], "the end of a Listen");
    assert!(legacy_channels(&mut peer).is_empty());
}

#[test]
fn an_empty_value_of_neo_looks_like_nothing_to_legacy_but_exists() {
    let node = Node::start();
    let (mut peer, mut client) = (node.connect(), node.client());
    client.put(CHANNEL, 1, b"");
    assert_eq!(legacy_get(&mut peer, 1), b"");
    assert!(legacy_exists(&mut peer, 1));
    ok(&mut peer, &legacy::remove(CHANNEL, 1));
    assert_eq!(client.get(CHANNEL, 1), None);
}

#[test]
fn values_that_only_neo_takes_come_back_by_legacy() {
    let node = Node::start();
    let (mut peer, mut client) = (node.connect(), node.client());
    let value = vec![7; 1 << 20];
    client.put(CHANNEL, 1, &value);
    assert!(legacy_get(&mut peer, 1) == value);
}

#[test]
fn connections_are_counted_by_protocol() {
    let node = Node::start();
    let (mut peer, clients) = (node.connect(), [node.client(), node.client()]);
    let mut count = || {
        ok(&mut peer, &legacy::get_num_connections());
        let _ = (peer.receive_array(), peer.receive_u16());
        peer.receive_u64()
    };
    // The connection that saw the node start may be open a moment longer.
    wait_for("the number of connections", || (count() == 1).then_some(()));
    drop(clients);
}

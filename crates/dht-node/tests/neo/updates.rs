//! Update, step by step. Source: spec `protocol-neo` 11.

use crate::support::{CHANNEL, Client, Node};
use crate::wire::{self, LEAVE_RECORD, REMOVE_RECORD, SUPPORTED};

const OK: [u8; 1] = [6];
const NO_RECORD: [u8; 1] = [7];
const CONFLICT: [u8; 1] = [8];

/// Starts an Update, which has to find this value.
fn begin(client: &mut Client, key: u64, found: &[u8]) -> u64 {
    let id = client.start_supported(&wire::update_get(CHANNEL, key));
    assert_eq!(client.receive(id), [&[5], &wire::array(found)[..]].concat(), "RecordValue");
    id
}

/// Sends the second half of an Update. Returns the answer, after which it has to be over.
fn end(client: &mut Client, id: u64, second_half: &[u8]) -> Vec<u8> {
    client.send(id, second_half);
    let answer = client.receive(id);
    client.send(id, &wire::exists(CHANNEL, 99));
    assert_eq!((client.receive(id), client.receive(id)), (vec![SUPPORTED], vec![2]));
    answer
}

fn value(client: &mut Client, key: u64) -> Option<Vec<u8>> {
    client.get(CHANNEL, key)
}

#[test]
fn a_record_is_replaced_left_and_removed() {
    let node = Node::start();
    let mut client = node.client();
    assert_eq!(client.ask(&wire::update_get(CHANNEL, 1)), NO_RECORD);
    client.put(CHANNEL, 1, b"hello");
    let id = begin(&mut client, 1, b"hello");
    assert_eq!(end(&mut client, id, &wire::update_record(b"hello", b"hello world")), OK);
    assert_eq!(value(&mut client, 1).as_deref(), Some(&b"hello world"[..]));
    let id = begin(&mut client, 1, b"hello world");
    assert_eq!(end(&mut client, id, LEAVE_RECORD), OK);
    assert_eq!(value(&mut client, 1).as_deref(), Some(&b"hello world"[..]));
    let id = begin(&mut client, 1, b"hello world");
    assert_eq!(end(&mut client, id, &[REMOVE_RECORD, b"ignored"].concat()), OK);
    assert_eq!(value(&mut client, 1), None);
    assert_eq!(client.ask(&wire::update_get(CHANNEL, 1)), NO_RECORD);
}

#[test]
fn empty_values_are_found_written_and_removed() {
    let node = Node::start();
    let mut client = node.client();
    client.put(CHANNEL, 1, b"some");
    let id = begin(&mut client, 1, b"some");
    assert_eq!(end(&mut client, id, &wire::update_record(b"some", b"")), OK);
    let id = begin(&mut client, 1, b"");
    assert_eq!(end(&mut client, id, &wire::update_record(b"", b"more")), OK);
    assert_eq!(client.ask(&wire::update_at_once(CHANNEL, 1, b"more", b"")), OK);
    assert_eq!(value(&mut client, 1).as_deref(), Some(&b""[..]));
    let id = begin(&mut client, 1, b"");
    assert_eq!(end(&mut client, id, REMOVE_RECORD), OK);
    assert_eq!(value(&mut client, 1), None);
}

#[test]
fn who_comes_second_conflicts() {
    let node = Node::start();
    let (mut one, mut other) = (node.client(), node.client());
    one.put(CHANNEL, 1, b"first");
    let (slow, fast) = (begin(&mut one, 1, b"first"), begin(&mut other, 1, b"first"));
    assert_eq!(end(&mut other, fast, &wire::update_record(b"first", b"second")), OK);
    assert_eq!(end(&mut one, slow, &wire::update_record(b"first", b"lost")), CONFLICT);
    assert_eq!(value(&mut one, 1).as_deref(), Some(&b"second"[..]));
    // What counts is the value, not its history.
    let id = begin(&mut one, 1, b"second");
    other.put(CHANNEL, 1, b"third");
    other.put(CHANNEL, 1, b"second");
    assert_eq!(end(&mut one, id, &wire::update_record(b"second", b"fourth")), OK);
    // One connection may update a record twice at a time, too.
    let (slow, fast) = (begin(&mut one, 1, b"fourth"), begin(&mut one, 1, b"fourth"));
    assert_eq!(end(&mut one, fast, &wire::update_record(b"fourth", b"fifth")), OK);
    assert_eq!(end(&mut one, slow, &wire::update_record(b"fourth", b"lost")), CONFLICT);
}

#[test]
fn a_record_that_is_gone_meanwhile_is_written_anew() {
    let node = Node::start();
    let (mut client, mut other) = (node.client(), node.admin());
    client.put(CHANNEL, 1, b"old");
    let id = begin(&mut client, 1, b"old");
    other.remove(CHANNEL, 1);
    assert_eq!(end(&mut client, id, &wire::update_record(b"old", b"new")), OK);
    assert_eq!(value(&mut client, 1).as_deref(), Some(&b"new"[..]));

    let id = begin(&mut client, 1, b"new");
    other.remove_channel(CHANNEL);
    assert_eq!(end(&mut client, id, &wire::update_record(b"new", b"newer")), OK);
    assert_eq!(client.records(CHANNEL), [(1, b"newer".to_vec())].into());

    let id = begin(&mut client, 1, b"newer");
    other.remove_channel(CHANNEL);
    assert_eq!(end(&mut client, id, REMOVE_RECORD), OK);
}

#[test]
fn the_second_node_of_an_update_writes_at_once() {
    let node = Node::start();
    let mut client = node.client();
    let mut ask = |old: &[u8], new: &[u8]| client.ask(&wire::update_at_once(CHANNEL, 1, old, new));
    assert_eq!(ask(b"gone", b"new"), OK, "no record is no conflict");
    assert_eq!(ask(b"other", b"newer"), CONFLICT);
    assert_eq!(ask(b"new", b"newer"), OK);
    assert_eq!(value(&mut client, 1).as_deref(), Some(&b"newer"[..]));
}

#[test]
fn what_cannot_be_read_ends_the_update_without_a_word() {
    let node = Node::start();
    let mut client = node.client();
    client.put(CHANNEL, 1, b"value");
    let whole = wire::update_record(b"value", b"new");
    let mut too_long_inside = whole.clone();
    too_long_inside[9] += 1;
    for second_half in [
        b"".to_vec(),
        whole[..1].to_vec(),
        whole[..9].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..], &[0]].concat(),
        too_long_inside,
    ] {
        let id = begin(&mut client, 1, b"value");
        client.send(id, &second_half);
        client.assert_silent(id);
        // The id is free again.
        client.send(id, &wire::exists(CHANNEL, 1));
        assert_eq!((client.receive(id), client.receive(id)), (vec![SUPPORTED], vec![1]));
    }
    let mut at_once = wire::update_at_once(CHANNEL, 1, b"value", b"new");
    at_once.push(0);
    for request in [&at_once[..], &at_once[..at_once.len() - 2]] {
        let id = client.start_supported(request);
        client.assert_silent(id);
    }
    assert_eq!(value(&mut client, 1).as_deref(), Some(&b"value"[..]));
    // Behind a GetRecord, anything is ignored.
    let request = [wire::update_get(CHANNEL, 2), b"more".to_vec()].concat();
    assert_eq!(client.ask(&request), NO_RECORD);
}

#[test]
fn a_type_that_an_update_never_gets_closes_the_connection() {
    let node = Node::start();
    node.client().put(CHANNEL, 1, b"value");
    for kind in [0, 1, 5, 6, 255] {
        let mut client = node.client();
        let id = begin(&mut client, 1, b"value");
        client.send(id, &[kind]);
        client.assert_closed();
    }
    for kind in [0, 3, 4, 255] {
        let mut client = node.client();
        client.start_supported(&wire::update(kind, CHANNEL, 1));
        client.assert_closed();
    }
    assert_eq!(value(&mut node.client(), 1).as_deref(), Some(&b"value"[..]));
}

#[test]
fn a_connection_that_goes_leaves_the_record_alone() {
    let node = Node::start();
    let mut client = node.client();
    client.put(CHANNEL, 1, b"value");
    let mut other = node.client();
    begin(&mut other, 1, b"value");
    drop(other);
    let id = begin(&mut client, 1, b"value");
    assert_eq!(end(&mut client, id, &wire::update_record(b"value", b"new")), OK);
}

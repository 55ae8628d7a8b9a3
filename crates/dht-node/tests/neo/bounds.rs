//! Clients that ask for much and read little: they harm themselves only.

use dht_testkit::neo::array;

use crate::support::{
    CHANNEL, Client, Node, Records, command, decompress, pairs, records, unique, unwrap_array,
    workers,
};
use crate::wire::{self, ACK, GetAll, SUPPORTED};

/// The most memory that the node has had, in bytes.
pub(crate) fn peak_memory(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// Sends many requests in one piece. Returns their ids.
fn pipeline(client: &mut Client, request: &[u8], count: usize) -> Vec<u64> {
    let ids: Vec<u64> = (0..count).map(|_| client.new_id()).collect();
    let bytes: Vec<u8> = ids.iter().flat_map(|id| wire::message(*id, request)).collect();
    client.peer.send(&bytes);
    ids
}

#[test]
fn who_does_not_read_stops_nobody_else() {
    // All connections belong to one worker.
    let node = Node::with(&workers(1));
    let mut slow = node.client();
    let all = records(2000, 8192);
    slow.put_all(CHANNEL, &all);
    let scan = slow.start_stream(&GetAll { channel: CHANNEL, ..GetAll::default() }.encode());
    let gets = pipeline(&mut slow, &wire::get(CHANNEL, 7), 2000);
    let mut quick = node.client();
    for key in 0..200 {
        quick.put("other", key, b"value");
    }
    assert_eq!(quick.records("other").len(), 200);
    assert!(quick.records(CHANNEL) == all);
    // When it reads at last, it finds everything.
    for id in gets {
        assert_eq!((slow.receive(id), slow.receive(id)), (vec![SUPPORTED], vec![2]));
        assert!(unwrap_array(&slow.receive(id)) == all[&7]);
    }
    let mut found = Vec::new();
    for batch in slow.batches_to_the_end(scan) {
        found.extend(pairs(&batch));
    }
    assert!(unique(found) == all);
}

#[test]
fn what_waits_for_a_slow_reader_is_bounded_however_large_the_answers() {
    const VALUE_BYTES: usize = 4 << 20;
    let node = Node::with(&workers(1));
    let mut client = node.client();
    client.put(CHANNEL, 1, &vec![7; VALUE_BYTES]);
    let before = peak_memory(&node);
    let gets = pipeline(&mut client, &wire::get(CHANNEL, 1), 64);
    node.client().settle();
    for id in gets {
        assert_eq!((client.receive(id), client.receive(id)), (vec![SUPPORTED], vec![2]));
        assert_eq!(client.receive(id).len(), 8 + VALUE_BYTES);
    }
    let grown = peak_memory(&node) - before;
    assert!(grown < 8 * VALUE_BYTES as u64, "{grown} bytes for 64 answers of {VALUE_BYTES}");
}

#[test]
fn gets_that_come_together_are_answered_in_their_order() {
    let node = Node::with(&workers(1));
    let mut client = node.client();
    // Some records, one of them empty, and keys that have none between them.
    let mut all = records(100, 100);
    all.insert(50, Vec::new());
    client.put_all(CHANNEL, &all);
    let keys = (0..500_u64).map(|at| at * 7 % 200);
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for key in keys {
        let id = client.new_id();
        bytes.extend(wire::message(id, &wire::get(CHANNEL, key)));
        expected.push((id, vec![SUPPORTED]));
        match all.get(&key) {
            Some(value) => expected.extend([(id, vec![2]), (id, array(value))]),
            None => expected.push((id, vec![1])),
        }
    }
    client.peer.send(&bytes);
    for message in expected {
        assert_eq!(client.receive_any(), message);
    }
    assert!(command(&node, "requests").contains("neo Get 500\n"));
    // Of a channel that nobody has made; then it is there.
    for id in pipeline(&mut client, &wire::get("new", 1), 64) {
        assert_eq!((client.receive(id), client.receive(id)), (vec![SUPPORTED], vec![1]));
    }
    assert!(client.channels().contains(&"new".to_owned()));
}

#[test]
fn requests_that_fill_the_output_are_answered_in_the_end() {
    let node = Node::with(&workers(1));
    let mut client = node.client();
    let all: Records = records(64, 60_000);
    client.put_all(CHANNEL, &all);
    // Of all kinds, with streams among them, so that the output is full at any of them.
    let mut bytes = Vec::new();
    let (mut gets, mut scans, mut updates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..300_u64 {
        let (get, scan, update) = (client.new_id(), client.new_id(), client.new_id());
        bytes.extend(wire::message(get, &wire::get(CHANNEL, round % 64)));
        if round % 30 == 0 {
            let request = GetAll { channel: CHANNEL, keys_only: true, ..GetAll::default() };
            bytes.extend(wire::message(scan, &request.encode()));
            scans.push(scan);
        }
        if round % 7 == 0 {
            bytes.extend(wire::message(update, &wire::update_get(CHANNEL, round % 64)));
            bytes.extend(wire::message(update, wire::LEAVE_RECORD));
            updates.push(update);
        }
        gets.push((get, round % 64));
    }
    client.peer.send(&bytes);
    for id in updates {
        assert_eq!(client.receive(id), [SUPPORTED]);
        assert_eq!(client.receive(id)[0], 5);
        assert_eq!(client.receive(id), [6]);
    }
    for (id, key) in gets {
        assert_eq!((client.receive(id), client.receive(id)), (vec![SUPPORTED], vec![2]));
        assert!(unwrap_array(&client.receive(id)) == all[&key]);
    }
    for id in scans {
        assert_eq!((client.receive(id), client.receive(id)), (vec![SUPPORTED], vec![5]));
        assert_eq!(decompress(&client.receive(id)[1..]).len(), 64 * 16);
        assert_eq!(client.receive(id), [8]);
        client.send(id, ACK);
    }
    client.settle();
}

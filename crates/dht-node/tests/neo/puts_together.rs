//! Puts of a channel that come together are stored together: nobody may tell that from single ones.

use std::thread;

use dht_testkit::neo::array;
use dht_testkit::{NodeSettings, Rng};

use crate::mirror::{CHANGES, Told, told};
use crate::support::{CHANNEL, Node, Records, command, records, workers};
use crate::wire::{self, SUPPORTED};

/// A record that is there from the beginning; to remove it ends a test.
const LAST: u64 = u64::MAX;

type Put = (u64, Vec<u8>);

/// The upper half of the range: the odd keys, as what counts is their bits in reverse. The channel
/// itself counts for 525,376 bytes, so with the limit some records do not fit.
fn settings(is_limited: bool) -> NodeSettings {
    let limit = if is_limited { "600000" } else { "0" };
    workers(1).with("Server", "minval", "0x8000000000000000").with(
        "Options_Memory",
        "size_limit",
        limit,
    )
}

/// Few keys, so that they come again. Some do not belong to the node, and some values are long.
fn some_puts(rng: &mut Rng) -> Vec<Put> {
    let (count, keys) = (*rng.pick(&[3, 20, 200]), *rng.pick(&[5, 60]));
    let foreign = rng.one_in(3);
    let put = |_| {
        let key = rng.below(keys) * 2 + u64::from(!foreign || !rng.one_in(30));
        let longest = if rng.one_in(20) { 60_000 } else { 300 };
        (key, rng.bytes(0..longest))
    };
    (0..count).map(put).collect()
}

/// What comes of these puts: the answers, and what a Mirror tells, one after the other.
fn outcome(node: &Node, rounds: &[Vec<Put>], together: bool) -> (Vec<Vec<u8>>, Records) {
    let (mut client, mut watcher) = (node.client(), node.client());
    client.put(CHANNEL, LAST, b"");
    let mirror = watcher.start_stream(&CHANGES.encode());
    let mut answers = Vec::new();
    for puts in rounds {
        let requests = puts.iter().map(|(key, value)| wire::put(CHANNEL, *key, value));
        if together {
            let (mut bytes, mut ids) = (Vec::new(), Vec::new());
            for request in requests {
                let id = client.new_id();
                bytes.extend(wire::message(id, &request));
                ids.push(id);
            }
            client.peer.send(&bytes);
            for id in ids {
                assert_eq!(client.receive(id), [SUPPORTED]);
                answers.push(client.receive(id));
            }
        } else {
            answers.extend(requests.map(|request| client.ask(&request)));
        }
    }
    client.remove(CHANNEL, LAST);
    let mut mirrored = Records::new();
    loop {
        match told(&mut watcher, mirror) {
            Told::Changed(key, value) => drop(mirrored.insert(key, value)),
            Told::Deleted(LAST) => return (answers, mirrored),
            other => panic!("nothing else happens: {other:?}"),
        }
    }
}

#[test]
fn puts_that_come_together_are_single_puts() {
    for (seed, is_limited) in [(0, true), (1, true), (2, false), (3, false)] {
        let mut rng = Rng::new(seed);
        let mut rounds: Vec<Vec<Put>> = (0..20).map(|_| some_puts(&mut rng)).collect();
        rounds.push((0..70).map(|key| (key % 60 * 2 + 1, rng.bytes(0..100))).collect());
        let nodes = [false, true].map(|_| Node::with(&settings(is_limited)));
        let [(one_by_one, expected), (answers, mirrored)] =
            [false, true].map(|together| outcome(&nodes[usize::from(together)], &rounds, together));
        assert!(one_by_one.contains(&vec![1]) && one_by_one.contains(&vec![2]));
        assert_eq!(one_by_one.contains(&vec![3]), is_limited);
        assert!(answers == one_by_one && mirrored == expected, "seed {seed}");
        for node in nodes {
            let puts = format!("neo Put {}\n", answers.len() + 1);
            assert!(command(&node, "requests").contains(&puts));
            assert!(node.client().records(CHANNEL) == expected, "seed {seed}");
            // Out of the log.
            assert!(node.restart().client().records(CHANNEL) == expected, "seed {seed}");
        }
    }
}

/// The first 63 come together with a Get; of the others the output has room for more or fewer.
#[test]
fn puts_that_fill_the_output_are_executed_in_their_order() {
    let node = Node::with(&workers(1));
    let mut client = node.client();
    for value_bytes in (60_000..65_500).step_by(110) {
        let value = vec![7; value_bytes];
        client.put(CHANNEL, 0, &value);
        let get = client.new_id();
        let mut bytes = wire::message(get, &wire::get(CHANNEL, 0));
        let mut expected = vec![(get, vec![SUPPORTED]), (get, vec![2]), (get, array(&value))];
        for at in 1..1 + 63 + 64_u64 {
            let id = client.new_id();
            bytes.extend(wire::message(id, &wire::put(CHANNEL, at % 100, &at.to_le_bytes())));
            expected.extend([(id, vec![SUPPORTED]), (id, vec![1])]);
        }
        client.peer.send(&bytes);
        for message in expected {
            assert_eq!(client.receive_any(), message);
        }
        for (key, last) in [(0, 100), (27, 127), (28, 28), (99, 99)] {
            assert_eq!(client.get(CHANNEL, key), Some(u64::to_le_bytes(last).to_vec()));
        }
    }
}

#[test]
fn puts_go_into_a_new_channel_when_theirs_is_removed_meanwhile() {
    let node = Node::with(&workers(2));
    let all = records(1000, 20);
    let (mut client, mut admin) = (node.client(), node.admin());
    thread::scope(|scope| {
        let puts = scope.spawn(|| (0..30).for_each(|_| client.put_all(CHANNEL, &all)));
        while !puts.is_finished() {
            admin.remove_channel(CHANNEL);
        }
    });
    client.put_all(CHANNEL, &all);
    assert!(client.records(CHANNEL) == all);
    assert!(node.restart().client().records(CHANNEL) == all);
}

//! Puts of a channel that come together are stored together: nobody may tell that from single ones.

use std::thread;

use dht_testkit::neo::array;
use dht_testkit::{NodeSettings, Rng, SmallDisk, wait_for};

use crate::mirror::{CHANGES, Told, told};
use crate::support::{CHANNEL, Client, Node, Records, command, records, workers};
use crate::wire::{self, SUPPORTED};

/// Codes of answers to a Put.
const SUCCESS: u8 = 1;
const ERROR: u8 = 3;

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

/// The ids of the Puts that were answered with success, out of all that a node has said.
fn successes(said: &[u8]) -> Vec<u64> {
    let (mut rest, mut ids) = (said, Vec::new());
    while let Some((header, behind)) = rest.split_first_chunk::<10>() {
        let len = u64::from_le_bytes(header[1..9].try_into().expect("eight bytes"));
        // The connection may have ended in the middle of a message.
        let len = usize::try_from(len).expect("fits memory");
        let Some((body, behind)) = behind.split_at_checked(len) else { break };
        let (id, payload) = body.split_first_chunk().expect("an id");
        if payload == [SUCCESS] {
            ids.push(u64::from_le_bytes(*id));
        }
        rest = behind;
    }
    ids
}

/// Several connections in a turn, so that some puts of it fill the frame that cannot be written,
/// and others come behind them.
#[test]
fn a_log_that_runs_full_among_puts_has_all_that_were_answered() {
    const CLIENTS: u64 = 8;
    const PUTS: u64 = 60;
    for level in ["os", "disk"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let Some(disk) = SmallDisk::mount(folder.path(), 6_000_000) else { return };
        let settings = workers(1).with("Log", "durability", level);
        let data = folder.path().join("data");
        let data = data.to_str().expect("a plain path");
        let node = Node::with(&settings.with("Server", "data_dir", data));
        node.client().put(CHANNEL, LAST, b"before");
        disk.leave_free(2_000_000);

        let (mut answered, mut key) = (Records::new(), 0);
        loop {
            let clients: Vec<Client> = (0..CLIENTS).map(|_| node.client()).collect();
            let mut asked = Vec::new();
            for mut client in clients {
                let mut bytes = Vec::new();
                for _ in 0..PUTS {
                    key += 1;
                    bytes.extend(wire::message(key, &wire::put(CHANNEL, key, &value(key))));
                }
                client.peer.send(&bytes);
                client.peer.finish_sending();
                asked.push(client);
            }
            let before = answered.len();
            for mut client in asked {
                let ids = successes(&client.peer.receive_to_end());
                answered.extend(ids.into_iter().map(|id| (id, value(id))));
            }
            if answered.len() < before + usize::try_from(CLIENTS * PUTS).expect("small") {
                break;
            }
        }
        assert!((500..2_000).contains(&answered.len()), "{}", answered.len());
        let refused = node.client().ask(&wire::put(CHANNEL, 0, b"refused"));
        assert_eq!(refused, [ERROR]);

        disk.empty();
        let again = || node.client().ask(&wire::put(CHANNEL, LAST, b"after")) == [SUCCESS];
        wait_for("writes", || again().then_some(()));
        answered.insert(LAST, b"after".to_vec());
        let found = node.restart().client().records(CHANNEL);
        for (key, value) in &answered {
            assert_eq!(found.get(key), Some(value), "{level}: {key}");
        }
        // Of a turn whose log failed nothing was answered, and some of it may be there.
        assert!(
            !found.contains_key(&0) && found.keys().all(|&found| found <= key || found == LAST)
        );
    }
}

/// A kilobyte that tells its key.
fn value(key: u64) -> Vec<u8> {
    key.to_le_bytes().repeat(125)
}

//! Mirror: all records at the start, periodically, and when changes were lost. Source: spec
//! `protocol-neo` 14.5, 15.2.

use dht_testkit::Rng;

use crate::mirror::{CHANGES, REFRESH, Told, told};
use crate::support::{CHANNEL, Client, Node, Records, decompress, records, unique, workers};
use crate::wire::{self, Mirror, RESUME, STOP, SUSPEND};

/// A batch is sent when it holds so many bytes before compression, unless one record alone is
/// longer.
const BATCH_BYTES: usize = 65_536;

/// The next records that a refresh tells.
fn next_refreshed(client: &mut Client, id: u64) -> Vec<(u64, Vec<u8>)> {
    match told(client, id) {
        Told::Refreshed(records) => records,
        other => panic!("no refresh: {other:?}"),
    }
}

/// The records of a refresh of so many.
fn refresh_of(client: &mut Client, id: u64, count: usize) -> Records {
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(next_refreshed(client, id));
    }
    unique(found)
}

#[test]
fn the_first_refresh_tells_every_record_once() {
    let node = Node::start();
    let mut client = node.client();
    let all = records(1000, 1000);
    client.put_all(CHANNEL, &all);
    for _ in 0..2 {
        let id = client.start_stream(&REFRESH.encode());
        assert!(refresh_of(&mut client, id, all.len()) == all);
        client.assert_silent(id);
    }
}

#[test]
fn no_refresh_tells_an_empty_channel_and_none_is_told_unasked() {
    let node = Node::start();
    let mut client = node.client();
    let id = client.start_stream(&REFRESH.encode());
    client.assert_silent(id);
    client.put("other", 1, b"value");
    let id = client.start_stream(&Mirror { channel: "other", ..CHANGES }.encode());
    client.assert_silent(id);
}

#[test]
fn batches_are_well_filled_and_no_record_is_left_out() {
    let node = Node::start();
    let mut client = node.client();
    let mut all = records(400, 1000);
    for (key, value_bytes) in [(1000, 65_520), (1001, 65_521), (1002, 300_000), (1003, 5 << 20)] {
        all.insert(key, records(1, value_bytes).remove(&0).expect("one"));
    }
    all.extend((2000..7000).map(|key| (key, Vec::new())));
    for part in all.iter().collect::<Vec<_>>().chunks(4000) {
        client.put_all(CHANNEL, &part.iter().map(|(k, v)| (**k, (*v).clone())).collect());
    }
    let id = client.start_stream(&REFRESH.encode());
    let (mut found, mut small) = (Vec::new(), 0);
    while found.len() < all.len() {
        let payload = client.receive(id);
        let bytes = decompress(&payload[1..]).len();
        let Told::Refreshed(records) = Told::read(&payload) else { panic!("a batch") };
        assert!(bytes < 2 * BATCH_BYTES || records.len() == 1, "a long record is alone");
        small += usize::from(bytes < BATCH_BYTES / 2);
        found.extend(records);
    }
    assert!(unique(found) == all);
    // Before a long record, and at the end.
    assert!(small <= 6, "{small} small batches");
    client.assert_silent(id);
}

#[test]
fn a_refresh_pauses_and_goes_on_anywhere() {
    let node = Node::start();
    let mut client = node.client();
    let all = records(2000, 8192);
    client.put_all(CHANNEL, &all);
    let id = client.start_stream(&Mirror { suspended: true, ..REFRESH }.encode());
    client.assert_silent(id);
    let mut found = Vec::new();
    while found.len() < all.len() {
        client.control(id, RESUME);
        found.extend(next_refreshed(&mut client, id));
        for payload in client.control_after(id, SUSPEND) {
            let Told::Refreshed(records) = Told::read(&payload) else { panic!("a batch") };
            found.extend(records);
        }
        client.assert_silent(id);
    }
    assert!(unique(found) == all);
    client.control(id, RESUME);
    client.put(CHANNEL, 1, b"new");
    assert_eq!(told(&mut client, id), Told::changed(1, b"new"));
}

#[test]
fn a_refresh_can_be_stopped() {
    let node = Node::start();
    let mut client = node.client();
    client.put_all(CHANNEL, &records(2000, 8192));
    let id = client.start_stream(&REFRESH.encode());
    next_refreshed(&mut client, id);
    client.control_after(id, STOP);
    client.assert_silent(id);
}

/// The one test that has to wait for the clock: three seconds.
#[test]
fn a_periodic_refresh_comes_again_and_not_while_suspended() {
    let node = Node::start();
    let all = records(300, 100);
    let (mut client, mut paused) = (node.client(), node.client());
    client.put_all(CHANNEL, &all);
    let every_second = Mirror { periodic_refresh_s: 1, ..CHANGES };
    let waiting = paused.start_stream(&every_second.encode());
    paused.control(waiting, SUSPEND);
    let id = client.start_stream(&every_second.encode());
    for _ in 0..3 {
        client.assert_silent(id);
        assert!(refresh_of(&mut client, id, all.len()) == all);
    }
    client.control_after(id, STOP);
    // Two rounds of it at least were due; what it may be is whole rounds.
    paused.assert_silent(waiting);
    paused.control(waiting, RESUME);
    for _ in 0..2 {
        assert!(refresh_of(&mut paused, waiting, all.len()) == all);
    }
    paused.control_after(waiting, STOP);
    paused.assert_silent(waiting);
}

/// What a client makes of what its Mirror tells.
fn apply(copy: &mut Records, told: Told) {
    match told {
        Told::Changed(key, value) => drop(copy.insert(key, value)),
        Told::Deleted(key) => drop(copy.remove(&key)),
        Told::Refreshed(records) => copy.extend(records),
        Told::Overflow => {}
        Told::ChannelRemoved => panic!("nobody removes it"),
    }
}

#[test]
fn a_copy_by_refresh_and_changes_becomes_what_the_channel_holds() {
    let node = Node::with(&workers(2));
    let (mut writer, mut client) = (node.client(), node.client());
    let mut all = records(2000, 500);
    writer.put_all(CHANNEL, &all);
    let mut rng = Rng::new(3);
    let mut copy = Records::new();
    let id = client.start_stream(&REFRESH.encode());
    let (mut requests, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..4000 {
        let (id, key) = (writer.new_id(), rng.below(3000));
        if rng.one_in(2) {
            let value = rng.bytes(0..50);
            requests.extend(wire::message(id, &wire::put(CHANNEL, key, &value)));
            answers.push((id, 1));
            all.insert(key, value);
        } else {
            requests.extend(wire::message(id, &wire::remove(CHANNEL, key)));
            answers.push((id, 1 + u8::from(all.remove(&key).is_some())));
        }
    }
    writer.peer.send(&requests);
    while copy != all {
        let told = told(&mut client, id);
        apply(&mut copy, told);
    }
    for (id, answer) in answers {
        assert_eq!((writer.receive(id), writer.receive(id)), (vec![0xfd], vec![answer]));
    }
    client.put(CHANNEL, u64::MAX, b"the last change");
    all.insert(u64::MAX, b"the last change".to_vec());
    while copy.len() < all.len() {
        let told = told(&mut client, id);
        apply(&mut copy, told);
    }
    client.settle();
    assert!(copy == all);
}

/// The first changes are kept. That others were lost is told behind them, and then it is healed: by
/// the removals, and a refresh.
#[test]
fn what_was_lost_while_suspended_is_told_once_and_healed() {
    const KEPT: usize = 262_144;
    let node = Node::with(&workers(2));
    let (mut client, mut writer) = (node.client(), node.client());
    let id = client.start_stream(&Mirror { suspended: true, ..CHANGES }.encode());
    let all: Records =
        (0..KEPT as u64 + 40_000).map(|key| (key, key.to_le_bytes().into())).collect();
    let (mut changes, mut expected) = (Vec::new(), all.clone());
    for part in all.keys().copied().collect::<Vec<_>>().chunks(4000) {
        writer.put_all(CHANNEL, &part.iter().map(|key| (*key, all[key].clone())).collect());
        changes.extend(part.iter().map(|key| Told::changed(*key, &all[key])));
        writer.remove(CHANNEL, part[0]);
        changes.push(Told::Deleted(part[0]));
        expected.remove(&part[0]);
    }
    client.assert_silent(id);
    client.control(id, RESUME);
    let lost = changes.split_off(KEPT);
    for change in changes {
        match change {
            // It is looked up when it is sent.
            Told::Changed(key, _) if !expected.contains_key(&key) => {}
            change => assert_eq!(told(&mut client, id), change),
        }
    }
    assert_eq!(told(&mut client, id), Told::Overflow);
    for removal in lost.into_iter().filter(|change| matches!(change, Told::Deleted(_))) {
        assert_eq!(told(&mut client, id), removal);
    }
    assert!(refresh_of(&mut client, id, expected.len()) == expected);
    client.assert_silent(id);
}

/// The original's queue has no room for them either.
#[test]
fn changes_of_one_key_are_lost_and_told_too() {
    const LOST: usize = 1000;
    let node = Node::start();
    let (mut client, mut writer) = (node.client(), node.client());
    let id = client.start_stream(&Mirror { suspended: true, ..CHANGES }.encode());
    let keys: Records = (0..LOST as u64).map(|key| (key, b"value".to_vec())).collect();
    let mut sent = 0;
    while sent < 262_144 + LOST {
        writer.put_all(CHANNEL, &keys);
        sent += keys.len();
    }
    client.control(id, RESUME);
    let mut count = 0;
    while let Told::Changed(..) = told(&mut client, id) {
        count += 1;
    }
    assert_eq!(count, 262_144, "and then the loss");
    assert!(refresh_of(&mut client, id, keys.len()) == keys);
    client.assert_silent(id);
}

//! Mirror: changes, in order. Source: spec `protocol-neo` 14.2, 14.3, 14.5.

use dht_protocol::legacy::batch::Compressor;
use dht_testkit::{from_hex, legacy};

use crate::support::{
    CHANNEL, Client, Node, decompress, records, refreshed, unwrap_array, workers,
};
use crate::wire::{self, Mirror, REMOVE_RECORD, RESUME, STOP, SUSPEND};

/// What a Mirror tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Changed(u64, Vec<u8>),
    Deleted(u64),
    Refreshed(Vec<(u64, Vec<u8>)>),
    ChannelRemoved,
    Overflow,
}

impl Told {
    pub(crate) fn read(payload: &[u8]) -> Self {
        let record = |bytes: &[u8]| {
            let (key, rest) = bytes.split_first_chunk().expect("a key");
            (u64::from_le_bytes(*key), rest.to_vec())
        };
        match payload {
            [7, rest @ ..] => {
                let (key, value) = record(rest);
                Self::Changed(key, unwrap_array(&value))
            }
            [8, rest @ ..] => {
                assert_eq!(rest.len(), 8);
                Self::Deleted(record(rest).0)
            }
            [9, batch @ ..] => Self::Refreshed(refreshed(&decompress(batch))),
            [10] => Self::ChannelRemoved,
            [11] => Self::Overflow,
            other => panic!("a Mirror does not say {other:02x?}"),
        }
    }

    pub(crate) fn changed(key: u64, value: &[u8]) -> Self {
        Self::Changed(key, value.to_vec())
    }
}

/// Changes only.
pub(crate) const CHANGES: Mirror<'_> =
    Mirror { channel: CHANNEL, suspended: false, initial_refresh: false, periodic_refresh_s: 0 };

/// All records first.
pub(crate) const REFRESH: Mirror<'_> = Mirror { initial_refresh: true, ..CHANGES };

/// What a Mirror tells next.
pub(crate) fn told(client: &mut Client, id: u64) -> Told {
    Told::read(&client.receive(id))
}

#[track_caller]
fn assert_told(client: &mut Client, id: u64, expected: &[Told]) {
    for expected in expected {
        assert_eq!(told(client, id), *expected);
    }
    client.assert_silent(id);
}

#[test]
fn changes_have_the_bytes_of_the_specification() {
    let node = Node::start();
    let mut client = node.client();
    client.put("test", 0xdead, b"abc");
    client.peer.send(&from_hex(
        "01 1c 00 00 00 00 00 00 00 1d   05 00 00 00 00 00 00 00
         04 00  00  04 00 00 00 00 00 00 00 74 65 73 74  01  68 01 00 00",
    ));
    client.peer.expect_hex(
        "01 09 00 00 00 00 00 00 00 08   05 00 00 00 00 00 00 00   fd
         01 09 00 00 00 00 00 00 00 08   05 00 00 00 00 00 00 00   05",
    );
    let refresh = client.receive(5);
    let record = "ad de 00 00 00 00 00 00  03 00 00 00 00 00 00 00  61 62 63";
    assert_eq!((refresh[0], decompress(&refresh[1..])), (9, from_hex(record)));
    let mut writer = node.client();
    writer.put("test", 0xdead, b"abcd");
    client.peer.expect_hex(
        "01 1d 00 00 00 00 00 00 00 1c   05 00 00 00 00 00 00 00
         07  ad de 00 00 00 00 00 00  04 00 00 00 00 00 00 00  61 62 63 64",
    );
    writer.remove("test", 0xdead);
    client.peer.expect_hex(
        "01 11 00 00 00 00 00 00 00 10   05 00 00 00 00 00 00 00   08  ad de 00 00 00 00 00 00",
    );
}

#[test]
fn every_kind_of_change_is_told_in_order() {
    for count in [1, 2] {
        let node = Node::with(&workers(count));
        let (mut client, mut writer) = (node.client(), node.client());
        let id = client.start_stream(&CHANGES.encode());
        let mut expected = Vec::new();
        for key in 0..100 {
            writer.put(CHANNEL, key, &key.to_le_bytes());
            expected.push(Told::changed(key, &key.to_le_bytes()));
        }
        for key in 0..5 {
            writer.remove(CHANNEL, key);
            expected.push(Told::Deleted(key));
        }
        assert_told(&mut client, id, &expected);

        writer.put(CHANNEL, 200, b"");
        assert_told(&mut client, id, &[Told::changed(200, b"")]);
        assert_eq!(writer.ask(&wire::update_at_once(CHANNEL, 200, b"", b"new")), [6]);
        assert_told(&mut client, id, &[Told::changed(200, b"new")]);
        let update = writer.start_supported(&wire::update_get(CHANNEL, 200));
        let _ = writer.receive(update);
        writer.send(update, REMOVE_RECORD);
        assert_eq!(writer.receive(update), [6]);
        assert_told(&mut client, id, &[Told::Deleted(200)]);
        // A Mirror tells what its own connection does, too.
        client.put(CHANNEL, 1, b"own");
        assert_told(&mut client, id, &[Told::changed(1, b"own")]);
    }
}

#[test]
fn what_changes_nothing_is_not_told() {
    let node = Node::start();
    let (mut client, mut writer) = (node.client(), node.client());
    writer.put(CHANNEL, 1, b"value");
    let id = client.start_stream(&CHANGES.encode());
    assert_eq!(writer.ask(&wire::remove(CHANNEL, 2)), [1], "NoRecord");
    assert_eq!(writer.ask(&wire::update_at_once(CHANNEL, 1, b"other", b"new")), [8], "conflict");
    writer.put("other", 1, b"another channel");
    writer.get(CHANNEL, 1);
    client.assert_silent(id);
}

#[test]
fn of_legacy_writes_puts_and_removes_are_told_and_batches_are_not() {
    let node = Node::start();
    let (mut client, mut peer) = (node.client(), node.connect());
    let id = client.start_stream(&CHANGES.encode());
    let record = [legacy::key(9), legacy::array(b"batched")].concat();
    let mut batch = (record.len() as u64).to_le_bytes().to_vec();
    Compressor::new().compress(&record, &mut batch);
    for request in [
        legacy::put(CHANNEL, 1, b"value"),
        legacy::put_batch(CHANNEL, &batch),
        legacy::remove(CHANNEL, 1),
        // Compat: the removal of a record that is not there is told by the legacy protocol.
        legacy::remove(CHANNEL, 77),
    ] {
        peer.send(&request);
        assert_eq!(peer.receive(4), legacy::status::OK.to_le_bytes());
        client.settle();
    }
    let expected = [Told::changed(1, b"value"), Told::Deleted(1), Told::Deleted(77)];
    assert_told(&mut client, id, &expected);
    assert_eq!(client.get(CHANNEL, 9).as_deref(), Some(&b"batched"[..]));
}

#[test]
fn a_suspended_mirror_keeps_order_and_repetitions_and_tells_the_newest_value() {
    let node = Node::start();
    let (mut client, mut writer) = (node.client(), node.client());
    let id = client.start_stream(&Mirror { suspended: true, ..CHANGES }.encode());
    for round in 0..2 {
        for key in 0..5 {
            writer.put(CHANNEL, key, b"first");
        }
        writer.put(CHANNEL, 0, b"second");
        writer.put(CHANNEL, 1, b"second");
        writer.remove(CHANNEL, 2); // A change, then a deletion: the change is gone.
        writer.remove(CHANNEL, 3);
        writer.put(CHANNEL, 3, b"again"); // A deletion, then a change.
        client.assert_silent(id);
        client.send(id, RESUME);
        assert_eq!(client.receive(id), wire::ACK);
        let expected = [
            Told::changed(0, b"second"),
            Told::changed(1, b"second"),
            Told::changed(3, b"again"),
            Told::changed(4, b"first"),
            Told::changed(0, b"second"),
            Told::changed(1, b"second"),
            Told::Deleted(2),
            Told::Deleted(3),
            Told::changed(3, b"again"),
        ];
        assert_told(&mut client, id, &expected);
        if round == 0 {
            client.control(id, SUSPEND);
        }
    }
}

#[test]
fn nothing_follows_the_ack_of_suspend_or_stop_while_changes_pour_in() {
    let node = Node::with(&workers(2));
    let (mut client, mut writer) = (node.client(), node.client());
    let id = client.start_stream(&CHANGES.encode());
    let all = records(1000, 1000);
    let mut count = 0;
    for _ in 0..4 {
        let puts = writer.send_puts(CHANNEL, &all);
        count += client.control_after(id, SUSPEND).len();
        client.assert_silent(id);
        writer.receive_puts(puts);
        client.assert_silent(id);
        client.control(id, RESUME);
    }
    while count < 4 * all.len() {
        assert!(matches!(told(&mut client, id), Told::Changed(..)));
        count += 1;
    }
    client.assert_silent(id);
    client.control(id, STOP);
    writer.put(CHANNEL, 1, b"value");
    client.assert_silent(id);
}

#[test]
fn no_key_is_told_twice_of_changes_while_suspended() {
    let node = Node::start();
    let (mut client, mut writer) = (node.client(), node.client());
    let id = client.start_stream(&CHANGES.encode());
    client.control(id, SUSPEND);
    let all = records(1000, 16 * 1024);
    writer.put_all(CHANNEL, &all);
    client.control(id, RESUME);
    for (key, value) in &all {
        assert!(told(&mut client, id) == Told::changed(*key, value));
    }
    client.assert_silent(id);
}

#[test]
fn any_number_of_mirrors_tell_the_same() {
    let node = Node::with(&workers(2));
    let (mut client, mut other, mut writer) = (node.client(), node.client(), node.client());
    let ids: Vec<u64> = (0..50).map(|_| client.start_stream(&CHANGES.encode())).collect();
    let others = other.start_stream(&CHANGES.encode());
    writer.put(CHANNEL, 1, b"value");
    assert_eq!(told(&mut other, others), Told::changed(1, b"value"));
    for id in ids {
        assert_eq!(told(&mut client, id), Told::changed(1, b"value"));
    }
    drop(client);
    writer.put(CHANNEL, 2, b"value");
    assert_eq!(told(&mut other, others), Told::changed(2, b"value"));
}

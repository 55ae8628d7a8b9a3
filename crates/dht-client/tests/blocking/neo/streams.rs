//! GetAll and Mirror: batches, ends, early ends.

use dht_client::{
    ErrorKind,
    blocking::neo::{MirrorEvent, MirrorOptions, ScanOptions},
};
use dht_protocol::neo::{
    Control, Payload as _,
    batch::{Compressor, GetAllBatch, RefreshBatch},
    requests::{
        Exists, ExistsReply, GetAll, GetAllMessage, HashRangeUpdate, Mirror, MirrorMessage,
    },
};
use dht_types::{HashRange, Key};

use super::peer::{Peer, Raw, Step, channel, exchange, id, messages, whole};

const STARTED: u8 = 5;

fn get_all(script: &mut Vec<Step>, keys_only: bool, options: ScanOptions<'_>) {
    let channel = channel();
    let ScanOptions { filter, continue_from } = options;
    let request =
        GetAll { start_suspended: false, channel: &channel, continue_from, keys_only, filter };
    script.extend(exchange(2, request, &[&Raw(vec![STARTED])]));
}

fn mirror(script: &mut Vec<Step>, options: MirrorOptions) {
    let channel = channel();
    let MirrorOptions { initial_refresh, periodic_refresh_s } = options;
    let start_suspended = false;
    let request =
        Mirror { start_suspended, channel: &channel, initial_refresh, periodic_refresh_s };
    script.extend(exchange(2, request, &[&Raw(vec![STARTED])]));
}

fn answer(script: &mut Vec<Step>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    write(&mut bytes);
    script.push(Step::Answer(bytes, 11));
}

fn control(script: &mut Vec<Step>, control: Control) {
    script.push(Step::Expect(messages(2, &[&control])));
}

/// Another request, to see that the connection can go on.
fn afterwards(script: &mut Vec<Step>) {
    let channel = channel();
    let request = Exists { channel: &channel, key: Key(1) };
    script.extend(exchange(3, request, &[&ExistsReply::RecordExists]));
    script.push(Step::AwaitClose);
}

#[test]
fn records_come_in_batches_and_the_end_is_acknowledged() {
    let options = ScanOptions { filter: b"v", continue_from: Some(Key(9)) };
    let mut script = whole();
    get_all(&mut script, false, options);
    answer(&mut script, |out| {
        let (mut batch, mut compressor) = (GetAllBatch::new(), Compressor::new());
        assert!(batch.add(Key(1), b"value 1") && batch.add(Key(2), b""));
        batch.write(id(2), &mut compressor, out);
        assert!(batch.add(Key(3), b"value 3"));
        batch.write(id(2), &mut compressor, out);
        batch.write(id(2), &mut compressor, out);
        GetAllMessage::Finished.write(id(2), out);
    });
    control(&mut script, Control::Ack);
    afterwards(&mut script);
    let peer = Peer::once(script);
    let mut node = peer.greeted();
    let records = node.get_all(&channel(), options).expect("started");
    let records: Vec<_> = records.map(|record| record.expect("a record")).collect();
    let expected = [(1, &b"value 1"[..]), (2, b""), (3, b"value 3")];
    assert_eq!(records, expected.map(|(key, value)| (Key(key), value.to_vec())));
    assert!(node.exists(&channel(), Key(1)).expect("over the same connection"));
    drop(node);
    peer.finish();
}

#[test]
fn keys_alone_come_the_same_way() {
    let mut script = whole();
    get_all(&mut script, true, ScanOptions::default());
    answer(&mut script, |out| {
        let mut batch = GetAllBatch::new();
        assert!((0..5).all(|key| batch.add_key(Key(key))));
        batch.write(id(2), &mut Compressor::new(), out);
        GetAllMessage::Finished.write(id(2), out);
    });
    control(&mut script, Control::Ack);
    let peer = Peer::once(script);
    let mut node = peer.greeted();
    let keys = node.get_all_keys(&channel(), ScanOptions::default()).expect("started");
    let keys: Vec<_> = keys.map(|key| key.expect("a key").0).collect();
    assert_eq!(keys, [0, 1, 2, 3, 4]);
    peer.finish();
}

#[test]
fn a_scan_can_be_stopped_and_its_connection_goes_on() {
    // What the node answers to Stop: another batch on the way and the Ack, or its own end.
    for finishes in [false, true] {
        let mut script = whole();
        get_all(&mut script, false, ScanOptions::default());
        let batch = |out: &mut Vec<u8>| {
            let mut batch = GetAllBatch::new();
            assert!(batch.add(Key(1), b"one") && batch.add(Key(2), b"two"));
            batch.write(id(2), &mut Compressor::new(), out);
        };
        answer(&mut script, batch);
        control(&mut script, Control::Stop);
        answer(&mut script, |out| {
            batch(out);
            match finishes {
                true => GetAllMessage::Finished.write(id(2), out),
                false => GetAllMessage::Ack.write(id(2), out),
            }
        });
        if finishes {
            control(&mut script, Control::Ack);
        }
        afterwards(&mut script);
        let peer = Peer::once(script);
        let mut node = peer.greeted();
        let mut records = node.get_all(&channel(), ScanOptions::default()).expect("started");
        assert_eq!(records.next().expect("a record").expect("a record").0, Key(1));
        records.stop().expect("acknowledged");
        assert!(node.exists(&channel(), Key(1)).expect("over the same connection"));
        drop(node);
        peer.finish();
    }
}

#[test]
fn a_scan_that_is_dropped_closes_its_connection() {
    let mut script = whole();
    get_all(&mut script, false, ScanOptions::default());
    script.push(Step::AwaitClose);
    let peer = Peer::once(script);
    let mut node = peer.greeted();
    drop(node.get_all(&channel(), ScanOptions::default()).expect("started"));
    peer.finish();
}

#[test]
fn a_damaged_batch_is_the_last_item() {
    let damaged = [&[7, 9, 0, 0, 0, 0, 0, 0, 0, 27, 0, 0, 0, 0, 0, 0, 0, 0x11][..]].concat();
    let mut script = whole();
    get_all(&mut script, false, ScanOptions::default());
    script.push(Step::Answer(messages(2, &[&Raw(damaged)]), usize::MAX));
    script.push(Step::AwaitClose);
    let peer = Peer::once(script);
    let mut node = peer.greeted();
    let mut records = node.get_all(&channel(), ScanOptions::default()).expect("started");
    let error = records.next().expect("an item").expect_err("damaged");
    assert!(matches!(error.kind, ErrorKind::Batch(_)), "{error}");
    assert!(records.next().is_none());
    peer.finish();
}

#[test]
fn a_mirror_tells_everything_and_takes_in_news_beside_it() {
    let options = MirrorOptions::default();
    let mut script = whole();
    mirror(&mut script, options);
    answer(&mut script, |out| {
        let mut refresh = RefreshBatch::new();
        assert!(refresh.add(Key(1), b"one") && refresh.add(Key(2), b"two"));
        refresh.write(id(2), &mut Compressor::new(), out);
        MirrorMessage::RecordChanged(Key(3), b"three").write(id(2), out);
        HashRangeUpdate::ChangeHashRange(HashRange::EMPTY).write(id(1), out);
        MirrorMessage::RecordDeleted(Key(1)).write(id(2), out);
        MirrorMessage::UpdateOverflow.write(id(2), out);
        MirrorMessage::ChannelRemoved.write(id(2), out);
    });
    control(&mut script, Control::Ack);
    afterwards(&mut script);
    let peer = Peer::once(script);
    let mut node = peer.greeted();
    let events = node.mirror(&channel(), options).expect("started");
    let events: Vec<_> = events.map(|event| event.expect("an event")).collect();
    let expected = [
        MirrorEvent::Refreshed(Key(1), b"one".to_vec()),
        MirrorEvent::Refreshed(Key(2), b"two".to_vec()),
        MirrorEvent::Updated(Key(3), b"three".to_vec()),
        MirrorEvent::Deleted(Key(1)),
        MirrorEvent::UpdatesLost,
        MirrorEvent::ChannelRemoved,
    ];
    assert_eq!(events, expected);
    assert_eq!(node.hash_range().expect("known"), HashRange::EMPTY);
    assert!(node.exists(&channel(), Key(1)).expect("over the same connection"));
    drop(node);
    peer.finish();
}

#[test]
fn a_mirror_can_be_stopped() {
    let options = MirrorOptions { initial_refresh: false, periodic_refresh_s: 0 };
    let mut script = whole();
    mirror(&mut script, options);
    answer(&mut script, |out| MirrorMessage::RecordDeleted(Key(1)).write(id(2), out));
    control(&mut script, Control::Stop);
    answer(&mut script, |out| {
        MirrorMessage::RecordDeleted(Key(2)).write(id(2), out);
        MirrorMessage::Ack.write(id(2), out);
    });
    afterwards(&mut script);
    let peer = Peer::once(script);
    let mut node = peer.greeted();
    let mut events = node.mirror(&channel(), options).expect("started");
    assert_eq!(events.next().expect("an event").expect("an event"), MirrorEvent::Deleted(Key(1)));
    events.stop().expect("acknowledged");
    assert!(node.exists(&channel(), Key(1)).expect("over the same connection"));
    drop(node);
    peer.finish();
}

//! Batches and changes: whatever the sizes, in whatever pieces they come.

use dht_client::blocking::legacy::Change;
use dht_lzo::Compressor;
use dht_protocol::{
    legacy::{
        Status,
        batch::BatchWriter,
        requests::{GetAll, GetAllFilter, GetAllKeys, Listen, ListenItem},
    },
    wire::Writer,
};
use dht_testkit::{Rng, for_seeds, from_hex};
use dht_types::{ChannelName, Key};

use super::peer::{Peer, Step, exchange};

fn channel() -> ChannelName {
    "ch".parse().expect("a channel name")
}

fn encode<'a>(request: &impl dht_protocol::legacy::Arguments<'a>) -> Vec<u8> {
    let mut bytes = Vec::new();
    dht_protocol::legacy::encode(request, &mut Writer::new(&mut bytes));
    bytes
}

fn random_records(rng: &mut Rng) -> Vec<(Key, Vec<u8>)> {
    (0..rng.within(0..200)).map(|_| (Key(rng.next()), rng.bytes(0..3000))).collect()
}

/// A whole stream as a node sends it; `add` puts an item into a batch unless it is full.
fn stream_of<T>(
    items: &[T],
    batch_bytes: usize,
    add: impl Fn(&mut BatchWriter, &T) -> bool,
) -> Vec<u8> {
    let (mut out, mut compressor) = (Vec::new(), Compressor::new());
    let mut w = Writer::new(&mut out);
    Status::Ok.encode(&mut w);
    let mut batch = BatchWriter::new(batch_bytes);
    for item in items {
        if !add(&mut batch, item) {
            batch.finish(&mut compressor, &mut w);
            assert!(add(&mut batch, item), "an empty batch takes anything");
        }
    }
    batch.finish(&mut compressor, &mut w);
    w.array(&[]);
    out
}

#[test]
fn every_record_comes_once_in_order_whatever_the_batches_and_pieces() {
    for_seeds(20, |rng| {
        let records = random_records(rng);
        let (batch_bytes, piece) = (rng.within(64..70_000), rng.within(1..9000));
        let all = stream_of(&records, batch_bytes, |b, (key, value)| b.add(*key, value));
        let keys = stream_of(&records, batch_bytes, |b, (key, _)| b.add_key(*key));
        let peer = Peer::once(vec![
            Step::Expect(encode(&GetAll { channel: "ch" })),
            Step::Answer(all.clone(), piece),
            Step::Expect(encode(&GetAllKeys { channel: "ch" })),
            Step::Answer(keys, piece),
            Step::Expect(encode(&GetAllFilter { channel: "ch", filter: b"x" })),
            Step::Answer(all, piece),
        ]);
        let mut node = peer.connect();
        let found = node.get_all(&channel()).expect("accepted");
        assert_eq!(found.collect::<Result<Vec<_>, _>>().expect("whole"), records);
        let found = node.get_all_keys(&channel()).expect("accepted");
        let keys: Vec<_> = records.iter().map(|(key, _)| *key).collect();
        assert_eq!(found.collect::<Result<Vec<_>, _>>().expect("whole"), keys);
        let found = node.get_all_filter(&channel(), b"x").expect("accepted");
        assert_eq!(found.collect::<Result<Vec<_>, _>>().expect("whole"), records);
        peer.finish();
    });
}

#[test]
fn a_stream_without_any_batch_is_empty() {
    let get_all = encode(&GetAll { channel: "ch" });
    let answer = from_hex("c8000000 0000000000000000");
    let peer = Peer::once(vec![Step::Expect(get_all), Step::Answer(answer, 1)]);
    assert_eq!(peer.connect().get_all(&channel()).expect("accepted").count(), 0);
    peer.finish();
}

#[test]
fn a_stream_that_is_dropped_early_does_not_disturb_the_next_request() {
    let records: Vec<_> = (0..1000).map(|key| (Key(key), vec![7; 100])).collect();
    let answer = stream_of(&records, 1000, |b, (key, value)| b.add(*key, value));
    let first = vec![
        Step::Expect(encode(&GetAll { channel: "ch" })),
        Step::Answer(answer, usize::MAX),
        Step::AwaitClose,
    ];
    let second = exchange("18000000", "c8000000 0100000000000000 37").to_vec();
    let peer = Peer::start(vec![first, second]);
    let mut node = peer.connect();
    let two: Vec<_> = node.get_all(&channel()).expect("accepted").take(2).collect();
    assert!(two.iter().all(Result::is_ok));
    let version = node.call(&dht_protocol::legacy::requests::GetVersion).expect("answered");
    assert_eq!(version, "7", "on a connection of its own");
    peer.finish();
}

#[test]
fn changes_come_as_they_were_sent_and_a_removed_record_has_no_value() {
    for_seeds(10, |rng| {
        let mut records = random_records(rng);
        records.push((Key(5), Vec::new()));
        let mut answer = Vec::new();
        let mut w = Writer::new(&mut answer);
        Status::Ok.encode(&mut w);
        for (key, value) in &records {
            ListenItem::Changed(*key, value).encode(&mut w);
        }
        ListenItem::Finished.encode(&mut w);
        let peer = Peer::once(vec![
            Step::Expect(encode(&Listen { channel: "ch" })),
            Step::Answer(answer, rng.within(1..5000)),
        ]);
        let mut node = peer.connect();
        let changes = node.listen(&channel()).expect("accepted");
        let changes: Vec<_> = changes.collect::<Result<_, _>>().expect("whole");
        let expected = records.into_iter().map(|(key, value)| Change {
            key,
            value: Some(value).filter(|value| !value.is_empty()),
        });
        assert_eq!(changes, expected.collect::<Vec<_>>());
        peer.finish();
    });
}

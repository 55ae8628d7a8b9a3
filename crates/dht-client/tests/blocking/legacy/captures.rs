//! The client sends what the original's client sent, and understands what the original node said.

use dht_client::blocking::legacy::Change;
use dht_protocol::legacy::requests::{GetResponsibleRange, GetVersion};
use dht_types::{ChannelName, HashRange, Key};

use super::peer::{Peer, Step, captured};

fn test_channel() -> ChannelName {
    "test_channel".parse().expect("a channel name")
}

/// Answers in one piece, and byte by byte.
const PIECES: [usize; 2] = [usize::MAX, 1];

#[test]
fn put_get_and_remove_channel() {
    for piece in PIECES {
        let peer = Peer::once(captured("04_Put_followed_by_Get.txt", "legacy#1", piece));
        let (mut node, channel) = (peer.connect(), test_channel());
        assert_eq!(node.call(&GetVersion).expect("answered"), "20110401");
        node.put(&channel, Key(12), b"doo").expect("stored");
        node.put(&channel, Key(11), b"bar").expect("stored");
        let value = node.get(&channel, Key(10)).expect("answered");
        assert_eq!(value.as_deref(), Some(&b"foo"[..]));
        node.remove_channel(&channel).expect("removed");
        peer.finish();
    }
}

#[test]
fn a_missing_record_is_none() {
    let peer = Peer::once(captured("05_Get_for_non_existent_entry.txt", "legacy#1", usize::MAX));
    let mut node = peer.connect();
    node.call(&GetVersion).expect("answered");
    assert_eq!(node.get(&test_channel(), Key(10)).expect("answered"), None);
    peer.finish();
}

#[test]
fn the_batches_of_the_original_are_read() {
    for piece in PIECES {
        let peer = Peer::once(captured("06_GetAll_for_predefined_data.txt", "legacy#2", piece));
        let (mut node, channel) = (peer.connect(), test_channel());
        let range = node.call(&GetResponsibleRange).expect("answered");
        assert_eq!(range, HashRange::FULL);
        node.put(&channel, Key(2), b"record 2").expect("stored");
        let records = node.get_all(&channel).expect("accepted");
        let records: Vec<_> = records.collect::<Result<_, _>>().expect("whole");
        let expected = [(0, "record 0"), (1, "record 1"), (2, "record 2")];
        let expected = expected.map(|(key, value)| (Key(key), value.as_bytes().to_vec()));
        assert_eq!(records, expected);
        peer.finish();
    }
}

#[test]
fn a_listen_ends_when_its_channel_is_removed_and_the_connection_goes_on() {
    for piece in PIECES {
        let mut script = captured("09_Listen_gets_activated_by_Put.txt", "legacy#1", piece);
        let version = script[..2].to_vec();
        script.extend(version);
        let peer = Peer::once(script);
        let mut node = peer.connect();
        node.call(&GetVersion).expect("answered");
        let changes = node.listen(&test_channel()).expect("accepted");
        let changes: Vec<_> = changes.collect::<Result<_, _>>().expect("whole");
        let changed = |key, value: &[u8]| Change { key: Key(key), value: Some(value.to_vec()) };
        assert_eq!(changes, [changed(0xdead, b"dummy_value"), changed(5, b"value")]);
        node.call(&GetVersion).expect("the same connection");
        peer.finish();
    }
}

#[test]
fn the_dump_tools_session_is_read() {
    let script = captured("util_dhtdump_oneshot.txt", "legacy#1", 7);
    let peer = Peer::once(script.into_iter().chain([Step::AwaitClose]).collect());
    let mut node = peer.connect();
    node.call(&GetVersion).expect("answered");
    let records = node.get_all(&"perf".parse().expect("a channel name")).expect("accepted");
    let records: Vec<_> = records.collect::<Result<_, _>>().expect("whole");
    let expected: Vec<_> = (0..5).map(|key| (Key(key), vec![0xff; 32])).collect();
    assert_eq!(records, expected);
    drop(node);
    peer.finish();
}

//! Several nodes: who is asked for which key, also while data moves.

use std::net::SocketAddrV4;

use dht_client::{
    ErrorKind, NodeAddress,
    blocking::{
        ClusterError, Warning,
        neo::{Cluster, Decision, UpdateOutcome},
    },
};
use dht_protocol::neo::requests::{
    Exists, ExistsReply, Get, GetStatus, HashRangeUpdate, NewValue, Put, PutReply, Remove,
    RemoveReply, Update, UpdateAction, UpdateMessage, fnv1a64,
};
use dht_protocol::neo::{Payload as _, Supported};
use dht_types::{HashRange, Key};

use super::peer::{
    Peer, Raw, Step, admin, channel, exchange, first, id, messages, opening, patient,
};

const HALF: u64 = 1 << 63;
/// Its lowest bit decides: the upper half.
const UPPER: Key = Key(1);

fn range(min: u64, max: u64) -> HashRange {
    HashRange::new(min, max).expect("a range")
}

fn address(node: &NodeAddress) -> SocketAddrV4 {
    node.to_string().parse().expect("an IPv4 address")
}

fn connect(nodes: &[&Peer]) -> Cluster {
    let nodes: Vec<_> = nodes.iter().map(|peer| peer.node.clone()).collect();
    Cluster::connect(&nodes, &admin(), patient()).expect("all are there")
}

#[test]
fn a_key_goes_to_the_node_whose_range_has_its_bits_reversed() {
    let channel = channel();
    let exists = |key| Exists { channel: &channel, key };
    let lower =
        [opening(range(0, HALF - 1)), exchange(2, exists(Key(2)), &[&ExistsReply::RecordExists])];
    let upper =
        [opening(range(HALF, u64::MAX)), exchange(2, exists(UPPER), &[&ExistsReply::NoRecord])];
    let peers = [Peer::once(lower.concat()), Peer::once(upper.concat())];
    let mut cluster = connect(&[&peers[0], &peers[1]]);
    assert!(cluster.warnings().is_empty());
    assert!(cluster.exists(&channel, Key(2)).expect("answered"));
    assert!(!cluster.exists(&channel, UPPER).expect("answered"));
    peers.into_iter().for_each(Peer::finish);
}

#[test]
fn a_node_that_rejects_us_is_left_out_and_its_keys_have_no_node() {
    let rejecting = vec![Step::Expect(vec![1])];
    let peers = [Peer::once(rejecting), Peer::once(opening(range(0, HALF - 1)))];
    let mut cluster = connect(&[&peers[0], &peers[1]]);
    assert!(matches!(cluster.take_warnings()[..], [Warning::Failed(_), Warning::Ranges(_)]));
    let error = cluster.put(&channel(), UPPER, b"v").expect_err("nobody is responsible");
    assert!(matches!(error.kind, ErrorKind::NoNode(UPPER)));
    peers.into_iter().for_each(Peer::finish);
    assert!(matches!(Cluster::connect(&[], &admin(), patient()), Err(ClusterError::NoNodes)));
}

/// A Get of the lower half, beside whose answer the old node tells where the upper half goes.
fn told(new: SocketAddrV4) -> Vec<Step> {
    let channel = channel();
    let mut bytes = Vec::new();
    HashRangeUpdate::NewNode(new, range(HALF, u64::MAX)).write(id(1), &mut bytes);
    Supported::Yes.write(id(2), &mut bytes);
    GetStatus::NoRecord.write(id(2), &mut bytes);
    let get = Get { channel: &channel, key: Key(2) };
    vec![first(2, get), Step::Answer(bytes, usize::MAX)]
}

/// Two nodes, of which the first has told that the upper half now belongs to the second. Both may
/// have a record of that half: the second is the newer.
fn moved(old: Vec<Step>, new: Vec<Step>) -> ([Peer; 2], Cluster) {
    let new = Peer::once([opening(range(HALF, u64::MAX)), new].concat());
    let script = [opening(HashRange::FULL), told(address(&new.node)), old].concat();
    let old = Peer::once(script);
    let mut cluster = connect(&[&old]);
    assert_eq!(cluster.get(&channel(), Key(2)).expect("answered"), None);
    ([old, new], cluster)
}

#[test]
fn reads_go_from_the_newest_node_to_the_oldest_and_puts_to_the_newest_alone() {
    let channel = channel();
    let get = Get { channel: &channel, key: UPPER };
    let value = Raw([&3_u64.to_le_bytes()[..], b"abc"].concat());
    let old = exchange(3, get, &[&GetStatus::Got, &value]);
    let put = Put { channel: &channel, key: UPPER, value: b"v" };
    let new =
        [exchange(2, get, &[&GetStatus::NoRecord]), exchange(3, put, &[&PutReply::Put])].concat();
    let (peers, mut cluster) = moved(old, new);
    assert_eq!(cluster.get(&channel, UPPER).expect("answered"), Some(b"abc".to_vec()));
    cluster.put(&channel, UPPER, b"v").expect("stored");
    assert_eq!(cluster.nodes().len(), 2, "the node that was told of is one of the cluster");
    peers.into_iter().for_each(Peer::finish);
}

#[test]
fn a_remove_reaches_all_nodes_and_tells_whether_any_had_the_record() {
    let channel = channel();
    let remove = Remove { channel: &channel, key: UPPER };
    let old = exchange(3, remove, &[&RemoveReply::Removed]);
    let new = exchange(2, remove, &[&RemoveReply::NoRecord]);
    let (peers, mut cluster) = moved(old, new);
    assert!(cluster.remove(&channel, UPPER).expect("removed"));
    peers.into_iter().for_each(Peer::finish);
}

#[test]
fn an_update_moves_the_record_to_the_newest_node() {
    let channel = channel();
    let update = |action| Update { channel: &channel, key: UPPER, action };
    let new_value = NewValue { original_hash: fnv1a64(b"abc"), value: b"abcd" };
    for (result, told_old, outcome) in [
        (6, UpdateMessage::RemoveRecord, UpdateOutcome::Done),
        (8, UpdateMessage::LeaveRecord, UpdateOutcome::Conflict),
    ] {
        let record = Raw([&[5][..], &3_u64.to_le_bytes(), b"abc"].concat());
        let mut old = exchange(3, update(UpdateAction::GetRecord), &[&record]);
        let mut decision = Vec::new();
        told_old.write(id(3), &mut decision);
        old.push(Step::Expect(decision));
        old.push(Step::Answer(messages(3, &[&Raw(vec![6])]), usize::MAX));
        let new = [
            exchange(2, update(UpdateAction::GetRecord), &[&Raw(vec![7])]),
            exchange(3, update(UpdateAction::UpdateRecord(new_value)), &[&Raw(vec![result])]),
        ];
        let (peers, mut cluster) = moved(old, new.concat());
        let found = cluster.update(&channel, UPPER, |value| {
            assert_eq!(value, b"abc");
            Decision::Write(b"abcd".to_vec())
        });
        assert_eq!(found.expect("answered"), outcome);
        peers.into_iter().for_each(Peer::finish);
    }
}

#[test]
fn a_node_that_lost_its_range_sends_the_client_to_the_new_one() {
    let channel = channel();
    let put = Put { channel: &channel, key: UPPER, value: b"v" };
    let (half, rest) = (range(HALF, u64::MAX), range(0, HALF - 1));
    let new = Peer::once([opening(half), exchange(2, put, &[&PutReply::Put])].concat());
    let mut bytes = Vec::new();
    HashRangeUpdate::ChangeHashRange(rest).write(id(1), &mut bytes);
    HashRangeUpdate::NewNode(address(&new.node), half).write(id(1), &mut bytes);
    Supported::Yes.write(id(2), &mut bytes);
    PutReply::WrongNode.write(id(2), &mut bytes);
    let refused = vec![first(2, put), Step::Answer(bytes, usize::MAX)];
    let old = Peer::once([opening(HashRange::FULL), refused].concat());
    let mut cluster = connect(&[&old]);
    cluster.put(&channel, UPPER, b"v").expect("stored at the new node");
    [old, new].into_iter().for_each(Peer::finish);
}

#[test]
fn a_node_that_refuses_without_news_is_not_asked_again() {
    let channel = channel();
    let put = Put { channel: &channel, key: UPPER, value: b"v" };
    let refused = exchange(2, put, &[&PutReply::WrongNode]);
    let peer = Peer::once([opening(HashRange::FULL), refused].concat());
    let mut cluster = connect(&[&peer]);
    let error = cluster.put(&channel, UPPER, b"v").expect_err("refused");
    assert!(matches!(error.kind, ErrorKind::WrongNode));
    peer.finish();
}

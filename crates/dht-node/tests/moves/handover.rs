//! MovePart between two nodes.

use std::collections::BTreeMap;

use dht_protocol::legacy::requests::{
    MOVE_VERSION, MoveMessage, MoveReply, MoveToken, Moved, encode_moved,
};
use dht_protocol::wire::Writer;
use dht_testkit::for_seeds;
use dht_types::{HashRange, Key};

use crate::support::{
    Mover, Node, cluster, lower_half, move_part, name, small, start_move, upper_half,
};

fn fill(node: &Node, count: u64) -> BTreeMap<u64, Vec<u8>> {
    let (mut client, ch) = (node.client(), name("ch"));
    let records = (0..count).map(|key| (key, vec![b'v'; 1 + small(key) % 900]));
    records.inspect(|(key, value)| client.put(&ch, Key(*key), value).expect("ours")).collect()
}

pub(crate) fn batch(records: &[Moved<'_>]) -> Vec<u8> {
    let (mut plain, mut packed) = (Vec::new(), Vec::new());
    records.iter().for_each(|record| encode_moved(&mut Writer::new(&mut plain), *record));
    let mut compressor = dht_protocol::legacy::batch::Compressor::new();
    dht_protocol::batch::compress_if_worth(&plain, &mut compressor, &mut packed);
    packed
}

#[test]
fn a_part_changes_hands_and_comes_back() {
    let (giver, taker) = (Node::start(HashRange::FULL), Node::start(HashRange::EMPTY));
    let records = fill(&giver, 3000);
    let mut neo = giver.neo();
    assert_eq!(neo.hash_range().expect("it answers"), HashRange::FULL);
    let MoveReply::Finished(progress) = move_part(&giver, &taker, upper_half()) else {
        panic!("the move is possible")
    };
    assert_eq!(progress.records, 1500);
    assert_eq!((giver.range(), taker.range()), (lower_half(), upper_half()));
    let (mut kept, moved) = (giver.records("ch"), taker.records("ch"));
    assert_eq!((kept.len(), moved.len()), (1500, 1500));
    kept.extend(moved);
    assert_eq!(kept, records);
    // Who asks the wrong node is told so, in both protocols, and neo clients know where to turn.
    let ch = name("ch");
    assert!(neo.get(&ch, Key(1)).is_err());
    let news = neo.take_range_news();
    assert_eq!((news.len(), news[0].range, news[1].range), (2, upper_half(), lower_half()));
    assert!(giver.client().get(&ch, Key(1)).is_err());
    assert!(giver.client().exists(&ch, Key(1)).is_err());
    assert!(giver.client().put(&ch, Key(1), b"x").is_err());
    let mut both = cluster(&[&giver, &taker]);
    both.remove(&ch, Key(1)).expect("the taker's");
    both.put(&ch, Key(3), b"new").expect("the taker's");
    assert!(matches!(move_part(&taker, &giver, upper_half()), MoveReply::Finished(_)));
    assert_eq!((giver.range(), taker.range()), (HashRange::FULL, HashRange::EMPTY));
    let mut expected = records;
    expected.remove(&1);
    expected.insert(3, b"new".to_vec());
    assert_eq!(giver.records("ch"), expected);
    assert_eq!(taker.records("ch"), BTreeMap::new());
    // Dumps tell the same.
    let giver = giver.restart();
    assert_eq!(giver.records("ch"), expected);
}

/// A taker of the lower half to which the upper one is about to be moved.
fn begun() -> (Node, Mover, MoveToken, HashRange) {
    let taker = Node::start(lower_half());
    let (token, part) = (MoveToken(1), upper_half());
    let begin =
        MoveMessage::Begin { version: MOVE_VERSION, token, part, records: 1, value_bytes: 1 };
    let mut mover = Mover::connect(&taker);
    assert_eq!(mover.ask(&begin), MoveReply::Done);
    (taker, mover, token, part)
}

#[test]
fn what_has_come_is_seen_when_it_is_claimed() {
    let (taker, mut mover, token, part) = begun();
    let records = [
        Moved { key: Key(1), value: Some(b"one") },
        Moved { key: Key(3), value: Some(b"three") },
        Moved { key: Key(1), value: None },
        Moved { key: Key(5), value: Some(b"") },
    ];
    let packed = batch(&records);
    let message = MoveMessage::Records { token, channel: "ch", batch: &packed };
    assert_eq!(mover.ask(&message), MoveReply::Done);
    assert_eq!(taker.records("ch"), BTreeMap::new(), "nobody sees it yet");
    assert!(taker.client().get(&name("ch"), Key(3)).is_err());
    let other = MoveMessage::Begin {
        version: MOVE_VERSION,
        token: MoveToken(2),
        part,
        records: 1,
        value_bytes: 1,
    };
    let refused = Mover::connect(&taker).ask(&other);
    assert!(matches!(refused, MoveReply::Refused(why) if why.contains("busy")));
    assert_eq!(mover.ask(&MoveMessage::Claim { token }), MoveReply::Claimed(HashRange::FULL));
    let expected = BTreeMap::from([(3, b"three".to_vec()), (5, Vec::new())]);
    assert_eq!(taker.records("ch"), expected);
    // Once it is claimed, it stays so.
    let cancelled = Mover::connect(&taker).ask(&MoveMessage::Cancel { token, part });
    assert_eq!(cancelled, MoveReply::Claimed(HashRange::FULL));
}

/// Whatever comes of a key in one batch, the last of it counts, and is in the log when the part is
/// claimed.
#[test]
fn a_batch_is_stored_in_its_order() {
    for_seeds(5, |rng| {
        let (taker, mut mover, token, _) = begun();
        let mut expected = BTreeMap::new();
        for _ in 0..4 {
            let changes: Vec<(u64, Option<Vec<u8>>)> = (0..1000)
                .map(|_| (2 * rng.below(500) + 1, (!rng.one_in(20)).then(|| rng.bytes(0..50))))
                .collect();
            let records: Vec<Moved<'_>> = changes
                .iter()
                .map(|(key, value)| Moved { key: Key(*key), value: value.as_deref() })
                .collect();
            let packed = batch(&records);
            let message = MoveMessage::Records { token, channel: "ch", batch: &packed };
            assert_eq!(mover.ask(&message), MoveReply::Done);
            for (key, value) in changes {
                match value {
                    Some(value) => drop(expected.insert(key, value)),
                    None => drop(expected.remove(&key)),
                }
            }
        }
        assert_eq!(mover.ask(&MoveMessage::Claim { token }), MoveReply::Claimed(HashRange::FULL));
        assert_eq!(taker.records("ch"), expected);
        assert_eq!(taker.crash_and_restart().records("ch"), expected);
    });
}

/// The giver asks for the claim before it has heard that all it sent is stored.
#[test]
fn what_was_refused_in_part_cannot_be_claimed() {
    let (taker, mut mover, token, part) = begun();
    let packed = batch(&[
        Moved { key: Key(1), value: Some(b"one") },
        Moved { key: Key(2), value: Some(b"of the other half") },
    ]);
    for message in [
        MoveMessage::Records { token, channel: "ch", batch: &packed },
        MoveMessage::Records { token, channel: "ch", batch: &batch(&[]) },
        MoveMessage::Claim { token },
    ] {
        assert!(matches!(mover.ask(&message), MoveReply::Refused(_)), "{message:?}");
    }
    let cancelled = Mover::connect(&taker).ask(&MoveMessage::Cancel { token, part });
    assert_eq!((cancelled, taker.range()), (MoveReply::NotClaimed, lower_half()));
}

#[test]
fn a_move_that_is_cancelled_leaves_nothing() {
    let (taker, mut mover, token, part) = begun();
    let packed = batch(&[Moved { key: Key(1), value: Some(b"one") }]);
    let message = MoveMessage::Records { token, channel: "ch", batch: &packed };
    assert_eq!(mover.ask(&message), MoveReply::Done);
    let cancelled = Mover::connect(&taker).ask(&MoveMessage::Cancel { token, part });
    assert_eq!(cancelled, MoveReply::NotClaimed);
    for late in [message, MoveMessage::Claim { token }] {
        assert!(matches!(mover.ask(&late), MoveReply::Refused(_)), "{late:?}");
    }
    let refused = Mover::connect(&taker).ask(&MoveMessage::Claim { token });
    assert!(matches!(refused, MoveReply::Refused(_)));
    assert_eq!(taker.range(), lower_half());
    let MoveReply::Info(info) = Mover::connect(&taker).ask(&MoveMessage::Info { version: 1 })
    else {
        panic!("it knows the version")
    };
    assert_eq!((info.records, info.is_busy), (0, false));
}

#[test]
fn what_cannot_work_is_refused_before_a_byte_moves() {
    let (giver, taker) = (Node::start(lower_half()), Node::start(upper_half()));
    fill_even(&giver);
    let far = HashRange::new(0, 1000).expect("valid");
    let middle = HashRange::new(10, 1000).expect("valid");
    let nobody = dht_protocol::legacy::requests::Taker {
        address: "127.0.0.1".to_owned(),
        port: dht_testkit::free_port(),
        range: far,
    };
    for (part, to, reason) in [
        (far, taker.taker(far), "does not join the taker's hash range"),
        (middle, taker.taker(middle), "is no end of this node's hash range"),
        (upper_half(), taker.taker(upper_half()), "is no end of this node's hash range"),
        (HashRange::EMPTY, taker.taker(far), "is no end of this node's hash range"),
        (far, giver.taker(far), "is this node itself"),
        (far, nobody, "cannot connect to"),
    ] {
        let mut mover = Mover::connect(&giver);
        let refused = mover.ask(&start_move(part, &to));
        assert!(matches!(&refused, MoveReply::Refused(why) if why.contains(reason)), "{refused:?}");
    }
    let version = MoveMessage::Info { version: 9 };
    let refused = Mover::connect(&giver).ask(&version);
    assert!(matches!(&refused, MoveReply::Refused(why) if why.contains("one version")));
    let (token, part) = (MoveToken(1), HashRange::new(1 << 62, u64::MAX >> 1).expect("valid"));
    let begin =
        MoveMessage::Begin { version: MOVE_VERSION, token, part, records: 0, value_bytes: 0 };
    let other = Node::start(HashRange::new(0, (1 << 62) - 1).expect("valid"));
    assert_eq!(Mover::connect(&other).ask(&begin), MoveReply::Done);
    for (from, to) in [(&other, &giver), (&giver, &other)] {
        let refused = Mover::connect(from).ask(&start_move(from.range(), &to.taker(part)));
        let is_busy = matches!(&refused, MoveReply::Refused(why) if why.contains("busy: another"));
        assert!(is_busy, "{refused:?}");
    }
    let refused = Mover::connect(&taker).ask(&MoveMessage::Begin {
        version: 9,
        token,
        part: lower_half(),
        records: 0,
        value_bytes: 0,
    });
    assert!(matches!(&refused, MoveReply::Refused(why) if why.contains("one version")));
    let full =
        Node::with(&Node::settings(HashRange::EMPTY).with("Options_Memory", "size_limit", "100"));
    let refused = move_part(&giver, &full, lower_half());
    assert!(matches!(&refused, MoveReply::Refused(why) if why.contains("no room")), "{refused:?}");
    assert_eq!(giver.records("ch").len(), 100);
    assert_eq!(giver.range(), lower_half());
}

fn fill_even(node: &Node) {
    let (mut client, ch) = (node.client(), name("ch"));
    (0..100).for_each(|key| client.put(&ch, Key(2 * key), b"value").expect("ours"));
}

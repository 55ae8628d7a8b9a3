//! What a node knows after a crash.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use dht_protocol::legacy::requests::{MOVE_VERSION, MoveMessage, MoveReply, MoveToken, Moved};
use dht_testkit::wait_for;
use dht_types::{HashRange, Key};

use crate::handover::batch;
use crate::support::{Mover, Node, encode_move, lower_half, move_part, name, upper_half};

fn journal(node: &Node) -> std::path::PathBuf {
    node.dir().join("data/moves")
}

/// Puts a move into the giver's journal, as if it had crashed right after telling the taker to
/// claim.
fn crash_in_doubt(giver: Node, taker: &Node, token: u64) -> Node {
    let (part, port) = (upper_half(), taker.address().port());
    let line =
        format!("pending {token:016x} {:016x} {:016x} 127.0.0.1 {port}\n", part.min(), part.max());
    std::fs::write(journal(&giver), line).expect("our folder");
    giver.crash_and_restart()
}

#[test]
fn a_giver_that_crashed_before_the_claim_keeps_its_part() {
    let (giver, taker) = (Node::start(HashRange::FULL), Node::start(HashRange::EMPTY));
    let giver = crash_in_doubt(giver, &taker, 5);
    wait_for("the taker to be asked", || giver.log().contains("is still ours").then_some(()));
    giver.client().put(&name("ch"), Key(1), b"value").expect("still ours");
    assert_eq!(giver.range(), HashRange::FULL);
    assert_eq!(std::fs::read_to_string(journal(&giver)).expect("there"), "");
}

#[test]
fn a_giver_that_crashed_after_the_claim_lets_go() {
    let (giver, taker) = (Node::start(HashRange::FULL), Node::start(HashRange::EMPTY));
    let ch = name("ch");
    for key in 0..10 {
        giver.client().put(&ch, Key(key), b"value").expect("ours");
    }
    let giver = giver.restart();
    let (token, part) = (MoveToken(5), upper_half());
    let begin =
        MoveMessage::Begin { version: MOVE_VERSION, token, part, records: 0, value_bytes: 0 };
    let mut mover = Mover::connect(&taker);
    assert_eq!(mover.ask(&begin), MoveReply::Done);
    assert_eq!(mover.ask(&MoveMessage::Claim { token }), MoveReply::Claimed(part));
    let giver = crash_in_doubt(giver, &taker, 5);
    wait_for("the giver to let go", || (giver.range() == lower_half()).then_some(()));
    assert!(giver.client().put(&ch, Key(1), b"value").is_err());
    wait_for("the rest to be removed", || (giver.records("ch").len() == 5).then_some(()));
    // The dump still has all ten: what was given away does not come back.
    let giver = giver.crash_and_restart();
    wait_for("its range", || (giver.range() == lower_half()).then_some(()));
    assert_eq!(giver.records("ch").len(), 5);
}

#[test]
fn while_nobody_knows_whose_a_part_is_nobody_serves_it() {
    let (giver, taker) = (Node::start(HashRange::FULL), Node::start(HashRange::EMPTY));
    let ch = name("ch");
    let mut addressed = taker;
    let port = addressed.address().port();
    addressed.signal("STOP");
    let giver = crash_in_doubt(giver, &addressed, 5);
    assert!(giver.client().put(&ch, Key(1), b"value").is_err());
    assert!(giver.client().get(&ch, Key(1)).is_ok(), "there never was a channel");
    giver.client().put(&ch, Key(2), b"value").expect("the other half is not affected");
    assert!(giver.client().get(&ch, Key(1)).is_err());
    assert!(giver.neo().get(&ch, Key(1)).is_err());
    addressed.signal("CONT");
    assert_eq!(addressed.address().port(), port);
    wait_for("the answer", || giver.client().put(&ch, Key(1), b"value").is_ok().then_some(()));
    addressed = addressed.restart();
    assert!(matches!(move_part(&giver, &addressed, upper_half()), MoveReply::Finished(_)));
}

#[test]
fn a_taker_that_crashed_shows_nothing_of_what_came() {
    let (giver, taker) = (Node::start(HashRange::FULL), Node::start(lower_half()));
    giver.client().put(&name("ch"), Key(1), b"value").expect("ours");
    let (token, part) = (MoveToken(5), upper_half());
    let begin =
        MoveMessage::Begin { version: MOVE_VERSION, token, part, records: 0, value_bytes: 0 };
    assert_eq!(Mover::connect(&taker).ask(&begin), MoveReply::Done);
    let taker = taker.restart();
    let refused = Mover::connect(&taker).ask(&MoveMessage::Claim { token });
    assert!(matches!(refused, MoveReply::Refused(_)), "{refused:?}");
    assert_eq!((taker.range(), taker.records("ch")), (lower_half(), BTreeMap::new()));
}

/// Begins a move, at once or when the node is done with what it has to clear up.
fn begin(taker: &Node, token: MoveToken, part: HashRange) -> Mover {
    let begin =
        MoveMessage::Begin { version: MOVE_VERSION, token, part, records: 0, value_bytes: 0 };
    wait_for("the taker to have time", || {
        let mut mover = Mover::connect(taker);
        match mover.ask(&begin) {
            MoveReply::Done => Some(mover),
            MoveReply::Refused(why) if why.starts_with("busy") => None,
            other => panic!("{other:?}"),
        }
    })
}

fn bring(mover: &mut Mover, token: MoveToken, records: &[(u64, &[u8])]) {
    let moved = records.iter().map(|(key, value)| Moved { key: Key(*key), value: Some(*value) });
    let batch = batch(&moved.collect::<Vec<_>>());
    let message = MoveMessage::Records { token, channel: "ch", batch: &batch };
    assert_eq!(mover.ask(&message), MoveReply::Done);
}

/// What a node has left of a part that is not its own must not come back with the part: meanwhile
/// its owner may have removed records.
#[test]
fn what_was_removed_meanwhile_does_not_come_back_with_the_part() {
    let part = upper_half();
    let taker = Node::start(lower_half());
    let mut mover = begin(&taker, MoveToken(5), part);
    bring(&mut mover, MoveToken(5), &[(1, b"old"), (3, b"old")]);
    // The first time it has them in its log, the second time in a dump.
    let taker = taker.crash_and_restart();
    let mut mover = begin(&taker, MoveToken(6), part);
    bring(&mut mover, MoveToken(6), &[(3, b"newer"), (5, b"newer")]);
    let taker = taker.restart().crash_and_restart();
    let mut mover = begin(&taker, MoveToken(7), part);
    bring(&mut mover, MoveToken(7), &[(5, b"new")]);
    let claim = MoveMessage::Claim { token: MoveToken(7) };
    assert_eq!(mover.ask(&claim), MoveReply::Claimed(HashRange::FULL));
    let expected = BTreeMap::from([(5, b"new".to_vec())]);
    assert_eq!(taker.records("ch"), expected);
    let taker = taker.crash_and_restart();
    assert_eq!((taker.range(), taker.records("ch")), (HashRange::FULL, expected));
}

/// As soon as a part is the taker's another worker may serve it, so all that came of it has to be
/// in the log: also what came together with the claim.
#[test]
fn nothing_is_claimed_before_it_is_logged() {
    let Some((taker, disk)) = Node::on_small_disk(HashRange::EMPTY) else { return };
    let (token, part, value) = (MoveToken(5), upper_half(), vec![7; 100_000]);
    let mut mover = begin(&taker, token, part);
    disk.fill();
    let batch = batch(&[Moved { key: Key(1), value: Some(&value) }]);
    let records = MoveMessage::Records { token, channel: "ch", batch: &batch };
    mover.0.send(&[encode_move(&records), encode_move(&MoveMessage::Claim { token })].concat());
    assert_eq!(mover.0.receive_to_end(), b"", "it cannot be logged, so nothing is answered");
    disk.empty();
    assert_eq!(taker.range(), HashRange::EMPTY);
    let cancel = MoveMessage::Cancel { token, part };
    wait_for("the log to be written again", || match Mover::connect(&taker).ask(&cancel) {
        MoveReply::NotClaimed => Some(()),
        MoveReply::Refused(why) if why.contains("the log cannot be written") => None,
        other => panic!("{other:?}"),
    });
}

#[test]
fn a_claim_is_remembered_after_a_crash_although_the_part_has_moved_on() {
    let (token, part) = (MoveToken(5), upper_half());
    let (taker, next) = (Node::start(HashRange::EMPTY), Node::start(HashRange::EMPTY));
    let mut mover = begin(&taker, token, part);
    assert_eq!(mover.ask(&MoveMessage::Claim { token }), MoveReply::Claimed(part));
    let taker = taker.crash_and_restart();
    assert!(matches!(move_part(&taker, &next, part), MoveReply::Finished(_)));
    let cancel = MoveMessage::Cancel { token, part };
    assert_eq!(Mover::connect(&taker).ask(&cancel), MoveReply::Claimed(HashRange::EMPTY));
}

/// Puts another range into the config file of a node that does not run.
fn set_range(dir: &Path, old: HashRange, new: HashRange) {
    let file = dir.join("etc/config.ini");
    let line = |key: &str, limit: u64| format!("{key} = {limit:#018x}\n");
    let text = fs::read_to_string(&file).expect("the test wrote it");
    let changed = text
        .replace(&line("minval", old.min()), &line("minval", new.min()))
        .replace(&line("maxval", old.max()), &line("maxval", new.max()));
    assert_ne!(text, changed);
    fs::write(file, changed).expect("our folder");
}

/// What is on the disks of giver and taker, step by step: each is synced before the next is made,
/// but for the name of the taker's config file, on which nothing is built before it is synced. So
/// whenever the power fails or the processes end, it is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    /// The taker's journal calls the part foreign, its next config file lies beside the old one.
    Begun,
    /// The giver's journal calls the move pending.
    Pending,
    /// The taker's config file has its name.
    Claimed,
    /// The giver's config file has the smaller range.
    Kept,
    /// The giver's journal calls the part foreign.
    Noted,
}

#[test]
fn whenever_both_crash_they_own_everything_once() {
    for reached in
        [Reached::Begun, Reached::Pending, Reached::Claimed, Reached::Kept, Reached::Noted]
    {
        crash_both(reached);
    }
}

fn crash_both(reached: Reached) {
    let (giver, taker) = (Node::start(HashRange::FULL), Node::start(HashRange::EMPTY));
    let (ch, part, token) = (name("ch"), upper_half(), MoveToken(5));
    let records = BTreeMap::from_iter((0..10).map(|key| (key, b"value".to_vec())));
    for (key, value) in &records {
        giver.client().put(&ch, Key(*key), value).expect("ours");
    }
    let mut mover = Mover::connect(&taker);
    let begin =
        MoveMessage::Begin { version: MOVE_VERSION, token, part, records: 5, value_bytes: 25 };
    assert_eq!(mover.ask(&begin), MoveReply::Done);
    assert!(taker.dir().join("etc/config.ini.claim").exists());
    let moved = records.iter().filter(|(key, _)| part.contains(Key(**key)));
    let moved: Vec<_> =
        moved.map(|(key, value)| Moved { key: Key(*key), value: Some(value) }).collect();
    let message = MoveMessage::Records { token, channel: "ch", batch: &batch(&moved) };
    assert_eq!(mover.ask(&message), MoveReply::Done);
    if reached >= Reached::Claimed {
        assert_eq!(mover.ask(&MoveMessage::Claim { token }), MoveReply::Claimed(part));
    }
    let taker = taker.crash();
    let giver = giver.crash();
    let [min, max] = [part.min(), part.max()].map(|limit| format!("{limit:016x}"));
    let pending = format!("pending {:016x} {min} {max} 127.0.0.1 {}\n", token.0, taker.port);
    let noted = match reached {
        Reached::Begun => String::new(),
        Reached::Pending | Reached::Claimed | Reached::Kept => pending,
        Reached::Noted => format!("foreign {min} {max}\n"),
    };
    fs::write(giver.dir.path().join("data/moves"), noted).expect("our folder");
    if reached >= Reached::Kept {
        set_range(giver.dir.path(), HashRange::FULL, lower_half());
    }
    // The giver first: it has to wait for the taker, and nobody serves what is in doubt meanwhile.
    let giver = giver.start();
    let is_in_doubt = reached == Reached::Pending || reached == Reached::Claimed;
    assert_eq!(giver.client().put(&ch, Key(1), b"value").is_err(), reached != Reached::Begun);
    assert_eq!(giver.range() == HashRange::FULL, is_in_doubt || reached == Reached::Begun);
    let taker = taker.start();
    let expected = if reached >= Reached::Claimed {
        (lower_half(), part)
    } else {
        (HashRange::FULL, HashRange::EMPTY)
    };
    wait_for("each to know what is its own", || {
        let is_settled = !fs::read_to_string(journal(&giver)).expect("there").contains("pending");
        (is_settled && (giver.range(), taker.range()) == expected).then_some(())
    });
    let (mut found, others) = (giver.records("ch"), taker.records("ch"));
    let both = found.len() + others.len();
    found.extend(others);
    assert_eq!((both, &found), (records.len(), &records), "{reached:?}");
}

//! What a node knows after a crash.

use std::collections::BTreeMap;

use dht_protocol::legacy::requests::{MOVE_VERSION, MoveMessage, MoveReply, MoveToken};
use dht_testkit::wait_for;
use dht_types::{HashRange, Key};

use crate::support::{Mover, Node, lower_half, move_part, name, upper_half};

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

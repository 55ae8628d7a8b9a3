//! The greeting, and who is let in. Source: spec `protocol-neo` 2-5, `node` 6.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;

use dht_testkit::{NodeSettings, Peer, for_seeds, wait_for};

use crate::support::{Node, command};
use crate::wire::{self, AUTHENTICATION, REQUEST, ZERO_KEY, greet_until_nonce, unix_time};

/// How the node says that it lets nobody in, and no word more.
const REJECTED: [u8; 11] = [2, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0];

/// Most clients differ from the node's clock by less. Source: 4.2.
const CLOCK_DIFFERENCE_S_MAX: u64 = 1800;

/// Greets with this name, clock and key. Returns what the node says to it.
fn judgement(node: &Node, name: &[u8], time: u64, key: &[u8; 128]) -> Vec<u8> {
    let mut peer = node.connect_neo();
    let nonce = greet_until_nonce(&mut peer, time);
    peer.send(&wire::name_and_proof(name, &wire::proof(key, time, &nonce)));
    // A client that is let in says nothing more: the node then closes without a word.
    peer.0.shutdown(Shutdown::Write).expect("connected");
    peer.receive_to_end()
}

/// Sends what breaks the rules in place of step 1, 3 or the first request: the node has to close
/// without a word.
fn assert_closes(node: &Node, step: usize, bytes: &[u8]) {
    let mut peer = match step {
        1 => {
            let mut peer = node.connect_neo();
            peer.send(&[1]);
            peer.expect_hex("01");
            peer
        }
        3 => {
            let mut peer = node.connect_neo();
            let _ = greet_until_nonce(&mut peer, unix_time());
            peer
        }
        _ => node.admin().peer,
    };
    peer.send(bytes);
    let said = peer.receive_to_end();
    assert!(said.is_empty(), "step {step}, {bytes:02x?}: {said:02x?}");
}

const STEPS: [usize; 3] = [1, 3, 5];

#[test]
fn a_good_client_is_let_in_and_each_greeting_has_a_nonce_of_its_own() {
    let node = Node::start();
    let accepted = [2, 1, 0, 0, 0, 0, 0, 0, 0, 3, 1];
    for time in [unix_time(), unix_time() - CLOCK_DIFFERENCE_S_MAX + 60, unix_time() + 1740] {
        assert_eq!(judgement(&node, b"admin", time, &ZERO_KEY), accepted);
        assert_eq!(judgement(&node, b"neotest", time, &ZERO_KEY), accepted);
    }
    let nonce = || greet_until_nonce(&mut node.connect_neo(), unix_time());
    let mut nonces: Vec<_> = (0..8).map(|_| nonce()).collect();
    nonces.sort();
    nonces.dedup();
    assert!(nonces.len() > 6, "{nonces:02x?}");
}

#[test]
fn every_rejection_looks_the_same_from_outside() {
    let node = Node::start();
    let now = unix_time();
    let mut other_key = ZERO_KEY;
    other_key[127] = 1;
    for name in [
        &b""[..],
        b"nobody",
        b"Admin",
        b"admin ",
        b"admin\0",
        b"adm\xff\xfe",
        b"ad:min",
        b"../credentials",
        &[b'a'; 100],
        &[b'a'; 101],
        &[b'a'; 999 - 72],
    ] {
        assert_eq!(judgement(&node, name, now, &ZERO_KEY), REJECTED, "{name:?}");
    }
    let far = CLOCK_DIFFERENCE_S_MAX + 60;
    for time in [0, 1, now - far, now + far, i64::MAX as u64, 1 << 63, u64::MAX] {
        assert_eq!(judgement(&node, b"admin", time, &ZERO_KEY), REJECTED, "{time}");
    }
    assert_eq!(judgement(&node, b"admin", now, &other_key), REJECTED);
    assert_eq!(judgement(&node, b"nobody", 0, &other_key), REJECTED);
}

#[test]
fn a_proof_with_any_bit_wrong_is_rejected_and_so_is_one_for_another_connection() {
    let node = Node::start();
    let time = unix_time();
    for_seeds(16, |rng| {
        let mut peer = node.connect_neo();
        let mut proof = wire::proof(&ZERO_KEY, time, &greet_until_nonce(&mut peer, time));
        proof[rng.within(0..64)] ^= 1 << rng.below(8);
        peer.send(&wire::name_and_proof(b"admin", &proof));
        assert_eq!(peer.receive_to_end(), REJECTED);
    });
    let (mut one, mut other) = (node.connect_neo(), node.connect_neo());
    let nonce = greet_until_nonce(&mut one, time);
    let _ = greet_until_nonce(&mut other, time);
    other.send(&wire::name_and_proof(b"admin", &wire::proof(&ZERO_KEY, time, &nonce)));
    assert_eq!(other.receive_to_end(), REJECTED);
}

#[test]
fn the_version_comes_alone_and_is_one() {
    let node = Node::start();
    for version in [0, 2, 255] {
        let mut peer = node.connect_neo();
        peer.send(&[version]);
        assert_eq!(peer.receive_to_end(), [1], "the node says its own, then closes");
    }
    for bytes in [&[1, 1][..], &[1, 2, 8, 0], &[0, 0], b"GET / HTTP/1.0\r\n\r\n", &[1; 70_000]] {
        let mut peer = node.connect_neo();
        // The node may have closed before the last bytes were sent.
        let _ = peer.0.write_all(bytes);
        assert_eq!(peer.receive_to_end(), b"", "{:02x?}", &bytes[..2]);
    }
    // Who connects and says nothing, or goes away in the middle, does no harm.
    drop(node.connect_neo());
    drop(greet_until_nonce(&mut node.connect_neo(), unix_time()));
    node.admin().settle();
}

#[test]
fn the_greeting_may_come_byte_by_byte_and_requests_right_behind_it() {
    let node = Node::start();
    let (mut peer, time) = (node.connect_neo(), unix_time());
    peer.send(&[1]);
    peer.expect_hex("01");
    for byte in wire::frame(AUTHENTICATION, &time.to_le_bytes()) {
        peer.send(&[byte]);
    }
    peer.expect_hex("02 04 00 00 00 00 00 00 00 06");
    let proof = wire::proof(&ZERO_KEY, time, &peer.receive(4));
    let mut last = wire::name_and_proof(b"admin", &proof);
    for byte in last.drain(..50) {
        peer.send(&[byte]);
    }
    last.extend(wire::message(7, &[99, 0]).repeat(1000));
    peer.send(&last);
    peer.expect_hex("02 01 00 00 00 00 00 00 00 03   01");
    let answer = wire::message(7, &[wire::UNKNOWN_CODE]);
    assert!(peer.receive(answer.len() * 1000) == answer.repeat(1000));
}

#[test]
fn messages_of_the_wrong_length_close_the_connection() {
    let node = Node::start();
    let time = unix_time().to_le_bytes();
    for body in [&b""[..], &time[..7], &[&time[..], &[0]].concat(), &[0; 999]] {
        assert_closes(&node, 1, &wire::frame(AUTHENTICATION, body));
    }
    let proof = [0; 64];
    for body in [
        vec![],
        wire::array("admin"),
        [wire::array("admin"), proof[1..].to_vec()].concat(),
        [wire::array("admin"), proof.to_vec(), vec![0]].concat(),
        [6_u64.to_le_bytes().to_vec(), b"admin".to_vec(), proof.to_vec()].concat(),
        [u64::MAX.to_le_bytes().to_vec(), b"admin".to_vec(), proof.to_vec()].concat(),
    ] {
        assert_closes(&node, 3, &wire::frame(AUTHENTICATION, &body));
    }
    for step in [1, 3] {
        for len in [1000, 1 << 20, 1 << 62, u64::MAX - 9, u64::MAX] {
            assert_closes(&node, step, &wire::header(AUTHENTICATION, len));
        }
    }
}

#[test]
fn headers_that_break_the_rules_close_the_connection_at_any_time() {
    let node = Node::start();
    for step in STEPS {
        for kind in [0, 3, 255] {
            assert_closes(&node, step, &wire::header(kind, 8));
        }
        let kind = if step == 5 { REQUEST } else { AUTHENTICATION };
        for at in 0..10 {
            let mut header = wire::header(kind, 8);
            header[at] ^= 0x10;
            assert_closes(&node, step, &header);
        }
    }
}

#[test]
fn requests_and_greeting_have_their_time() {
    let node = Node::start();
    for step in [1, 3] {
        assert_closes(&node, step, &wire::message(1, &wire::get_hash_range()));
        // The header is enough: nobody waits for the body.
        assert_closes(&node, step, &wire::header(REQUEST, 1 << 20));
    }
    assert_closes(&node, 5, &wire::frame(AUTHENTICATION, &unix_time().to_le_bytes()));
    assert_closes(&node, 5, &wire::name_and_proof(b"admin", &[0; 64]));
    assert_closes(&node, 5, &wire::frame(AUTHENTICATION, b""));
}

#[test]
fn who_does_not_authenticate_in_time_is_closed() {
    let settings = NodeSettings::default().with("Performance", "neo_auth_timeout_ms", "500");
    let node = Node::with(&settings);
    let mut client = node.admin();
    let mut silent = node.connect_neo();
    let mut versioned = node.connect_neo();
    versioned.send(&[1]);
    versioned.expect_hex("01");
    let mut half = node.connect_neo();
    half.send(&[1]);
    half.expect_hex("01");
    half.send(&wire::frame(AUTHENTICATION, &unix_time().to_le_bytes())[..15]);
    for peer in [&mut silent, &mut versioned, &mut half] {
        assert_eq!(peer.receive_to_end(), b"");
    }
    client.settle();
}

#[test]
fn each_protocol_has_a_connection_limit_of_its_own() {
    let settings = NodeSettings::default().with("Server", "connection_limit", "2");
    let node = Node::with(&settings);
    let (mut first, second) = (node.admin(), node.client());
    assert_eq!(node.connect_neo().receive_to_end(), b"", "accepted, then closed at once");
    assert_eq!(node.connect_neo().receive_to_end(), b"");
    for mut legacy in [node.connect(), node.connect()] {
        legacy.send(&dht_testkit::legacy::get_version());
        let answer = dht_testkit::legacy::version_answer();
        assert_eq!(legacy.receive(answer.len()), answer);
    }
    first.settle();
    drop(second);
    wait_for("a place that became free", || try_version(node.connect_neo()).then_some(()));
}

/// Whether the node answers the version.
fn try_version(mut peer: Peer) -> bool {
    let mut answer = [0; 1];
    peer.0.write_all(&[1]).is_ok() && peer.0.read_exact(&mut answer).is_ok()
}

#[test]
fn new_credentials_are_for_new_connections() {
    let node = Node::start();
    let mut admin = node.admin();
    let mut greeted = node.connect_neo();
    let time = unix_time();
    let nonce = greet_until_nonce(&mut greeted, time);

    let other_key = "AB".repeat(128);
    fs::write(node.dir().join("etc/credentials"), format!("zoe:{other_key}\n")).expect("ours");
    let rejected = |name: &str| judgement(&node, name.as_bytes(), time, &ZERO_KEY) == REJECTED;
    assert!(!rejected("neotest") && rejected("zoe"), "nothing is read before it is asked for");
    assert_eq!(command(&node, "update-credentials"), "Credentials updated.\n");
    assert_eq!(command(&node, "list-credentials"), "Registered credentials:\nzoe\n");
    assert!(rejected("admin") && rejected("neotest") && rejected("zoe"));
    let accepted = judgement(&node, b"zoe", time, &[0xab; 128]);
    assert_eq!(accepted.last(), Some(&1));

    // Who has not finished his greeting is judged by what holds now.
    greeted.send(&wire::name_and_proof(b"admin", &wire::proof(&ZERO_KEY, time, &nonce)));
    assert_eq!(greeted.receive_to_end(), REJECTED);
    // Open connections keep their rights, those of the admin too.
    admin.put("ch", 1, b"value");
    admin.remove_channel("ch");

    fs::write(node.dir().join("etc/credentials"), "broken").expect("ours");
    assert!(command(&node, "update-credentials").starts_with("Error updating credentials: "));
    assert_eq!(judgement(&node, b"zoe", time, &[0xab; 128]).last(), Some(&1), "the old ones hold");

    fs::write(node.dir().join("etc/credentials"), "").expect("ours");
    assert_eq!(command(&node, "update-credentials"), "Credentials updated.\n");
    assert_eq!(judgement(&node, b"zoe", time, &[0xab; 128]), REJECTED, "nobody can log in");
    admin.settle();
}

#[test]
fn sighup_reads_the_credentials_too() {
    let node = Node::start();
    let mut client = node.client();
    let file = node.dir().join("etc/credentials");
    let accepted = |name: &str| judgement(&node, name.as_bytes(), unix_time(), &ZERO_KEY)[10] == 1;

    fs::write(&file, format!("zoe:{}\n", "0".repeat(256))).expect("ours");
    assert!(!accepted("zoe"));
    node.signal("HUP");
    wait_for("the new credentials", || accepted("zoe").then_some(()));
    assert!(!accepted("admin"));

    fs::write(&file, "broken").expect("ours");
    node.signal("HUP");
    let log = node.dir().join("log/root.log");
    wait_for("a word about the broken file", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains(" as they were")).then_some(())
    });
    assert!(accepted("zoe"), "the old ones hold");
    client.settle();
}

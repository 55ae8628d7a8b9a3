//! Both sides of the greeting: the worked example, every decision, every cut.

use std::collections::HashMap;

use dht_testkit::{for_seeds, from_hex, to_hex};

use super::*;
use crate::neo::RequestId;

const NOW: u64 = 1_700_000_000;
const NONCE: Nonce = [0x0a, 0x1b, 0x2c, 0x3d];
const KEY: AuthKey = [0; 128];

const VERSION_BYTE: &str = "01";
const TIME: &str = "02 08 00 00 00 00 00 00 00 0a   00 f1 53 65 00 00 00 00";
const NONCE_MESSAGE: &str = "02 04 00 00 00 00 00 00 00 06   0a 1b 2c 3d";
const NAME_AND_CODE: &str = "
    02 4c 00 00 00 00 00 00 00 4e   04 00 00 00 00 00 00 00  74 65 73 74
    a6 e2 e7 e8 09 5c ba eb a6 b6 4b 39 a2 ff 66 f9
    4c f8 3c 5b 77 6c db 14 12 63 55 10 ab 6d 32 39
    27 48 88 cc d3 7f e4 08 01 3d 7b ed 73 d5 1b 3c
    42 4d 4e d0 52 56 25 02 42 01 c7 f7 db d4 49 a1";
const ACCEPTED: &str = "02 01 00 00 00 00 00 00 00 03   01";
const REJECTED: &str = "02 01 00 00 00 00 00 00 00 03   00";

type Outcome = Result<Option<String>, ServerHandshakeError>;

/// A node that knows `test` and `admin`, and the time.
struct Node {
    handshake: ServerHandshake,
    keys: HashMap<&'static str, AuthKey>,
    now: u64,
    sent: Vec<u8>,
}

impl Node {
    fn new() -> Self {
        let keys = HashMap::from([("test", KEY), ("admin", [7; 128])]);
        Self { handshake: ServerHandshake::new(NONCE), keys, now: NOW, sent: Vec::new() }
    }

    /// Gives the node bytes, all of which it must take if it wants to go on.
    fn receive(&mut self, bytes: &[u8]) -> Outcome {
        let mut input = bytes;
        let keys = &self.keys;
        self.handshake.receive(&mut input, self.now, |name| keys.get(name), &mut self.sent)
    }

    /// The same in hex, and what the node sent in return.
    fn step(&mut self, hex: &str) -> (Outcome, String) {
        self.sent.clear();
        let outcome = self.receive(&from_hex(hex));
        (outcome, to_hex(&self.sent))
    }
}

fn hex(text: &str) -> String {
    to_hex(&from_hex(text))
}

fn auth_message(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_message(&mut out, |w| w.bytes(body));
    out
}

/// The last message of a client with this name and key.
fn proof(name: &[u8], key: &AuthKey, time: u64) -> Vec<u8> {
    let mut body = Vec::new();
    let mut w = Writer::new(&mut body);
    w.array(name);
    w.bytes(&mac(key, time, NONCE).finalize().into_bytes());
    auth_message(&body)
}

#[test]
fn the_worked_example_passes_byte_by_byte_on_both_sides() {
    let mut node = Node::new();
    assert_eq!(node.step(VERSION_BYTE), (Ok(None), hex(VERSION_BYTE)));
    assert_eq!(node.step(TIME), (Ok(None), hex(NONCE_MESSAGE)));
    assert_eq!(node.step(NAME_AND_CODE), (Ok(Some("test".to_owned())), hex(ACCEPTED)));

    let mut sent = Vec::new();
    let mut client = ClientHandshake::new(&mut sent);
    assert_eq!(to_hex(&sent), hex(VERSION_BYTE));
    for (received, answer, done) in
        [(VERSION_BYTE, TIME, false), (NONCE_MESSAGE, NAME_AND_CODE, false), (ACCEPTED, "", true)]
    {
        sent.clear();
        let bytes = from_hex(received);
        let mut input = &bytes[..];
        assert_eq!(client.receive(&mut input, NOW, "test", &KEY, &mut sent), Ok(done));
        assert!(input.is_empty());
        assert_eq!(to_hex(&sent), hex(answer));
    }
}

#[test]
fn messages_may_arrive_in_any_pieces() {
    for_seeds(200, |rng| {
        let (mut node, mut pending) = (Node::new(), Vec::new());
        assert_eq!(node.step(VERSION_BYTE).0, Ok(None));
        let mut rest = &[from_hex(TIME), from_hex(NAME_AND_CODE), vec![1, 2, 3]].concat()[..];
        let name = loop {
            let (piece, after) = rest.split_at(rng.within(1..rest.len() + 1));
            pending.extend_from_slice(piece);
            rest = after;
            let mut input = &pending[..];
            let keys = &node.keys;
            let outcome =
                node.handshake.receive(&mut input, NOW, |name| keys.get(name), &mut node.sent);
            let left = input.len();
            pending.drain(..pending.len() - left);
            if let Some(name) = outcome.expect("well formed") {
                break name;
            }
        };
        assert_eq!(name, "test");
        pending.extend_from_slice(rest);
        assert_eq!(pending, [1, 2, 3], "what follows is left for the requests");
    });
}

#[test]
fn the_version_has_to_come_alone() {
    for len in [2, 3, 19, UNAUTHENTICATED_BYTES_MAX] {
        let mut node = Node::new();
        let error = ServerHandshakeError::VersionNotAlone(len);
        assert_eq!(node.receive(&vec![1; len]), Err(error));
        assert!(node.sent.is_empty(), "closed with nothing sent");
        let mut client = ClientHandshake::new(&mut Vec::new());
        let (bytes, mut sent) = (vec![1; len], Vec::new());
        let outcome = client.receive(&mut &bytes[..], NOW, "test", &KEY, &mut sent);
        assert_eq!(outcome, Err(ClientHandshakeError::VersionNotAlone(len)));
        assert!(sent.is_empty());
    }
}

#[test]
fn another_version_is_told_ours_and_closed() {
    for version in [0, 2, 255] {
        let mut node = Node::new();
        assert_eq!(node.receive(&[version]), Err(ServerHandshakeError::Version(version)));
        assert_eq!(node.sent, [1]);
        let (mut client, mut sent) = (ClientHandshake::new(&mut Vec::new()), Vec::new());
        let outcome = client.receive(&mut &[version][..], NOW, "test", &KEY, &mut sent);
        assert_eq!(outcome, Err(ClientHandshakeError::Version(version)));
        assert!(sent.is_empty());
    }
}

/// What becomes of a client whose clock says `time` and whose last message is `proof`.
fn judged(time: u64, proof: &[u8]) -> (Outcome, String) {
    let mut node = Node::new();
    assert_eq!(node.step(VERSION_BYTE).0, Ok(None));
    assert_eq!(node.receive(&auth_message(&time.to_le_bytes())), Ok(None));
    node.sent.clear();
    let outcome = node.receive(proof);
    (outcome, to_hex(&node.sent))
}

#[test]
fn rejections_are_decided_in_order_and_look_alike() {
    const I64_MAX: u64 = i64::MAX as u64;
    let (long, longest) = ([b'n'; 101], [b'n'; 100]);
    let too_long = Rejection::NameTooLong(101);
    // Each line is wrong in what it is rejected for, and in everything that is judged later.
    for (name, key, time, why) in [
        (&b""[..], [1; 128], u64::MAX, Rejection::NoName),
        (&long, [1; 128], u64::MAX, too_long),
        (&longest, [1; 128], u64::MAX, Rejection::UnknownName),
        (b"nobody", [1; 128], u64::MAX, Rejection::UnknownName),
        (b"nobody", [0; 128], NOW, Rejection::UnknownName),
        (b"te\xffst", [1; 128], u64::MAX, Rejection::UnknownName),
        (b"test", [1; 128], u64::MAX, Rejection::TimeOutOfRange(u64::MAX)),
        (b"test", [1; 128], I64_MAX + 1, Rejection::TimeOutOfRange(I64_MAX + 1)),
        (b"test", [1; 128], 0, Rejection::NoTime),
        (b"test", [1; 128], NOW - 1801, Rejection::ClockDifference(1801)),
        (b"test", [1; 128], NOW + 1801, Rejection::ClockDifference(1801)),
        (b"test", [1; 128], I64_MAX, Rejection::ClockDifference(I64_MAX - NOW)),
        (b"test", [1; 128], NOW, Rejection::WrongKey),
        (b"admin", [0; 128], NOW, Rejection::WrongKey),
    ] {
        let (outcome, sent) = judged(time, &proof(name, &key, time));
        let Err(ServerHandshakeError::Rejected { why: found, name: shown }) = outcome else {
            panic!("{why:?}: {outcome:?}");
        };
        assert_eq!(found, why);
        assert!(shown.chars().count() <= 100);
        assert_eq!(sent, hex(REJECTED));
    }
    for time in [NOW - 1800, NOW, NOW + 1800] {
        let (outcome, sent) = judged(time, &proof(b"test", &KEY, time));
        assert_eq!((outcome, sent), (Ok(Some("test".to_owned())), hex(ACCEPTED)));
    }
    // The time that counts is the one that was announced first.
    let (outcome, _) = judged(NOW, &proof(b"test", &KEY, NOW + 1));
    assert!(matches!(
        outcome,
        Err(ServerHandshakeError::Rejected { why: Rejection::WrongKey, .. })
    ));
}

#[test]
fn the_clock_is_read_when_the_client_tells_its_own() {
    let mut node = Node::new();
    assert_eq!(node.step(VERSION_BYTE).0, Ok(None));
    assert_eq!(node.step(TIME).0, Ok(None));
    node.now = NOW + 10_000;
    assert_eq!(node.step(NAME_AND_CODE).0, Ok(Some("test".to_owned())));
}

#[test]
fn bodies_of_another_length_close_without_an_answer() {
    let after = |steps: &[&str], message: &[u8]| {
        let mut node = Node::new();
        for step in steps {
            assert_eq!(node.step(step).0, Ok(None));
        }
        node.sent.clear();
        let outcome = node.receive(message);
        assert!(matches!(outcome, Err(ServerHandshakeError::Message(_))), "{outcome:?}");
        assert!(node.sent.is_empty());
    };
    for len in [0, 1, 7, 9, 999] {
        after(&[VERSION_BYTE], &auth_message(&vec![0; len]));
    }
    let good = from_hex(NAME_AND_CODE);
    for len in 0..good.len() - 10 {
        after(&[VERSION_BYTE, TIME], &auth_message(&good[10..10 + len]));
    }
    after(&[VERSION_BYTE, TIME], &auth_message(&[&good[10..], &[0]].concat()));
    for len in [u64::MAX, 999, 69] {
        let mut body = good[10..].to_vec();
        body[..8].copy_from_slice(&len.to_le_bytes());
        after(&[VERSION_BYTE, TIME], &auth_message(&body));
    }
    after(&[VERSION_BYTE], &auth_message(&[0; 1000]));
}

#[test]
fn requests_are_refused_by_their_header_alone() {
    let mut request = Vec::new();
    frame::write_byte(&mut request, RequestId::new(1).expect("not 0"), 1);
    for len in [10, request.len()] {
        let mut node = Node::new();
        assert_eq!(node.step(VERSION_BYTE).0, Ok(None));
        assert_eq!(node.receive(&request[..len]), Err(MessageError::Request.into()));
    }
}

#[test]
fn a_stranger_cannot_fill_the_buffer() {
    let mut node = Node::new();
    let len = UNAUTHENTICATED_BYTES_MAX + 1;
    assert_eq!(node.receive(&vec![1; len]), Err(ServerHandshakeError::TooMuch(len)));
    assert!(node.sent.is_empty());
}

#[test]
fn a_client_takes_any_byte_but_zero_for_yes() {
    for (byte, accepted) in [(0, false), (1, true), (2, true), (255, true)] {
        let mut sent = Vec::new();
        let mut client = ClientHandshake::new(&mut sent);
        let mut feed = |bytes: &[u8]| client.receive(&mut &bytes[..], 5, "test", &KEY, &mut sent);
        assert_eq!(feed(&[1]), Ok(false));
        assert_eq!(feed(&auth_message(&NONCE)), Ok(false));
        let outcome = feed(&auth_message(&[byte]));
        let expected = if accepted { Ok(true) } else { Err(ClientHandshakeError::Rejected) };
        assert_eq!(outcome, expected);
    }
}

#[test]
fn any_bytes_end_in_an_error_or_a_request_for_more() {
    for_seeds(500, |rng| {
        let mut node = Node::new();
        assert_eq!(node.step(VERSION_BYTE).0, Ok(None));
        let mut bytes = from_hex(TIME);
        if rng.one_in(2) {
            bytes.extend_from_slice(&from_hex(NAME_AND_CODE));
        }
        let at = rng.within(0..bytes.len());
        bytes[at] ^= 1 << rng.below(8);
        bytes.truncate(rng.within(0..bytes.len() + 1));
        if let Ok(Some(_)) = node.receive(&bytes) {
            panic!("accepted with byte {at} changed");
        }
    });
}

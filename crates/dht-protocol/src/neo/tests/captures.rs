//! What the original client and node said to each other, byte by byte, with each side played by
//! ours in turn.

use std::collections::BTreeMap;

use dht_testkit::{from_hex, testdata, to_hex};
use dht_types::Key;

use super::node::Node;
use crate::neo::auth::{AuthKey, Nonce};
use crate::neo::frame::{self, HEADER_BYTES};
use crate::neo::requests::{GetReply, PutReply, UpdateMessage};
use crate::neo::{
    Client, ClientHandshake, Command, Payload, Request, RequestId, ServerHandshake, client::Reply,
};
use crate::wire::Reader;

const CAPTURES: [&str; 10] = [
    "01_Neo_Put_followed_by_neo_Get",
    "02_Neo_Put_followed_by_neo_Remove_and_neo_Get",
    "03_Neo_Get_for_non_existent_entry",
    "10_Neo_Update_on_an_empty_channel",
    "11_Neo_Update",
    "13_Neo_Put_then_RemoveChannel",
    "15_Neo_Puts_followed_by_neo_GetChannels",
    "util_neotest_get",
    "util_neotest_put",
    "util_neotest_update",
];

const KEY: AuthKey = [0; 128];

/// The greeting takes the first so many lines.
const HANDSHAKE_LINES: usize = 6;

#[derive(Debug)]
struct Line {
    from_client: bool,
    bytes: Vec<u8>,
}

struct Capture {
    name: &'static str,
    lines: Vec<Line>,
}

impl Capture {
    fn read(name: &'static str) -> Self {
        let path = testdata("captures").join(format!("{name}.txt"));
        let text = std::fs::read_to_string(path).expect("part of the project");
        let lines = text.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, "neo#1", direction @ ("C>N" | "N>C"), _, hex] = fields[..] else { return None };
            Some(Line { from_client: direction == "C>N", bytes: from_hex(hex) })
        });
        Self { name, lines: lines.collect() }
    }

    /// What the client's clock said.
    fn time(&self) -> u64 {
        Reader::new(&self.lines[2].bytes[HEADER_BYTES..]).u64().expect("8 bytes")
    }

    fn nonce(&self) -> Nonce {
        self.lines[3].bytes[HEADER_BYTES..].try_into().expect("4 bytes")
    }

    fn client_name(&self) -> &'static str {
        if self.name.starts_with("util_") { "neotest" } else { "admin" }
    }

    fn greeting(&self) -> &[Line] {
        &self.lines[..HANDSHAKE_LINES]
    }

    fn rest(&self) -> &[Line] {
        &self.lines[HANDSHAKE_LINES..]
    }
}

/// A node with the records that the original had when this capture began.
fn prepared_node(name: &str) -> Node {
    let mut node = Node::new();
    if matches!(name, "util_neotest_get" | "util_neotest_update") {
        node.channel("test").insert(Key(0), b"hello".to_vec());
    }
    node
}

#[test]
fn our_node_says_what_the_original_said() {
    for name in CAPTURES {
        let capture = Capture::read(name);
        let mut handshake = ServerHandshake::new(capture.nonce());
        let mut accepted = None;
        for pair in capture.greeting().chunks(2) {
            let (mut sent, mut input) = (Vec::new(), &pair[0].bytes[..]);
            let key_of = |client: &str| (client == capture.client_name()).then_some(&KEY);
            let outcome = handshake.receive(&mut input, capture.time(), key_of, &mut sent);
            accepted = outcome.expect("a good client");
            assert_eq!(to_hex(&sent), to_hex(&pair[1].bytes), "{name}");
        }
        assert_eq!(accepted.as_deref(), Some(capture.client_name()), "{name}");

        let (mut node, mut sent, mut expected) = (prepared_node(name), Vec::new(), Vec::new());
        for line in capture.rest() {
            if line.from_client {
                assert_eq!(to_hex(&sent), to_hex(&expected), "{name}");
                node.receive(&mut &line.bytes[..], &mut sent).expect("a good client");
            } else {
                expected.extend_from_slice(&line.bytes);
            }
        }
        assert_eq!(to_hex(&sent), to_hex(&expected), "{name}");
        assert_eq!(node.server.active_len(), 1, "{name}: GetHashRange alone runs for ever");
    }
}

/// What a node sends for each request, in order; between requests there is none.
fn by_request(mut sent: &[u8]) -> BTreeMap<RequestId, Vec<Vec<u8>>> {
    let mut messages = BTreeMap::<_, Vec<_>>::new();
    while let Some(frame) = frame::next_frame(&mut sent).expect("well formed") {
        let mut r = Reader::new(frame.body);
        let id = r.u64().ok().and_then(RequestId::new).expect("an id");
        messages.entry(id).or_default().push(r.rest().to_vec());
    }
    assert!(sent.is_empty());
    messages
}

#[test]
fn our_node_says_the_same_however_the_bytes_arrive() {
    for name in CAPTURES {
        let capture = Capture::read(name);
        let side = |from_client| {
            let lines = capture.rest().iter().filter(|line| line.from_client == from_client);
            lines.flat_map(|line| line.bytes.clone()).collect::<Vec<u8>>()
        };
        let (from_client, from_node) = (side(true), side(false));
        let run = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let (mut node, mut pending, mut sent) = (prepared_node(name), Vec::new(), Vec::new());
            for piece in pieces {
                pending.extend_from_slice(piece);
                let mut input = &pending[..];
                node.receive(&mut input, &mut sent).expect("a good client");
                let left = input.len();
                pending.drain(..pending.len() - left);
            }
            assert!(pending.is_empty());
            sent
        };
        let bytewise = run(&mut from_client.chunks(1));
        assert_eq!(to_hex(&bytewise), to_hex(&from_node), "{name}: byte by byte");
        for at in 0..=from_client.len() {
            let (first, second) = from_client.split_at(at);
            let sent = run(&mut [first, second].into_iter());
            assert_eq!(by_request(&sent), by_request(&from_node), "{name}: cut at {at}");
        }
    }
}

/// Sends what the original client sent, request by request, through our client.
fn send_again(client: &mut Client, message: &[u8]) -> Vec<u8> {
    let frame = frame::next_frame(&mut &message[..]).expect("well formed").expect("whole");
    let mut r = Reader::new(frame.body);
    let id = r.u64().ok().and_then(RequestId::new).expect("an id");
    let mut sent = Vec::new();
    if client.active().any(|(running, _)| running == id) {
        let message = UpdateMessage::decode(r.rest()).expect("a second half");
        client.update(id, &message, &mut sent).expect("it waits");
    } else {
        let command = Command::from_code(r.u8().expect("a code")).expect("known");
        assert_eq!(r.u8(), Ok(0));
        let request = Request::decode(command, &mut r).expect("well formed");
        assert_eq!(client.start(request, &mut sent), Ok(id), "ids count from 1");
    }
    sent
}

#[test]
fn our_client_says_what_the_original_said() {
    let (mut puts, mut got) = (0, 0);
    for name in CAPTURES {
        let capture = Capture::read(name);
        let mut sent = Vec::new();
        let mut handshake = ClientHandshake::new(&mut sent);
        for (at, pair) in capture.greeting().chunks(2).enumerate() {
            assert_eq!(to_hex(&sent), to_hex(&pair[0].bytes), "{name}");
            sent.clear();
            let (mut input, who) = (&pair[1].bytes[..], capture.client_name());
            let accepted = handshake.receive(&mut input, capture.time(), who, &KEY, &mut sent);
            assert_eq!(accepted, Ok(at == 2), "{name}");
        }

        let mut client = Client::new();
        for line in capture.rest() {
            if line.from_client {
                assert_eq!(to_hex(&send_again(&mut client, &line.bytes)), to_hex(&line.bytes));
                continue;
            }
            let mut input = &line.bytes[..];
            while let Some(event) = client.next(&mut input, &mut sent).expect("a good node") {
                match event.reply {
                    Reply::Put(reply) => {
                        assert_eq!((reply, event.is_last), (PutReply::Put, true));
                        puts += 1;
                    }
                    Reply::Get(GetReply::Got(value)) => {
                        assert!(!value.is_empty() && event.is_last);
                        got += 1;
                    }
                    Reply::Unsupported(_) | Reply::UnknownStatus(_) => panic!("{event:?}"),
                    _ => {}
                }
            }
            assert!(input.is_empty() && sent.is_empty());
        }
        let running: Vec<_> = client.active().map(|(_, command)| command).collect();
        assert_eq!(running, [Command::GetHashRange], "{name}: all others were answered");
    }
    assert_eq!((puts, got), (11, 6));
}

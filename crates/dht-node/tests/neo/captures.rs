//! Conversations between the original's programs and the original node, replayed: the same
//! requests get the same bytes. Only the client's proof and the node's nonce differ, and the order
//! of the list of channels is the node's own.

use dht_testkit::{from_hex, testdata, to_hex};

use crate::support::{Client, Node};
use crate::wire::{self, GetAll};

/// All that were captured of the neo protocol, and the client of each.
const CAPTURES: [(&str, &str); 10] = [
    ("01_Neo_Put_followed_by_neo_Get", "admin"),
    ("02_Neo_Put_followed_by_neo_Remove_and_neo_Get", "admin"),
    ("03_Neo_Get_for_non_existent_entry", "admin"),
    ("10_Neo_Update_on_an_empty_channel", "admin"),
    ("11_Neo_Update", "admin"),
    ("13_Neo_Put_then_RemoveChannel", "admin"),
    ("15_Neo_Puts_followed_by_neo_GetChannels", "admin"),
    ("util_neotest_get", "neotest"),
    ("util_neotest_put", "neotest"),
    ("util_neotest_update", "neotest"),
];

/// Bytes that one side sent before the other said something.
struct Turn {
    from_client: bool,
    bytes: Vec<u8>,
}

/// The turns of the capture's neo connection.
fn turns(name: &str) -> Vec<Turn> {
    let path = testdata("captures").join(format!("{name}.txt"));
    let text = std::fs::read_to_string(path).expect("part of the project");
    let mut turns: Vec<Turn> = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "neo#1", direction @ ("C>N" | "N>C"), len, hex] = fields[..] else { continue };
        let (from_client, bytes) = (direction == "C>N", from_hex(hex));
        assert_eq!(bytes.len().to_string(), len);
        match turns.last_mut() {
            Some(turn) if turn.from_client == from_client => turn.bytes.extend(bytes),
            _ => turns.push(Turn { from_client, bytes }),
        }
    }
    turns
}

/// Name of a GetChannels' answer in a message, whose order is free: the rest stays in its place.
fn in_order(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut rest = bytes;
    while let Some((header, behind)) = rest.split_first_chunk::<10>() {
        let body_bytes = u64::from_le_bytes(header[1..9].try_into().expect("eight bytes"));
        let (body, behind) = behind.split_at(usize::try_from(body_bytes).expect("short"));
        messages.push([&header[..], body].concat());
        rest = behind;
    }
    assert!(rest.is_empty());
    let is_name = |message: &Vec<u8>| message.len() > 19 && message[18] == 2;
    if messages.iter().filter(|message| is_name(message)).count() > 1 {
        messages.sort_by_key(|message| (message[18] == 3, message[18] != 0xfd, message.clone()));
    }
    messages
}

/// The greeting is three turns of each side.
const GREETING_TURNS: usize = 6;

#[test]
fn the_original_clients_get_what_the_original_node_said() {
    for (name, who) in CAPTURES {
        let node = Node::start();
        if matches!(name, "util_neotest_get" | "util_neotest_update") {
            node.admin().put("test", 0, b"hello");
        }
        // It checks the node's part of the greeting.
        let mut client = Client::greet(node.connect_neo(), who);
        let turns = turns(name);
        let mut compared = 0;
        for turn in &turns[GREETING_TURNS..] {
            if turn.from_client {
                client.peer.send(&turn.bytes);
                continue;
            }
            let said = client.peer.receive(turn.bytes.len());
            let (said, expected) = (in_order(&said), in_order(&turn.bytes));
            let hex = |messages: &[Vec<u8>]| -> Vec<String> {
                messages.iter().map(|message| to_hex(message)).collect()
            };
            assert_eq!(hex(&said), hex(&expected), "{name}");
            compared += 1;
        }
        assert!(compared >= 2, "{name}");
        client.send(u64::MAX, &[0, 0]);
        assert_eq!(client.receive(u64::MAX), [wire::UNKNOWN_CODE], "nothing is left over");
    }
}

#[test]
fn our_proofs_are_those_of_the_original_client() {
    for (name, who) in CAPTURES {
        let turns = turns(name);
        let [version, _, time, nonce, proof, accepted] = &turns[..GREETING_TURNS] else {
            panic!("a greeting")
        };
        assert_eq!((&version.bytes[..], accepted.bytes.last()), (&[1][..], Some(&1)));
        let time = u64::from_le_bytes(time.bytes[10..].try_into().expect("eight bytes"));
        let ours = wire::proof(&wire::ZERO_KEY, time, &nonce.bytes[10..]);
        assert_eq!(to_hex(&wire::name_and_proof(who.as_bytes(), &ours)), to_hex(&proof.bytes));
    }
}

#[test]
fn what_the_original_put_is_there_afterwards() {
    let node = Node::start();
    let mut client = node.client();
    for turn in turns("util_neotest_put").iter().skip(GREETING_TURNS) {
        if turn.from_client {
            client.peer.send(&turn.bytes);
        } else {
            assert_eq!(client.peer.receive(turn.bytes.len()), turn.bytes);
        }
    }
    let mut client = node.client();
    let channels = client.channels();
    assert_eq!(channels.len(), 1);
    let request = GetAll { channel: &channels[0], ..GetAll::default() };
    let id = client.start_stream(&request.encode());
    assert_eq!(client.batches_to_the_end(id).len(), 1);
    assert_eq!(client.records(&channels[0]).len(), 1);
}

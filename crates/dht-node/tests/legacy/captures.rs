//! Conversations between the original's programs and the original node, replayed: the same
//! requests get the same bytes. Only the order of a scan, and so its compressed batches, and that
//! of the list of channels are the node's own.

use std::collections::BTreeMap;

use dht_testkit::legacy::{self, status};
use dht_testkit::{Peer, from_hex, testdata, to_hex};

use crate::support::{Client, Node, decompress, pairs, unique};

/// What was captured of one end of a connection at one moment.
enum Moment {
    Open,
    Request(Vec<u8>),
    Answer(Vec<u8>),
    /// The client has closed its end.
    End,
    /// The connection is gone.
    Close,
}

/// A capture: the legacy connections by name, in the order of time.
fn capture(name: &str) -> Vec<(String, Moment)> {
    let text = std::fs::read_to_string(testdata(&format!("captures/{name}.txt")))
        .expect("part of the project");
    text.lines().map(moment).collect()
}

/// Reads `TIME CONNECTION KIND [LENGTH BYTES]`.
fn moment(line: &str) -> (String, Moment) {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let bytes = || {
        let bytes = from_hex(fields[4]);
        assert_eq!(bytes.len().to_string(), fields[3]);
        bytes
    };
    let moment = match fields[2] {
        "OPEN" => Moment::Open,
        "C>N" => Moment::Request(bytes()),
        "N>C" => Moment::Answer(bytes()),
        "CEOF" => Moment::End,
        "CLOSE" => Moment::Close,
        other => panic!("unknown moment {other:?}"),
    };
    (fields[1].to_owned(), moment)
}

/// The code of a request, and the text of its channel if it has one.
fn code_and_channel(request: &[u8]) -> (u8, String) {
    let len = request.get(4).map_or(0, |len| usize::from(*len));
    let channel = request.get(12..12 + len).unwrap_or_default();
    (request[0], String::from_utf8(channel.to_vec()).expect("ASCII"))
}

const GET: u8 = 7;
const EXISTS: u8 = 11;
const GET_CHANNELS: u8 = 17;
const GET_ALL: u8 = 29;

/// An answer that is a list of arrays behind status 200.
fn list(answer: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = answer.strip_prefix(&status::OK.to_le_bytes()[..]).expect("status 200");
    let mut items = Vec::new();
    loop {
        let (len, behind) = rest.split_first_chunk().expect("a length");
        let len = usize::try_from(u64::from_le_bytes(*len)).expect("a short array");
        let (item, behind) = behind.split_at(len);
        if item.is_empty() {
            assert!(behind.is_empty());
            return items;
        }
        items.push(item.to_vec());
        rest = behind;
    }
}

fn records(answer: &[u8]) -> Vec<(u64, Vec<u8>)> {
    list(answer).iter().flat_map(|batch| pairs(&decompress(batch))).collect()
}

/// Puts what a capture's answers say was there before.
fn prepare(node: &Node, capture: &[(String, Moment)]) {
    let mut peer = node.connect();
    let mut asked: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for (connection, moment) in capture {
        match moment {
            Moment::Request(request) => {
                asked.insert(connection, request);
            }
            Moment::Answer(answer) => {
                let request = asked[connection.as_str()];
                let (code, channel) = code_and_channel(request);
                let key = || {
                    let text = std::str::from_utf8(&request[request.len() - 16..]).expect("hex");
                    u64::from_str_radix(text, 16).expect("hex digits")
                };
                match code {
                    GET => peer.put(&channel, key(), &answer[12..]),
                    EXISTS => peer.put(&channel, key(), b"anything"),
                    GET_ALL => records(answer)
                        .iter()
                        .for_each(|(key, value)| peer.put(&channel, *key, value)),
                    _ => {}
                }
            }
            Moment::Open | Moment::End | Moment::Close => {}
        }
    }
}

/// Plays the client's part, and compares the node's.
fn replay(node: &Node, capture: Vec<(String, Moment)>) {
    let mut peers: BTreeMap<String, (Peer, u8)> = BTreeMap::new();
    for (connection, moment) in capture {
        if let Moment::Open = moment {
            peers.insert(connection, (node.connect(), 0));
            continue;
        }
        let (peer, code) = peers.get_mut(&connection).expect("it is open");
        match moment {
            Moment::Request(request) => {
                *code = request[0];
                peer.send(&request);
            }
            Moment::Answer(answer) => compare(peer, *code, &answer),
            Moment::End => peer.finish_sending(),
            Moment::Close => peer.assert_closed(),
            Moment::Open => unreachable!("seen above"),
        }
    }
}

fn compare(peer: &mut Peer, code: u8, answer: &[u8]) {
    match code {
        GET_ALL => {
            let batches = peer.batches(b"");
            let found = unique(batches.iter().flat_map(|batch| pairs(batch)));
            assert_eq!(found, unique(records(answer)));
        }
        GET_CHANNELS => {
            assert_eq!(peer.receive_u32(), status::OK);
            let arrays = std::iter::repeat_with(|| peer.receive_array());
            let mut names: Vec<_> = arrays.take_while(|name| !name.is_empty()).collect();
            let mut expected = list(answer);
            names.sort();
            expected.sort();
            assert_eq!(names, expected);
        }
        _ => assert_eq!(to_hex(&peer.receive(answer.len())), to_hex(answer)),
    }
}

#[test]
fn the_conversations_of_the_originals_test_suite() {
    let node = Node::start();
    for name in [
        "04_Put_followed_by_Get",
        "05_Get_for_non_existent_entry",
        "06_GetAll_for_predefined_data",
        "07_Removing_channel",
        "08_Listen_stops_after_removing_channel",
        "09_Listen_gets_activated_by_Put",
    ] {
        replay(&node, capture(name));
        // Each ends with the removal of its channel.
        assert_eq!(node.connect().channels(), [""; 0], "{name}");
    }
}

#[test]
fn the_conversations_of_the_originals_programs() {
    for name in
        ["util_dhtdump_oneshot", "util_dhtperf_exists", "util_dhtperf_get", "util_dhtperf_put"]
    {
        let node = Node::start();
        let capture = capture(name);
        prepare(&node, &capture);
        replay(&node, capture);
    }
}

#[test]
fn what_the_original_put_is_there_afterwards() {
    let node = Node::start();
    replay(&node, capture("util_dhtperf_put"));
    let expected = unique((0..5).map(|key| (key, vec![0xff; 32])));
    let mut peer = node.connect();
    assert_eq!(peer.records("perf"), expected);
    assert_eq!(peer.ask(&legacy::remove_channel("perf")), status::OK);
}

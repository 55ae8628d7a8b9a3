//! What closes a connection, what is still answered before, and bytes that come in pieces.
//! Source: spec `protocol-legacy` 1.1, 4.1, 14.

use dht_testkit::Peer;
use dht_testkit::legacy::{self, array, request, status, version_answer};

use crate::support::{Client, Node, blob_of, workers};

/// Codes that mean nothing. (33, Redistribute, is another matter.)
const UNKNOWN: [u32; 23] = [
    0,
    2,
    3,
    4,
    5,
    6,
    8,
    9,
    10,
    13,
    14,
    15,
    16,
    21,
    26,
    27,
    28,
    32,
    35,
    256,
    0x0100_0000,
    1 << 31,
    u32::MAX,
];

/// Requests and answers that are the same however often they are repeated.
fn conversation() -> Vec<(Vec<u8>, Vec<u8>)> {
    let ok = || status::OK.to_le_bytes().to_vec();
    let ok_array = |value: &[u8]| [ok(), array(value)].concat();
    let one_batch = |records: &[(u64, &[u8])]| [ok_array(&blob_of(records)), array(b"")].concat();
    vec![
        (legacy::get_version(), version_answer()),
        (legacy::put("ch", 1, b"value"), ok()),
        (legacy::get("ch", 1), ok_array(b"value")),
        (legacy::exists("ch", 1), [&ok()[..], &[1]].concat()),
        (request(29, &[&array(b"bad name")]), status::BAD_CHANNEL_NAME.to_le_bytes().to_vec()),
        (legacy::get_all("ch"), one_batch(&[(1, b"value")])),
        (legacy::put("ch", 1, b""), status::EMPTY_VALUE.to_le_bytes().to_vec()),
        (legacy::get_all_filter("ch", b"lu"), one_batch(&[(1, b"value")])),
        (legacy::get_all_filter("ch", b"x"), one_batch(&[])),
        (legacy::get_channels(), [ok_array(b"ch"), array(b"")].concat()),
        (legacy::put_batch("ch", &blob_of(&[(2, b"second")])), ok()),
        (legacy::listen("ch"), ok()),
        (legacy::remove("ch", 2), ok()),
        (legacy::get("ch", 2), ok_array(b"")),
        (legacy::remove_channel("ch"), ok()),
        (legacy::get("ch", 1), ok_array(b"")),
        (legacy::get_version(), version_answer()),
    ]
}

/// All requests of a conversation, and all answers.
fn both_ways(conversation: &[(Vec<u8>, Vec<u8>)]) -> (Vec<u8>, Vec<u8>) {
    let (requests, answers): (Vec<_>, Vec<_>) = conversation.iter().cloned().unzip();
    (requests.concat(), answers.concat())
}

#[test]
fn an_unknown_code_closes_without_a_byte() {
    let node = Node::start();
    for code in UNKNOWN {
        let mut peer = node.connect();
        peer.send(&request(code, &[&array(b"ch")]));
        peer.assert_closed();
    }
    node.connect().assert_usable();
}

#[test]
fn what_was_answered_before_the_connection_is_closed_arrives() {
    let node = Node::start();
    let (requests, answers) = both_ways(&conversation());
    let endings = [
        request(0, &[]),
        request(12, &[&array(b"ch"), &array(b"malformed")]),
        legacy::put_batch("ch", b"no batch"),
    ];
    for ending in endings {
        let mut peer = node.connect();
        peer.send(&[&requests[..], &ending, &legacy::put("after", 1, b"value")].concat());
        assert_eq!(peer.receive_to_end(), answers);
    }
    assert_eq!(node.connect().channels(), ["ch"], "what follows is not executed");
}

#[test]
fn requests_may_be_split_at_every_byte() {
    let node = Node::with(&workers(2));
    let conversation = conversation();
    let (requests, answers) = both_ways(&conversation);
    let mut peer = node.connect();
    for cut in 1..requests.len() {
        peer.send(&requests[..cut]);
        // To have the answers of the whole requests is to know that the first part has arrived.
        let early = answered_bytes(&conversation, cut);
        assert_eq!(peer.receive(early), answers[..early], "cut at {cut}");
        peer.send(&requests[cut..]);
        assert_eq!(peer.receive(answers.len() - early), answers[early..], "cut at {cut}");
    }
}

/// Bytes of the answers to the requests that are whole within the first `cut` bytes.
fn answered_bytes(conversation: &[(Vec<u8>, Vec<u8>)], cut: usize) -> usize {
    let (mut sent, mut answered) = (0, 0);
    for (request, answer) in conversation {
        sent += request.len();
        if sent > cut {
            break;
        }
        answered += answer.len();
    }
    answered
}

#[test]
fn requests_may_come_byte_by_byte() {
    let node = Node::start();
    let (requests, answers) = both_ways(&conversation());
    let mut peer = node.connect();
    for byte in requests {
        peer.send(&[byte]);
    }
    assert_eq!(peer.receive(answers.len()), answers);
}

#[test]
fn thousands_of_requests_in_one_write_are_answered_in_order() {
    let node = Node::start();
    let mut peer = node.connect();
    let (mut requests, mut answers) = (Vec::new(), Vec::new());
    for record in 0..5_000_u64 {
        let value = record.to_le_bytes();
        requests.extend(legacy::put("ch", record, &value));
        requests.extend(legacy::get("ch", record));
        answers.extend(status::OK.to_le_bytes());
        answers.extend(status::OK.to_le_bytes());
        answers.extend(array(&value));
    }
    let mut sending = Peer(peer.0.try_clone().expect("a socket"));
    let sender = std::thread::spawn(move || sending.send(&requests));
    assert_eq!(peer.receive(answers.len()), answers);
    sender.join().expect("all was sent");
}

#[test]
fn a_client_that_sends_without_reading_is_not_read_and_loses_nothing() {
    let node = Node::with(&workers(1));
    let mut peer = node.connect();
    let value = vec![7; 60_000];
    peer.put("ch", 1, &value);
    // 60 MB of answers: far more than the buffers between the two hold.
    const GETS: usize = 1_000;
    let mut sending = Peer(peer.0.try_clone().expect("a socket"));
    let sender = std::thread::spawn(move || sending.send(&legacy::get("ch", 1).repeat(GETS)));
    // Others are served meanwhile.
    node.connect().assert_usable();
    for _ in 0..GETS {
        assert_eq!(peer.receive_u32(), status::OK);
        assert!(peer.receive_array() == value);
    }
    sender.join().expect("all was sent");
}

#[test]
fn a_peer_that_has_finished_sending_still_gets_its_answers() {
    let node = Node::with(&workers(1));
    let (requests, answers) = both_ways(&conversation());
    for tail in [&b""[..], b"\x01", b"\x18\0\0"] {
        let mut peer = node.connect();
        peer.send(&[&requests[..], tail].concat());
        peer.finish_sending();
        assert_eq!(peer.receive_to_end(), answers);
    }
    let mut peer = node.connect();
    for record in 0..2_000 {
        peer.put("large", record, &[7; 500]);
    }
    peer.send(&legacy::get_all("large").repeat(5));
    peer.finish_sending();
    for _ in 0..5 {
        assert_eq!(peer.receive_u32(), status::OK);
        while !peer.receive_array().is_empty() {}
    }
    peer.assert_closed();
}

#[test]
fn a_disconnect_in_every_stage_leaves_the_node_alive() {
    let node = Node::with(&workers(2));
    let mut first = node.connect();
    let (requests, _) = both_ways(&conversation());
    for cut in 0..=requests.len() {
        let mut peer = node.connect();
        peer.send(&requests[..cut]);
    }
    node.wait_for_connections(&mut first, 1);
    assert_eq!(first.ask(&legacy::remove_channel("ch")), status::OK);
    first.put("ch", 1, b"value");
    assert_eq!(first.records("ch").len(), 1);
}

#[test]
fn a_disconnect_in_the_middle_of_an_answer_leaves_the_node_alive() {
    let node = Node::with(&workers(1));
    let mut first = node.connect();
    for record in 0..200 {
        first.put("large", record, &dht_testkit::Rng::new(record).bytes(60_000..60_001));
    }
    for received in [0, 1, 4, 5, 12, 1_000, 100_000, 1_000_000] {
        let mut peer = node.connect();
        peer.send(&legacy::get_all("large"));
        let _ = peer.receive(received);
    }
    node.wait_for_connections(&mut first, 1);
    assert_eq!(first.records("large").len(), 200);
}

//! Refusals, silence, and nonsense: typed errors, never a panic, and the next request works.

use std::{net::TcpListener, time::Duration};

use dht_client::{
    Error, ErrorKind, NodeAddress, RequestName,
    blocking::{Timeouts, legacy::Connection},
};
use dht_protocol::legacy::{
    Command, Status,
    requests::{GetChannels, GetNumConnections, GetSize, GetVersion},
};
use dht_testkit::{Rng, for_seeds, from_hex};
use dht_types::{ChannelName, Key};

use super::peer::{Peer, Step, exchange, patient};

fn channel() -> ChannelName {
    "ch".parse().expect("a channel name")
}

const GET_VERSION: &str = "18000000";
const VERSION: &str = "c8000000 0800000000000000 3230313130343031";

#[test]
fn a_refusal_keeps_the_connection_and_status_500_ends_it() {
    let remove = "0c000000 0200000000000000 6368 1000000000000000 30303030303030303030303030303035";
    let refused = [exchange(remove, "94010000"), exchange(remove, "f4010000")].concat();
    let peer = Peer::start(vec![refused, exchange(GET_VERSION, VERSION).to_vec()]);
    let mut node = peer.connect();
    for status in [Status::WrongNode, Status::Error] {
        let error = node.remove(&channel(), Key(5)).expect_err("refused");
        assert_eq!(error.node.as_ref(), Some(&peer.node));
        assert_eq!(error.request, Some(RequestName::Legacy(Command::Remove)));
        assert!(matches!(error.kind, ErrorKind::Status(found) if found == status));
    }
    assert!(node.call(&GetVersion).is_ok(), "on a new connection");
    peer.finish();
}

#[test]
fn what_the_node_would_refuse_anyway_is_not_even_sent() {
    let peer = Peer::once(vec![Step::AwaitClose]);
    let mut node = peer.connect();
    let error = node.put(&channel(), Key(1), b"").expect_err("empty");
    assert!(matches!(error.kind, ErrorKind::EmptyValue));
    let error = node.get_all_filter(&channel(), b"").map(drop).expect_err("empty");
    assert!(matches!(error.kind, ErrorKind::EmptyFilter));
    drop(node);
    peer.finish();
}

#[test]
fn nobody_listening_is_a_connect_error() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    let node = NodeAddress { host: "127.0.0.1".to_owned(), port };
    let error = Connection::connect(node.clone(), patient()).expect_err("nobody is there");
    assert!(matches!(error.kind, ErrorKind::Connect(_)), "{error}");
    assert_eq!(error.node, Some(node));
}

#[test]
fn a_silent_node_is_a_time_out() {
    let limit = Duration::from_millis(20);
    for answer in ["", "c800"] {
        let script = [exchange(GET_VERSION, answer).to_vec(), vec![Step::AwaitClose]].concat();
        let peer = Peer::once(script);
        let timeouts = Timeouts { io: Some(limit), ..patient() };
        let mut node = Connection::connect(peer.node.clone(), timeouts).expect("it listens");
        let error = node.call(&GetVersion).expect_err("it says nothing");
        assert!(matches!(error.kind, ErrorKind::TimedOut(found) if found == limit), "{error}");
        peer.finish();
    }
}

#[test]
fn an_answer_that_breaks_off_is_closed() {
    for len in 0..20 {
        let cut = from_hex(VERSION)[..len].to_vec();
        let peer = Peer::once(vec![Step::Expect(from_hex(GET_VERSION)), Step::Answer(cut, 20)]);
        let error = peer.connect().call(&GetVersion).expect_err("broken off");
        assert!(matches!(error.kind, ErrorKind::Closed), "{error}");
        peer.finish();
    }
}

#[test]
fn bytes_that_nobody_asked_for_end_the_connection() {
    let chatty = exchange(GET_VERSION, &format!("{VERSION} 00")).to_vec();
    let peer = Peer::start(vec![chatty, exchange(GET_VERSION, VERSION).to_vec()]);
    let mut node = peer.connect();
    node.call(&GetVersion).expect("the answer itself is fine");
    let error = node.call(&GetVersion).expect_err("out of step");
    assert!(matches!(error.kind, ErrorKind::Unasked(1)), "{error}");
    node.call(&GetVersion).expect("on a new connection");
    peer.finish();
}

#[test]
fn lengths_that_no_node_sends_are_refused_before_anything_is_allocated() {
    for length in ["ffffffffffffffff", "0100a00000000000"] {
        let answer = from_hex(&format!("c8000000 {length}"));
        let script = vec![Step::Expect(from_hex("1d000000 0200000000000000 6368"))];
        let peer = Peer::once([script, vec![Step::Answer(answer, 20)]].concat());
        let mut node = peer.connect();
        let mut records = node.get_all(&channel()).expect("accepted");
        let error = records.next().expect("an error").expect_err("too long");
        assert!(matches!(error.kind, ErrorKind::Protocol(_)), "{error}");
        assert!(records.next().is_none(), "an error is the last item");
        peer.finish();
    }
}

#[test]
fn a_malformed_key_in_a_batch_or_a_change_is_an_error() {
    let batch = "2300000000000000 0610000000000000000030290000 0c7a656164 0300000000000000 616263
                 110000";
    let length = from_hex(batch).len();
    let answer = format!("c8000000 {length:02x}00000000000000 {batch}");
    let peer = Peer::once(exchange("1d000000 0200000000000000 6368", &answer).to_vec());
    let error = peer.connect().get_all(&channel()).expect("accepted").next();
    let error = error.expect("an item").expect_err("damaged");
    assert!(matches!(error.kind, ErrorKind::Protocol(_) | ErrorKind::Batch(_)), "{error}");
    peer.finish();
    let answer = "c8000000 0100000000000000 30 0100000000000000 30";
    let peer = Peer::once(exchange("19000000 0200000000000000 6368", answer).to_vec());
    let error = peer.connect().listen(&channel()).expect("accepted").next();
    let error = error.expect("an item").expect_err("damaged");
    assert!(matches!(error.kind, ErrorKind::Protocol(_)), "{error}");
    peer.finish();
}

/// Random bytes, biased towards the beginning of an answer.
fn nonsense(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !rng.one_in(4) {
        bytes.extend_from_slice(&200_u32.to_le_bytes());
    }
    for _ in 0..rng.within(0..4) {
        if !rng.one_in(3) {
            bytes.extend_from_slice(&rng.below(40).to_le_bytes());
        }
        bytes.extend_from_slice(&rng.bytes(0..60));
    }
    bytes
}

#[test]
fn nonsense_never_panics_and_never_yields_more_than_was_sent() {
    type Ask = fn(&mut Connection) -> Result<usize, Error>;
    let asks: [Ask; 8] = [
        |node| node.call(&GetSize).map(|_| 1),
        |node| node.call(&GetNumConnections).map(|_| 1),
        |node| node.call(&GetChannels).map(|names| names.len()),
        |node| node.handshake().map(|_| 1),
        |node| node.get(&channel(), Key(1)).map(|value| value.map_or(0, |value| value.len())),
        |node| node.get_all(&channel())?.try_fold(0, |sum, item| Ok(sum + item?.1.len())),
        |node| node.get_all_keys(&channel())?.try_fold(0, |sum, item| item.map(|_| sum + 1)),
        |node| node.listen(&channel())?.try_fold(0, |sum, item| item.map(|_| sum + 1)),
    ];
    for_seeds(50, |rng| {
        for ask in asks {
            let answer = nonsense(rng);
            let sent = answer.len();
            let peer = Peer::once(vec![Step::Answer(answer, rng.within(1..100))]);
            // A batch may unpack to more than it is; 256 times is what LZO can do.
            if let Ok(size) = ask(&mut peer.connect()) {
                assert!(size <= sent * 256, "{size} of {sent}");
            }
            peer.finish();
        }
    });
}

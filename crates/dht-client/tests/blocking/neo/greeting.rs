//! Who is let in, and what it means if nobody is.

use std::{sync::Arc, time::Duration};

use dht_client::{
    AuthenticationError, ClientCredentials, ErrorKind,
    blocking::{Timeouts, neo::Connection},
};
use dht_protocol::neo::requests::{Exists, ExistsReply, GetHashRange, ResponsibleRange};
use dht_types::{HashRange, Key};

use super::peer::{Peer, Step, admin, channel, exchange, greet, opening, patient};

/// How the connection to a peer with this script fails.
fn failure(script: Vec<Step>, credentials: ClientCredentials, timeouts: Timeouts) -> ErrorKind {
    let peer = Peer::once(script);
    let connected = Connection::connect(peer.node.clone(), Arc::new(credentials), timeouts);
    let error = connected.expect_err("it must not succeed");
    assert_eq!((error.node.as_ref(), error.request), (Some(&peer.node), None));
    peer.finish();
    error.kind
}

fn authentication(kind: ErrorKind) -> AuthenticationError {
    match kind {
        ErrorKind::Authentication(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn a_wrong_key_and_a_wrong_name_are_rejected() {
    for (name, key) in [("admin", [1; 128]), ("nobody", [0; 128])] {
        let kind = failure(vec![Step::Do(greet)], ClientCredentials::new(name, key), patient());
        assert!(matches!(authentication(kind), AuthenticationError::Rejected), "{name}");
    }
    // No node knows such a name: it is not even sent.
    let script = vec![Step::Expect(vec![1]), Step::Answer(vec![1], 1), Step::AwaitClose];
    let kind = failure(script, ClientCredentials::new(&"n".repeat(101), [0; 128]), patient());
    assert!(matches!(authentication(kind), AuthenticationError::Rejected));
}

#[test]
fn another_version_is_told() {
    let script = vec![Step::Expect(vec![1]), Step::Answer(vec![2], 1), Step::AwaitClose];
    let kind = failure(script, (*admin()).clone(), patient());
    assert!(matches!(authentication(kind), AuthenticationError::Version(2)));
}

#[test]
fn silence_hanging_up_and_nonsense_are_told_apart() {
    let limit = Duration::from_millis(20);
    let hurried = Timeouts { io: Some(limit), ..patient() };
    let silent = vec![Step::Expect(vec![1]), Step::AwaitClose];
    let kind = failure(silent, (*admin()).clone(), hurried);
    assert!(matches!(authentication(kind), AuthenticationError::TimedOut(found) if found == limit));
    let kind = failure(vec![Step::Expect(vec![1])], (*admin()).clone(), patient());
    assert!(matches!(authentication(kind), AuthenticationError::Closed));
    let nonsense = vec![Step::Expect(vec![1]), Step::Answer(b"\x01HTTP/1.1".to_vec(), 20)];
    let kind = failure(nonsense, (*admin()).clone(), patient());
    assert!(matches!(authentication(kind), AuthenticationError::Malformed(_)));
}

#[test]
fn after_an_error_the_next_request_makes_a_new_connection() {
    let exists = |id| {
        exchange(id, Exists { channel: &channel(), key: Key(5) }, &[&ExistsReply::RecordExists])
    };
    let first = HashRange::new(0, 9).expect("a range");
    let broken = [opening(first), vec![Step::Do(|_| {})]].concat();
    let whole = [opening(HashRange::FULL), exists(2)].concat();
    let peer = Peer::start(vec![broken, whole]);
    let mut node = peer.greeted();
    assert_eq!(node.hash_range().expect("known"), first);
    let error = node.exists(&channel(), Key(5)).expect_err("the peer is gone");
    assert!(matches!(error.kind, ErrorKind::Closed | ErrorKind::Io(_)), "{error}");
    assert!(node.exists(&channel(), Key(5)).expect("answered"));
    assert_eq!(node.hash_range().expect("known"), HashRange::FULL);
    let news: Vec<_> = node.take_range_news().iter().map(|news| news.range).collect();
    assert_eq!(news, [first, HashRange::FULL], "of both connections");
    assert_eq!(node.take_range_news(), []);
    drop(node);
    peer.finish();
}

#[test]
fn a_node_without_hash_range_is_named_with_the_request() {
    let mut script = vec![Step::Do(greet)];
    script.extend(exchange(1, GetHashRange, &[&ResponsibleRange(HashRange::FULL)]));
    let Some(Step::Answer(answer, _)) = script.last_mut() else { panic!("the answer comes last") };
    // Unsupported, in place of `fd`; nothing behind it.
    answer.truncate(19);
    answer[18] = 0xff;
    let peer = Peer::once(script);
    let error = Connection::connect(peer.node.clone(), admin(), patient()).expect_err("refused");
    assert!(error.to_string().ends_with("GetHashRange: the node does not support the request"));
    peer.finish();
}

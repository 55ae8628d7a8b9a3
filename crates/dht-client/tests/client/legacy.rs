//! The legacy protocol: handshake, pool, and what a node may refuse.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use dht_client::{Channel, Client, ErrorKind, Fate, Limits, MirrorEvent, NodeEvent, ScanEvent};
use dht_protocol::legacy::Status;
use dht_test::{TestCluster, TestNode};
use dht_testkit::{Rng, from_hex};
use futures_util::StreamExt as _;

use super::{
    script::{Peer, Step},
    scripted::is_waiting,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Expects a request, given as hex, and answers with hex.
fn exchange(request: &str, answer: &str) -> [Step; 2] {
    [Step::Expect(from_hex(request)), Step::Answer(from_hex(answer), usize::MAX)]
}

/// The handshake of a node that has everything.
fn handshake() -> Vec<Step> {
    [
        exchange("18000000", "c8000000 0800000000000000 3230313130343031"),
        exchange("14000000", "c8000000 0000000000000000 ffffffffffffffff"),
    ]
    .concat()
}

fn limits() -> Limits {
    Limits { handshake_retry: Duration::from_millis(20), ..Limits::default() }
}

async fn client_of(peer: &Peer) -> (Client, Channel) {
    let builder = Client::builder().node(peer.node.to_string()).limits(limits());
    let client = builder.connect().await.expect("the peer passes the handshake");
    let channel = client.channel("ch").expect("a name");
    (client, channel)
}

async fn finish(peer: Peer) {
    tokio::task::spawn_blocking(move || peer.finish()).await.expect("the script is played");
}

const EXISTS: &str = "0b000000 0200000000000000 6368
                      1000000000000000 30303030303030303030303030303037";
const PUT: &str = "01000000 0200000000000000 6368
                   1000000000000000 30303030303030303030303030303037 0100000000000000 76";

#[tokio::test]
async fn the_handshake_goes_on_until_every_node_has_passed_and_those_that_have_serve() {
    let cluster = TestCluster::start(2);
    let [first, second] = cluster.nodes() else { panic!("two nodes") };
    second.lose();
    let client = Client::builder()
        .nodes([first.legacy_address(), second.legacy_address()])
        .limits(limits())
        .build()
        .expect("addresses");
    client.nodes_ready(1, LIMIT).await.expect("one is there");
    let key = |node: &TestNode| (0..).find(|key| std::ptr::eq(cluster.node_of(*key), node));
    let (here, away) = (key(first).expect("a key"), key(second).expect("a key"));
    let channel = client.channel("h").expect("a name");
    channel.put(here, "x").await.expect("its node has passed");
    let error = channel.put(away, "x").await.expect_err("its node has not");
    assert!(matches!(error.kind, ErrorKind::NoNode(_)) && error.is_retry_safe(), "{error}");
    second.come_back();
    client.ready(LIMIT).await.expect("both are there");
    channel.put(away, "x").await.expect("its node has passed");
}

#[tokio::test]
async fn a_node_of_another_version_is_not_used() {
    let old = exchange("18000000", "c8000000 0800000000000000 3139393930343031").to_vec();
    let peer = Peer::once(old);
    let client = Client::builder().node(peer.node.to_string());
    let client = client.build().expect("an address");
    let event = client.events().next().await.expect("an event");
    let NodeEvent::ConnectionError(_, error) = &event else { panic!("{event:?}") };
    assert!(matches!(&error.kind, ErrorKind::Version(version) if version == "19990401"), "{error}");
    assert!(event.to_string().starts_with("<error_while_connecting>: Node 127.0.0.1:"), "{event}");
    assert!(client.channel("ch").expect("a name").get(1).await.is_err());
    finish(peer).await;
}

#[tokio::test]
async fn a_refusal_keeps_the_connection_and_500_does_not() {
    let peer = Peer::start(vec![
        [
            handshake(),
            exchange(PUT, "94010000").to_vec(),
            exchange(PUT, "97010000").to_vec(),
            exchange(PUT, "f4010000").to_vec(),
            vec![Step::AwaitClose],
        ]
        .concat(),
        [exchange(EXISTS, "c8000000 01").to_vec(), vec![Step::AwaitClose]].concat(),
    ]);
    let (client, channel) = client_of(&peer).await;
    for (status, fate, retry) in [
        (Status::WrongNode, Fate::NotDone, false),
        (Status::OutOfMemory, Fate::NotDone, true),
        (Status::Error, Fate::Unknown, false),
    ] {
        let error = channel.put(7, "v").await.expect_err("refused");
        assert!(matches!(error.kind, ErrorKind::Status(found) if found == status), "{error}");
        assert_eq!((error.fate(), error.is_retry_safe()), (fate, retry), "{error}");
    }
    assert!(channel.exists(7).await.expect("an answer"));
    let error = channel.put(7, "").await.expect_err("empty");
    assert!(matches!(error.kind, ErrorKind::EmptyValue), "{error}");
    let error = channel.update(7, |_| "x".to_owned()).await.expect_err("not in the protocol");
    assert!(matches!(error.kind, ErrorKind::NotInProtocol("legacy")), "{error}");
    drop((client, channel));
    finish(peer).await;
}

#[tokio::test]
async fn a_request_that_is_given_up_takes_its_connection_with_it() {
    static GIVEN_UP: AtomicBool = AtomicBool::new(false);
    let peer = Peer::start(vec![
        [
            handshake(),
            vec![Step::Expect(from_hex(PUT)), Step::AwaitClose],
            vec![Step::Do(|_| assert!(GIVEN_UP.load(SeqCst), "not before the time is over"))],
        ]
        .concat(),
        [exchange(EXISTS, "c8000000 00").to_vec(), vec![Step::AwaitClose]].concat(),
    ]);
    let (client, channel) = client_of(&peer).await;
    let hasty = channel.clone().with_timeout(Duration::from_millis(30));
    GIVEN_UP.store(true, SeqCst);
    let error = hasty.put(7, "v").await.expect_err("no answer");
    assert!(matches!(error.kind, ErrorKind::TimedOut(_)), "{error}");
    assert!(error.may_have_written());
    let counts = client.stats().request("Put");
    assert_eq!((counts.started, counts.timed_out), (1, 1));
    assert!(!channel.exists(7).await.expect("an answer"));
    drop((client, channel, hasty));
    finish(peer).await;
}

#[tokio::test]
async fn connections_that_the_node_has_closed_are_not_used_again() {
    let node = TestNode::start();
    let client = node.legacy_client().await;
    let channel = client.channel("c").expect("a name");
    for round in 0..5_u64 {
        channel.put(round, "x").await.expect("an answer");
        node.drop_connections();
    }
    assert_eq!(client.stats().request("Put").answered, 5);
    assert!(client.stats().connects >= 5);
}

#[tokio::test]
async fn no_more_connections_than_allowed_are_made_and_what_waits_is_bounded() {
    let node = TestNode::start();
    let limits = Limits { legacy_connections_max: 2, legacy_queue_bytes_max: 31_000, ..limits() };
    let builder = Client::builder().node(node.legacy_address()).limits(limits);
    let client = builder.connect().await.expect("the node is there");
    let channel = client.channel("c").expect("a name");
    let value = vec![7; 10_000];
    // Two at work, three that wait, and the others too many.
    let puts = (0..20_u64).map(|key| channel.put(key, &value));
    let results = futures_util::future::join_all(puts).await;
    let refused: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 15);
    for error in refused {
        assert!(matches!(error.kind, ErrorKind::QueueFull(_)), "{error}");
        assert_eq!((error.fate(), error.is_retry_safe()), (Fate::NotDone, true));
    }
    assert!(client.stats().connects <= 2);
}

#[tokio::test]
async fn a_scan_whose_connection_is_lost_says_so() {
    let node = TestNode::start();
    let client = node.legacy_client().await;
    let channel = client.channel("c").expect("a name");
    // Nothing that shrinks: the sockets' buffers must not hold all of it.
    let mut rng = Rng::new(1);
    for key in 0..300_u64 {
        node.put("c", key, rng.bytes(60_000..60_001));
    }
    let mut scan = channel.get_all().events();
    let mut records = 0;
    loop {
        match scan.next().await.expect("an event") {
            ScanEvent::Item(_) => {
                records += 1;
                if records == 1 {
                    node.drop_connections();
                }
            }
            ScanEvent::NodeFailed(error) => {
                assert!(error.is_retry_safe(), "{error}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(records < 300);
    assert!(scan.next().await.is_none());
}

/// The original: requests for a node whose version was not checked are refused.
#[tokio::test]
async fn nothing_is_asked_of_a_node_before_its_version_was_checked() {
    let old = exchange("18000000", "c8000000 0800000000000000 3139393930343031");
    let mut script = vec![old; 5].concat();
    script.push(Step::AwaitClose);
    let peer = Peer::once(script);
    let limits = Limits { handshake_retry: Duration::from_secs(3600), ..limits() };
    let client = Client::builder().node(peer.node.to_string()).limits(limits);
    let client = client.build().expect("an address");
    client.events().next().await.expect("it has failed");
    let channel = client.channel("ch").expect("a name");
    // Each of them asks for the version, and then no more.
    let mut mirror = channel.listen();
    assert!(matches!(mirror.next().await, Some(MirrorEvent::Started)), "there is nobody to start");
    drop(mirror);
    for (error, name) in [
        (client.channels().await.expect_err("another version"), "GetChannels"),
        (channel.remove_channel().await.expect_err("another version"), "RemoveChannel"),
        (channel.get_all().next().await.expect("an item").expect_err("another version"), "GetAll"),
    ] {
        assert!(matches!(&error.kind, ErrorKind::Version(found) if found == "19990401"), "{error}");
        assert_eq!((error.fate(), error.is_retry_safe()), (Fate::NotDone, false), "{error}");
        assert_eq!(error.request.map(|request| request.name()), Some(name));
    }
    drop((client, channel));
    finish(peer).await;
}

#[tokio::test]
async fn a_request_that_found_no_free_connection_in_time_was_not_sent() {
    let peer = Peer::start(vec![
        [handshake(), vec![Step::Expect(from_hex(EXISTS)), Step::AwaitClose]].concat(),
    ]);
    let limits = Limits { legacy_connections_max: 1, request_timeout: None, ..limits() };
    let client = Client::builder().node(peer.node.to_string()).limits(limits);
    let client = client.connect().await.expect("the peer passes the handshake");
    let channel = client.channel("ch").expect("a name");
    let mut running = Box::pin(channel.exists(7));
    assert!(is_waiting(running.as_mut()).await);
    let hasty = channel.clone().with_timeout(Duration::from_millis(30));
    let error = hasty.put(7, "v").await.expect_err("there is no other connection");
    assert!(matches!(error.kind, ErrorKind::ConnectTimedOut(_)), "{error}");
    assert_eq!((error.fate(), error.is_retry_safe()), (Fate::NotDone, true));
    // What runs fails when the client is shut down, and so does what comes then.
    client.shut_down();
    let error = running.await.expect_err("the client is gone");
    assert!(matches!(error.kind, ErrorKind::Disconnected { sent: true, .. }), "{error}");
    let error = channel.put(7, "v").await.expect_err("the client is gone");
    assert!(matches!(error.kind, ErrorKind::ShutDown), "{error}");
    assert_eq!((error.fate(), error.is_retry_safe()), (Fate::NotDone, false));
    finish(peer).await;
}

#[tokio::test]
async fn of_nodes_that_overlap_the_first_is_asked_and_the_overlap_told() {
    let (first, second) = (TestNode::start(), TestNode::start());
    let nodes = [first.legacy_address(), second.legacy_address()];
    let client = Client::builder().nodes(&nodes).connect().await.expect("both are there");
    let report = client.check_ranges().to_string();
    assert!(report.starts_with("multiple nodes responsible for key: "), "{report}");
    client.channel("c").expect("a name").put(7, "v").await.expect("an answer");
    assert_eq!((first.size("c").0, second.size("c").0), (1, 0));
    assert_eq!(client.node_of(7).expect("known").to_string(), nodes[0]);
}

#[tokio::test]
async fn streams_are_counted_like_other_requests() {
    let node = TestNode::start();
    node.put("c", 1, vec![7; 10_000]);
    let client = node.legacy_client().await;
    let channel = client.channel("c").expect("a name");
    let before = client.stats();
    assert_eq!(channel.get_all().count().await, 1);
    assert_eq!(channel.keys().count().await, 1);
    assert_eq!(channel.filter(vec![7]).count().await, 1);
    let mut mirror = channel.listen();
    assert!(matches!(mirror.next().await, Some(MirrorEvent::Started)));
    let stats = client.stats();
    for name in ["GetAll", "GetAllKeys", "GetAllFilter"] {
        assert_eq!((stats.request(name).started, stats.request(name).answered), (1, 1), "{name}");
    }
    assert_eq!((stats.request("Listen").active(), stats.active()), (1, 1));
    assert_eq!(stats.connects, before.connects + 4);
    assert!(stats.bytes_received > before.bytes_received + 16);
    drop(mirror);
    assert_eq!(client.stats().request("Listen").dropped, 1);
}

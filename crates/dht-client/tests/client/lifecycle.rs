//! How a client comes about, what it tells of its nodes, how it connects again, and its end.

use std::{net::SocketAddr, time::Duration};

use dht_client::{
    BuildError, Client, ClientCredentials, ErrorKind, Fate, Limits, MirrorEvent, NodeEvent,
    RequestName,
};
use dht_protocol::neo::{
    Command, Supported,
    requests::{GetChannels, GetHashRange, GetStatus},
};
use dht_test::TestNode;
use futures_util::StreamExt as _;
use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

use super::{
    peer::{Raw, exchange, first, greet, id, whole},
    script::{Peer, Step},
    scripted::{KEY, LIMIT, client_of, finish, get, is_waiting, limits, put, until, within},
};

#[test]
fn mistakes_are_told_when_the_client_is_made() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str, content: &str| {
        std::fs::write(dir.path().join(name), content).expect("a folder of ours");
        dir.path().join(name)
    };
    let two_names = format!("a:{key}\nb:{key}\n", key = "00".repeat(128));
    let builder = Client::builder;
    for (builder, text) in [
        (builder(), "no node was given"),
        (builder().node("h"), "'h' is not an address of a node"),
        (builder().node("h:1").node("h:x"), "'h:x' is not an address"),
        (builder().nodes(["h:1", "h:2", "h:1"]), "node h:1 was given twice"),
        (builder().nodes_file(file("nodes", "h 1\n")), "in line 1"),
        (builder().nodes_file(dir.path().join("none")), "cannot read nodes file"),
        (builder().node("h:1").credentials_file(file("two", &two_names)), "has 2 entries"),
        (builder().node("h:1").credentials_file(dir.path().join("none")), "cannot read"),
    ] {
        let error = builder.build().expect_err("a mistake");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn the_limits_are_the_originals_where_it_has_any() {
    let limits = Limits::default();
    assert_eq!((limits.legacy_connections_max, limits.legacy_queue_bytes_max), (5, 32_768));
    assert_eq!(limits.requests_per_node_max, 5000);
}

#[tokio::test]
async fn a_node_is_connected_then_known_and_connected_again_after_a_loss() {
    let node = TestNode::start();
    let client = Client::builder().node(node.neo_address()).credentials(TestNode::credentials());
    let client = client.build().expect("an address");
    let mut events = client.events();
    let mut next = async || within(events.next()).await.expect("an event");
    let address = node.neo_address();
    let event = next().await;
    assert_eq!(event.to_string(), format!("<connected>: Node {address}"));
    let event = next().await;
    assert_eq!(event.to_string(), format!("<hash_range_queried>: Node {address}"));
    for way in [TestNode::drop_connections, |_: &TestNode| ()] {
        way(&node);
        if client.nodes()[0].connected {
            client.reconnect();
        }
        let event = next().await;
        assert!(matches!(event, NodeEvent::ConnectionError(..)), "{event}");
        // Its range is known already.
        let event = next().await;
        assert!(matches!(event, NodeEvent::Connected(_)), "{event}");
    }
    assert!(client.nodes()[0].last_error.is_some());
}

#[tokio::test]
async fn both_protocols_connect_anew_when_they_are_told_to() {
    let node = TestNode::start();
    for client in [node.client().await, node.legacy_client().await] {
        let channel = client.channel("c").expect("a name");
        channel.put(1, "v").await.expect("an answer");
        let before = client.stats().connects;
        client.reconnect();
        // Until a neo client has noticed; a legacy one connects when it is asked something.
        let connected_anew = async {
            while channel.put(1, "v").await.is_err() || client.stats().connects == before {
                tokio::task::yield_now().await;
            }
        };
        within(connected_anew).await;
        assert_eq!(client.stats().connects, before + 1);
    }
}

/// An address at which nobody listens, nor will as long as the socket is there.
fn nobody() -> (Socket, String) {
    let socket = bound();
    let address = socket.local_addr().expect("bound").as_socket().expect("IPv4").to_string();
    (socket, address)
}

fn bound() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    socket
}

/// Times of the next failed attempts, since the first one.
async fn failures(client: &Client, count: usize) -> Vec<Duration> {
    let mut events = client.events();
    let mut times = Vec::new();
    while times.len() < count {
        match events.next().await.expect("an event") {
            NodeEvent::ConnectionError(..) => times.push(Instant::now()),
            NodeEvent::Connected(_) => {}
            event => panic!("{event}"),
        }
    }
    times.iter().map(|time| *time - times[0]).collect()
}

/// Nothing but the waits takes time here: the clock stands still until everybody waits.
fn patient() -> Limits {
    Limits { connect_timeout: None, request_timeout: None, ..Limits::default() }
}

/// What the waits sum up to, in milliseconds; timers go off at whole ones.
fn sums(waits: &[u64]) -> Vec<Duration> {
    let mut sum = 0;
    waits
        .iter()
        .map(|wait| {
            sum += wait;
            Duration::from_millis(sum)
        })
        .collect()
}

const WAITS_MS: [u64; 10] = [0, 0, 20, 40, 79, 157, 313, 625, 1250, 2500];

#[tokio::test(start_paused = true)]
async fn attempts_to_connect_wait_as_long_as_the_originals() {
    let (_port, nobody) = nobody();
    let builder = Client::builder().node(nobody).limits(patient());
    let client = builder.credentials(TestNode::credentials()).build().expect("an address");
    let waits = [&WAITS_MS[..], &[2500, 2500]].concat();
    assert_eq!(failures(&client, waits.len()).await, sums(&waits));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_greets_and_hangs_up_is_not_greeted_without_a_pause() {
    let peer = Peer::start(vec![vec![Step::Do(greet)]; 5]);
    let builder = Client::builder().node(peer.node.to_string()).limits(patient());
    let client = builder.credentials(TestNode::credentials()).build().expect("an address");
    assert_eq!(failures(&client, 5).await, sums(&WAITS_MS[..5]));
    client.shut_down();
    finish(peer).await;
}

/// A socket that listens, and whose queue of connections is full: the system answers nobody.
fn full_listener() -> (Socket, Vec<Socket>) {
    let listener = bound();
    listener.listen(0).expect("it is bound");
    let address = listener.local_addr().expect("it is bound");
    let mut waiting = Vec::new();
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        if socket.connect_timeout(&address, Duration::from_millis(50)).is_err() {
            return (listener, waiting);
        }
        waiting.push(socket);
    }
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_is_given_up_in_time() {
    let (listener, _waiting) = full_listener();
    let address = listener.local_addr().expect("bound").as_socket().expect("IPv4").to_string();
    let limit = Duration::from_millis(30);
    for credentials in [None, Some(TestNode::credentials())] {
        let mut builder = Client::builder().node(&address).connect_timeout(limit);
        if let Some(credentials) = credentials {
            builder = builder.credentials(credentials);
        }
        let client = builder.build().expect("an address");
        let event = within(client.events().next()).await.expect("an event");
        let NodeEvent::ConnectionError(_, error) = event else { panic!("{event}") };
        assert!(matches!(error.kind, ErrorKind::ConnectTimedOut(found) if found == limit));
        assert!(error.is_retry_safe() && !error.may_have_written());
    }
}

#[tokio::test]
async fn a_silent_node_is_left_after_the_connect_timeout() {
    let peer = Peer::once(vec![Step::Expect(vec![1]), Step::AwaitClose]);
    let limit = Duration::from_millis(30);
    let builder = Client::builder().node(peer.node.to_string()).connect_timeout(limit);
    let client = builder.credentials(TestNode::credentials()).build().expect("an address");
    let event = within(client.events().next()).await.expect("an event");
    let NodeEvent::ConnectionError(_, error) = event else { panic!("{event}") };
    assert!(error.to_string().contains("no answer to the greeting"), "{error}");
    client.shut_down();
    finish(peer).await;
}

#[tokio::test]
async fn a_request_has_just_the_time_that_it_was_given() {
    let peer = Peer::once([whole(), vec![first(2, get()), Step::AwaitClose]].concat());
    let (client, channel) = client_of(&[&peer], limits()).await;
    let channel = channel.with_timeout(Duration::from_secs(1));
    tokio::time::pause();
    let mut request = Box::pin(channel.get(KEY));
    assert!(is_waiting(request.as_mut()).await);
    // Its driver takes it over.
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_millis(999)).await;
    assert!(is_waiting(request.as_mut()).await);
    tokio::time::advance(Duration::from_millis(2)).await;
    let error = request.await.expect_err("no answer");
    assert!(matches!(error.kind, ErrorKind::TimedOut(limit) if limit.as_secs() == 1), "{error}");
    tokio::time::resume();
    client.shut_down();
    finish(peer).await;
}

/// As the original's client: such a node gets no requests for keys.
#[tokio::test]
async fn a_node_without_hash_ranges_stays_connected_and_has_no_keys() {
    let mut cannot = Vec::new();
    Supported::No.write(id(1), &mut cannot);
    let peer = Peer::once(
        [
            vec![Step::Do(greet), first(1, GetHashRange), Step::Answer(cannot, usize::MAX)],
            exchange(2, GetChannels, &[&Raw(vec![3])]),
            vec![Step::AwaitClose],
        ]
        .concat(),
    );
    let client = Client::builder().node(peer.node.to_string()).limits(limits());
    let client = client.credentials(TestNode::credentials()).build().expect("an address");
    let mut events = client.events();
    let event = within(events.next()).await.expect("an event");
    assert!(matches!(event, NodeEvent::Connected(_)), "{event}");
    let event = within(events.next()).await.expect("an event");
    let NodeEvent::ConnectionError(_, error) = event else { panic!("{event}") };
    assert!(matches!(error.kind, ErrorKind::Unsupported), "{error}");
    assert_eq!(error.request, Some(RequestName::Neo(Command::GetHashRange)));
    assert_eq!(within(client.channels()).await.expect("it knows this one"), [] as [&str; 0]);
    let error = client.channel("c").expect("a name").get(1).await.expect_err("no node");
    assert!(matches!(error.kind, ErrorKind::NoNode(_)), "{error}");
    assert!(client.check_ranges().to_string().contains("does not support"));
    client.shut_down();
    finish(peer).await;
}

#[tokio::test]
async fn nodes_are_added_while_a_neo_client_runs_and_never_to_a_legacy_one() {
    let node = TestNode::start();
    let client = node.client().await;
    let known = node.neo_address().parse().expect("an address");
    assert!(client.add_node(known) && client.nodes().len() == 1, "known already");
    let other = TestNode::start();
    assert!(client.add_node(other.neo_address().parse().expect("an address")));
    client.nodes_ready(2, LIMIT).await.expect("both are there");
    // The original: `Node registry is locked`.
    let legacy = node.legacy_client().await;
    assert!(!legacy.add_node(other.legacy_address().parse().expect("an address")));
    assert_eq!(legacy.nodes().len(), 1);
}

#[tokio::test]
async fn a_client_without_arguments_in_the_original_is_the_one_named_test_with_a_zero_key() {
    let node = TestNode::start();
    let builder = Client::builder().node(node.neo_address());
    let client = builder.credentials(ClientCredentials::new("test", [0; 128])).connect().await;
    client.expect("the node knows it").channel("c").expect("a name").put(1, "v").await.expect("it");
}

#[tokio::test]
async fn what_is_asked_of_a_client_that_was_shut_down_says_so_and_what_ran_fails() {
    let neo = Peer::once([whole(), vec![first(2, put()), Step::AwaitClose]].concat());
    let (client, channel) = client_of(&[&neo], limits()).await;
    let opened = client.stats().bytes_sent;
    let mut running = Box::pin(channel.put(KEY, "v"));
    assert!(is_waiting(running.as_mut()).await);
    until("the put to be sent", || client.stats().bytes_sent != opened).await;
    client.shut_down();
    let error = within(running).await.expect_err("the client is gone");
    assert!(matches!(error.kind, ErrorKind::Disconnected { sent: true, .. }), "{error}");
    assert!(error.to_string().contains("shut down") && error.may_have_written());
    for error in [
        channel.put(KEY, "v").await.expect_err("gone"),
        channel.get(KEY).await.expect_err("gone"),
        channel.remove(KEY).await.expect_err("gone"),
        channel.update(KEY, |_| "x".to_owned()).await.expect_err("gone"),
        client.channels().await.expect_err("gone"),
    ] {
        assert!(matches!(error.kind, ErrorKind::ShutDown), "{error}");
        assert_eq!((error.fate(), error.is_retry_safe()), (Fate::NotDone, false));
    }
    let mut mirror = channel.mirror();
    let error = loop {
        match within(mirror.next()).await.expect("an event") {
            MirrorEvent::Started => {}
            MirrorEvent::NodeFailed(error) => break error,
            event => panic!("{event:?}"),
        }
    };
    assert!(matches!(error.kind, ErrorKind::ShutDown), "{error}");
    let error = within(channel.get_all().next()).await.expect("an item").expect_err("gone");
    assert!(matches!(error.kind, ErrorKind::ShutDown), "{error}");
    finish(neo).await;
}

#[tokio::test]
async fn each_node_has_its_own_counts_and_all_together_their_sum() {
    let [busy, idle] = [
        [whole(), exchange(2, get(), &[&GetStatus::NoRecord]), vec![Step::AwaitClose]].concat(),
        [super::peer::opening(dht_client::HashRange::EMPTY), vec![Step::AwaitClose]].concat(),
    ]
    .map(Peer::once);
    let (client, channel) = client_of(&[&busy, &idle], limits()).await;
    within(channel.get(KEY)).await.expect("an answer");
    let by_node = client.stats_by_node();
    let of = |node| &by_node.iter().find(|(address, _)| address == node).expect("known").1;
    let (one, other) = (of(&busy.node), of(&idle.node));
    assert_eq!((one.request("Get").answered, other.request("Get").answered), (1, 0));
    assert!(one.bytes_received > other.bytes_received && other.bytes_received > 0);
    assert_eq!((one.nodes, one.nodes_connected, one.nodes_with_range, one.connects), (1, 1, 1, 1));
    let all = client.stats();
    assert_eq!((all.nodes, all.connects, all.request("Get").answered), (2, 2, 1));
    assert_eq!(all.bytes_sent, one.bytes_sent + other.bytes_sent);
    client.reset_stats();
    assert_eq!((client.stats().connects, client.stats().request("Get").answered), (0, 0));
    assert_eq!(client.stats().nodes_connected, 2, "that is no count");
    drop((client, channel));
    finish(busy).await;
    finish(idle).await;
}

#[tokio::test]
async fn connect_waits_no_longer_than_the_connect_timeout() {
    let (_port, nobody) = nobody();
    let builder = Client::builder().node(nobody);
    let builder = builder.credentials(TestNode::credentials());
    let error = builder.connect_timeout(Duration::from_millis(30)).connect().await;
    let BuildError::NotReady(not_ready) = error.expect_err("nobody is there") else {
        panic!("another error")
    };
    assert_eq!(not_ready.waited, Duration::from_millis(30));
    assert_eq!(not_ready.report.unknown.len(), 1, "{not_ready}");
}

//! What nodes and networks can do to a client, by script.

use std::{
    io::Write as _,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use dht_client::{Client, ErrorKind, Fate, Limits, NodeEvent, RequestName, Updated};
use dht_protocol::neo::{
    Command,
    requests::{
        GetStatus, HashRangeUpdate, NewValue, PutReply, Update, UpdateAction, UpdateMessage,
        fnv1a64,
    },
};
use dht_test::TestNode;
use dht_types::HashRange;
use futures_util::StreamExt as _;

use super::{
    peer::{Raw, exchange, first, messages, opening, whole},
    script::{Peer, Step},
    scripted::{
        AsRaw as _, KEY, LIMIT, client_of, finish, get, got, is_waiting, limits, of, opening_at,
        put, record, until, within,
    },
};

/// Something that a test has seen, for the thread of its peer.
struct Seen(AtomicBool);

impl Seen {
    fn set(&self) {
        self.0.store(true, SeqCst);
    }

    fn wait(&self) {
        while !self.0.load(SeqCst) {
            std::thread::yield_now();
        }
    }
}

static UPDATE_GIVEN_UP: Seen = Seen(AtomicBool::new(false));
static QUEUE_REFUSED: Seen = Seen(AtomicBool::new(false));

#[tokio::test]
async fn a_request_that_is_not_answered_ends_in_time_and_its_late_answer_is_dropped() {
    let [status, value] = <[Raw; 2]>::try_from(got(b"late")).unwrap_or_else(|_| panic!("two"));
    let script = [
        whole(),
        vec![first(2, put()), first(3, get())],
        // Both answers come when nobody waits any more, and then the next request's.
        vec![of(2, &[&PutReply::Put]), of(3, &[&status, &value])],
        exchange(4, get(), &[&GetStatus::NoRecord]),
        vec![Step::AwaitClose],
    ];
    // The peer answers once the next request is there, as it expects that in between.
    let script: Vec<Step> = script.concat();
    let mut script = script;
    let late: Vec<Step> = script.drain(script.len() - 5..script.len() - 3).collect();
    let at = script.len() - 2;
    script.splice(at..at, late);
    let peer = Peer::once(script);
    let (client, channel) = client_of(&[&peer], limits()).await;
    let hasty = channel.clone().with_timeout(Duration::from_millis(30));
    let error = hasty.put(KEY, "v").await.expect_err("no answer");
    assert!(matches!(error.kind, ErrorKind::TimedOut(limit) if limit.as_millis() == 30), "{error}");
    assert!(error.may_have_written() && error.is_retry_safe());
    let error = hasty.get(KEY).await.expect_err("no answer");
    assert!(!error.may_have_written() && error.is_retry_safe());
    assert_eq!(within(channel.get(KEY)).await.expect("an answer"), None);
    let counts = client.stats().request("Get");
    assert_eq!((counts.started, counts.answered, counts.timed_out), (2, 1, 1));
    drop((client, channel, hasty));
    finish(peer).await;
}

#[tokio::test]
async fn a_lost_connection_fails_what_ran_over_it_and_the_next_one_serves() {
    let peer = Peer::start(vec![
        [whole(), vec![first(2, put())]].concat(),
        // Ids go on counting.
        [opening_at(3), exchange(4, put(), &[&PutReply::Put]), vec![Step::AwaitClose]].concat(),
    ]);
    let (client, channel) = client_of(&[&peer], limits()).await;
    let error = within(channel.put(KEY, "v")).await.expect_err("the peer hangs up");
    assert!(matches!(error.kind, ErrorKind::Disconnected { sent: true, .. }), "{error}");
    assert_eq!(error.request, Some(RequestName::Neo(Command::Put)));
    assert_eq!((error.fate(), error.may_have_written()), (Fate::Unknown, true));
    while let Err(error) = within(channel.put(KEY, "v")).await {
        assert!(matches!(error.kind, ErrorKind::NotConnected), "{error}");
        assert_eq!((error.fate(), error.is_retry_safe()), (Fate::NotDone, true));
        until("the next connection", || client.stats().nodes_connected > 0).await;
    }
    let counts = client.stats().request("Put");
    assert_eq!((counts.started, counts.answered, counts.lost), (2, 1, 1));
    drop((client, channel));
    finish(peer).await;
}

#[tokio::test]
async fn an_update_that_nobody_waits_for_lets_the_record_go() {
    let update = Update { channel: "ch", key: KEY, action: UpdateAction::GetRecord };
    let leave = messages(2, &[&UpdateMessage::LeaveRecord.raw()]);
    let peer = Peer::once(
        [
            whole(),
            vec![first(2, update)],
            vec![Step::Do(|_| UPDATE_GIVEN_UP.wait())],
            vec![of(2, &[&record(b"abc")]), Step::Expect(leave)],
            vec![Step::Answer(messages(2, &[&Raw(vec![6])]), usize::MAX)],
            exchange(3, get(), &[&GetStatus::NoRecord]),
            vec![Step::AwaitClose],
        ]
        .concat(),
    );
    let (client, channel) = client_of(&[&peer], limits()).await;
    let hasty = channel.clone().with_timeout(Duration::from_millis(20));
    let error = hasty.update(KEY, |_| "new".to_owned()).await.expect_err("no answer");
    assert!(matches!(error.kind, ErrorKind::TimedOut(_)), "{error}");
    assert!(!error.is_retry_safe(), "an update that may have been done is not repeated");
    UPDATE_GIVEN_UP.set();
    // The peer expects the LeaveRecord before this.
    until("the answer", || client.stats().bytes_received >= 100).await;
    assert_eq!(within(channel.get(KEY)).await.expect("an answer"), None);
    drop((client, channel, hasty));
    finish(peer).await;
}

/// While data moves, the node that was learnt last is the newest.
#[tokio::test]
async fn a_record_that_an_older_node_has_is_written_to_the_newest_and_removed_there() {
    let ask = |key| Update { channel: "ch", key, action: UpdateAction::GetRecord };
    let original_hash = fnv1a64(b"abc");
    let new = NewValue { original_hash, value: b"abcd" };
    let write = Update { channel: "ch", key: KEY, action: UpdateAction::UpdateRecord(new) };
    let older = Peer::once(
        [
            whole(),
            exchange(2, ask(KEY), &[&record(b"abc")]),
            vec![Step::Expect(messages(2, &[&UpdateMessage::RemoveRecord.raw()]))],
            vec![Step::Answer(messages(2, &[&Raw(vec![6])]), usize::MAX), Step::AwaitClose],
        ]
        .concat(),
    );
    let newest = Peer::once(
        [
            whole(),
            exchange(2, ask(KEY), &[&Raw(vec![7])]),
            exchange(3, write, &[&Raw(vec![6])]),
            vec![Step::AwaitClose],
        ]
        .concat(),
    );
    let (client, channel) = client_of(&[&older], limits()).await;
    assert!(client.add_node(newest.node.clone()));
    client.nodes_ready(2, LIMIT).await.expect("both greet");
    assert_eq!(client.check_ranges().warnings.len(), 1, "they overlap");
    let updated = within(channel.update(KEY, |value| [value, &b"d"[..]].concat())).await;
    assert_eq!(updated.expect("an answer"), Updated::Written);
    drop((client, channel));
    finish(older).await;
    finish(newest).await;
}

#[tokio::test]
async fn a_node_that_another_tells_of_is_connected_to_and_asked() {
    let newcomer = Peer::once(
        [whole(), exchange(2, put(), &[&PutReply::Put]), vec![Step::AwaitClose]].concat(),
    );
    let address = format!("127.0.0.1:{}", newcomer.node.port).parse().expect("an address");
    let mut news = messages(1, &[&HashRangeUpdate::ChangeHashRange(HashRange::EMPTY)]);
    news.extend(messages(1, &[&HashRangeUpdate::NewNode(address, HashRange::FULL)]));
    let script = [whole(), vec![Step::Answer(news, 3), Step::AwaitClose]].concat();
    let peer = Peer::once(script);
    let (client, channel) = client_of(&[&peer], limits()).await;
    client.nodes_ready(2, LIMIT).await.expect("the newcomer greets");
    within(channel.put(KEY, "v")).await.expect("the newcomer takes it");
    drop((client, channel));
    finish(peer).await;
    finish(newcomer).await;
}

/// A node that has given a key away tells who has it, and refuses what is on its way.
#[tokio::test]
async fn a_request_that_is_refused_because_the_key_has_moved_goes_to_its_new_node() {
    // It is known already, but has no keys yet, as in a cluster that is about to grow.
    let empty = opening(HashRange::EMPTY);
    let newcomer =
        Peer::once([empty, exchange(2, put(), &[&PutReply::Put]), vec![Step::AwaitClose]].concat());
    let address = format!("127.0.0.1:{}", newcomer.node.port).parse().expect("an address");
    let mut news = messages(1, &[&HashRangeUpdate::ChangeHashRange(HashRange::EMPTY)]);
    news.extend(messages(1, &[&HashRangeUpdate::NewNode(address, HashRange::FULL)]));
    let peer = Peer::once(
        [
            whole(),
            vec![first(2, put()), Step::Answer(news, 1000)],
            vec![of(2, &[&PutReply::WrongNode]), Step::AwaitClose],
        ]
        .concat(),
    );
    let (client, channel) = client_of(&[&peer], limits()).await;
    assert!(client.add_node(newcomer.node.clone()));
    client.nodes_ready(2, LIMIT).await.expect("both greet");
    within(channel.put(KEY, "v")).await.expect("the new node takes it");
    assert_eq!(client.nodes().len(), 2, "a node is known by its address whoever tells it");
    drop((client, channel));
    finish(peer).await;
    finish(newcomer).await;
}

#[tokio::test]
async fn a_node_that_breaks_the_protocol_is_left_and_connected_to_again() {
    let peer = Peer::start(vec![
        [whole(), vec![first(2, get()), Step::Answer(vec![9; 10], 10), Step::AwaitClose]].concat(),
        [opening_at(3), vec![Step::AwaitClose]].concat(),
    ]);
    let (client, channel) = client_of(&[&peer], limits()).await;
    let mut events = client.events();
    let error = within(channel.get(KEY)).await.expect_err("garbage");
    assert!(error.to_string().contains("bad message header"), "{error}");
    let event = within(events.next()).await.expect("an event");
    assert!(matches!(event, NodeEvent::ConnectionError(..)), "{event:?}");
    let event = within(events.next()).await.expect("an event");
    assert!(matches!(event, NodeEvent::Connected(_)), "{event:?}");
    drop((client, channel));
    finish(peer).await;
}

#[tokio::test]
async fn a_rejected_client_is_told_why_and_tries_again() {
    let node = TestNode::start();
    let stranger = dht_client::ClientCredentials::new("stranger", [0; 128]);
    let client = Client::builder().node(node.neo_address()).credentials(stranger);
    let client = client.build().expect("an address");
    let mut events = client.events();
    for _ in 0..3 {
        let event = within(events.next()).await.expect("an event");
        let NodeEvent::ConnectionError(_, error) = event else { panic!("{event:?}") };
        assert!(error.to_string().contains("rejects the client"), "{error}");
    }
    let report = client.check_ranges();
    assert!(report.to_string().contains("rejects the client"), "{report}");
    let error = client.channel("c").expect("a name").get(1).await.expect_err("no node");
    assert!(matches!(error.kind, ErrorKind::NoNode(_)), "{error}");
}

#[tokio::test]
async fn more_requests_than_may_run_are_refused() {
    let peer = Peer::once(
        [
            whole(),
            vec![first(2, get()), first(3, get())],
            vec![Step::Do(|stream| drop(stream.flush())), Step::AwaitClose],
        ]
        .concat(),
    );
    // The GetHashRange counts too.
    let limits = Limits { requests_per_node_max: 3, ..limits() };
    let (client, channel) = client_of(&[&peer], limits).await;
    let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(channel.get(KEY))).collect();
    for get in &mut waiting {
        assert!(is_waiting(get.as_mut()).await);
    }
    let error = within(channel.get(KEY)).await.expect_err("too many");
    assert!(matches!(error.kind, ErrorKind::TooManyRequests(3)), "{error}");
    assert_eq!((error.fate(), error.is_retry_safe()), (Fate::NotDone, true));
    // Let the driver send them before they are dropped.
    until("them to be sent", || client.stats().bytes_sent >= 96).await;
    drop(waiting);
    assert_eq!(client.stats().request("Get").dropped, 2);
    drop((client, channel));
    finish(peer).await;
}

#[tokio::test]
async fn a_full_queue_refuses_what_comes_then() {
    let peer = Peer::once([whole(), vec![Step::Do(|_| QUEUE_REFUSED.wait())]].concat());
    let limits = Limits { queue_bytes_max: 100_000, ..limits() };
    let (_client, channel) = client_of(&[&peer], limits).await;
    let value = Bytes::from(vec![1; 60_000]);
    let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(channel.put(KEY, &value))).collect();
    for put in &mut waiting {
        assert!(is_waiting(put.as_mut()).await);
    }
    let error = channel.put(KEY, &value).await.expect_err("the queue is full");
    assert!(matches!(error.kind, ErrorKind::QueueFull(_)), "{error}");
    assert!(!error.may_have_written());
    QUEUE_REFUSED.set();
    // The connection ends; what was not sent says so, and what was does.
    for put in waiting {
        let error = within(put).await.expect_err("the peer hangs up");
        assert!(matches!(error.kind, ErrorKind::Disconnected { .. }), "{error}");
    }
    finish(peer).await;
}

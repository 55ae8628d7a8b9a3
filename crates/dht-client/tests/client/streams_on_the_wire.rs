//! What a stream says to a node, and what it makes of whatever the node says. Source: spec `client`
//! B.2, B.4, B.5.

use std::time::Duration;

use bytes::Bytes;
use dht_client::{
    Channel, Client, Error, ErrorKind, Key, Limits, MirrorEvent, MirrorOptions, NodeEvent,
    NodeProgress, RequestName, ScanEvent,
};
use dht_protocol::neo::{
    Command, Control, Payload as _, Request, Supported,
    batch::{Compressor, GetAllBatch, RefreshBatch},
    requests::{Exists, ExistsReply, GetAll, GetAllMessage, Mirror, MirrorMessage},
};
use dht_testkit::Rng;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};

use super::{
    peer::{Raw, exchange, first, id, messages, whole},
    script::{Peer, Step},
    scripted::{KEY, client_of, finish, limits, of, opening_at, until, within},
};

const STARTED: u8 = 5;
const FAILED: u8 = 6;

const GET_ALL: GetAll<'static> = GetAll {
    start_suspended: false,
    channel: "ch",
    continue_from: None,
    keys_only: false,
    filter: b"",
};

const LISTEN: Mirror<'static> =
    Mirror { start_suspended: false, channel: "ch", initial_refresh: false, periodic_refresh_s: 0 };

async fn next<S: Stream + Unpin>(stream: &mut S) -> S::Item {
    within(stream.next()).await.expect("an event")
}

fn started<'a>(request: u64, arguments: impl Into<Request<'a>>) -> Vec<Step> {
    exchange(request, arguments, &[&Raw(vec![STARTED])])
}

fn answer(write: impl FnOnce(&mut Vec<u8>)) -> Step {
    let mut bytes = Vec::new();
    write(&mut bytes);
    Step::Answer(bytes, 11)
}

fn batch(request: u64, records: &[(u64, &[u8])]) -> Step {
    answer(|out| {
        let mut batch = GetAllBatch::new();
        assert!(records.iter().all(|(key, value)| batch.add(Key(*key), value)));
        batch.write(id(request), &mut Compressor::new(), out);
    })
}

fn control(request: u64, control: Control) -> Step {
    Step::Expect(messages(request, &[&control]))
}

fn says(request: u64, message: GetAllMessage<'static>) -> Step {
    answer(|out| message.write(id(request), out))
}

async fn over(peer: Peer, client: Client, channel: Channel) {
    drop((client, channel));
    finish(peer).await;
}

#[tokio::test]
async fn a_stream_that_is_full_is_suspended_and_resumed_when_there_is_room() {
    let mut rng = Rng::new(1);
    // Nothing that shrinks.
    let [one, two] = [rng.bytes(2000..2001), rng.bytes(2000..2001)];
    let peer = Peer::once(
        [
            whole(),
            started(2, GET_ALL),
            vec![
                batch(2, &[(1, &one)]),
                control(2, Control::Suspend),
                // What was on its way comes nevertheless.
                batch(2, &[(2, &two)]),
                says(2, GetAllMessage::Ack),
                control(2, Control::Resume),
                says(2, GetAllMessage::Ack),
                batch(2, &[(3, b"three")]),
                says(2, GetAllMessage::Finished),
                control(2, Control::Ack),
            ],
            exchange(3, Exists { channel: "ch", key: KEY }, &[&ExistsReply::RecordExists]),
            vec![Step::AwaitClose],
        ]
        .concat(),
    );
    let limits = Limits { stream_bytes_high: 1000, ..limits() };
    let (client, channel) = client_of(&[&peer], limits).await;
    let mut scan = channel.get_all();
    // Until both batches are here nothing is taken, so that nothing is resumed.
    until("both batches", || client.stats().bytes_received >= 4000).await;
    let mut found = Vec::new();
    while let Some(record) = within(scan.next()).await {
        found.push(record.expect("well"));
    }
    assert_eq!(found, [(Key(1), one.into()), (Key(2), two.into()), (Key(3), "three".into())]);
    drop(scan);
    assert!(within(channel.exists(KEY)).await.expect("over the same connection"));
    over(peer, client, channel).await;
}

#[tokio::test]
async fn a_stream_that_is_dropped_is_stopped_on_the_wire() {
    let peer = Peer::once(
        [
            whole(),
            started(2, GET_ALL),
            vec![batch(2, &[(1, b"one"), (2, b"two")]), control(2, Control::Stop)],
            vec![batch(2, &[(3, b"three")]), says(2, GetAllMessage::Ack)],
            exchange(3, Exists { channel: "ch", key: KEY }, &[&ExistsReply::RecordExists]),
            vec![Step::AwaitClose],
        ]
        .concat(),
    );
    let (client, channel) = client_of(&[&peer], limits()).await;
    let mut scan = channel.get_all();
    assert_eq!(next(&mut scan).await.expect("well").0, Key(1));
    drop(scan);
    assert!(within(channel.exists(KEY)).await.expect("over the same connection"));
    assert_eq!(client.stats().active(), 0, "it was acknowledged");
    over(peer, client, channel).await;
}

#[tokio::test]
async fn a_scan_goes_on_behind_the_last_key_that_came_with_all_its_options() {
    let filtered = GetAll { filter: b"v", ..GET_ALL };
    let keys_only = GetAll { keys_only: true, ..GET_ALL };
    let keys = |keys: &[u64]| {
        answer(|out| {
            let mut batch = GetAllBatch::new();
            assert!(keys.iter().all(|key| batch.add_key(Key(*key))));
            batch.write(id(6), &mut Compressor::new(), out);
        })
    };
    let end = |at| vec![says(at, GetAllMessage::Finished), control(at, Control::Ack)];
    let on = |key| Some(Key(key));
    let peer = Peer::start(vec![
        // Half of what it announces is lost with the connection.
        [
            whole(),
            started(2, filtered),
            vec![batch(2, &[(9, b"v9"), (3, b"v3")]), Step::Answer(vec![1, 200, 0, 0], 9)],
        ]
        .concat(),
        [
            opening_at(3),
            started(4, GetAll { continue_from: on(3), ..filtered }),
            vec![batch(4, &[(5, b"v5")])],
            end(4),
        ]
        .concat(),
        [opening_at(5), started(6, keys_only), vec![keys(&[7, 1])]].concat(),
        [
            opening_at(7),
            started(8, GetAll { continue_from: on(1), ..keys_only }),
            end(8),
            vec![Step::AwaitClose],
        ]
        .concat(),
    ]);
    let (client, channel) = client_of(&[&peer], limits()).await;
    let mut connections = client.events();
    let mut scan = channel.filter("v").events();
    let (mut keys, mut others) = (Vec::new(), Vec::new());
    while let Some(event) = within(scan.next()).await {
        match event {
            ScanEvent::Item((key, _)) => keys.push(key.0),
            ScanEvent::NodeLost(error) => {
                assert!(matches!(error.kind, ErrorKind::Disconnected { .. }), "{error}");
                others.push("lost");
            }
            ScanEvent::NodeBack(_) => others.push("back"),
            ScanEvent::NodeFinished(_) => others.push("finished"),
            ScanEvent::NodeFailed(error) => panic!("{error}"),
        }
    }
    assert_eq!((&keys[..], &others[..]), (&[9, 3, 5][..], &["lost", "back", "finished"][..]));
    drop(scan);
    // Two are lost by now.
    for _ in 0..2 {
        while !matches!(next(&mut connections).await, NodeEvent::Connected(_)) {}
    }
    let mut scan = channel.keys();
    let mut keys = Vec::new();
    while let Some(key) = within(scan.next()).await {
        keys.push(key.expect("well").0);
    }
    assert_eq!(keys, [7, 1]);
    assert_eq!(scan.progress(), [(peer.node.clone(), NodeProgress::Finished)]);
    drop(scan);
    over(peer, client, channel).await;
}

#[tokio::test]
async fn a_mirror_asks_for_the_refreshes_that_were_wanted() {
    let second = Duration::from_secs(1);
    for (options, initial_refresh, periodic_refresh_s) in [
        (MirrorOptions::default(), true, 360),
        (MirrorOptions { initial_refresh: false, periodic_refresh: Duration::ZERO }, false, 0),
        (MirrorOptions { initial_refresh: true, periodic_refresh: second * 90 }, true, 90),
        // Less than a second must not become never.
        (MirrorOptions { initial_refresh: true, periodic_refresh: second / 10 }, true, 1),
        (MirrorOptions { initial_refresh: true, periodic_refresh: Duration::MAX }, true, u32::MAX),
    ] {
        let request = Mirror { initial_refresh, periodic_refresh_s, ..LISTEN };
        let peer = Peer::once([whole(), started(2, request)].concat());
        let (client, channel) = client_of(&[&peer], limits()).await;
        let mut mirror = channel.mirror_with(options);
        assert!(matches!(next(&mut mirror).await, MirrorEvent::Started));
        drop(mirror);
        over(peer, client, channel).await;
    }
}

#[tokio::test]
async fn a_mirror_tells_all_that_the_node_says() {
    let peer = Peer::once(
        [
            whole(),
            started(2, LISTEN),
            vec![
                answer(|out| {
                    let mut refresh = RefreshBatch::new();
                    assert!(refresh.add(Key(1), b"one") && refresh.add(Key(2), b"two"));
                    refresh.write(id(2), &mut Compressor::new(), out);
                    MirrorMessage::RecordChanged(Key(3), b"three").write(id(2), out);
                    MirrorMessage::RecordDeleted(Key(1)).write(id(2), out);
                    MirrorMessage::UpdateOverflow.write(id(2), out);
                    MirrorMessage::ChannelRemoved.write(id(2), out);
                }),
                control(2, Control::Ack),
            ],
            exchange(3, Exists { channel: "ch", key: KEY }, &[&ExistsReply::RecordExists]),
            vec![Step::AwaitClose],
        ]
        .concat(),
    );
    let (client, channel) = client_of(&[&peer], limits()).await;
    let events: Vec<_> = within(channel.listen().collect()).await;
    let [
        MirrorEvent::Started,
        MirrorEvent::Refreshed(Key(1), one),
        MirrorEvent::Refreshed(Key(2), two),
        MirrorEvent::Updated(Key(3), three),
        MirrorEvent::Deleted(Key(1)),
        MirrorEvent::UpdatesLost(lost),
        MirrorEvent::ChannelRemoved(removed),
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!([one, two, three], [&Bytes::from("one"), &"two".into(), &"three".into()]);
    assert_eq!([lost, removed], [&peer.node, &peer.node]);
    assert!(within(channel.exists(KEY)).await.expect("over the same connection"));
    over(peer, client, channel).await;
}

/// Another node is known, and away.
#[tokio::test]
async fn a_mirror_has_started_when_all_nodes_that_are_there_have() {
    let peer = Peer::once([whole(), started(2, LISTEN)].concat());
    let (client, channel) = client_of(&[&peer], limits()).await;
    let away = Peer::once(Vec::new());
    assert!(client.add_node(away.node.clone()));
    finish(away).await;
    let mut mirror = channel.listen();
    assert!(matches!(next(&mut mirror).await, MirrorEvent::Started));
    drop(mirror);
    over(peer, client, channel).await;
}

/// What a node says instead of starting, or in place of records; and whether an error is that.
type Refusal = (Step, fn(&ErrorKind) -> bool);

fn refusals() -> Vec<Refusal> {
    let cannot = |supported: Supported| answer(|out| supported.write(id(2), out));
    let damaged = [7, 9, 0, 0, 0, 0, 0, 0, 0, 27, 0, 0, 0, 0, 0, 0, 0, 0x11];
    vec![
        (cannot(Supported::No), |kind| matches!(kind, ErrorKind::Unsupported)),
        (cannot(Supported::NotThisVersion), |kind| matches!(kind, ErrorKind::Unsupported)),
        (of(2, &[&Raw(vec![FAILED])]), |kind| matches!(kind, ErrorKind::NodeError)),
        (of(2, &[&Raw(vec![STARTED]), &Raw(damaged.into())]), |kind| {
            matches!(kind, ErrorKind::Batch(_))
        }),
    ]
}

#[tokio::test]
async fn a_node_that_fails_a_stream_is_given_up_and_named() {
    for (refusal, holds) in refusals() {
        let peer = Peer::once([whole(), vec![first(2, GET_ALL), refusal]].concat());
        let (client, channel) = client_of(&[&peer], limits()).await;
        let mut scan = channel.get_all();
        let error = next(&mut scan).await.expect_err("it failed");
        assert!(holds(&error.kind), "{error}");
        let Error { node, request, .. } = &error;
        assert_eq!(
            (node.as_ref(), *request),
            (Some(&peer.node), Some(RequestName::Neo(Command::GetAll)))
        );
        assert!(!error.is_retry_safe() && !error.may_have_written());
        assert!(within(scan.next()).await.is_none(), "that was the only node");
        assert_eq!(scan.progress(), [(peer.node.clone(), NodeProgress::Failed)]);
        drop(scan);
        over(peer, client, channel).await;
    }
    for (refusal, holds) in refusals().into_iter().take(3) {
        let peer = Peer::once([whole(), vec![first(2, LISTEN), refusal]].concat());
        let (client, channel) = client_of(&[&peer], limits()).await;
        let mut mirror = channel.listen();
        let error = loop {
            match next(&mut mirror).await {
                MirrorEvent::NodeFailed(error) => break error,
                MirrorEvent::Started => {}
                event => panic!("{event:?}"),
            }
        };
        assert!(holds(&error.kind), "{error}");
        assert_eq!(error.request, Some(RequestName::Neo(Command::Mirror)));
        assert!(within(mirror.next()).await.is_none(), "that was the only node");
        over(peer, client, channel).await;
    }
}

/// `try_collect` stops at the first error; taking one by one goes on with the other nodes.
#[tokio::test]
async fn the_other_nodes_of_a_scan_go_on_when_one_fails() {
    let bad = Peer::once([whole(), exchange(2, GET_ALL, &[&Raw(vec![FAILED])])].concat());
    let good = Peer::once(
        [
            whole(),
            started(2, GET_ALL),
            vec![batch(2, &[(1, b"one")]), says(2, GetAllMessage::Finished)],
            vec![control(2, Control::Ack), Step::AwaitClose],
        ]
        .concat(),
    );
    let (client, channel) = client_of(&[&bad, &good], limits()).await;
    let items: Vec<_> = within(channel.get_all().collect()).await;
    assert_eq!(items.len(), 2);
    let records: Vec<_> = items.iter().filter_map(|item| item.as_ref().ok()).collect();
    assert_eq!(records, [&(Key(1), "one".into())]);
    client.shut_down();
    let gone: Result<Vec<_>, _> = within(channel.get_all().try_collect()).await;
    assert!(gone.is_err());
    drop((client, channel));
    finish(bad).await;
    finish(good).await;
}

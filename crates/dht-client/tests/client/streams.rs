//! Scans and mirrors over several nodes, whatever happens to connections.

use std::{collections::BTreeSet, time::Duration};

use dht_client::{Channel, Client, ErrorKind, Key, Limits, MirrorEvent, MirrorOptions, ScanEvent};
use dht_test::{TestCluster, TestNode};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::scripted::until;

/// No test waits longer for an event.
const PATIENCE: Duration = Duration::from_secs(30);

async fn next<S: futures_util::Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("an event within half a minute")
}

/// Takes events until the mirror has begun.
async fn started(mirror: &mut dht_client::Mirror) {
    while !matches!(next(mirror).await.expect("an event"), MirrorEvent::Started) {}
}

async fn filled(client: &Client, name: &str, records: u64, bytes: usize) -> Channel {
    let channel = client.channel(name).expect("a name");
    let value = |key: u64| {
        // Random enough that batches do not shrink to nothing.
        let mut state = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        };
        let mut value = format!("{key}:").into_bytes();
        value.extend((0..bytes).map(|_| byte()));
        value
    };
    channel.put_all((0..records).map(|key| (Key(key), value(key)))).await.expect("stored");
    channel
}

#[tokio::test]
async fn a_scan_has_every_record_once_by_both_protocols() {
    let cluster = TestCluster::start(3);
    for client in [cluster.client().await, cluster.legacy_client().await] {
        let channel = filled(&client, "scan", 3000, 100).await;
        let records: Vec<_> = channel.get_all().try_collect().await.expect("all nodes");
        let keys: BTreeSet<_> = records.iter().map(|(key, _)| key.0).collect();
        assert_eq!((records.len(), keys.len()), (3000, 3000));
        for (key, value) in &records {
            assert!(value.starts_with(format!("{}:", key.0).as_bytes()));
        }
        let keys: Vec<Key> = channel.keys().try_collect().await.expect("all nodes");
        assert_eq!(keys.len(), 3000);
        let some: Vec<_> = channel.filter("299:").try_collect().await.expect("all nodes");
        let some: BTreeSet<_> = some.into_iter().map(|(key, _)| key.0).collect();
        assert!(some.is_superset(&BTreeSet::from([299, 1299, 2299])), "{some:?}");
        let none: Vec<_> =
            client.channel("empty").expect("a name").get_all().try_collect().await.expect("all");
        assert!(none.is_empty());
        channel.remove_channel().await.expect("admin may");
    }
}

#[tokio::test]
async fn a_scan_that_nobody_takes_from_is_paused_on_the_wire_and_goes_on() {
    let node = TestNode::start();
    let limits = Limits { stream_bytes_high: 64 * 1024, ..Limits::default() };
    let client = Client::builder().node(node.neo_address()).credentials(TestNode::credentials());
    let client = client.limits(limits).connect().await.expect("the node is there");
    // More than the sockets' buffers hold.
    let channel = filled(&client, "big", 4000, 8000).await;
    client.reset_stats();
    let mut scan = channel.get_all();
    let first = next(&mut scan).await.expect("a record").expect("well");
    // The connection serves others meanwhile, so often that all of the scan would have come.
    for _ in 0..300 {
        assert!(channel.get(first.0).await.expect("an answer").is_some());
    }
    let paused = client.stats().bytes_received;
    assert!(paused < 20 << 20, "{paused} of 32 MB came although nobody took them");
    let mut keys = BTreeSet::from([first.0]);
    while let Some(record) = next(&mut scan).await {
        assert!(keys.insert(record.expect("well").0), "none comes twice");
    }
    assert_eq!(keys.len(), 4000);
    assert_eq!(client.stats().request("GetAll").answered, 1);
}

#[tokio::test]
async fn a_scan_goes_on_where_it_was_when_connections_are_lost() {
    let cluster = TestCluster::start(2);
    let client = cluster.client().await;
    let channel = filled(&client, "lost", 3000, 4000).await;
    let mut scan = channel.get_all().events();
    let (mut keys, mut lost, mut back, mut finished) = (BTreeSet::new(), 0, 0, 0);
    while let Some(event) = next(&mut scan).await {
        match event {
            ScanEvent::Item((key, _)) => {
                assert!(keys.insert(key), "{key} comes twice");
                if keys.len() % 700 == 300 {
                    for node in cluster.nodes() {
                        node.drop_connections();
                    }
                }
            }
            ScanEvent::NodeLost(error) => {
                assert!(matches!(error.kind, ErrorKind::Disconnected { .. }), "{error}");
                lost += 1;
            }
            ScanEvent::NodeBack(_) => back += 1,
            ScanEvent::NodeFinished(_) => finished += 1,
            ScanEvent::NodeFailed(error) => panic!("{error}"),
        }
    }
    assert_eq!(keys.len(), 3000);
    assert!(lost > 0 && lost == back, "{lost} lost, {back} back");
    assert_eq!(finished, 2);
}

#[tokio::test]
async fn a_scan_gives_a_node_up_that_stays_away_and_has_all_of_the_others() {
    let cluster = TestCluster::start(2);
    let [first, second] = cluster.nodes() else { panic!("two nodes") };
    let limits = Limits { stream_patience: Some(Duration::from_millis(200)), ..Limits::default() };
    let client = Client::builder()
        .nodes([first.neo_address(), second.neo_address()])
        .credentials(TestNode::credentials())
        .limits(limits)
        .connect()
        .await
        .expect("both are there");
    let channel = filled(&client, "away", 100, 10).await;
    second.lose();
    let mut scan = channel.get_all();
    let (mut records, mut errors) = (0, Vec::new());
    while let Some(record) = next(&mut scan).await {
        match record {
            Ok(_) => records += 1,
            Err(error) => errors.push(error),
        }
    }
    assert_eq!(records, first.size("away").0);
    let [error] = errors.as_slice() else { panic!("one node is away: {errors:?}") };
    assert!(matches!(error.kind, ErrorKind::Away(_)), "{error}");
    assert_eq!(error.node.as_ref().expect("a node").to_string(), second.neo_address());
}

#[tokio::test]
async fn a_scan_that_is_dropped_leaves_nothing_on_the_connection() {
    let node = TestNode::start();
    let client = node.client().await;
    let channel = filled(&client, "dropped", 1000, 1000).await;
    for taken in [0, 1, 500] {
        let mut scan = channel.get_all();
        for _ in 0..taken {
            next(&mut scan).await.expect("a record").expect("well");
        }
        drop(scan);
        assert!(channel.exists(1).await.expect("an answer"));
    }
    until("all scans to end", || node.handled("GetAll") == 3).await;
    assert_eq!(client.stats().connects, 1);
}

#[tokio::test]
async fn a_mirror_tells_changes_removals_and_the_end_of_the_channel() {
    let cluster = TestCluster::start(2);
    let client = cluster.client().await;
    let channel = filled(&client, "m", 100, 5).await;
    let mut mirror = channel.listen();
    started(&mut mirror).await;
    for key in 0..5 {
        channel.remove(key).await.expect("an answer");
    }
    for key in 200..300_u64 {
        channel.put(key, "new").await.expect("an answer");
    }
    let (mut deleted, mut updated) = (BTreeSet::new(), BTreeSet::new());
    while deleted.len() + updated.len() < 105 {
        match next(&mut mirror).await.expect("an event") {
            MirrorEvent::Deleted(key) => assert!(deleted.insert(key.0)),
            MirrorEvent::Updated(key, value) => {
                assert_eq!(value, "new");
                assert!(updated.insert(key.0));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((deleted.len(), updated.len()), (5, 100));
    channel.remove_channel().await.expect("admin may");
    for _ in 0..2 {
        let event = next(&mut mirror).await.expect("an event");
        assert!(matches!(event, MirrorEvent::ChannelRemoved(_)), "{event:?}");
    }
    assert!(next(&mut mirror).await.is_none());
}

#[tokio::test]
async fn a_mirror_starts_anew_with_a_refresh_when_its_node_is_back() {
    let node = TestNode::start();
    let client = node.client().await;
    let channel = filled(&client, "again", 100, 5).await;
    let options = MirrorOptions { initial_refresh: true, periodic_refresh: Duration::ZERO };
    let mut mirror = channel.mirror_with(options);
    let (mut refreshed, mut lost) = (0, 0);
    while refreshed < 200 {
        match next(&mut mirror).await.expect("an event") {
            MirrorEvent::Refreshed(..) => {
                refreshed += 1;
                if refreshed == 100 {
                    node.drop_connections();
                }
            }
            MirrorEvent::NodeLost(_) => lost += 1,
            MirrorEvent::Started | MirrorEvent::NodeBack(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lost, 1);
}

#[tokio::test]
async fn a_mirror_that_nobody_takes_from_loses_nothing() {
    let node = TestNode::start();
    let limits = Limits { stream_bytes_high: 64 * 1024, ..Limits::default() };
    let client = Client::builder().node(node.neo_address()).credentials(TestNode::credentials());
    let client = client.limits(limits).connect().await.expect("the node is there");
    let channel = client.channel("slow").expect("a name");
    let mut mirror = channel.listen();
    started(&mut mirror).await;
    let records = (0..1000_u64).map(|key| (Key(key), vec![1; 16 * 1024]));
    channel.put_all(records).await.expect("stored");
    let mut keys = BTreeSet::new();
    while keys.len() < 1000 {
        match next(&mut mirror).await.expect("an event") {
            MirrorEvent::Updated(key, value) => {
                assert_eq!(value.len(), 16 * 1024);
                assert!(keys.insert(key.0), "none comes twice");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_legacy_mirror_listens_and_refreshes_and_survives_a_lost_node() {
    let node = TestNode::start();
    let client = node.legacy_client().await;
    node.put("l", 1, "one");
    let channel = client.channel("l").expect("a name");
    let mut mirror = channel.mirror();
    let (mut begun, mut refreshed) = (false, false);
    while !begun || !refreshed {
        match next(&mut mirror).await.expect("an event") {
            MirrorEvent::Started => begun = true,
            MirrorEvent::Refreshed(key, value) => {
                assert_eq!((key, &value[..]), (Key(1), &b"one"[..]));
                refreshed = true;
            }
            other => panic!("{other:?}"),
        }
    }
    node.put("l", 2, "two");
    let event = next(&mut mirror).await.expect("an event");
    assert!(matches!(&event, MirrorEvent::Updated(Key(2), value) if value == "two"), "{event:?}");
    node.lose();
    let event = next(&mut mirror).await.expect("an event");
    assert!(matches!(event, MirrorEvent::NodeLost(_)), "{event:?}");
    node.come_back();
    let (mut back, mut keys) = (false, BTreeSet::new());
    while !back || keys.len() < 2 {
        match next(&mut mirror).await.expect("an event") {
            MirrorEvent::NodeBack(_) => back = true,
            MirrorEvent::Refreshed(key, _) => drop(keys.insert(key)),
            other => panic!("{other:?}"),
        }
    }
    channel.remove_channel().await.expect("anybody may");
    let event = next(&mut mirror).await.expect("an event");
    assert!(matches!(event, MirrorEvent::ChannelRemoved(_)), "{event:?}");
    assert!(next(&mut mirror).await.is_none());
}

#[tokio::test]
async fn streams_end_when_the_client_is_shut_down() {
    let node = TestNode::start();
    for client in [node.client().await, node.legacy_client().await] {
        let mut mirror = client.channel("end").expect("a name").listen();
        started(&mut mirror).await;
        client.shut_down();
        let mut last = None;
        while let Some(event) = next(&mut mirror).await {
            last = Some(event);
        }
        if client.is_neo() {
            let last = last.expect("an error");
            assert!(matches!(last, MirrorEvent::NodeFailed(_)), "{last:?}");
        }
        assert!(client.channel("end").expect("a name").get(1).await.is_err());
    }
}

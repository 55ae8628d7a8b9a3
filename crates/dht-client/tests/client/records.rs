//! Requests with one answer, over both protocols.

use std::time::Duration;

use dht_client::{Change, Client, ErrorKind, Fate, Key, Removed, Updated};
use dht_test::{TestCluster, TestNode};

#[tokio::test]
async fn what_was_put_is_found_until_it_is_removed() {
    let cluster = TestCluster::start(3);
    for client in [cluster.client().await, cluster.legacy_client().await] {
        let channel = client.channel("fruits").expect("a name");
        assert_eq!(channel.get(1).await.expect("an answer"), None);
        assert!(!channel.exists(1).await.expect("an answer"));
        for key in 0..50 {
            channel.put(key, key.to_string()).await.expect("an answer");
            assert_eq!(cluster.node_of(key).get("fruits", key), Some(key.to_string().into()));
        }
        for key in 0..50 {
            let value = channel.get(key).await.expect("an answer").expect("a record");
            assert_eq!(value, key.to_string());
            assert!(channel.exists(Key(key)).await.expect("an answer"));
        }
        let yes = if client.is_neo() { Removed::Yes } else { Removed::NotTold };
        let no = if client.is_neo() { Removed::No } else { Removed::NotTold };
        for key in 0..50 {
            assert_eq!(channel.remove(key).await.expect("an answer"), yes);
            assert_eq!(channel.remove(key).await.expect("an answer"), no);
            assert_eq!(channel.get(key).await.expect("an answer"), None);
        }
        let stats = client.stats();
        assert_eq!(stats.request("Put").answered, 50);
        assert_eq!(stats.request("Remove").answered, 100);
        assert_eq!(stats.active(), 0);
        channel.remove_channel().await.expect("admin may");
    }
}

#[tokio::test]
async fn every_node_tells_of_itself_by_either_protocol() {
    let cluster = TestCluster::start(2);
    for client in [cluster.client().await, cluster.legacy_client().await] {
        let channel = client.channel("fruits").expect("a name");
        for key in 0..10 {
            channel.put(key, "apple").await.expect("an answer");
        }
        let ranges: Vec<_> = client.nodes().into_iter().map(|node| node.hash_range).collect();
        let infos = client.info_by_node().await.all().expect("answers");
        assert_eq!(infos.iter().map(|info| Some(info.hash_range)).collect::<Vec<_>>(), ranges);
        assert_eq!(infos.iter().map(|info| info.records).sum::<u64>(), 10);
        assert!(infos.iter().all(|info| info.connections > 0 && info.bytes > 0));
    }
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let node = TestNode::start();
    let client = node.client().await;
    let channel = client.channel("many").expect("a name");
    let tasks: Vec<_> = (0..2000_u64)
        .map(|key| {
            let channel = channel.clone();
            tokio::spawn(async move {
                channel.put(key, key.to_le_bytes()).await?;
                channel.get(key).await
            })
        })
        .collect();
    for (key, task) in (0_u64..).zip(tasks) {
        let value = task.await.expect("no panic").expect("an answer").expect("a record");
        assert_eq!(value, key.to_le_bytes().to_vec());
    }
    let stats = client.stats();
    assert_eq!((stats.connects, stats.nodes_connected), (1, 1));
    assert_eq!(stats.request("Get").answered, node.handled("Get"));
    assert_eq!(stats.request("Put").answered, node.handled("Put"));
}

#[tokio::test]
async fn an_update_sees_the_record_and_does_what_it_was_told() {
    let node = TestNode::start();
    let client = node.client().await;
    let channel = client.channel("u").expect("a name");
    let missing = channel.update(1, |_| -> Change { panic!("there is no record") }).await;
    assert_eq!(missing.expect("an answer"), Updated::NoRecord);
    channel.put(1, "hello").await.expect("an answer");
    let written = channel.update(1, |value| [value, &b" world"[..]].concat()).await;
    assert_eq!(written.expect("an answer"), Updated::Written);
    assert_eq!(node.get("u", 1).as_deref(), Some(&b"hello world"[..]));
    let kept = channel.update(1, |_| Change::Keep).await.expect("an answer");
    assert_eq!(kept, Updated::Kept);
    let too_big = channel.update(1, |_| vec![0; 65_513]).await.expect_err("too big");
    assert!(matches!(too_big.kind, ErrorKind::ValueTooBig(65_513)), "{too_big}");
    assert_eq!(too_big.fate(), Fate::NotDone);
    assert_eq!(node.get("u", 1).as_deref(), Some(&b"hello world"[..]));
    let removed = channel.update(1, |_| Change::Remove).await.expect("an answer");
    assert_eq!(removed, Updated::Removed);
    assert_eq!(node.get("u", 1), None);
    // Nothing is left behind on the node: each Update has come to its end.
    assert_eq!(node.handled("Update"), 5);
}

#[tokio::test]
async fn updates_that_meet_are_tried_again_until_all_have_counted() {
    let node = TestNode::start();
    let client = node.client().await;
    let channel = client.channel("count").expect("a name");
    channel.put(7, "0").await.expect("an answer");
    let count = |value: &[u8]| -> u64 {
        std::str::from_utf8(value).expect("digits").parse().expect("a number")
    };
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move {
                channel.update(7, move |value| (count(value) + 1).to_string()).await
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.expect("no panic").expect("an answer"), Updated::Written);
    }
    assert_eq!(node.get("count", 7), Some(b"20".to_vec()));
}

#[tokio::test]
async fn values_that_cannot_be_put_are_refused_before_anything_is_sent() {
    let node = TestNode::start();
    let client = node.client().await;
    let channel = client.channel("limits").expect("a name");
    channel.put(1, vec![7; 65_512]).await.expect("the longest value");
    let error = channel.put(2, vec![7; 65_513]).await.expect_err("too long");
    assert!(matches!(error.kind, ErrorKind::ValueTooBig(65_513)), "{error}");
    assert!(!error.is_retry_safe() && !error.may_have_written());
    let error = channel.put(2, "").await.expect_err("empty");
    assert!(matches!(error.kind, ErrorKind::EmptyValue), "{error}");
    let value = channel.get(1).await.expect("an answer").expect("a record");
    assert_eq!(value.len(), 65_512);
    assert!(client.channel("no/name").is_err() && client.channel("").is_err());
}

#[tokio::test]
async fn many_records_are_stored_at_once_by_both_protocols() {
    let cluster = TestCluster::start(2);
    for client in [cluster.client().await, cluster.legacy_client().await] {
        let channel = client.channel("all").expect("a name");
        let records = (0..5000_u64).map(|key| (Key(key), format!("value {key}")));
        channel.put_all(records).await.expect("an answer");
        let size = channel.size().await.expect("an answer");
        assert_eq!(size.records, 5000);
        assert!(size.bytes > 5000 * 7);
        assert_eq!(client.channels().await.expect("an answer"), ["all"]);
        channel.remove_channel().await.expect("admin may");
        assert_eq!(client.channels().await.expect("an answer"), [] as [&str; 0]);
    }
}

#[tokio::test]
async fn a_client_that_may_not_remove_channels_is_told_so() {
    let node = TestNode::start();
    node.put("c", 1, "x");
    let test = dht_client::ClientCredentials::new("test", [0; 128]);
    let client = Client::builder().node(node.neo_address()).credentials(test);
    let client = client.connect().await.expect("the node is there");
    let error = client.channel("c").expect("a name").remove_channel().await.expect_err("refused");
    assert!(matches!(error.kind, ErrorKind::NotPermitted), "{error}");
    assert_eq!(error.fate(), Fate::NotDone);
}

#[tokio::test]
async fn a_gap_and_a_node_that_is_away_are_reported() {
    let cluster = TestCluster::start(2);
    let [first, second] = cluster.nodes() else { panic!("two nodes") };
    second.lose();
    let client = Client::builder()
        .nodes([first.neo_address(), second.neo_address()])
        .credentials(TestNode::credentials())
        .build()
        .expect("addresses");
    client.nodes_ready(1, Duration::from_secs(30)).await.expect("the first is there");
    let not_ready = client.ready(Duration::from_millis(50)).await.expect_err("one is away");
    assert_eq!(not_ready.report.unknown.len(), 1, "{not_ready}");
    assert_eq!(not_ready.report.unknown[0].0.to_string(), second.neo_address());
    assert_eq!(not_ready.report.warnings.len(), 1, "{not_ready}");
    second.come_back();
    client.ready(Duration::from_secs(30)).await.expect("it is back");
    assert!(client.check_ranges().is_complete());
}

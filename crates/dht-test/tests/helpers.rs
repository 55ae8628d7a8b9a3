//! What the original's test helpers were tested for. Source: spec `test-cases` F, `client` D.1.

use std::time::Duration;

use dht_client::{Client, Key, MirrorEvent};
use dht_test::{TestCluster, TestNode};
use futures_util::StreamExt as _;

const LIMIT: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(100);

/// An application: listens to one channel and copies its records to another.
async fn copy(client: Client) {
    let (from, to) = (client.channel("one").expect("a name"), client.channel("two").expect("one"));
    let mut changes = from.listen();
    while let Some(event) = changes.next().await {
        if let MirrorEvent::Updated(key, value) = event {
            to.put(key, value).await.expect("the node is there");
        }
    }
}

#[tokio::test]
async fn what_is_put_is_there_until_it_is_cleared() {
    let node = TestNode::start();
    assert_eq!((node.size("c"), node.get("c", 1)), ((0, 0), None));
    node.put("c", 1, "four");
    assert_eq!((node.size("c"), node.get("c", 1)), ((1, 4), Some(b"four".to_vec())));
    node.put("c", 2, "x");
    node.put("d", 3, "y");
    assert_eq!(node.keys("c"), [Key(1), Key(2)]);
    assert_eq!(node.get_all("c"), [(Key(1), b"four".to_vec()), (Key(2), b"x".to_vec())]);
    node.remove("c", 2);
    assert_eq!(node.channels(), ["c", "d"]);
    node.clear();
    assert_eq!((node.channels().len(), node.size("c"), node.size("d")), (2, (0, 0), (0, 0)));
    node.reset();
    assert!(node.channels().is_empty());
}

#[tokio::test]
#[should_panic(expected = "Cannot put empty data to the dht!")]
async fn an_empty_value_is_refused() {
    TestNode::start().put("c", 1, "");
}

#[tokio::test]
async fn a_change_by_the_application_is_seen_also_after_a_restart() {
    let node = TestNode::start();
    let application = tokio::spawn(copy(node.client().await));
    node.expect_listeners("one", 1, LIMIT).await.expect("it listens");
    let changed = node.expect_change("two", 5, LIMIT);
    let put = async { node.put("one", 5, "value") };
    let (changed, ()) = futures_util::future::join(changed, put).await;
    changed.expect("it copies");
    assert_eq!(node.get("two", 5).as_deref(), Some(&b"value"[..]));

    node.restart();
    node.expect_listeners("one", 1, LIMIT).await.expect("it listens again");
    node.put("one", 5, "other");
    let is_other = |value: Option<&[u8]>| value == Some(b"other");
    node.expect_record("two", 5, LIMIT, is_other).await.expect("it copies again");
    application.abort();
}

#[tokio::test]
async fn what_does_not_come_is_told_in_words() {
    let node = TestNode::start();
    let error = node.expect_change("c", 1, SHORT).await.expect_err("nothing happens");
    let text = "No change for record 0000000000000001 in channel 'c' during 0.1 seconds";
    assert_eq!(error.to_string(), text);
    let error = node.expect_record("c", 1, SHORT, |_| false).await.expect_err("never");
    assert!(error.to_string().starts_with("Expected condition was not hit for record"), "{error}");
    let error = node.expect_listeners("c", 1, SHORT).await.expect_err("nobody listens");
    assert_eq!(error.to_string(), "channel 'c' has 0 listeners, not 1");
}

#[tokio::test]
async fn a_stopped_node_comes_back_with_its_records_and_a_killed_one_without() {
    let node = TestNode::start();
    let client = node.client().await;
    let channel = client.channel("c").expect("a name");
    channel.put(1, "stays").await.expect("an answer");
    let handled = node.handled("Put");
    node.restart();
    assert_eq!(node.get("c", 1).as_deref(), Some(&b"stays"[..]));
    assert_eq!(node.handled("Put"), handled, "counts stay");
    node.put("c", 2, "goes");
    node.kill();
    node.restart();
    assert_eq!((node.get("c", 2), node.get("c", 1)), (None, Some(b"stays".to_vec())));
    client.ready(LIMIT).await.expect("the client connects again");
    // A lost node keeps what it has.
    node.put("c", 3, "kept");
    node.lose();
    node.come_back();
    assert_eq!(node.get("c", 3).as_deref(), Some(&b"kept"[..]));
}

#[tokio::test]
async fn a_client_is_configured_by_the_files_that_are_written() {
    let cluster = TestCluster::start(2);
    let dir = tempfile::tempdir().expect("a folder");
    cluster.write_config_files(dir.path()).expect("a folder of ours");
    let file = |name: &str| dir.path().join(name);
    let legacy = Client::builder().nodes_file(file("dht.nodes")).connect();
    let neo = Client::builder()
        .nodes_file(file("dht.neo.nodes"))
        .credentials_file(file("dht.credentials"))
        .connect();
    for client in [legacy.await.expect("legacy"), neo.await.expect("neo")] {
        assert!(client.check_ranges().is_complete());
        assert_eq!(client.nodes().len(), 2);
    }
}

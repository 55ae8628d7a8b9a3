//! What applications get on top of requests.

use std::time::Duration;

use dht_client::{MirrorMap, NodeAvailability, Overflow, Stored, blocking, channel_file};
use dht_test::{TestCluster, TestNode};
use futures_util::TryStreamExt as _;

use super::scripted::until;

fn text(map: &MirrorMap, key: u64) -> Option<String> {
    map.get(key).map(|value| String::from_utf8_lossy(&value).into_owned())
}

#[tokio::test]
async fn a_map_stays_in_step_whatever_it_has_missed() {
    let cluster = TestCluster::start(2);
    let client = cluster.client().await;
    let channel = client.channel("map").expect("a name");
    for key in 0..100_u64 {
        channel.put(key, key.to_string()).await.expect("an answer");
    }
    let map = channel.mirror_map();
    map.ready().await;
    assert_eq!((map.len(), text(&map, 7)), (100, Some("7".to_owned())));
    channel.put(7, "seven").await.expect("an answer");
    channel.remove(8).await.expect("an answer");
    until("changes", || text(&map, 7).as_deref() == Some("seven") && text(&map, 8).is_none()).await;
    // What happens while a node is away is told by nobody; the map finds out.
    for node in cluster.nodes() {
        node.drop_connections();
        for key in node.keys("map").into_iter().take(10) {
            node.remove("map", key);
        }
        node.put("map", node.keys("map")[0], "changed");
    }
    until("the nodes to be back", || map.len() == 79).await;
    let mut found = map.snapshot();
    found.sort();
    let mut expected: Vec<_> = channel.get_all().try_collect().await.expect("all nodes");
    expected.sort();
    assert_eq!(found.len(), expected.len());
    for ((key, value), expected) in found.iter().zip(&expected) {
        assert_eq!((*key, &**value), (expected.0, &expected.1));
    }
}

#[tokio::test]
async fn a_map_of_another_type_leaves_out_what_is_none() {
    let node = TestNode::start();
    for client in [node.client().await, node.legacy_client().await] {
        node.put("numbers", 1, "12");
        node.put("numbers", 2, "twelve");
        let channel = client.channel("numbers").expect("a name");
        let map = channel.mirror_map_as(|_, v| String::from_utf8_lossy(v).parse::<u32>());
        map.ready().await;
        assert_eq!((map.get(1).as_deref(), map.get(2)), (Some(&12), None));
        let errors = map.decode_errors();
        assert_eq!(errors.count, 1, "{errors:?}");
        assert_eq!(errors.last.expect("one").0.0, 2);
        node.put("numbers", 2, "13");
        until("the change", || map.get(2).as_deref() == Some(&13)).await;
    }
}

#[tokio::test]
async fn puts_wait_on_disk_while_their_node_is_away_and_come_in_order() {
    let node = TestNode::start();
    let client = node.client().await;
    let channel = client.channel("over").expect("a name");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("overflow");
    let overflow = Overflow::open(&channel, &path, 1000).expect("a folder of ours");
    assert_eq!(overflow.put(1, "there").await.expect("stored"), Stored::AtNode);
    node.lose();
    for value in ["one", "two", "three"] {
        assert_eq!(overflow.put(1, value).await.expect("stored"), Stored::OnDisk);
        assert_eq!(overflow.put(2, value).await.expect("stored"), Stored::OnDisk);
    }
    assert_eq!(overflow.waiting().records, 6);
    let full = overflow.put(3, vec![0; 1000]).await.expect_err("full");
    assert!(full.to_string().contains("at most 1000"), "{full}");
    // Another program goes on with it, without what a crash has cut off.
    drop(overflow);
    let mut bytes = std::fs::read(&path).expect("it is there");
    bytes.extend([1, 2, 3]);
    std::fs::write(&path, bytes).expect("a folder of ours");
    let overflow = Overflow::open(&channel, &path, 1000).expect("a folder of ours");
    assert_eq!(overflow.waiting().records, 6);
    node.come_back();
    until("the node to have all", || overflow.waiting().records == 0).await;
    assert_eq!(node.get("over", 1).as_deref(), Some(&b"three"[..]));
    assert_eq!(node.get("over", 2).as_deref(), Some(&b"three"[..]));
    assert_eq!(overflow.put(1, "direct").await.expect("stored"), Stored::AtNode);
    assert_eq!(std::fs::metadata(&path).expect("it is there").len(), 8);
}

#[tokio::test]
async fn a_node_with_an_error_is_left_alone() {
    let cluster = TestCluster::start(2);
    let client = cluster.client().await;
    let availability = NodeAvailability::default();
    let key = 1;
    cluster.node_of(key).lose();
    let error = client.channel("a").expect("a name").get(key).await.expect_err("away");
    availability.error(error.node.as_ref().expect("a node"));
    assert!(!availability.is_key_available(&client, key));
    let other = (0..).find(|other| !std::ptr::eq(cluster.node_of(*other), cluster.node_of(key)));
    assert!(availability.is_key_available(&client, other.expect("two nodes")));
}

#[tokio::test]
async fn a_channel_goes_into_a_file_and_back() {
    let node = TestNode::start();
    let client = node.client().await;
    let channel = client.channel("file").expect("a name");
    node.put("file", 5, "five");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("file");
    let records: Vec<_> = channel.get_all().try_collect().await.expect("the node");
    assert_eq!(channel_file::save(&path, records).expect("a folder of ours"), 1);
    node.clear();
    channel.put_all(channel_file::load(&path).expect("our own")).await.expect("stored");
    assert_eq!(node.get("file", 5).as_deref(), Some(&b"five"[..]));
}

#[test]
fn programs_without_async_have_the_same() {
    let node = TestNode::start();
    let builder =
        dht_client::Client::builder().node(node.neo_address()).credentials(TestNode::credentials());
    let client = blocking::Client::connect(builder).expect("the node is there");
    let channel = client.channel("b").expect("a name");
    let mut mirror = channel.listen();
    assert!(matches!(mirror.next(), Some(dht_client::MirrorEvent::Started)));
    let threads: Vec<_> = (0..4_u64)
        .map(|thread| {
            let channel = channel.clone();
            std::thread::spawn(move || {
                for key in thread * 100..thread * 100 + 100 {
                    channel.put(key, "v").expect("an answer");
                    assert!(channel.exists(key).expect("an answer"));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert_eq!(channel.keys().count(), 400);
    assert_eq!(channel.get_all().filter_map(Result::ok).count(), 400);
    assert_eq!(channel.size().expect("an answer").records, 400);
    let event = mirror.next_within(Duration::from_secs(30));
    assert!(matches!(event, Some(dht_client::MirrorEvent::Updated(..))), "{event:?}");
    assert_eq!(client.channels().expect("an answer"), ["b"]);
    channel.update(1, |_| "new".to_owned()).expect("an answer");
    assert_eq!(channel.get(1).expect("an answer").as_deref(), Some(&b"new"[..]));
    channel.remove_channel().expect("admin may");
    assert_eq!(client.stats().request("Put").answered, 400);
}

#[tokio::test]
async fn values_of_any_type_are_stored_as_json_and_others_are_left_alone() {
    let node = TestNode::start();
    let client = node.client().await;
    let channel = client.channel("json").expect("a name");
    channel.put_json(1, &vec![1, 2]).await.expect("an answer");
    let updated = channel.update_json(1, |list: &mut Vec<u32>| list.push(3)).await;
    assert_eq!(updated.expect("an answer"), dht_client::Updated::Written);
    assert_eq!(node.get("json", 1).as_deref(), Some(&b"[1,2,3]"[..]));
    assert_eq!(channel.get_json::<Vec<u32>>(2).await.expect("an answer"), None);
    node.put("json", 3, "{");
    let error = channel.get_json::<Vec<u32>>(3).await.expect_err("no list");
    assert!(matches!(error.kind, dht_client::ErrorKind::Value(_)), "{error}");
    let error = channel.update_json(3, |_: &mut Vec<u32>| ()).await.expect_err("no list");
    assert!(matches!(error.kind, dht_client::ErrorKind::Value(_)), "{error}");
    assert_eq!(node.get("json", 3).as_deref(), Some(&b"{"[..]));
}

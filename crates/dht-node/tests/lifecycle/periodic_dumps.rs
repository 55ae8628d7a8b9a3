//! Dumps while the node serves, and what `health` tells of them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use dht_testkit::{NodeProcess, NodeSettings, Peer, legacy, wait_for};

use crate::support::{CommandPeer, Instance, at, dumped, lines_of, names, put, read};

fn every_second() -> NodeSettings {
    NodeSettings::default().with("Dumps", "period_s", "1").with("Dumps", "retry_s", "1")
}

fn health(node: &NodeProcess) -> Vec<String> {
    let mut peer = CommandPeer::connect(&at(node, "dhtnode.socket"));
    peer.send("health\n");
    peer.rest().lines().map(str::to_owned).collect()
}

/// Waits until a channel's dump has so many records.
fn wait_for_records(data: &Path, channel: &str, records: usize) {
    let path = data.join(format!("{channel}.tcm"));
    wait_for("a dump", || (path.exists() && dumped(&path).len() == records).then_some(()));
}

fn get(peer: &mut Peer, channel: &str, key: u64) -> Vec<u8> {
    peer.send(&legacy::get(channel, key));
    assert_eq!(peer.receive_u32(), legacy::status::OK);
    peer.receive_array()
}

#[test]
fn a_node_that_is_killed_comes_back_with_its_last_dumps() {
    let instance = Instance::new();
    let node = instance.node(&every_second());
    let data = at(&node, "data");
    let mut peer = node.connect();
    for key in 0..1000 {
        assert!(put(&mut peer, "ch", key, format!("value {key}").as_bytes()));
    }
    assert!(put(&mut peer, "other", 1, b"x"));
    wait_for_records(&data, "ch", 1000);
    wait_for_records(&data, "other", 1);
    wait_for("the dump before", || data.join("ch.tcm.backup").exists().then_some(()));
    let health = health(&node);
    assert_eq!((health[0].as_str(), health.len()), ("ok", 3));
    let [name, age, records, bytes, error] = health[1].split(' ').collect::<Vec<_>>()[..] else {
        panic!("{health:?}");
    };
    assert!(age.parse::<u64>().unwrap() < 60);
    assert_eq!((name, records, error), ("ch", "1000", "none"));
    assert_eq!(bytes.parse::<u64>().unwrap(), data.join("ch.tcm").metadata().unwrap().len());
    node.kill();

    let node = instance.node(&NodeSettings::default());
    let mut peer = node.connect();
    for key in 0..1000 {
        assert_eq!(get(&mut peer, "ch", key), format!("value {key}").as_bytes());
    }
    assert_eq!(get(&mut peer, "other", 1), b"x");
    let health = self::health(&node);
    assert!(health[0] == "ok" && !health[1].contains("never"), "{health:?}");
    let warnings = lines_of(&at(&node, "log/root.log"), "dhtnode.storage.DumpManager");
    assert!(!warnings.iter().any(|line| line.contains("manifest")), "{warnings:?}");
}

#[test]
fn a_dump_that_fails_is_told_and_is_tried_again_until_it_succeeds() {
    let instance = Instance::new();
    fs::create_dir_all(instance.path().join("data")).unwrap();
    let node = instance.node(&every_second());
    let data = at(&node, "data");
    // Nothing can take the place of a folder that is not empty.
    fs::create_dir(data.join("bad.tcm")).unwrap();
    fs::write(data.join("bad.tcm/file"), "").unwrap();
    let mut peer = node.connect();
    assert!(put(&mut peer, "bad", 1, b"x"));
    assert!(put(&mut peer, "good", 1, b"x"));
    wait_for_records(&data, "good", 1);
    let told = wait_for("the failure", || {
        health(&node).into_iter().find(|line| line.starts_with("bad never 0 0 cannot "))
    });
    assert!(told.contains("bad.tcm"), "{told}");
    assert_eq!(health(&node)[0], "degraded 1 failed, 0 stalled");
    let log = read(&at(&node, "log/root.log"));
    assert!(log.contains("Channel 'bad' was not dumped: cannot "), "{log}");

    fs::remove_dir_all(data.join("bad.tcm")).unwrap();
    wait_for_records(&data, "bad", 1);
    wait_for("good health", || (health(&node)[0] == "ok").then_some(()));
    assert!(node.stop().success());
}

#[test]
fn a_channel_that_is_removed_between_dumps_stays_away() {
    let instance = Instance::new();
    let node = instance.node(&every_second());
    let data = at(&node, "data");
    let mut peer = node.connect();
    let value = vec![7; 20_000];
    for round in 0..3 {
        for key in 0..500 {
            assert!(put(&mut peer, "large", key, &value));
        }
        wait_for("a dump", || {
            let names = names(&data);
            names.iter().any(|name| name.starts_with("large.tcm")).then_some(())
        });
        peer.send(&legacy::remove_channel("large"));
        assert_eq!(peer.receive_u32(), legacy::status::OK, "round {round}");
        assert!(!names(&data).contains(&"large.tcm".to_owned()));
    }
    // Another round of dumps has passed when a new channel has one.
    assert!(put(&mut peer, "after", 1, b"x"));
    wait_for_records(&data, "after", 1);
    node.kill();
    let node = instance.node(&NodeSettings::default());
    let health = health(&node);
    assert_eq!((health.len(), health[0].as_str()), (2, "ok"), "{health:?}");
    assert!(health[1].starts_with("after "));
}

#[test]
fn a_stop_during_a_dump_leaves_complete_dumps_only() {
    let instance = Instance::new();
    let node = instance.node(&every_second());
    let data = at(&node, "data");
    let stopping = AtomicBool::new(false);
    let mut peer = node.connect();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut key, value) = (0, vec![1; 50_000]);
            while !stopping.load(Relaxed) && put(&mut peer, "ch", key % 2000, &value) {
                key += 1;
            }
            key.min(2000)
        });
        let unfinished = |name: &String| name.ends_with(".dumping");
        wait_for("a dump in the making", || names(&data).iter().any(unfinished).then_some(()));
        assert!(node.stop().success());
        stopping.store(true, Relaxed);
        let acknowledged = usize::try_from(writer.join().unwrap()).unwrap();
        let found = dumped(&data.join("ch.tcm")).len();
        assert!(found >= acknowledged, "{found} of {acknowledged}");
    });
    assert!(names(&data).iter().all(|name| !name.ends_with(".dumping")), "{:?}", names(&data));
}

#[test]
fn a_flipped_bit_in_a_dump_keeps_the_node_from_starting() {
    let instance = Instance::new();
    let node = instance.node(&NodeSettings::default());
    let mut peer = node.connect();
    assert!(put(&mut peer, "ch", 1, b"value"));
    let path = at(&node, "data/ch.tcm");
    assert!(node.stop().success());
    let file = fs::File::options().write(true).open(&path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(b"w", 40).unwrap();
    file.set_modified(modified).unwrap();
    let ended = instance.run(&["-c", "etc/config.ini"]);
    assert_eq!(ended.code(), Some(1));
    let log = read(&instance.path().join("log/root.log"));
    assert!(log.contains("dump file 'data/ch.tcm' is damaged"), "{log}");
    assert!(log.contains("in the 512 bytes from offset 0 on"), "{log}");
}

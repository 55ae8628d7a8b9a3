//! Dump files from the start of a node to its end. Source: spec `node` 12, `file-formats` 2.

use std::fs;
use std::path::Path;

use dht_testkit::legacy::{self, status};
use dht_testkit::{NodeSettings, Peer, Rng, golden_dump, golden_dump_names, testdata, to_hex};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{Client, Node, Records, blob_of, unique};

/// A folder whose data folder has these dump files of the original.
fn folder_with_golden_dumps() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(dir.path().join("data")).expect("our folder");
    for name in golden_dump_names() {
        let file = format!("{name}.tcm");
        fs::copy(testdata("tcm").join(&file), dir.path().join("data").join(&file)).expect("ours");
    }
    dir
}

/// Each golden channel has just the records of the listing.
fn assert_golden(peer: &mut Peer) {
    assert_eq!(peer.channels(), golden_dump_names());
    for name in golden_dump_names() {
        let found = peer.records(&name);
        let expected = golden_dump(&name);
        assert_eq!(found.len(), expected.len(), "{name}");
        for record in expected {
            let value = &found[&record.key];
            assert_eq!(value.len(), record.value_bytes, "{name} {:016x}", record.key);
            assert_eq!(to_hex(&Sha256::digest(value)), record.sha256, "{name} {:016x}", record.key);
            assert!(peer.get(&name, record.key) == *value);
            assert!(record.value.is_none_or(|listed| listed == *value));
        }
    }
}

fn file(dir: &TempDir, name: &str) -> Option<Vec<u8>> {
    fs::read(dir.path().join("data").join(name)).ok()
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("it exists")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("ASCII"))
        .collect();
    names.sort();
    names
}

#[test]
fn dumps_of_the_original_are_served_and_survive_restarts() {
    let mut dir = folder_with_golden_dumps();
    for direct in ["false", "true"] {
        let settings = NodeSettings::default().with("Options_Memory", "disable_direct_io", direct);
        let node = Node::start_in(dir, &settings);
        assert_golden(&mut node.connect());
        dir = node.stop();
    }
    let node = Node::start_in(dir, &NodeSettings::default());
    assert_golden(&mut node.connect());
    let dir = node.crash();
    for name in golden_dump_names() {
        // The same records take the same space, in whatever order.
        let original = fs::read(testdata("tcm").join(format!("{name}.tcm"))).expect("ours");
        assert_eq!(file(&dir, &format!("{name}.tcm")).map(|dump| dump.len()), Some(original.len()));
        assert!(file(&dir, &format!("{name}.tcm.backup")).is_some(), "{name}");
    }
}

#[test]
fn what_was_put_is_there_after_a_restart() {
    let node = Node::start();
    let mut peer = node.connect();
    let mut rng = Rng::new(1);
    let records = unique((0..2_000).map(|_| (rng.next(), rng.bytes(1..2_000))));
    for (key, value) in &records {
        peer.put("ch", *key, value);
    }
    assert_eq!(peer.ask(&legacy::put_batch("empty", &blob_of(&[]))), status::OK);
    let big = vec![7; 1_000_000];
    assert_eq!(peer.ask(&legacy::put_batch("big", &blob_of(&[(1, &big)]))), status::OK);

    let node = Node::start_in(node.stop(), &NodeSettings::default());
    let mut peer = node.connect();
    assert_eq!(peer.channels(), ["big", "ch", "empty"]);
    assert!(peer.records("ch") == records);
    assert!(peer.records("empty").is_empty());
    assert!(peer.get("big", 1) == big);
}

#[test]
fn every_signal_to_stop_dumps_and_a_crash_loses_nothing() {
    let mut dir = tempfile::tempdir().expect("a temporary folder");
    for (key, signal) in [(1, "TERM"), (2, "INT"), (3, "QUIT")] {
        let node = Node::start_in(dir, &NodeSettings::default());
        node.connect().put("ch", key, b"value");
        node.signal(signal);
        dir = node.stop();
    }
    let node = Node::start_in(dir, &NodeSettings::default());
    let mut peer = node.connect();
    assert_eq!(peer.records("ch").into_keys().collect::<Vec<_>>(), [1, 2, 3]);
    peer.put("ch", 4, b"in the log");
    let node = Node::start_in(node.crash(), &NodeSettings::default());
    let mut peer = node.connect();
    assert_eq!(peer.records("ch").into_keys().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(peer.get("ch", 4), b"in the log");
}

#[test]
fn a_removed_channel_goes_to_the_deleted_ones_and_stays_away() {
    let node = Node::start_in(folder_with_golden_dumps(), &NodeSettings::default());
    let mut peer = node.connect();
    let original = fs::read(testdata("tcm/one.tcm")).expect("ours");
    assert_eq!(peer.ask(&legacy::remove_channel("one")), status::OK);
    let data = node.dir().join("data");
    assert!(!data.join("one.tcm").exists(), "at once, not at the end");
    assert_eq!(fs::read(data.join("deleted/one.tcm")).expect("moved"), original);
    // A channel of that name may come again, and be removed again, over the file of the first.
    peer.put("one", 7, b"second life");
    let node = Node::start_in(node.stop(), &NodeSettings::default());
    let mut peer = node.connect();
    assert_eq!(peer.records("one"), Records::from([(7, b"second life".to_vec())]));
    assert_eq!(peer.ask(&legacy::remove_channel("one")), status::OK);

    let node = Node::start_in(node.stop(), &NodeSettings::default());
    let mut names = golden_dump_names();
    names.retain(|name| name != "one");
    assert_eq!(node.connect().channels(), names);
    let dir = node.stop();
    assert!(file(&dir, "deleted/one.tcm").is_some_and(|dump| dump != original));
    assert_eq!(file(&dir, "one.tcm"), None);
}

#[test]
fn what_is_no_dump_is_left_alone() {
    let dir = folder_with_golden_dumps();
    let data = dir.path().join("data");
    let too_long = format!("{}.tcm", "c".repeat(240));
    let dump = fs::read(testdata("tcm/one.tcm")).expect("ours");
    let ignored = [
        "one.tcm.backup",
        "one.tcm.123456.dumping",
        "notes.txt",
        "bad name.tcm",
        "zero.tcm",
        &too_long,
    ];
    for name in ignored {
        let content = if name == "zero.tcm" { &[][..] } else { &dump };
        fs::write(data.join(name), content).expect("ours");
    }
    fs::create_dir(data.join("folder.tcm")).expect("ours");
    fs::create_dir(data.join("deleted")).expect("ours");
    fs::write(data.join("deleted/gone.tcm"), &dump).expect("ours");

    let node = Node::start_in(dir, &NodeSettings::default());
    let mut peer = node.connect();
    assert_golden(&mut peer);
    assert_eq!(peer.ask(&legacy::remove_channel("one")), status::OK);
    let dir = node.stop();
    let left = names_in(&dir.path().join("data"));
    for name in ["one.tcm.123456.dumping", "notes.txt", "bad name.tcm", "zero.tcm", &too_long] {
        assert!(left.contains(&name.to_owned()), "{name} was there before");
    }
    assert_eq!(
        names_in(&dir.path().join("data/deleted")),
        ["gone.tcm", "one.tcm", "one.tcm.backup"]
    );
    let log = fs::read_to_string(dir.path().join("log/root.log")).expect("the node has a log");
    for name in ["one.tcm.123456.dumping", "notes.txt", "bad name.tcm", "zero.tcm", "folder.tcm"] {
        assert!(log.contains(name), "a word on {name}");
    }
}

#[test]
fn records_out_of_range_are_loaded_left_out_or_fatal() {
    let half = |mode: &str| {
        NodeSettings::default().with("Server", "minval", "0x8000000000000000").with(
            "Options_Memory",
            "allow_out_of_range",
            mode,
        )
    };
    let all: Vec<u64> = golden_dump("history").iter().map(|record| record.key).collect();
    let ours = all.iter().filter(|key| *key % 2 == 1).count();
    for (mode, expected) in [("load", all.len()), ("ignore", ours)] {
        let node = Node::start_in(folder_with_golden_dumps(), &half(mode));
        assert_eq!(node.connect().records("history").len(), expected, "{mode}");
    }
    let errors = crate::damage::refused_start(&folder_with_golden_dumps(), &half("fatal"));
    assert!(errors.contains("outside the node's hash range"), "{errors}");
}

//! Dump files that are damaged, and disks that fail. Source: spec `node` 12.2, 12.4.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dht_testkit::legacy::{self, status};
use dht_testkit::{NodeProcess, NodeSettings, free_port, golden_dump, testdata};
use tempfile::TempDir;

use crate::support::{Client, Node, exe};

/// A node that has to refuse to start in `dir`. Returns what it wrote to stderr.
pub(crate) fn refused_start(dir: &TempDir, settings: &NodeSettings) -> String {
    let mut process = NodeProcess::spawn(exe(), dir.path(), settings, free_port());
    assert_eq!(process.wait().code(), Some(1));
    process.stderr()
}

/// A folder with a sound dump `one` and, as `ch`, the dump `history` cut to `len` bytes.
fn folder_with_cut_dump(len: usize) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("our folder");
    fs::copy(testdata("tcm/one.tcm"), data.join("one.tcm")).expect("ours");
    fs::write(data.join("ch.tcm"), &history()[..len]).expect("ours");
    dir
}

fn history() -> Vec<u8> {
    fs::read(testdata("tcm/history.tcm")).expect("ours")
}

/// Where the data of `history` end, before the padding.
const HISTORY_DATA_END: usize = 1908;

/// Every file below a folder.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("it exists") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files.extend(content(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).expect("readable"));
        }
    }
    files
}

#[test]
fn a_damaged_dump_keeps_the_node_from_starting_and_nothing_is_changed() {
    for len in [1, 7, 8, 20, 30, 500, HISTORY_DATA_END - 9, HISTORY_DATA_END - 1] {
        let dir = folder_with_cut_dump(len);
        let data = dir.path().join("data");
        let before = content(&data);
        let errors = refused_start(&dir, &NodeSettings::default());
        assert!(errors.contains("data/ch.tcm"), "which file: {errors}");
        assert!(errors.contains("offset"), "where: {errors}");
        assert!(errors.contains("--accept-damaged"), "what to do: {errors}");
        assert_eq!(content(&data), before, "cut to {len} bytes");
    }
}

#[test]
fn a_dump_without_its_padding_is_whole() {
    let node = Node::start_in(folder_with_cut_dump(HISTORY_DATA_END), &NodeSettings::default());
    assert_eq!(node.connect().records("ch").len(), golden_dump("history").len());
}

#[test]
fn a_damaged_dump_can_be_accepted_and_is_kept() {
    let dir = folder_with_cut_dump(1000);
    let data = dir.path().join("data");
    let damaged = fs::read(data.join("ch.tcm")).expect("ours");
    let node = Node::start_in(dir, &NodeSettings::default().arg("--accept-damaged"));
    let mut peer = node.connect();
    let found = peer.records("ch");
    let listed = golden_dump("history");
    assert!(!found.is_empty() && found.len() < listed.len());
    for record in &listed[..found.len()] {
        assert_eq!(Some(&found[&record.key]), record.value.as_ref(), "those before the damage");
    }
    assert_eq!(fs::read(data.join("ch.tcm.damaged-1")).expect("kept"), damaged);
    peer.put("ch", u64::MAX, b"new");

    let node = Node::start_in(node.stop(), &NodeSettings::default());
    let again = node.connect().records("ch");
    assert_eq!(again.len(), found.len() + 1);
    assert_eq!(fs::read(data.join("ch.tcm.damaged-1")).expect("still kept"), damaged);
}

#[test]
fn a_dump_of_another_version_is_left_alone() {
    let dir = folder_with_cut_dump(0);
    let data = dir.path().join("data");
    let mut other = history();
    other[0] = 1;
    fs::write(data.join("ch.tcm"), &other).expect("ours");
    let node = Node::start_in(dir, &NodeSettings::default());
    assert_eq!(node.connect().channels(), ["one"]);
    let _dir = node.stop();
    assert_eq!(fs::read(data.join("ch.tcm")).expect("still there"), other);
}

#[test]
fn a_channel_that_cannot_be_dumped_does_not_keep_the_others_from_it() {
    let node = Node::start();
    let mut peer = node.connect();
    for channel in ["a", "b", "c"] {
        peer.put(channel, 1, channel.as_bytes());
    }
    let obstacle = node.dir().join("data/b.tcm");
    fs::create_dir(&obstacle).expect("no dump yet");
    fs::write(obstacle.join("file"), b"").expect("ours");
    let (in_order, errors, dir) = node.stop_with_errors();
    assert!(!in_order, "the exit code tells");
    assert!(errors.contains("1 channels were not dumped"), "{errors}");
    let log = fs::read_to_string(dir.path().join("log/root.log")).expect("the node has a log");
    assert!(log.contains("Channel 'b' was not dumped"));
    let mut names: Vec<_> = content(&dir.path().join("data")).into_keys().collect();
    names.iter_mut().for_each(|name| {
        *name = name.strip_prefix(dir.path().join("data")).expect("below it").to_owned();
    });
    names.retain(|name| !name.starts_with("changes"));
    let expected = ["a.tcm", "a.tcm.manifest", "b.tcm/file", "c.tcm", "c.tcm.manifest"];
    assert_eq!(names, expected.map(PathBuf::from), "nothing half done");

    fs::remove_dir_all(dir.path().join("data/b.tcm")).expect("ours");
    let node = Node::start_in(dir, &NodeSettings::default());
    let mut peer = node.connect();
    assert_eq!(peer.channels(), ["a", "b", "c"], "the log has what the dump has not");
    assert_eq!(peer.get("b", 1), b"b");
}

#[test]
fn a_data_folder_that_is_gone_at_the_end_is_an_error() {
    let node = Node::start();
    node.connect().put("ch", 1, b"value");
    fs::remove_dir_all(node.dir().join("data")).expect("ours");
    let (in_order, errors, _dir) = node.stop_with_errors();
    assert!(!in_order && errors.contains("not dumped"), "{errors}");
}

#[test]
fn a_dump_that_cannot_be_moved_away_is_told_to_who_removes_the_channel() {
    let node = Node::start_in(folder_with_cut_dump(2048), &NodeSettings::default());
    let deleted = node.dir().join("data/deleted");
    fs::create_dir_all(deleted.join("ch.tcm/obstacle")).expect("ours");
    let mut peer = node.connect();
    assert_eq!(peer.ask(&legacy::remove_channel("ch")), status::ERROR);
    peer.assert_usable();
    assert_eq!(peer.channels(), ["one"], "the records are gone");
    fs::remove_dir_all(deleted.join("ch.tcm")).expect("ours");
    assert_eq!(peer.ask(&legacy::remove_channel("ch")), status::OK, "a second try moves it");
    assert_eq!(fs::read(deleted.join("ch.tcm")).expect("moved"), history());
}

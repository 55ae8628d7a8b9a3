//! Channels that are removed and made anew between two dumps.

use std::path::Path;

use dht_testkit::legacy::{self, status};
use dht_testkit::{NodeProcess, NodeSettings, Peer, free_port, wait_for};

use crate::lives::exe;

/// A node that dumps all the time.
fn start(dir: &Path) -> NodeProcess {
    let settings = NodeSettings::default().with("Dumps", "period_s", "1");
    NodeProcess::start(exe(), dir, &settings)
}

fn ask(peer: &mut Peer, request: &[u8]) {
    peer.send(request);
    assert_eq!(peer.receive_u32(), status::OK);
}

fn get(peer: &mut Peer, channel: &str, key: u64) -> Vec<u8> {
    ask(peer, &legacy::get(channel, key));
    peer.receive_array()
}

/// The checkpoint says that the dump of this channel must be there.
fn wait_until_dump_is_needed(dir: &Path, channel: &str) {
    let start = format!("channel {channel} ");
    wait_for("a checkpoint", || {
        let checkpoint = std::fs::read_to_string(dir.join("data/changes/checkpoint")).ok()?;
        checkpoint.lines().any(|other| other.starts_with(&start)).then_some(())
    });
}

#[test]
fn a_channel_that_was_made_anew_needs_no_dump() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path();
    let node = start(dir);
    let mut peer = node.connect();
    ask(&mut peer, &legacy::put("ch", 1, b"first"));
    ask(&mut peer, &legacy::put("other", 1, b"other"));
    wait_until_dump_is_needed(dir, "ch");
    ask(&mut peer, &legacy::remove_channel("ch"));
    ask(&mut peer, &legacy::put("ch", 2, b"second"));
    node.kill();
    // The second time, the first of these starts has written the checkpoint.
    for _ in 0..2 {
        let node = start(dir);
        let mut peer = node.connect();
        assert_eq!(get(&mut peer, "ch", 1), b"");
        assert_eq!(get(&mut peer, "ch", 2), b"second");
        assert_eq!(get(&mut peer, "other", 1), b"other");
        node.kill();
    }
}

#[test]
fn a_dump_that_is_missing_after_a_stop_in_order_and_a_crash_is_missed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = folder.path();
    let node = start(dir);
    ask(&mut node.connect(), &legacy::put("ch", 1, b"first"));
    assert!(node.stop().success());
    start(dir).kill();
    std::fs::remove_file(dir.join("data/ch.tcm")).expect("it was dumped");
    let mut node = NodeProcess::spawn(exe(), dir, &NodeSettings::default(), free_port());
    assert!(!node.wait().success());
    let errors = node.stderr();
    assert!(errors.contains("missing") && errors.contains(": ch."), "{errors}");
}

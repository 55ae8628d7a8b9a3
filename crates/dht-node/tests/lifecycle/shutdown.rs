//! Signals and the end of a node. Source: spec `node` 10, 12.1, 12.2.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::thread;

use dht_testkit::{NodeSettings, legacy, wait_for};

use crate::support::{Instance, at, dumped, lines_of, names, put, wait_for_line};

const SHUTTING_DOWN: &str = "Info [dhtnode.main] - SIGINT handler. Shutting down.";

#[test]
fn each_stop_signal_dumps_and_ends_with_code_0() {
    for signal in ["INT", "TERM", "QUIT"] {
        let instance = Instance::new();
        let mut node = instance.node(&NodeSettings::default());
        let mut peer = node.connect();
        for key in 0..100 {
            assert!(put(&mut peer, "ch-1_A", key, format!("value {key}").as_bytes()));
        }
        // A channel without records is dumped too.
        peer.send(&legacy::put("empty", 1, b"x"));
        peer.send(&legacy::remove("empty", 1));
        peer.expect_hex("c8000000 c8000000");
        node.signal(signal);
        assert_eq!(node.wait().code(), Some(0), "SIG{signal}");
        assert_eq!(peer.receive_to_end(), b"", "clients see a disconnect");
        let data = at(&node, "data");
        let expected = ["ch-1_A.tcm", "ch-1_A.tcm.manifest", "changes", "deleted"];
        let empty = ["empty.tcm", "empty.tcm.manifest"];
        assert_eq!(names(&data), [&expected[..], &empty].concat());
        assert_eq!(names(&data.join("changes")), ["checkpoint"], "the dumps have everything");
        let mut records = dumped(&data.join("ch-1_A.tcm"));
        records.sort();
        let expected: Vec<(u64, Vec<u8>)> =
            (0..100).map(|key| (key, format!("value {key}").into_bytes())).collect();
        assert_eq!(records, expected);
        assert_eq!(fs::read(data.join("empty.tcm")).unwrap(), [0; 512]);
        let mode = data.join("empty.tcm").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let root = at(&node, "log/root.log");
        let lines = lines_of(&root, "dhtnode.main");
        assert!(lines.contains(&"Info SIGINT handler. Shutting down.".to_owned()), "{lines:?}");
        assert_eq!(lines.last().map(String::as_str), Some("Info Event loop exited"));
        let dumps = lines_of(&root, "dhtnode.storage.DumpManager");
        let wrote = dumps.iter().find(|line| line.contains("Finished dumping channel 'ch-1_A'"));
        let end = "s, wrote 100 records, 100 records in channel";
        assert!(wrote.is_some_and(|line| line.ends_with(end)), "{dumps:?}");
        assert!(dumps.contains(&"Info Finished channel dump, 512 bytes written".to_owned()));
    }
}

#[test]
fn other_signals_have_their_default_action() {
    let instance = Instance::new();
    let mut node = instance.node(&NodeSettings::default());
    node.signal("USR1");
    assert_eq!(node.wait().signal(), Some(10));
    assert_eq!(names(&at(&node, "data")), ["changes", "deleted"], "no dump");
}

#[test]
fn more_signals_during_the_dump_do_no_harm() {
    let instance = Instance::new();
    let mut node = instance.node(&NodeSettings::default());
    let mut peer = node.connect();
    let value = vec![7; 60_000];
    for key in 0..500 {
        assert!(put(&mut peer, "large", key, &value));
    }
    node.signal("TERM");
    wait_for_line(&at(&node, "log/root.log"), SHUTTING_DOWN);
    for signal in ["TERM", "INT", "HUP", "QUIT", "TERM"] {
        node.signal(signal);
    }
    assert_eq!(node.wait().code(), Some(0));
    assert_eq!(dumped(&at(&node, "data/large.tcm")).len(), 500);
    let expected = ["changes", "deleted", "large.tcm", "large.tcm.manifest"];
    assert_eq!(names(&at(&node, "data")), expected, "nothing unfinished");
}

/// Writers of the next test.
const WRITERS: u64 = 50;

#[test]
fn what_was_acknowledged_before_a_signal_is_in_the_dumps() {
    let instance = Instance::new();
    let mut node = instance.node(&NodeSettings::default().with("Performance", "workers", "4"));
    let mut readers: Vec<_> = (0..4).map(|_| node.connect()).collect();
    for reader in &mut readers {
        reader.send(&legacy::listen("channel0")); // Busy in another way; never read.
    }
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let mut peer = node.connect();
            thread::spawn(move || {
                let channel = format!("channel{}", writer % 3);
                let mut acknowledged = 0;
                while put(&mut peer, &channel, writer << 32 | acknowledged, &value(acknowledged)) {
                    acknowledged += 1;
                }
                acknowledged
            })
        })
        .collect();
    let mut watcher = node.connect();
    wait_for("the writers to be busy", || {
        watcher.send(&legacy::get_channel_size("channel1"));
        assert_eq!(watcher.receive_u32(), legacy::status::OK);
        let (_, _) = (watcher.receive_array(), watcher.receive_u16());
        let (records, _) = (watcher.receive_u64(), watcher.receive_u64());
        (records > 2_000).then_some(())
    });
    node.signal("TERM");
    assert_eq!(node.wait().code(), Some(0));
    let acknowledged: Vec<u64> = writers.into_iter().map(|w| w.join().unwrap()).collect();
    let mut found: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for channel in 0..3 {
        for (key, value) in dumped(&at(&node, &format!("data/channel{channel}.tcm"))) {
            assert_eq!((key >> 32) % 3, channel);
            assert!(found.insert(key, value).is_none(), "a key twice");
        }
    }
    for (writer, count) in (0..).zip(acknowledged) {
        for number in 0..count {
            let key = writer << 32 | number;
            assert_eq!(found.remove(&key), Some(value(number)), "writer {writer}, put {number}");
        }
        // The one put that was under way may be there or not.
        if let Some(last) = found.remove(&(writer << 32 | count)) {
            assert_eq!(last, value(count));
        }
    }
    assert!(found.is_empty(), "nobody wrote {:?}", found.keys());
}

/// Values of many lengths that tell which put they are of.
fn value(number: u64) -> Vec<u8> {
    let len = 8 + usize::try_from(number % 500).unwrap();
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

#[test]
fn peers_that_reset_their_connection_do_no_harm() {
    let instance = Instance::new();
    let node = instance.node(&NodeSettings::default());
    let mut peer = node.connect();
    for key in 0..50 {
        assert!(put(&mut peer, "ch", key, &vec![1; 60_000]));
    }
    for _ in 0..20 {
        let mut rude = node.connect();
        rude.send(&legacy::get_all("ch").repeat(3));
        assert_eq!(rude.receive(4), legacy::status::OK.to_le_bytes());
        drop(rude); // With unread bytes: a reset, and the node's next write fails.
    }
    let mut half = node.connect();
    half.send(&legacy::put("ch", 1, b"value")[..20]);
    drop(half);
    assert!(put(&mut peer, "ch", 1, b"still served"));
    assert!(node.stop().success());
}

#[test]
fn a_channel_that_cannot_be_dumped_does_not_keep_the_others_from_it() {
    let instance = Instance::new();
    fs::create_dir_all(instance.path().join("data/bad.tcm/in the way")).unwrap();
    let mut node = instance.node(&NodeSettings::default());
    let mut peer = node.connect();
    for channel in ["a", "bad", "c"] {
        assert!(put(&mut peer, channel, 1, b"x"));
    }
    node.signal("TERM");
    assert_eq!(node.wait().code(), Some(1));
    let data = at(&node, "data");
    assert_eq!(dumped(&data.join("a.tcm")), [(1, b"x".to_vec())]);
    assert_eq!(dumped(&data.join("c.tcm")), [(1, b"x".to_vec())]);
    let root = at(&node, "log/root.log");
    let errors = lines_of(&root, "dhtnode.storage.DumpManager");
    let told = |line: &&String| line.starts_with("Error Channel 'bad' was not dumped, ");
    assert_eq!(errors.iter().filter(told).count(), 1, "{errors:?}");
    assert!(!node.stderr().is_empty());
}

#[test]
fn the_dump_before_is_kept_as_a_backup() {
    let instance = Instance::new();
    for (value, expected) in [(b"1", None), (b"2", Some(b"1")), (b"3", Some(b"2"))] {
        let node = instance.node(&NodeSettings::default());
        assert!(put(&mut node.connect(), "ch", 1, value));
        assert!(node.stop().success());
        let data = instance.path().join("data");
        assert_eq!(dumped(&data.join("ch.tcm")), [(1, value.to_vec())]);
        let backup = data.join("ch.tcm.backup");
        let kept = backup.exists().then(|| dumped(&backup));
        assert_eq!(kept, expected.map(|value| vec![(1, value.to_vec())]));
    }
}

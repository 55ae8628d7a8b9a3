//! A disk that is full while the node dumps, and has room again.

use std::path::Path;

use dht_testkit::{NodeProcess, NodeSettings, Peer, SmallDisk, legacy, wait_for};

use crate::support::{CommandPeer, Instance, at, dumped, lines_of, names, put};

/// Bytes of the records. The disk has room for two dumps and a half, and the backup is one.
const VALUE_BYTES: usize = 1000;
const RECORDS: u64 = 1000;
const DISK_BYTES: u64 = 3_600_000;

/// Dumps every second. What the log does on a full disk: see below.
fn settings() -> NodeSettings {
    let settings = NodeSettings::default().with("Log", "durability", "memory");
    settings.with("Dumps", "period_s", "1").with("Dumps", "retry_s", "1")
}

fn health(node: &NodeProcess) -> Vec<String> {
    let mut peer = CommandPeer::connect(&at(node, "dhtnode.socket"));
    peer.send("health\n");
    peer.rest().lines().map(str::to_owned).collect()
}

fn fill(peer: &mut Peer, generation: u8) {
    for key in 0..RECORDS {
        assert!(put(peer, "ch", key, &[generation; VALUE_BYTES]));
    }
}

/// The generations in a dump: it is no snapshot.
fn generations(data: &Path) -> Vec<u8> {
    let records = dumped(&data.join("ch.tcm"));
    assert_eq!(records.len() as u64, RECORDS);
    let mut generations: Vec<u8> = records.into_iter().map(|(_, value)| value[0]).collect();
    generations.sort_unstable();
    generations.dedup();
    generations
}

fn wait_for_generation(data: &Path, generation: u8) {
    wait_for("a whole dump", || (generations(data) == [generation]).then_some(()));
}

#[test]
fn a_disk_that_runs_full_loses_nothing_and_the_node_recovers_by_itself() {
    let instance = Instance::new();
    let data = instance.path().join("data");
    let Some(disk) = SmallDisk::mount(&data, DISK_BYTES) else { return };
    let node = instance.node(&settings());
    let mut peer = node.connect();
    fill(&mut peer, 1);
    wait_for("the first dump", || data.join("ch.tcm.backup").exists().then_some(()));
    wait_for_generation(&data, 1);

    // The disk is full at another moment of the dump each time: at once, in the middle, at its end.
    for (generation, free) in [(2, 0), (3, 5_000), (4, 500_000), (5, 1_020_000)] {
        disk.leave_free(free);
        fill(&mut peer, generation);
        wait_for("bad health", || {
            let [overall, channel] = &health(&node)[..] else { panic!("two lines") };
            let told = channel.contains("cannot ") && channel.contains("No space left");
            (overall == "degraded 1 failed, 0 stalled" && told).then_some(())
        });
        // The dump before; one that had begun when the disk ran full may have taken some more.
        assert!(generations(&data)[0] < generation, "a whole dump");
        peer.send(&legacy::get("ch", 7));
        assert_eq!(peer.receive_u32(), legacy::status::OK, "it serves");
        assert_eq!(peer.receive_array(), [generation; VALUE_BYTES]);

        disk.empty();
        wait_for_generation(&data, generation);
        wait_for("good health", || (health(&node)[0] == "ok").then_some(()));
        // One may be in the making.
        wait_for("no litter", || {
            let litter = names(&data).into_iter().any(|name| name.ends_with(".dumping"));
            (!litter).then_some(())
        });
    }
    let log = lines_of(&at(&node, "log/root.log"), "dhtnode.storage.DumpManager");
    let told = "Channel 'ch' was not dumped: cannot ";
    assert!(log.iter().any(|line| line.contains(told) && line.contains("No space left")));

    node.kill();
    let node = instance.node(&settings());
    let mut peer = node.connect();
    for key in 0..RECORDS {
        peer.send(&legacy::get("ch", key));
        assert_eq!(peer.receive_u32(), legacy::status::OK);
        assert_eq!(peer.receive_array(), [5; VALUE_BYTES]);
    }

    // The last dump fails: that is told, and the one before stays.
    fill(&mut peer, 6);
    wait_for_generation(&data, 6);
    // What a dump in the making has taken, and gives back when it fails, is taken, too.
    wait_for("bad health", || {
        disk.fill();
        health(&node)[0].starts_with("degraded").then_some(())
    });
    fill(&mut peer, 7);
    disk.fill();
    assert_eq!(node.stop().code(), Some(1));
    assert_eq!(generations(&data)[0], 6);
}

fn get(peer: &mut Peer, key: u64) -> Vec<u8> {
    peer.send(&legacy::get("ch", key));
    assert_eq!(peer.receive_u32(), legacy::status::OK);
    peer.receive_array()
}

/// The log is full: nobody is told that a write was done, reads go on, and it goes on by itself.
#[test]
fn a_log_that_runs_full_refuses_writes_until_there_is_room() {
    for level in ["os", "disk"] {
        let instance = Instance::new();
        let data = instance.path().join("data");
        let Some(disk) = SmallDisk::mount(&data, DISK_BYTES) else { return };
        let settings = NodeSettings::default().with("Log", "durability", level);
        let node = instance.node(&settings.with("Performance", "workers", "1"));
        assert!(put(&mut node.connect(), "ch", 0, b"before"));
        disk.leave_free(50_000);

        // The first that does not fit is closed without an answer; from then on they are refused.
        let mut acknowledged = 1;
        let mut peer = node.connect();
        while put(&mut peer, "ch", acknowledged, &[1; VALUE_BYTES]) {
            acknowledged += 1;
        }
        assert!((10..60).contains(&acknowledged), "{acknowledged}");
        let mut peer = node.connect();
        peer.send(&legacy::put("ch", 1_000, b"refused"));
        assert_eq!(peer.receive_u32(), legacy::status::ERROR);
        peer.send(&legacy::remove("ch", 0));
        assert_eq!(peer.receive_u32(), legacy::status::ERROR);
        peer.send(&legacy::remove_channel("ch"));
        assert_eq!(peer.receive_u32(), legacy::status::ERROR);
        assert_eq!(get(&mut peer, 0), b"before");
        let overall = health(&node).swap_remove(0);
        let told = overall.contains("cannot be written") && overall.contains("No space left");
        assert!(told, "{overall}");

        disk.empty();
        wait_for("writes", || {
            peer.send(&legacy::put("ch", 2_000, b"after"));
            (peer.receive_u32() == legacy::status::OK).then_some(())
        });
        assert_eq!(health(&node)[0], "ok");
        node.kill();
        let node = instance.node(&NodeSettings::default().with("Log", "durability", level));
        let mut peer = node.connect();
        let last = [1; VALUE_BYTES];
        for (key, value) in [(0, &b"before"[..]), (acknowledged - 1, &last), (2_000, b"after")] {
            assert_eq!(get(&mut peer, key), value);
        }
        assert_eq!(get(&mut peer, 1_000), b"", "there is no such record");
        let log = lines_of(&at(&node, "log/root.log"), "dhtnode.storage.ChangeLog");
        for told in ["cannot be written", "can be written again"] {
            assert_eq!(log.iter().filter(|line| line.contains(told)).count(), 1, "{told}");
        }
    }
}

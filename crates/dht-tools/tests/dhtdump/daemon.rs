//! dhtdump as a daemon: cycles, signals, stats.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::Ipv4Addr,
    os::unix::net::UnixStream,
};

use dht_testkit::{free_port, wait_for};

use crate::{
    oneshot::{LIST, LISTED},
    setup::{Dump, channel, connect, names, node_by_rote, put, start_node, temporary_folder},
};

/// Cycles as fast as the configuration allows, and no wait before the first.
const FAST: &str = "period_s = 1\nmin_wait_s = 1\n";

pub(crate) fn sigterm_leaves_no_partial_dump() {
    let dir = temporary_folder();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).expect("our folder");
    // One batch arrives, then nothing more.
    let node = node_by_rote(&[
        ("18000000", "c8000000 0800000000000000 3230313130343031"),
        ("14000000", "c8000000 0000000000000000 ffffffffffffffff"),
        (LIST, LISTED),
        (
            "1d000000 0400000000000000 70657266",
            "c800000039000000000000006f00000000000000061000000000000000302d02000500a0000268656c6c6f\
             35910031200390000b32050000000000000068656c6c6f110000",
        ),
    ]);
    let mut dump = Dump::start(dir.path(), node, FAST, &[]);
    wait_for("a dump to begin", || (names(&data).len() == 1).then_some(()));
    assert!(names(&data)[0].ends_with(".dumping"));
    dump.signal("TERM");
    assert_eq!(dump.wait().code(), Some(0));
    assert_eq!(names(&data), [""; 0]);
    assert!(dump.log().ends_with("[dhtnode.dhtdump.main] - Exiting with return code 0\n"));
}

pub(crate) fn a_node_that_is_away_is_waited_for() {
    let dir = temporary_folder();
    std::fs::create_dir(dir.path().join("data")).expect("our folder");
    let nobody = (Ipv4Addr::LOCALHOST, free_port()).into();
    let mut dump = Dump::start(dir.path(), nobody, FAST, &[]);
    dump.wait_for_log("retrying in 2s");
    let begin = "Error [dhtnode.dhtdump.main] - Error during dht handshake: node 127.0.0.1:";
    assert!(dump.messages()[0].starts_with(begin), "{}", dump.log());
    dump.signal("TERM");
    assert_eq!(dump.wait().code(), Some(0));
}

pub(crate) fn cycles_follow_the_channels_of_the_node() {
    let dir = temporary_folder();
    let node = start_node(dir.path());
    let mut client = connect(node.address());
    put(&mut client, "stays", 2);
    put(&mut client, "goes", 2);
    // Another folder than the node's, which moves the dumps there itself.
    let out = dir.path().join("dump/out");
    std::fs::create_dir_all(&out).expect("our folder");
    let more = format!("{FAST}data_dir = out\n[STATS]\ninterval = 1\n");
    let mut dump = Dump::start(&dir.path().join("dump"), node.address(), &more, &[]);
    dump.wait_for_log("dumped 154b, sleeping for ");
    // The next cycle may have begun, so there may be more.
    assert!(out.join("goes.tcm").is_file() && out.join("stays.tcm").is_file());
    assert!(dump.log().contains("Performing initial dump in 0s (randomized)"));
    let stats = dump.dir.join("log/stats.log");
    let channels = " channel/goes/records_written:2 channel/goes/bytes_written:76 \
                    channel/stays/records_written:2 channel/stays/bytes_written:78\n";
    wait_for("a stats line", || {
        let text = std::fs::read_to_string(&stats).ok()?;
        text.lines().map(|line| format!("{line}\n")).find(|line| line.ends_with(channels))
    });

    client.remove_channel(&channel("goes")).expect("the node does");
    dump.wait_for_log("Detected removed channel 'goes'");
    wait_for("the dump to move", || out.join("deleted/goes.tcm").is_file().then_some(()));
    dump.wait_for_log("dumped 78b, sleeping for ");
    assert!(!out.join("goes.tcm").exists());

    assert!(node.stop().success());
    dump.wait_for_log("DhtClient error during GetChannels: node ");
    dump.wait_for_log("Dump not completed successfully. Retrying in 30s");
    assert_eq!(names(&out), ["deleted", "stays.tcm", "stays.tcm.backup"], "all is as it was");
    dump.signal("TERM");
    assert_eq!(dump.wait().code(), Some(0));
}

pub(crate) fn logs_are_reopened_when_asked_for() {
    let folder = temporary_folder();
    let node = start_node(folder.path());
    let dir = folder.path().join("dump");
    let more =
        "data_dir = ../data\n[UNIX_SOCKET]\npath = dump.socket\n[PidLock]\npath = pid.lock\n";
    let mut dump = Dump::start(&dir, node.address(), more, &[]);
    dump.wait_for_log("Performing initial dump in ");
    let (log, old) = (dir.join("log/root.log"), dir.join("log/root.log.1"));
    std::fs::rename(&log, &old).expect("our folder");
    dump.signal("HUP");
    wait_for("the new log file", || log.exists().then_some(()));

    let mut socket = UnixStream::connect(dir.join("dump.socket")).expect("it listens");
    socket.write_all(b"reopen_files log/root.log\nshow_version\n").expect("it reads");
    let mut lines = BufReader::new(socket).lines().map(|line| line.expect("text"));
    assert_eq!(lines.next().as_deref(), Some("ACK"));
    assert!(lines.next().expect("a version").starts_with("dhtdump version "));

    let second = Dump::start(&dir, node.address(), more, &[]).stderr();
    assert!(second.starts_with("Couldn't lock the pid lock file 'pid.lock'."), "{second}");
    dump.signal("INT");
    assert_eq!(dump.wait().code(), Some(0));
    assert!(!dir.join("pid.lock").exists() && !dir.join("dump.socket").exists());
}

//! `dhtdump --oneshot`.

use std::{path::Path, process::Command, sync::Arc};

use dht_dump::{Disk, DumpOptions, DumpWriter, OsDisk};
use dht_types::Key;

use crate::setup::{
    Dump, channel, connect, names, node_by_rote, put, records, start_node, temporary_folder,
};

/// A value that no batch of a legacy node has room for.
const LARGE_BYTES: usize = 1_000_000;

/// A dump with one large record, as only a dump can bring it in.
fn make_large(data: &Path) {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let options = DumpOptions { direct: false, keep_backup: false };
    std::fs::create_dir(data).expect("our folder");
    let mut writer = DumpWriter::create(&disk, data, &channel("large"), options).expect("new");
    writer.record(Key(7), &[0xab; LARGE_BYTES]).expect("there is room");
    writer.finish().expect("there is room");
}

/// What a program prints, as sorted lines.
fn lines(program: &str, words: &[&str]) -> Vec<String> {
    let output = Command::new(program).args(words).output().expect("cargo has built it");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

pub(crate) fn a_dump_is_what_the_next_node_loads() {
    let dir = temporary_folder();
    let data = dir.path().join("data");
    make_large(&data);
    let node = start_node(dir.path());
    let mut client = connect(node.address());
    put(&mut client, "many", 5000);
    put(&mut client, "one", 1);
    let all = ["large", "many", "one"];
    let before = all.map(|name| records(&mut client, name));
    assert_eq!(before[0][0].1.len(), LARGE_BYTES);
    assert_eq!(before[1].len(), 5000);

    let mut dump =
        Dump::start(&dir.path().join("dump"), node.address(), "data_dir = ../data", &["--oneshot"]);
    assert_eq!(dump.wait().code(), Some(0));
    assert_eq!(dump.stderr(), "");
    let files = ["changes", "deleted", "large.tcm", "large.tcm.backup", "many.tcm", "one.tcm"];
    assert_eq!(names(&data), files);
    // No stats: they are of the daemon.
    assert_eq!(names(&dir.path().join("dump/log")), ["root.log", "version.log"]);

    let scan = ["--node", &node.address().to_string(), "scan", "many", "--json"];
    let file = data.join("many.tcm");
    let read = ["--to-json", file.to_str().expect("ASCII")];
    assert_eq!(lines(env!("CARGO_BIN_EXE_dht"), &scan), lines(env!("CARGO_BIN_EXE_tcmcli"), &read));

    node.kill();
    let node = start_node(dir.path());
    let mut client = connect(node.address());
    assert_eq!(all.map(|name| records(&mut client, name)), before);
}

/// The dialog of the original's dhtdump with the original's node, on one connection.
const ORIGINAL: &[(&str, &str)] = &[
    ("18000000", "c8000000 0800000000000000 3230313130343031"),
    ("14000000", "c8000000 0000000000000000 ffffffffffffffff"),
    (LIST, LISTED),
    (
        "1d000000 0400000000000000 70657266",
        "c80000004c000000000000004001000000000000061000000000000000302d02002000a100ff3d000035fd0031\
         201efd0032201efd0033201efd003432fc000002ffffffffffffffffffffffffffffffffffffffff1100000000\
         000000000000",
    ),
    (LIST, LISTED),
    (
        "1d000000 0400000000000000 74657374",
        "c800000039000000000000006f00000000000000061000000000000000302d02000500a0000268656c6c6f3591\
         0031200390000b32050000000000000068656c6c6f1100000000000000000000",
    ),
    (LIST, LISTED),
];
pub(crate) const LIST: &str = "11000000";
pub(crate) const LISTED: &str =
    "c8000000 0400000000000000 70657266 0400000000000000 74657374 0000000000000000";

pub(crate) fn the_originals_node_is_dumped() {
    let dir = temporary_folder();
    std::fs::create_dir(dir.path().join("data")).expect("our folder");
    let node = node_by_rote(ORIGINAL);
    let mut dump = Dump::start(dir.path(), node, "", &["-o"]);
    assert_eq!(dump.wait().code(), Some(0));
    assert_eq!(names(&dir.path().join("data")), ["perf.tcm", "test.tcm"]);
    let cycle = "[dhtnode.dhtdump.DumpCycle] -";
    let expected = [
        format!("Info {cycle} Getting list of channels"),
        format!("Trace {cycle} GetChannels: {node}, 'perf'"),
        format!("Trace {cycle} GetChannels: {node}, 'test'"),
        format!("Info {cycle} Got list of channels: [perf, test]"),
        format!("Info {cycle} Dumping 2 channels"),
        format!("Info {cycle} Dumping 'perf'"),
        format!("Info {cycle} Finished dumping 'perf', 5 records, 320 bytes, #s"),
        format!("Info {cycle} Dumping 'test'"),
        format!("Info {cycle} Finished dumping 'test', 3 records, 111 bytes, #s"),
        format!("Info {cycle} Finished dumping channels, took #s, dumped 431b"),
        "Info [dhtnode.dhtdump.main] - Exiting with return code 0".to_owned(),
    ];
    assert_eq!(dump.messages(), expected);
}

pub(crate) fn a_failing_channel_does_not_stop_others() {
    let dir = temporary_folder();
    let node = start_node(dir.path());
    let mut client = connect(node.address());
    put(&mut client, "a", 3);
    put(&mut client, "b", 3);
    let out = dir.path().join("dump/out");
    // A folder in the place of the dump.
    std::fs::create_dir_all(out.join("a.tcm")).expect("our folder");
    let more = "data_dir = out\nretry_wait_s = 1";
    let mut dump = Dump::start(&dir.path().join("dump"), node.address(), more, &["-o"]);
    dump.wait_for_log("Dump not completed successfully. Retrying in 1s");
    assert!(dump.log().contains("Failed to dump channel to file 'out/a.tcm': cannot rename"));
    assert!(dump.log().contains("Finished dumping 'b', 3 records, 105 bytes, "));
    assert!(out.join("b.tcm").is_file());
    std::fs::remove_dir(out.join("a.tcm")).expect("empty");
    assert_eq!(dump.wait().code(), Some(0));
    assert_eq!(names(&out), ["a.tcm", "b.tcm", "b.tcm.backup"]);
}

pub(crate) fn a_start_that_cannot_work_says_why() {
    let dir = temporary_folder();
    let nobody = "127.0.0.1:1".parse().expect("an address");
    let run = |more: &str, words: &[&str]| {
        let mut dump = Dump::start(dir.path(), nobody, more, words);
        (dump.wait().code(), dump.stderr(), dump.log())
    };
    let (exit, stderr, log) = run("data_dir = missing", &["-o"]);
    assert!(stderr.starts_with("Data directory does not exist"), "{stderr}");
    let caught = "Error [dhtnode.dhtdump.main] - Caught exception in main: Data directory does not";
    assert!(log.contains(caught) && log.contains("Exiting with return code 1"), "{log}");
    assert_eq!(exit, Some(1));
    let (exit, stderr, _) = run("period = 5", &[]);
    assert!(stderr.contains("Invalid configuration key Dump.period"), "{stderr}");
    assert_eq!(exit, Some(1));
    let two_files = run("", &["-c", "another"]);
    assert_eq!((two_files.0, two_files.1.ends_with("Type dhtdump -h for help\n")), (Some(2), true));
}

//! Two nodes that share the hash space.

use std::path::Path;

use dht_testkit::NodeSettings;

use crate::setup::{Bench, Ran, dht};

/// Nodes for the lower and the upper half, and a nodes file with both in the folder of the first.
pub(crate) fn two_nodes() -> [Bench; 2] {
    let half = |min, max| {
        let settings = NodeSettings::default();
        Bench::start_with(&settings.with("Server", "minval", min).with("Server", "maxval", max))
    };
    let lower = half("0x0000000000000000", "0x7fffffffffffffff");
    let upper = half("0x8000000000000000", "0xffffffffffffffff");
    let nodes = format!("# both\n{}\n{} # upper\n", lower.address(), upper.address());
    std::fs::write(nodes_file(&lower), nodes).expect("our folder");
    [lower, upper]
}

/// The nodes file with both.
pub(crate) fn nodes_file(lower: &Bench) -> std::path::PathBuf {
    lower.dir.path().join("nodes")
}

fn on_all(file: &Path, line: &str) -> Ran {
    dht(&["--nodes", file.to_str().expect("ASCII")], line)
}

pub(crate) fn each_key_goes_to_its_node() {
    let [lower, upper] = two_nodes();
    let file = nodes_file(&lower);
    for key in 0..10 {
        assert_eq!(on_all(&file, &format!("put ch {key} v{key}")).exit, 0);
    }
    assert_eq!(on_all(&file, "get ch 7").text(), "v7");
    let evens = ["0", "2", "4", "6", "8"].map(|key| format!("000000000000000{key}"));
    assert_eq!(lower.dht("keys ch").lines(), evens, "the lowest bit decides");
    assert_eq!(upper.dht("keys ch").lines().len(), 5);
    assert_eq!(on_all(&file, "scan ch").lines().len(), 10);
    assert_eq!(on_all(&file, "scan ch --limit 7").lines().len(), 7);
    assert_eq!(on_all(&file, "channels").text(), "ch\n");
    assert!(on_all(&file, "sizes ch --json").text().contains("\"records\":10"));
    assert_eq!(on_all(&file, "info --json").lines().len(), 2);
    assert_eq!(on_all(&file, "ring --json").lines().len(), 2);
    let both = format!("{},{}", lower.address(), upper.address());
    assert_eq!(dht(&["--node", &both], "keys ch").lines().len(), 10, "a list is a cluster, too");
    let ring = on_all(&file, "ring");
    assert_eq!(ring.exit, 0, "{}", ring.stderr);
    let row = |line: &&str| line.contains(&lower.address().to_string()) && line.contains("50.0%");
    assert!(ring.text().lines().any(|line| row(&line)), "{}", ring.text());
    let wrong = lower.dht("put ch 1 x");
    assert_eq!(wrong.exit, 3);
    assert!(wrong.stderr.contains("--nodes FILE"), "{}", wrong.stderr);
    assert_eq!(on_all(&file, "remove-channel ch --yes").exit, 0);
    assert_eq!(upper.dht("channels").text(), "");
}

pub(crate) fn a_missing_node_is_told() {
    let [lower, upper] = two_nodes();
    let file = nodes_file(&lower);
    assert_eq!(on_all(&file, "put ch 2 here").exit, 0);
    let address = upper.address().to_string();
    assert!(upper.node.stop().success());
    let scan = on_all(&file, "scan ch");
    assert_eq!((scan.exit, scan.text()), (4, "0000000000000002\there\n"));
    let told = scan.stderr.contains(&format!("node {address}: GetVersion: cannot connect"));
    assert!(told, "{}", scan.stderr);
    assert_eq!(on_all(&file, "get ch 2").text(), "here", "other keys are not affected");
    let unknown = on_all(&file, "get ch 1");
    assert_eq!(unknown.exit, 4);
    assert!(unknown.stderr.contains("no responsible node for key"), "{}", unknown.stderr);
}

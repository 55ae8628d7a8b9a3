//! Nodes come and go, records stay.

use std::collections::BTreeMap;
use std::io::BufRead as _;

use dht_testkit::{Rng, wait_for};
use dht_types::{HashRange, Key};

use crate::setup::{Node, NodesFile, channel, finish, legacy};

/// Puts so many records of different sizes.
fn fill(nodes: &[&Node], count: u64) -> BTreeMap<u64, Vec<u8>> {
    let addresses: Vec<_> = nodes.iter().map(|node| node.address()).collect();
    let mut cluster = legacy(&addresses);
    let mut records = BTreeMap::new();
    for key in 0..count {
        let len =
            if key % 100 == 0 { 60_000 } else { 1 + usize::try_from(key % 700).expect("small") };
        // No compressor makes that less.
        let value = Rng::new(key).bytes(len..len + 1);
        cluster.put(&channel(), Key(key), &value).expect("a node takes it");
        records.insert(key, value);
    }
    records
}

/// Each record is at the node that owns it, and at no other.
fn assert_all(nodes: &[&Node], records: &BTreeMap<u64, Vec<u8>>) {
    let mut found = BTreeMap::new();
    for node in nodes {
        let range = node.range();
        // What was given away is removed a moment later, and not shown until then.
        for (key, value) in node.records() {
            assert!(range.contains(Key(key)), "{key} is not in {range}");
            assert!(found.insert(key, value).is_none(), "{key} is at two nodes");
        }
    }
    assert!(found == *records, "{} records instead of {}", found.len(), records.len());
}

pub(crate) fn nodes_come_and_go_and_records_stay() {
    let nodes: Vec<Node> = (0..5)
        .map(|at| Node::start(if at == 0 { HashRange::FULL } else { HashRange::EMPTY }))
        .collect();
    let all: Vec<&Node> = nodes.iter().collect();
    let records = fill(&all[..1], 4000);
    NodesFile::new(&all[..3]).execute(&[]);
    assert_all(&all[..3], &records);
    NodesFile::new(&all).execute(&[]);
    assert_all(&all, &records);
    let fifth = u64::MAX / 5;
    for node in &all {
        let range = node.range();
        assert!((range.max() - range.min()).abs_diff(fifth) <= 5, "{range}");
    }
    let leaving: Vec<String> = [0, 2, 3].map(|at: usize| nodes[at].address().to_string()).to_vec();
    let leaving: Vec<&str> = leaving.iter().map(String::as_str).collect();
    NodesFile::new(&all).execute(&[&["--remove"], &leaving[..]].concat());
    assert_all(&all, &records);
    for at in [0, 2, 3] {
        assert_eq!(nodes[at].range(), HashRange::EMPTY);
        wait_for("what is left to be removed", || {
            let size = nodes[at].client().call(&dht_protocol::legacy::requests::GetSize);
            (size.expect("it answers").records == 0).then_some(())
        });
    }
}

pub(crate) fn a_node_moves_to_another_place() {
    let half = u64::MAX >> 1;
    let lower = Node::start(HashRange::new(0, half).expect("valid"));
    let upper = Node::start(HashRange::new(half + 1, u64::MAX).expect("valid"));
    let new = Node::start(HashRange::EMPTY);
    let records = fill(&[&lower, &upper], 1000);
    let range = lower.range();
    let (from, to) = (lower.address().to_string(), new.address().to_string());
    NodesFile::new(&[&lower, &upper, &new]).execute(&["--move", &from, &to]);
    assert_eq!((lower.range(), new.range()), (HashRange::EMPTY, range));
    assert_all(&[&upper, &new], &records);
}

/// The neo request, for who has credentials; only one client may.
pub(crate) fn over_neo_only_the_admin_may_move_records() {
    let (first, second) = (Node::start(HashRange::FULL), Node::start(HashRange::EMPTY));
    let records = fill(&[&first], 1000);
    let file = NodesFile::new(&[&first, &second]);
    let stranger = file.credentials("neotest");
    let mut child = file.spawn(&["-x", "--auth", &stranger]);
    let stderr = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let line = stderr.lines().next().expect("it tells").expect("text");
    assert!(line.contains("only the client named admin may"), "{line}");
    // It would try again and again.
    child.kill().expect("our child");
    child.wait().expect("our child");
    assert_eq!(first.range(), HashRange::FULL);
    file.execute(&["--auth", &file.credentials("admin")]);
    assert_all(&[&first, &second], &records);
    assert!(second.records().len() > 400);
}

pub(crate) fn weights_decide_who_holds_how_much() {
    let (first, second) = (Node::start(HashRange::FULL), Node::start(HashRange::EMPTY));
    let records = fill(&[&first], 1000);
    let weight = format!("{}=3", first.address());
    NodesFile::new(&[&first, &second]).execute(&["--weights", &weight]);
    assert_all(&[&first, &second], &records);
    let quarter = second.records().len();
    assert!(quarter.abs_diff(250) <= 2, "{quarter}: consecutive keys are spread evenly");
}

pub(crate) fn servers_subdivide_what_they_have() {
    let nodes = [
        Node::start(HashRange::new(0, 99).expect("valid")),
        Node::start(HashRange::new(100, u64::MAX).expect("valid")),
        Node::start(HashRange::EMPTY),
        Node::start(HashRange::EMPTY),
    ];
    let all: Vec<&Node> = nodes.iter().collect();
    let records = fill(&all[..2], 1000);
    let ran = NodesFile::new(&all).execute(&["-s", "subdivide"]);
    let lines = format!(
        "Sub-dividing nodes individually:\n\
         \tSub-dividing existing node {} = 0x0000000000000000..0x0000000000000063:\n\
         \t\tRe-assigning to range 0x0000000000000000..0x0000000000000031\n\
         \t\tAssigning 0x0000000000000032..0x0000000000000063 to {}\n",
        nodes[0].address(),
        nodes[3].address()
    );
    assert!(ran.stdout.contains(&lines), "{}", ran.stdout);
    assert_all(&all, &records);
    let ran = NodesFile::new(&all[..3]).run(&["-s", "subdivide"]);
    assert!(ran.stdout.contains("Uneven subdivision, cannot sub-divide nodes individually"));
}

pub(crate) fn redistribute_of_the_original_does_it_too() {
    let nodes = [HashRange::FULL, HashRange::EMPTY, HashRange::EMPTY].map(Node::start);
    let all: Vec<&Node> = nodes.iter().collect();
    let records = fill(&all[..1], 2000);
    let ran = NodesFile::new(&all).execute(&["--original"]);
    assert!(ran.stdout.contains("finished. 100.00% of nodes done.\n"), "{}", ran.stdout);
    assert_all(&all, &records);
}

/// The plan is kept, and the order in which nodes got their first records does not matter.
pub(crate) fn a_run_that_was_broken_off_goes_on() {
    let nodes = [HashRange::FULL, HashRange::EMPTY, HashRange::EMPTY].map(Node::start);
    let all: Vec<&Node> = nodes.iter().collect();
    let records = fill(&all[..1], 3000);
    let file = NodesFile::new(&all);
    let planned = file.run(&[]).stdout;
    let mut child = file.spawn(&["-x"]);
    wait_for("the first part to have moved", || {
        (nodes[0].range() != HashRange::FULL).then_some(())
    });
    // It may have ended by now.
    let _ = child.kill();
    finish(child);
    let ran = file.execute(&[]);
    assert_all(&all, &records);
    for node in &all {
        let range = node.range();
        let assigned =
            format!("{} -> 0x{:016X}..0x{:016X}", node.address(), range.min(), range.max());
        assert!(planned.contains(&assigned), "{assigned}: {planned}, {ran:?}");
    }
}

/// Giver, taker or dhtredist is killed while a part is on its way, or the net breaks in the middle
/// of a batch: all goes on by itself, or when dhtredist is started again.
pub(crate) fn whoever_is_killed_the_work_goes_on() {
    let mut nodes = [HashRange::FULL, HashRange::EMPTY].map(Node::start_apart);
    let records = fill(&[&nodes[0]], 3000);
    let file = NodesFile::new(&[&nodes[0], &nodes[1]]);
    for victim in ["giver", "taker", "net", "dhtredist"] {
        // A part of 1.3 MB begins its way to the taker, and sticks there.
        nodes[1].proxy().stall_after(300_000);
        let mut child = file.spawn(&["-x"]);
        wait_for("a part to be on its way", || nodes[1].proxy().is_stalled().then_some(()));
        assert_eq!(nodes[0].range(), HashRange::FULL);
        match victim {
            "giver" => nodes[0].kill(),
            "taker" => nodes[1].kill(),
            "dhtredist" => child.kill().expect("our child"),
            _ => {}
        }
        nodes[1].proxy().cut();
        match victim {
            "giver" => nodes[0].start_again(),
            "taker" => nodes[1].start_again(),
            _ => {}
        }
        let ran = finish(child);
        if victim == "dhtredist" {
            assert!(file.has_plan());
            file.execute(&[]);
        } else {
            assert_eq!(ran.exit, 0, "{victim}: {ran:?}");
        }
        let all: Vec<&Node> = nodes.iter().collect();
        assert_all(&all, &records);
        assert_ne!(nodes[0].range(), HashRange::FULL);
        file.execute(&["--remove", &nodes[1].address().to_string()]);
        assert_all(&all, &records);
    }
}

/// Redistribute sets ranges first, so that the nodes look as if all were done.
pub(crate) fn a_redistribute_goes_on_after_crashes() {
    let mut nodes = [HashRange::FULL, HashRange::EMPTY].map(Node::start_apart);
    let records = fill(&[&nodes[0]], 3000);
    let file = NodesFile::new(&[&nodes[0], &nodes[1]]);
    nodes[1].proxy().stall_after(300_000);
    let mut child = file.spawn(&["-x", "--original"]);
    wait_for("records to be on their way", || nodes[1].proxy().is_stalled().then_some(()));
    child.kill().expect("our child");
    nodes[0].kill();
    nodes[1].proxy().cut();
    finish(child);
    nodes[0].start_again();
    assert_ne!(nodes[0].range(), HashRange::FULL);
    assert!(file.has_plan());
    let ran = file.execute(&["--original"]);
    assert!(ran.stdout.contains("finished. 100.00% of nodes done.\n"), "{}", ran.stdout);
    let all: Vec<&Node> = nodes.iter().collect();
    assert_all(&all, &records);
    assert!(nodes[1].records().len() == 1500, "half of them");
    let again = file.execute(&["--original"]);
    assert!(again.stdout.contains("No change in node hash ranges."), "{}", again.stdout);
}

/// A node that is cut off while it is asked how it moves looks like one of the original.
pub(crate) fn a_node_that_is_cut_off_is_none_of_the_original() {
    let nodes = [HashRange::FULL, HashRange::EMPTY].map(Node::start_apart);
    let records = fill(&[&nodes[0]], 100);
    let file = NodesFile::new(&[&nodes[0], &nodes[1]]);
    // Somewhere in the handshake, in the question, or in its answer.
    for bytes in (0..400).step_by(3) {
        nodes[1].proxy().cut_after(bytes);
        let ran = file.run(&[]);
        nodes[1].proxy().heal();
        assert!(!ran.stderr.contains("Redistribute"), "{bytes}: {ran:?}");
    }
    file.execute(&[]);
    assert_all(&[&nodes[0], &nodes[1]], &records);
}

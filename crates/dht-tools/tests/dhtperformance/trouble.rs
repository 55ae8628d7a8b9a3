//! Nodes that are slow, silent or gone.

use dht_testkit::{NodeProcess, wait_for};

use crate::setup::{Bench, finish, number, objects, run};

/// Waits until the load has put something.
fn wait_for_records(node: &NodeProcess) {
    let mut peer = node.connect();
    wait_for("the load", || {
        peer.send(&dht_testkit::legacy::get_size());
        let (_status, _address) = (peer.receive_u32(), peer.receive_array());
        let _port = peer.receive_u16();
        let (records, _bytes) = (peer.receive_u64(), peer.receive_u64());
        (records > 0).then_some(())
    });
}

/// Passes 400 ms at least: each look takes 5.
fn stall() {
    let mut looks = 0;
    wait_for("the end of the stall", || {
        looks += 1;
        (looks > 80).then_some(())
    });
}

pub(crate) fn an_open_loop_counts_what_a_stall_delays() {
    // A closed loop has but one request that waits, and so hides the stall.
    for (mode, least, most) in [("open -r 1000", 150, 2000), ("closed", 1, 20)] {
        let bench = Bench::start();
        let node = &bench.nodes[0];
        let line = format!("-m put --mode {mode} --duration 1.5 -t 100000 -i 1 --json -");
        let child = bench.spawn(&line);
        wait_for_records(node);
        node.signal("STOP");
        stall();
        node.signal("CONT");
        let cycle = &objects(&finish(child))[0];
        let long = number(cycle, "/took_longer");
        assert!((least..=most).contains(&long), "{mode}: {long} of {cycle}");
        assert!(number(cycle, "/latency_us/max") >= 200_000, "{cycle}");
        assert_eq!(number(cycle, "/failed"), 0);
    }
}

pub(crate) fn a_silent_node_lets_requests_time_out() {
    let bench = Bench::start();
    // Three at once every three seconds: the node is silent long before the second batch is due.
    let child = bench.spawn("-m put -n 6 -p 3 -T 1000 -r 1 -i 1");
    wait_for_records(&bench.nodes[0]);
    bench.nodes[0].signal("STOP");
    let ran = finish(child);
    bench.nodes[0].signal("CONT");
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let (_, timed_out) = ran.stdout.rsplit_once(" failed\n").expect("the line before");
    let errors = ran.stderr.matches("Error in dht request: request timed out\n").count();
    assert!((3..=5).contains(&errors), "one was answered at least: {}", ran.stderr);
    assert!(timed_out.starts_with(&format!("{errors} requests (")), "{timed_out}");
    let neo = bench.run_neo("-n 6 -p 3 -T 60000 -i 1");
    assert!(neo.stdout.ends_with("\n0 requests (0.00%) timed out\n"), "{}", neo.stdout);
}

pub(crate) fn a_handshake_that_fails_ends_the_run() {
    let bench = Bench::start();
    let (nodes, auth) = (bench.file("neo"), bench.file("admin.1"));
    let ran = run(&format!("-S {} --auth {} -n 1 -i 1", nodes.display(), auth.display()));
    assert_eq!(ran.exit, 1);
    assert!(ran.stderr.contains("the node rejects the client"), "{}", ran.stderr);
    let gone = bench.file("gone");
    let address = bench.nodes[0].address();
    std::fs::write(&gone, format!("{address}\n127.0.0.1:1\n")).expect("our folder");
    let ran = run(&format!("-S {} -n 1 -i 1", gone.display()));
    assert_eq!(ran.exit, 1, "one of two is not enough");
    let expected = "Client error during handshake: node 127.0.0.1:1: cannot connect";
    assert!(ran.stderr.starts_with(expected), "{}", ran.stderr);
    assert!(!ran.stdout.contains("performance tester"), "{}", ran.stdout);
}

pub(crate) fn a_node_that_goes_away_fails_requests() {
    let mut bench = Bench::start();
    let json = bench.file("cycles.json");
    let child = bench.spawn(&format!("-m put -n 60 -r 100 -p 2 -i 1 --json {}", json.display()));
    let node = bench.nodes.pop().expect("one node");
    wait_for_records(&node);
    node.kill();
    let ran = finish(child);
    assert_eq!(ran.exit, 0, "requests that fail are a result: {}", ran.stderr);
    let cycle = std::fs::read_to_string(json).expect("it was written");
    let cycle = serde_json::from_str(&cycle).expect("JSON");
    assert_eq!(number(&cycle, "/requests"), 60);
    assert!(number(&cycle, "/failed") > 0);
    assert!(ran.stderr.starts_with("Error in dht request: "), "{}", ran.stderr);
    assert!(ran.stderr.lines().count() <= 101, "a hundred, and that there are more");
}

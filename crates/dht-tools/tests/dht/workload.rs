//! The workload, small: a node keeps what it was given, and a change does not go unnoticed.

use crate::setup::Bench;

const SHAPE: &str = "--records 3000 --channels 3 --connections 8 --seed 7 --prefix w_";

pub(crate) fn the_workload_survives_a_restart() {
    let bench = Bench::start();
    let run = bench.dht(&format!("workload run {SHAPE}"));
    assert_eq!((run.exit, run.stderr.as_str()), (0, ""), "{}", run.text());
    for phase in ["put", "get", "scan", "settle", "check"] {
        assert!(run.text().lines().any(|line| line.starts_with(phase)), "{}", run.text());
    }
    let bench = bench.restart();
    let verify = bench.dht(&format!("workload verify {SHAPE}"));
    assert_eq!((verify.exit, verify.stderr.as_str()), (0, ""), "{}", verify.text());
    let again = bench.dht(&format!("workload run {SHAPE}"));
    assert_eq!(again.exit, 2, "it would take the old records for its own");
    assert!(again.stderr.contains("--clear"), "{}", again.stderr);
    let cleared = bench.dht(&format!("workload run {SHAPE} --clear"));
    assert_eq!(cleared.exit, 0, "{}", cleared.stderr);
}

pub(crate) fn the_workload_goes_over_neo_too() {
    let bench = Bench::start();
    let run = bench.neo(&format!("workload run {SHAPE}"));
    assert_eq!((run.exit, run.stderr.as_str()), (0, ""), "{}", run.text());
    assert_eq!(bench.dht(&format!("workload verify {SHAPE}")).exit, 0);
}

pub(crate) fn a_bench_leaves_nothing_behind() {
    let bench = Bench::start();
    for run in [bench.dht("bench --seconds 0.1"), bench.neo("bench --seconds 0.1 --keys 50")] {
        assert_eq!((run.exit, run.stderr.as_str()), (0, ""), "{}", run.text());
        for request in ["REQUEST", "put", "exists", "get", "remove"] {
            assert!(run.text().lines().any(|line| line.starts_with(request)), "{}", run.text());
        }
        assert_eq!(bench.dht("keys dht-bench").lines(), [""; 0]);
    }
    assert_eq!(bench.dht("put mine 1 x").exit, 0);
    let refused = bench.dht("bench mine --seconds 0.1");
    assert_eq!((refused.exit, bench.dht("get mine 1").text()), (2, "x"), "{}", refused.stderr);
}

pub(crate) fn the_workload_notices_any_change() {
    let bench = Bench::start();
    assert_eq!(bench.dht(&format!("workload run {SHAPE}")).exit, 0);
    let keys = bench.dht("keys w_1 --limit 2");
    let [lost, changed] = keys.lines()[..] else { panic!("two keys") };
    assert_eq!(bench.dht(&format!("remove w_1 {lost}")).exit, 0);
    assert_eq!(bench.dht(&format!("put w_1 {changed} other")).exit, 0);
    assert_eq!(bench.dht("put w_2 0 stranger").exit, 0);
    let verify = bench.dht(&format!("workload verify {SHAPE}"));
    assert_eq!(verify.exit, 1, "{}", verify.text());
    for difference in [
        "size of w_1 is 1099 records, not 1100",
        "size of w_2 is 1101 records, not 1100",
        &format!("scan: {lost} in w_1 did not come in a scan"),
        &format!("scan: {changed} in w_1 has a value of 5 bytes it never had"),
        "scan: 0000000000000000 in w_2 was never put",
        &format!("get: {lost} in w_1 is missing"),
    ] {
        assert!(verify.stderr.contains(difference), "{difference}:\n{}", verify.stderr);
    }
    let other_seed = format!("workload verify {SHAPE}").replace("--seed 7", "--seed 8");
    assert_eq!(bench.dht(&other_seed).exit, 1);
}

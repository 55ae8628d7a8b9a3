//! Scans while others write: each record that is there all the time comes once, none comes twice.
//! Source: spec `protocol-legacy` 9.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use dht_testkit::legacy::{self, status};
use dht_testkit::{NodeSettings, Peer, Rng};

use crate::support::{Client, Node, keys, pairs, unique, workers};

/// Records that are there all the time; their keys are even.
const STABLE: u64 = 4_000;
/// Records that come and go; their keys are odd.
const VOLATILE: u64 = 4_000;
/// Writers, each on a connection of its own.
const WRITERS: u64 = 3;
/// Requests that a writer sends at once.
const BURST: usize = 64;
/// Scans of each kind.
const SCANS: usize = 8;

/// Small batches, so that a scan takes many steps with writes in between.
fn settings(count: usize) -> NodeSettings {
    workers(count).with("Options_Memory", "batch_size", "2048")
}

fn stable_key(number: u64) -> u64 {
    2 * number
}

/// The value of a stable record: whose it is, and that it is stable.
fn stable_value(number: u64, version: u64) -> Vec<u8> {
    format!("stable {number} {version}").into_bytes()
}

/// One request of a writer: overwrites a stable record, or puts or removes another.
fn write(rng: &mut Rng) -> Vec<u8> {
    let number = rng.below(VOLATILE);
    match rng.below(4) {
        0 => {
            let number = rng.below(STABLE);
            legacy::put("ch", stable_key(number), &stable_value(number, rng.next()))
        }
        1 | 2 => legacy::put("ch", 2 * number + 1, &rng.bytes(1..100)),
        _ => legacy::remove("ch", 2 * number + 1),
    }
}

/// Writes until it is told to stop.
fn writer(mut peer: Peer, seed: u64, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut rng = Rng::new(seed);
        while !stop.load(Relaxed) {
            let burst: Vec<_> = (0..BURST).flat_map(|_| write(&mut rng)).collect();
            peer.send(&burst);
            for _ in 0..BURST {
                assert_eq!(peer.receive_u32(), status::OK);
            }
        }
    })
}

/// Reads the records of a batch.
type PairsOf = fn(&[u8]) -> Vec<(u64, Vec<u8>)>;

/// Keys that a scan found, with values where it tells them; none may come twice.
fn scan(peer: &mut Peer, request: &[u8], pairs_of: PairsOf) {
    let batches = peer.batches(request);
    let found = unique(batches.iter().flat_map(|batch| pairs_of(batch)));
    for number in 0..STABLE {
        let value = found.get(&stable_key(number));
        let value = value.unwrap_or_else(|| panic!("stable record {number} is missing"));
        let begins = format!("stable {number} ");
        assert!(value.is_empty() || value.starts_with(begins.as_bytes()));
    }
    assert!(found.keys().all(|key| *key < 2 * STABLE.max(VOLATILE)));
}

fn keys_alone(batch: &[u8]) -> Vec<(u64, Vec<u8>)> {
    keys(batch).into_iter().map(|key| (key, Vec::new())).collect()
}

fn scans_find_what_stays(workers: usize) {
    let node = Node::with(&settings(workers));
    let mut peer = node.connect();
    for number in 0..STABLE {
        peer.put("ch", stable_key(number), &stable_value(number, 0));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..WRITERS).map(|seed| writer(node.connect(), seed, Arc::clone(&stop))).collect();
    for _ in 0..SCANS {
        scan(&mut peer, &legacy::get_all("ch"), pairs);
        scan(&mut peer, &legacy::get_all_keys("ch"), keys_alone);
        scan(&mut peer, &legacy::get_all_filter("ch", b"stable"), pairs);
    }
    stop.store(true, Relaxed);
    writers.into_iter().for_each(|writer| writer.join().expect("it does not fail"));
}

#[test]
fn scans_find_what_stays_with_one_worker() {
    scans_find_what_stays(1);
}

#[test]
fn scans_find_what_stays_with_four_workers() {
    scans_find_what_stays(4);
}

#[test]
fn a_scan_of_a_channel_that_is_removed_ends_as_any_other() {
    let node = Node::with(&settings(4));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..WRITERS).map(|seed| writer(node.connect(), seed, Arc::clone(&stop))).collect();
    let (mut scanning, mut removing) = (node.connect(), node.connect());
    for _ in 0..100 {
        scanning.send(&legacy::get_all("ch"));
        assert_eq!(removing.ask(&legacy::remove_channel("ch")), status::OK);
        let found = unique(scanning.batches(b"").iter().flat_map(|batch| pairs(batch)));
        assert!(found.len() as u64 <= STABLE + VOLATILE);
    }
    stop.store(true, Relaxed);
    writers.into_iter().for_each(|writer| writer.join().expect("it does not fail"));
    let mut peer = node.connect();
    assert_eq!(peer.ask(&legacy::remove_channel("ch")), status::OK);
    assert_eq!(peer.size(&legacy::get_size()), (0, 0));
}

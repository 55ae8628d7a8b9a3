//! Nodes come and go while clients of both protocols write and read; every answer is compared with
//! what it must be.
//!
//! ```text
//! a writer owns its keys: put, update, remove, each of the next version
//! started[key] <= version of the answer <= completed[key]      read before and after, by a reader
//! version % 4 == 0: there is no record; else the value holds key and version
//! ```
//!
//! `DHT_ORACLE_KEYS` (1000), `DHT_ORACLE_FILL` records that nobody changes (5000),
//! `DHT_ORACLE_ROUNDS` (1), `DHT_ORACLE_KILLS` (6, net cuts and the like included) make it larger;
//! a failure prints the seed, `SEED` runs that one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dht_client::blocking::ClusterError;
use dht_client::blocking::legacy::Cluster;
use dht_client::blocking::neo::{self, Decision, UpdateOutcome};
use dht_client::{Error, NodeAddress};
use dht_protocol::legacy::batch::{BatchWriter, Compressor};
use dht_protocol::legacy::requests::Forward;
use dht_protocol::wire::Writer;
use dht_testkit::{Rng, for_seeds, wait_for};
use dht_types::{HashRange, Key};

use crate::disturb::Disturbance;
use crate::setup::{CHANNEL, Node, NodesFile, channel, credentials, finish, timeouts};

/// Writers of each protocol, and readers of each.
const WRITERS: u64 = 2;

/// Keys of records that are put at the start and stay begin here.
const FILL_FROM: u64 = 1 << 32;

/// So long no client should wait.
const LONG: Duration = Duration::from_secs(3);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// What all clients know.
struct Oracle {
    started: Vec<AtomicU64>,
    completed: Vec<AtomicU64>,
    stop: AtomicBool,
    nodes: Vec<(NodeAddress, NodeAddress)>,
    answers: AtomicU64,
    tries: AtomicU64,
    /// How long each write took, tries included.
    write_times: Mutex<Vec<Duration>>,
}

fn is_removal(version: u64) -> bool {
    version.is_multiple_of(4)
}

/// The value of a version: mostly small, sometimes as large as a client may put.
fn value(key: u64, version: u64) -> Vec<u8> {
    let mut value = [key.to_le_bytes(), version.to_le_bytes()].concat();
    let more = match (key ^ version.wrapping_mul(7)) % 64 {
        0 => 60_000,
        other => usize::try_from(other).expect("small") * 8,
    };
    value.resize(16 + more, b'.');
    value
}

fn version_of(key: u64, value: &[u8]) -> u64 {
    let number = |at: usize| u64::from_le_bytes(value[at..at + 8].try_into().expect("eight bytes"));
    assert_eq!(number(0), key, "another record's value");
    let version = number(8);
    assert_eq!(value, self::value(key, version), "the value is damaged");
    version
}

/// A client of either protocol.
enum Client {
    Legacy(Box<Cluster>),
    Neo(Box<neo::Cluster>),
}

impl Client {
    fn connect(oracle: &Oracle, is_neo: bool) -> Self {
        // All nodes may be down for a moment.
        wait_for("a node to answer", || Self::try_connect(oracle, is_neo).ok())
    }

    fn try_connect(oracle: &Oracle, is_neo: bool) -> Result<Self, ClusterError> {
        Ok(if is_neo {
            let nodes: Vec<_> = oracle.nodes.iter().map(|(_, neo)| neo.clone()).collect();
            let cluster = neo::Cluster::connect(&nodes, &credentials(), timeouts())?;
            Self::Neo(Box::new(cluster))
        } else {
            let nodes: Vec<_> = oracle.nodes.iter().map(|(legacy, _)| legacy.clone()).collect();
            Self::Legacy(Box::new(Cluster::connect(&nodes, timeouts())?))
        })
    }

    fn put(&mut self, key: u64, value: &[u8]) -> Result<(), Error> {
        match self {
            Self::Legacy(cluster) => cluster.put(&channel(), Key(key), value),
            Self::Neo(cluster) => cluster.put(&channel(), Key(key), value),
        }
    }

    fn get(&mut self, key: u64) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Self::Legacy(cluster) => cluster.get(&channel(), Key(key)),
            Self::Neo(cluster) => cluster.get(&channel(), Key(key)),
        }
    }

    fn remove(&mut self, key: u64) -> Result<(), Error> {
        match self {
            Self::Legacy(cluster) => cluster.remove(&channel(), Key(key)),
            Self::Neo(cluster) => cluster.remove(&channel(), Key(key)).map(drop),
        }
    }
}

/// Makes a request until it succeeds. A client that was refused, or cut off, asks for the ranges
/// anew: that is all that a legacy client can do.
fn persist<T>(
    oracle: &Oracle,
    client: &mut Client,
    mut ask: impl FnMut(&mut Client) -> Result<T, Error>,
) -> T {
    let is_neo = matches!(client, Client::Neo(_));
    wait_for("a node to do it", || {
        oracle.tries.fetch_add(1, SeqCst);
        let began = now();
        let answer = ask(client);
        tell_if_long(began, || match &answer {
            Ok(_) => "an answer".to_owned(),
            Err(error) => format!("{error}"),
        });
        if let Ok(answer) = answer {
            oracle.answers.fetch_add(1, SeqCst);
            return Some(answer);
        }
        let began = now();
        *client = Client::connect(oracle, is_neo);
        tell_if_long(began, || "a connection".to_owned());
        None
    })
}

fn write(oracle: &Oracle, writer: u64, is_neo: bool, mut rng: Rng) {
    let mut client = Client::connect(oracle, is_neo);
    let keys = oracle.started.len() as u64;
    let mut times = Vec::new();
    while !oracle.stop.load(SeqCst) {
        let key = rng.below(keys / (2 * WRITERS)) * 2 * WRITERS + writer;
        let at = usize::try_from(key).expect("small");
        let before = oracle.completed[at].load(SeqCst);
        let version = before + 1;
        oracle.started[at].store(version, SeqCst);
        let began = now();
        if is_removal(version) {
            persist(oracle, &mut client, |client| client.remove(key));
        } else if is_neo && !is_removal(before) && rng.below(2) == 0 {
            persist(oracle, &mut client, |client| {
                let Client::Neo(cluster) = client else { unreachable!("it is one of neo") };
                update(cluster, key, version)
            });
        } else {
            persist(oracle, &mut client, |client| client.put(key, &value(key, version)));
        }
        oracle.completed[at].store(version, SeqCst);
        times.push(now().saturating_duration_since(began));
    }
    oracle.write_times.lock().expect("nobody panics with it").extend(times);
}

/// What a client has waited for longer than [`LONG`].
fn tell_if_long(began: Instant, what: impl FnOnce() -> String) {
    let took = now().saturating_duration_since(began);
    if took > LONG {
        println!("  a client waited {:.1} s for this: {}", took.as_secs_f64(), what());
    }
}

#[expect(clippy::disallowed_methods, reason = "a client measures how long it waits")]
fn now() -> Instant {
    Instant::now()
}

/// What that share of the numbers does not exceed, in milliseconds.
fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let shares = [("p50", 500), ("p99", 990), ("p99.9", 999), ("max", 1000)];
    let text = shares.map(|(name, permille)| {
        let at = (times.len() * permille / 1000).min(times.len().saturating_sub(1));
        let time = times.get(at).copied().unwrap_or_default();
        format!("{name} {:.2} ms", time.as_secs_f64() * 1000.0)
    });
    format!("{} (of {})", text.join(", "), times.len())
}

/// How long requests for a part waited when it changed hands, from a giver's log.
fn pauses(log: &str) -> impl Iterator<Item = Duration> {
    let ends = log.split("requests for it waited ").skip(1);
    ends.filter_map(|text| text.split_once(" us")?.0.parse().ok().map(Duration::from_micros))
}

/// Replaces a record that is there; nobody else writes it.
fn update(cluster: &mut neo::Cluster, key: u64, version: u64) -> Result<(), Error> {
    let outcome = cluster.update(&channel(), Key(key), |old| {
        // After a try of which nothing was heard it may be the new one.
        let old = version_of(key, old);
        assert!(old == version || old + 1 == version, "{key}: {old} before {version}");
        Decision::Write(value(key, version))
    })?;
    assert_eq!(outcome, UpdateOutcome::Done, "key {key}, version {version}");
    Ok(())
}

fn read(oracle: &Oracle, is_neo: bool, mut rng: Rng) {
    let mut client = Client::connect(oracle, is_neo);
    let keys = oracle.started.len() as u64;
    while !oracle.stop.load(SeqCst) {
        let key = rng.below(keys);
        let at = usize::try_from(key).expect("small");
        // Each try is a read of its own.
        let mut least = 0;
        let found = persist(oracle, &mut client, |client| {
            least = oracle.completed[at].load(SeqCst);
            client.get(key)
        });
        let most = oracle.started[at].load(SeqCst);
        match found {
            Some(value) => {
                let version = version_of(key, &value);
                assert!(
                    (least..=most).contains(&version),
                    "key {key}: version {version}, not from {least} to {most} (neo: {is_neo})"
                );
            }
            None => assert!(
                (least..=most).any(is_removal),
                "key {key}: no record, but version {least} to {most} (neo: {is_neo})"
            ),
        }
    }
}

/// Nodes, clients at work, and the records that stay.
struct Bench {
    nodes: Vec<Node>,
    oracle: Arc<Oracle>,
    clients: Vec<JoinHandle<()>>,
    fill: BTreeMap<u64, usize>,
}

impl Bench {
    fn start(count: usize, start: impl Fn(HashRange) -> Node, rng: &mut Rng) -> Self {
        let range = |at| if at == 0 { HashRange::FULL } else { HashRange::EMPTY };
        let nodes: Vec<Node> = (0..count).map(|at| start(range(at))).collect();
        let keys = usize::try_from(setting("DHT_ORACLE_KEYS", 1000)).expect("fits memory");
        let fill = fill(&nodes[0], setting("DHT_ORACLE_FILL", 5_000));
        let numbers = || (0..keys).map(|_| AtomicU64::new(0)).collect();
        let oracle = Arc::new(Oracle {
            started: numbers(),
            completed: numbers(),
            stop: AtomicBool::new(false),
            nodes: nodes.iter().map(|node| (node.address(), node.neo_address())).collect(),
            answers: AtomicU64::new(0),
            tries: AtomicU64::new(0),
            write_times: Mutex::default(),
        });
        let mut clients = Vec::new();
        for number in 0..2 * WRITERS {
            let is_neo = number >= WRITERS;
            let (writing, reading) = (Arc::clone(&oracle), Arc::clone(&oracle));
            let rngs = [rng.next(), rng.next()].map(Rng::new);
            let [for_writer, for_reader] = rngs;
            clients.push(thread::spawn(move || write(&writing, number, is_neo, for_writer)));
            clients.push(thread::spawn(move || read(&reading, is_neo, for_reader)));
        }
        Self { nodes, oracle, clients, fill }
    }

    /// The first so many nodes and those that leave, and the words for that.
    fn redistribute(&self, staying: usize) -> (NodesFile, Vec<String>) {
        let all: Vec<&Node> = self.nodes.iter().collect();
        let mut words = vec!["-x".to_owned()];
        if staying < self.nodes.len() {
            words.push("--remove".to_owned());
            words.extend(self.nodes[staying..].iter().map(|node| node.address().to_string()));
        }
        (NodesFile::new(&all), words)
    }

    /// Waits until so many more answers were right.
    fn serve(&self, answers: u64) {
        let served = self.oracle.answers.load(SeqCst) + answers;
        wait_for("clients to be served", || {
            let has_failed = self.clients.iter().any(JoinHandle::is_finished);
            assert!(!has_failed, "what a client found wrong is printed above");
            (self.oracle.answers.load(SeqCst) >= served).then_some(())
        });
    }

    /// Ends the clients, and compares all that there is with what there must be.
    fn finish(self) {
        self.oracle.stop.store(true, SeqCst);
        for client in self.clients {
            client.join().expect("what a client found wrong is printed above");
        }
        let (answers, tries) = (&self.oracle.answers, &self.oracle.tries);
        let (answers, tries) = (answers.load(SeqCst), tries.load(SeqCst));
        println!("  {answers} answers, {} tries that were refused", tries - answers);
        assert!(answers > 0);
        let times = std::mem::take(&mut *self.oracle.write_times.lock().expect("they have ended"));
        println!("  writes took {}", percentiles(times));
        let logs: String = self.nodes.iter().map(Node::log).collect();
        println!("  parts were frozen for {}", percentiles(pauses(&logs).collect()));
        let mut expected = BTreeSet::new();
        for (key, version) in self.oracle.completed.iter().enumerate() {
            if !is_removal(version.load(SeqCst)) {
                expected.insert(key as u64);
            }
        }
        expected.extend(self.fill.keys());
        let mut found = BTreeSet::new();
        for node in &self.nodes {
            let range = node.range();
            for (key, bytes) in node.records() {
                assert!(range.contains(Key(key)), "{key} is at the wrong node");
                assert!(found.insert(key), "{key} is at two nodes");
                match usize::try_from(key).ok().and_then(|at| self.oracle.completed.get(at)) {
                    Some(version) => assert_eq!(version_of(key, &bytes), version.load(SeqCst)),
                    None => assert_eq!(self.fill.get(&key), Some(&bytes.len()), "{key}"),
                }
            }
        }
        let lost: Vec<_> = expected.difference(&found).collect();
        let risen: Vec<_> = found.difference(&expected).collect();
        assert!(lost.is_empty() && risen.is_empty(), "lost {lost:?}, risen {risen:?}");
    }
}

/// Puts records that nobody changes: of 0 bytes up to 300 kB.
fn fill(node: &Node, count: u64) -> BTreeMap<u64, usize> {
    let mut records = BTreeMap::new();
    let (mut client, mut compressor) = (node.client(), Compressor::new());
    let mut batch = BatchWriter::new(1 << 20);
    let mut send = |batch: &mut BatchWriter| {
        let mut blob = Vec::new();
        batch.finish(&mut compressor, &mut Writer::new(&mut blob));
        let forward = Forward { channel: CHANNEL, batch: &blob[8..] };
        client.call(&forward).expect("the node takes it");
    };
    for number in 0..count {
        let key = FILL_FROM + number;
        // Each size lies in all parts of the hash space: the low bits of a key say in which it is.
        let len = match (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % 1000 {
            0 => 300_000,
            1..10 => 0,
            other => usize::try_from(other).expect("small") % 300,
        };
        let value = vec![b'f'; len];
        if !batch.add(Key(key), &value) {
            send(&mut batch);
            assert!(batch.add(Key(key), &value));
        }
        records.insert(key, len);
    }
    send(&mut batch);
    records
}

pub(crate) fn no_client_notices_that_nodes_come_and_go() {
    for_seeds(1, |rng| {
        let bench = Bench::start(5, Node::start, rng);
        for _ in 0..setting("DHT_ORACLE_ROUNDS", 1) {
            for staying in [3, 5, 2] {
                let (file, words) = bench.redistribute(staying);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let ran = finish(file.spawn(&words));
                assert_eq!(ran.exit, 0, "{ran:?}");
                println!("  {}", ran.stderr.lines().last().unwrap_or_default());
            }
        }
        bench.finish();
    });
}

pub(crate) fn nothing_is_lost_whatever_is_killed() {
    for_seeds(1, |rng| {
        let mut bench = Bench::start(4, Node::start_apart, rng);
        let (mut staying, mut left) = (4, setting("DHT_ORACLE_KILLS", 6));
        let mut struck = BTreeMap::new();
        while left > 0 {
            let (file, words) = bench.redistribute(staying);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let mut child = file.spawn(&words);
            let times = (1 + rng.below(3)).min(left);
            left -= times;
            for _ in 0..times {
                bench.serve(rng.below(3000));
                let disturbance = Disturbance::random(rng);
                disturbance.strike(&mut bench.nodes, &mut child, rng);
                // Cuts are counted when they happen.
                let count = u64::from(disturbance != Disturbance::Cut);
                *struck.entry(disturbance).or_insert(0) += count;
            }
            bench.serve(rng.below(1000));
            // What was not cut by now will not be.
            let cuts: u64 = bench.nodes.iter().map(|node| node.proxy().heal()).sum();
            *struck.entry(Disturbance::Cut).or_insert(0) += cuts;
            if rng.below(4) == 0 {
                // It may have ended by now.
                let _ = child.kill();
            }
            finish(child);
            // Resumed, it comes to an end.
            let ran = finish(file.spawn(&words));
            assert_eq!(ran.exit, 0, "{ran:?}");
            staying = rng.within(1..5);
        }
        println!("  {struck:?}");
        bench.finish();
    });
}

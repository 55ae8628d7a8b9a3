//! Nodes go and come back under load: no panic, no hang, no wrong answer, and the client's counters
//! agree with those of the nodes.
//!
//! `DHT_ROBUSTNESS_SECONDS=300` makes it as long; a few seconds otherwise.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use dht_client::{Channel, Error, Fate, Limits, Removed};
use dht_test::{TestCluster, TestNode};
use dht_testkit::Rng;
use tokio::time::Instant;

const NODES: usize = 4;
const TASKS: u64 = 64;
const KEYS_PER_TASK: u64 = 20;
const REQUEST_LIMIT: Duration = Duration::from_secs(2);
/// No request may take longer than its limit, but a slow machine may wake us late.
const SLACK: Duration = Duration::from_secs(8);

fn duration() -> Duration {
    let seconds = std::env::var("DHT_ROBUSTNESS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

/// What can be in a record: whatever was acknowledged last, or any write whose fate is unknown.
#[derive(Debug, Default)]
struct Model {
    /// The number of the last write that was acknowledged; 0: there is no record.
    last: u64,
    /// Numbers of writes that may have been done, or may still be done, and the node's crashes when
    /// they failed.
    maybe: BTreeMap<u64, u64>,
    /// The node's crashes when the last write began.
    crashes: u64,
    /// The highest number that was used.
    used: u64,
}

impl Model {
    /// Whether the node has what it had when the last write began. While it crashes nobody knows
    /// whether it is the old one that answers, or the new one.
    const fn holds(&self, crashes: u64) -> bool {
        crashes.is_multiple_of(2) && self.crashes == crashes
    }

    fn check(&self, key: u64, found: Option<&[u8]>, crashes: u64) {
        let found = found.map_or(0, |value| {
            let text = std::str::from_utf8(value).expect("what we have put");
            let (of, number) = text.split_once(':').expect("what we have put");
            assert_eq!(of, key.to_string(), "the value is of another key");
            number.parse().expect("what we have put")
        });
        if !self.holds(crashes) {
            // The node came back with an older state, or with none.
            assert!(found <= self.used, "key {key} has {found}, which was never written");
            return;
        }
        assert!(
            found == self.last || self.maybe.contains_key(&found),
            "key {key} has {found}; it must have {} or one of {:?}",
            self.last,
            self.maybe
        );
    }
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    failed: AtomicU64,
    slowest_micros: AtomicU64,
}

struct World {
    cluster: TestCluster,
    /// How often each node has crashed; odd while it does.
    crashes: Vec<AtomicU64>,
    over: AtomicBool,
    counts: Counts,
}

impl World {
    fn crashes_of(&self, key: u64) -> u64 {
        let node = self.cluster.node_of(key);
        let at = self.cluster.nodes().iter().position(|other| std::ptr::eq(other, node));
        self.crashes[at.expect("one of them")].load(SeqCst)
    }
}

async fn timed<T>(
    world: &World,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let begun = Instant::now();
    let result = tokio::time::timeout(REQUEST_LIMIT + SLACK, request).await;
    let result = result.expect("a request ends within its limit");
    let micros = u64::try_from(begun.elapsed().as_micros()).expect("a short time");
    world.counts.slowest_micros.fetch_max(micros, SeqCst);
    world.counts.requests.fetch_add(1, SeqCst);
    if let Err(error) = &result {
        world.counts.failed.fetch_add(1, SeqCst);
        assert!(error.is_retry_safe(), "only what passes goes wrong here: {error}");
    }
    result
}

async fn task(world: Arc<World>, channel: Channel, number: u64) {
    let mut rng = Rng::new(number);
    let mut models: BTreeMap<u64, Model> = BTreeMap::new();
    while !world.over.load(SeqCst) {
        let key = number * KEYS_PER_TASK + rng.below(KEYS_PER_TASK);
        let model = models.entry(key).or_default();
        let crashes = world.crashes_of(key);
        match rng.below(5) {
            0 | 1 => {
                model.used += 1;
                let write = model.used;
                let result = timed(&world, channel.put(key, format!("{key}:{write}"))).await;
                record(model, result, write, crashes, world.crashes_of(key));
            }
            2 => {
                let result = timed(&world, channel.remove(key)).await;
                if let Ok(removed) = &result
                    && model.holds(crashes)
                    && model.maybe.is_empty()
                    && world.crashes_of(key) == crashes
                {
                    let there = model.last != 0;
                    assert_eq!(*removed, if there { Removed::Yes } else { Removed::No });
                }
                record(model, result.map(drop), 0, crashes, world.crashes_of(key));
            }
            _ => {
                if let Ok(found) = timed(&world, channel.get(key)).await {
                    // A crash in between may have taken the record away.
                    let crashes = world.crashes_of(key);
                    model.check(key, found.as_deref(), crashes);
                }
            }
        }
        // Now and then it is idle, so that its connection may break with nothing on the way.
        if rng.one_in(50) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn record(model: &mut Model, result: Result<(), Error>, write: u64, crashes: u64, now: u64) {
    match result {
        Ok(()) => {
            // What was unknown before a crash has been executed by then, or never will be.
            model.maybe.retain(|_, then| *then + 1 >= crashes);
            (model.last, model.crashes) = (write, crashes);
        }
        Err(error) if error.fate() == Fate::Unknown => {
            model.maybe.insert(write, now);
        }
        Err(_) => {}
    }
}

/// Takes one node after the other away, each time in another way. Its sleeps are the rhythm of the
/// disturbance; nothing is expected of their lengths.
async fn nemesis(world: Arc<World>) {
    let mut rng = Rng::new(4711);
    let mut at = 0;
    while !world.over.load(SeqCst) {
        tokio::time::sleep(Duration::from_millis(100 + rng.below(300))).await;
        at = (at + 1) % NODES;
        // Stopping and starting block, as they wait for threads.
        let other = Arc::clone(&world);
        let on_node = move |act: fn(&TestNode)| {
            let world = Arc::clone(&other);
            let acting = tokio::task::spawn_blocking(move || act(&world.cluster.nodes()[at]));
            async { acting.await.expect("no panic") }
        };
        let away = Duration::from_millis(100);
        match rng.below(4) {
            0 => on_node(TestNode::drop_connections).await,
            1 => {
                on_node(TestNode::lose).await;
                tokio::time::sleep(away).await;
                on_node(TestNode::come_back).await;
            }
            2 => {
                on_node(TestNode::stop).await;
                tokio::time::sleep(away).await;
                on_node(TestNode::restart).await;
            }
            _ => {
                world.crashes[at].fetch_add(1, SeqCst);
                on_node(TestNode::kill).await;
                on_node(TestNode::restart).await;
                world.crashes[at].fetch_add(1, SeqCst);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_go_and_come_back_under_load() {
    let cluster = TestCluster::start(NODES);
    let limits = Limits { request_timeout: Some(REQUEST_LIMIT), ..Limits::default() };
    let client = dht_client::Client::builder()
        .nodes(cluster.nodes().iter().map(TestNode::neo_address))
        .credentials(TestNode::credentials())
        .limits(limits)
        .connect()
        .await
        .expect("all nodes are there");
    let channel = client.channel("robust").expect("a name");
    let crashes = (0..NODES).map(|_| AtomicU64::new(0)).collect();
    let (over, counts) = (AtomicBool::new(false), Counts::default());
    let world = Arc::new(World { cluster, crashes, over, counts });
    let nemesis = tokio::spawn(nemesis(Arc::clone(&world)));
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| tokio::spawn(task(Arc::clone(&world), channel.clone(), number)))
        .collect();
    // How long the load goes on; nothing is expected of it but right answers.
    tokio::time::sleep(duration()).await;
    world.over.store(true, SeqCst);
    for task in tasks {
        task.await.expect("no wrong answer");
    }
    nemesis.await.expect("no panic");
    let stats = client.stats();
    println!(
        "{} requests, {} failed, the slowest took {} ms; {} connections",
        world.counts.requests.load(SeqCst),
        world.counts.failed.load(SeqCst),
        world.counts.slowest_micros.load(SeqCst) / 1000,
        stats.connects
    );
    assert_eq!(stats.active(), 0);
    assert!(world.counts.requests.load(SeqCst) > 1000 && stats.connects > NODES as u64);
    for name in ["Put", "Get", "Remove"] {
        let (counts, handled) = (stats.request(name), world.cluster.handled(name));
        let unknown = counts.lost + counts.timed_out + counts.dropped;
        println!("{name}: {counts:?}; the nodes have handled {handled}");
        assert!(
            counts.answered <= handled && handled <= counts.answered + unknown,
            "{name}: {counts:?}, but the nodes have handled {handled}"
        );
    }
}

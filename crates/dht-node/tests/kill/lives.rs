//! How a node is started, and how it ends.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use dht_dump::UNFINISHED_SUFFIX;
use dht_testkit::{NodeProcess, NodeSettings, Peer, Rng, free_port, neo};

use crate::records::{CHANNELS, WRITERS};
use crate::verify::verify;
use crate::writer::{Counts, Writer};

/// Milliseconds of load before a kill.
const LOAD_MS: (u64, u64) = (20, 300);
/// One load in so many is longer, so that rounds of dumps end in it and the log is cut.
const LONG_ONE_IN: u64 = 12;
/// Milliseconds of a long load.
const LONG_LOAD_MS: (u64, u64) = (500, 2000);
/// One life in so many ends in order.
const STOP_ONE_IN: u64 = 12;
/// After one life in so many, the next one is killed without any load.
const IDLE_ONE_IN: u64 = 8;
/// Milliseconds of such a life.
const IDLE_MS: (u64, u64) = (0, 100);
/// After one life in so many, the next one is killed while it starts.
const STARTING_ONE_IN: u64 = 6;
/// In one life in so many, all channels are at level `disk`.
const ALL_DISK_ONE_IN: u64 = 4;
/// How often the progress is told.
const PROGRESS_ROUNDS: u64 = 100;
/// Workers of a life, at most.
const WORKERS_MAX: u64 = 4;

/// What [`Figures::loads`] are of.
const LEVELS: [&str; 2] = ["os, some channels disk", "disk"];

/// All lives of a node, one after another.
pub(crate) struct Lives {
    dir: PathBuf,
    rng: Rng,
    writers: Vec<Writer>,
    figures: Figures,
    /// How long the last start took.
    start_time: Duration,
    /// Unfinished dumps and log files after the last kill.
    unfinished: BTreeSet<String>,
    segments: BTreeSet<String>,
}

/// What was done.
#[derive(Debug, Default)]
struct Figures {
    rounds: u64,
    kills: u64,
    kills_while_starting: u64,
    kills_without_load: u64,
    stops: u64,
    /// Kills that left an unfinished dump.
    kills_in_dumps: u64,
    /// Kills of lives that have cut the log.
    kills_after_cuts: u64,
    records_compared: u64,
    segments_max: usize,
    /// Of lives at `os` with some channels at `disk`, and of lives at `disk`.
    loads: [(Counts, Duration); 2],
}

impl Lives {
    pub(crate) fn new(seed: u64, dir: &Path) -> Self {
        let mut rng = Rng::new(seed);
        let writers =
            (0..WRITERS).map(|number| Writer::new(number, Rng::new(rng.next()))).collect();
        let (figures, start_time) = (Figures::default(), Duration::from_millis(20));
        let (unfinished, segments) = (BTreeSet::new(), BTreeSet::new());
        Self { dir: dir.to_owned(), rng, writers, figures, start_time, unfinished, segments }
    }

    pub(crate) const fn round(&self) -> u64 {
        self.figures.rounds
    }

    /// Goes on until a node was killed so many times. Returns what is not as it should be.
    pub(crate) fn run(&mut self, kills: u64) -> Result<(), String> {
        while self.figures.kills < kills {
            self.figures.rounds += 1;
            let at_disk = self.rng.one_in(ALL_DISK_ONE_IN);
            let settings = self.settings(at_disk);
            let node = self.start(&settings)?;
            self.life(node, at_disk)?;
            if self.figures.rounds.is_multiple_of(PROGRESS_ROUNDS) {
                println!("{} kills so far", self.figures.kills);
            }
            if self.rng.one_in(STARTING_ONE_IN) {
                self.kill_while_starting();
            }
            if self.rng.one_in(IDLE_ONE_IN) {
                self.kill_without_load();
            }
        }
        let settings = self.settings(false);
        let node = self.start(&settings)?;
        stop(node)?;
        let node = self.start(&settings)?;
        stop(node)
    }

    /// Dumps and new log files all the time.
    fn settings(&mut self, at_disk: bool) -> NodeSettings {
        let workers = self.rng.below(WORKERS_MAX) + 1;
        let mut settings = NodeSettings::default()
            .with("Performance", "workers", &workers.to_string())
            .with("LOG.Root", "level", "info")
            .with("Dumps", "period_s", "1")
            .with("Dumps", "retry_s", "1")
            .with("Log", "segment_mb", "1")
            .with("Log", "dump_after_mb", "1")
            .with("Log", "durability", if at_disk { "disk" } else { "os" });
        for channel in CHANNELS.iter().filter(|channel| channel.is_disk) {
            settings = settings.with(channel.section, "durability", "disk");
        }
        settings
    }

    /// Starts a node and compares what it has with what it should have.
    fn start(&mut self, settings: &NodeSettings) -> Result<NodeProcess, String> {
        let began = Instant::now();
        let node = NodeProcess::start(exe(), &self.dir, settings);
        self.start_time = began.elapsed();
        self.figures.records_compared += verify(&node, &mut self.writers)?;
        Ok(node)
    }

    /// A load, and its end.
    fn life(&mut self, node: NodeProcess, at_disk: bool) -> Result<(), String> {
        let is_long = self.rng.one_in(LONG_ONE_IN);
        let time = self.time(if is_long { LONG_LOAD_MS } else { LOAD_MS });
        let is_stop = self.rng.one_in(STOP_ONE_IN);
        let mut peers: Vec<_> = (0..WRITERS).map(|writer| connect(&node, writer)).collect();
        let is_ending = AtomicBool::new(false);
        let before = self.counts();
        let (load_time, ended, written) = std::thread::scope(|scope| {
            let run = |(writer, peers): (_, _)| {
                let (writer, is_ending): (&mut Writer, _) = (writer, &is_ending);
                scope.spawn(move || writer.run(peers, is_ending))
            };
            let began = Instant::now();
            let threads: Vec<_> = self.writers.iter_mut().zip(&mut peers).map(run).collect();
            node.let_run(time);
            is_ending.store(true, SeqCst);
            let load_time = began.elapsed();
            let ended = if is_stop {
                stop(node)
            } else {
                node.kill();
                Ok(())
            };
            let join = |thread: ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|_| Err("a writer has panicked".to_owned()))
            };
            let written: Vec<_> = threads.into_iter().map(join).collect();
            (load_time, ended, written.into_iter().collect::<Result<(), String>>())
        });
        let acknowledged = self.counts_since(&before);
        let (counts, time) = &mut self.figures.loads[usize::from(at_disk)];
        *time += load_time;
        counts.add(&acknowledged);
        if is_stop {
            self.figures.stops += 1;
        } else {
            self.was_killed();
        }
        ended.and(written)
    }

    /// Killed while it loads dumps and replays the log, or a moment later.
    fn kill_while_starting(&mut self) {
        let settings = self.settings(false);
        let node = NodeProcess::spawn(exe(), &self.dir, &settings, free_port());
        node.let_run(self.start_time.mul_f64(self.rng.below(1000) as f64 / 1000.0));
        node.kill();
        self.figures.kills_while_starting += 1;
        self.was_killed();
    }

    fn kill_without_load(&mut self) {
        let settings = self.settings(false);
        let node = NodeProcess::start(exe(), &self.dir, &settings);
        node.let_run(self.time(IDLE_MS));
        node.kill();
        self.figures.kills_without_load += 1;
        self.was_killed();
    }

    fn time(&mut self, (least_ms, most_ms): (u64, u64)) -> Duration {
        Duration::from_millis(least_ms + self.rng.below(most_ms - least_ms))
    }

    /// Notes what the kill has hit.
    fn was_killed(&mut self) {
        self.figures.kills += 1;
        let unfinished = self.files("data", UNFINISHED_SUFFIX);
        let left = unfinished.difference(&self.unfinished).next().is_some();
        self.figures.kills_in_dumps += u64::from(left);
        self.unfinished = unfinished;
        let segments = self.files("data/changes", ".log");
        self.figures.segments_max = self.figures.segments_max.max(segments.len());
        // Their names begin with their numbers.
        let is_cut = self.segments.first().is_some_and(|first| !segments.contains(first));
        self.figures.kills_after_cuts += u64::from(is_cut);
        self.segments = segments;
    }

    fn files(&self, folder: &str, suffix: &str) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.dir.join(folder)).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| name.ends_with(suffix)).collect()
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.writers.iter().for_each(|writer| counts.add(&writer.counts));
        counts
    }

    fn counts_since(&self, before: &Counts) -> Counts {
        let mut counts = self.counts();
        counts.subtract(before);
        counts
    }

    /// What was done, in a few lines.
    pub(crate) fn report(&self) -> String {
        let Figures { rounds, kills, kills_while_starting, kills_without_load, .. } = self.figures;
        let Figures {
            stops, kills_in_dumps, kills_after_cuts, records_compared, segments_max, ..
        } = self.figures;
        let mut text = format!(
            "{rounds} rounds, {kills} kills ({kills_in_dumps} of them left an unfinished dump, \
             {kills_after_cuts} came after the log was cut, {kills_while_starting} were while \
             starting, {kills_without_load} without load), \
             {stops} stops in order; at most {segments_max} log files; {records_compared} records \
             compared"
        );
        for (level, (counts, time)) in LEVELS.iter().zip(self.figures.loads) {
            let per_second = counts.all() as f64 / time.as_secs_f64().max(0.001);
            write!(
                text,
                "\nlevel {level}: {} writes acknowledged in {:.1} s of load, {per_second:.0} per \
                 second: {counts:?}",
                counts.all(),
                time.as_secs_f64(),
            )
            .expect("a string takes everything");
        }
        text
    }
}

/// The program.
pub(crate) fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dhtnode"))
}

fn connect(node: &NodeProcess, writer: usize) -> [Peer; 2] {
    [(); 2].map(|()| {
        if !Writer::is_neo(writer) {
            return node.connect();
        }
        let mut peer = node.connect_neo();
        neo::greet(&mut peer, "admin");
        peer
    })
}

/// Stops the node in order.
fn stop(mut node: NodeProcess) -> Result<(), String> {
    node.signal("TERM");
    let ended = node.wait();
    if ended.success() { Ok(()) } else { Err(format!("the node has failed: {}", node.stderr())) }
}

//! Dumps while the node serves, on a disk in memory that fails, blocks and loses power.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Instant;

use dht_dump::memory_disk::{Faults, MemoryDisk};
use dht_dump::{
    DirEntry, Disk, DiskFile, DumpOptions, DumpReader, DumpWriter, Entry, OpenFile, SharedFile,
    TcmError,
};
use dht_storage::{Channel, Notify, StoreOptions};
use dht_testkit::for_seeds;
use dht_types::{ChannelName, Key};

use super::*;
use crate::persist::RemoveError;

const DATA: &str = "/data";
const DEADLINE: Duration = Duration::from_secs(600);

thread_local! {
    /// The time of a test, in seconds since its start.
    static SECONDS: Cell<u64> = const { Cell::new(0) };
    #[allow(clippy::disallowed_methods, reason = "any point of time will do")]
    static START: Instant = Instant::now();
}

fn clock() -> Instant {
    START.with(|start| *start) + Duration::from_secs(SECONDS.get())
}

fn unix_time() -> u64 {
    1_000_000 + SECONDS.get()
}

fn name(text: &str) -> ChannelName {
    text.parse().unwrap()
}

fn tcm(channel: &str) -> PathBuf {
    Path::new(DATA).join(format!("{channel}.tcm"))
}

/// The records of a dump, sorted.
fn load(disk: &dyn Disk, path: &Path) -> Result<Vec<(u64, Vec<u8>)>, TcmError> {
    let mut reader = DumpReader::open(disk, path)?;
    let mut records = Vec::new();
    while let Some(entry) = reader.next()? {
        let Entry::Record { key, value } = entry else { panic!("{entry:?}") };
        records.push((key.0, value.to_vec()));
    }
    reader.verify()?;
    records.sort();
    Ok(records)
}

/// All that a node has for its dumps, with a period of 100 s and retries after 30 s.
struct Bench {
    memory: MemoryDisk,
    store: Store,
    dumps: Dumps,
    target: DumpTarget,
    stop: Stop,
    schedule: Schedule,
}

impl Bench {
    fn new() -> Self {
        let memory = MemoryDisk::with_folder(DATA);
        let disk = memory.clone();
        Self::on(memory, Arc::new(disk))
    }

    fn on(memory: MemoryDisk, disk: Arc<dyn Disk>) -> Self {
        let options = DumpOptions { direct: false, keep_backup: true };
        let [period, retry] = [100, 30].map(Duration::from_secs);
        Self {
            memory,
            store: Store::new(StoreOptions { shard_bits: 3, seed: 1 }),
            dumps: Dumps::new(DEADLINE),
            target: DumpTarget { disk, dir: DATA.into(), options, clock, unix_time },
            stop: Stop::default(),
            schedule: Schedule::new(period, retry, clock(), 0),
        }
    }

    fn put(&self, channel: &str, key: u64, value: &[u8]) {
        let channel = self.store.channel_or_create(&name(channel)).unwrap();
        channel.put(Key(key), value, Notify::No).unwrap();
    }

    fn channel(&self, channel: &str) -> Arc<Channel> {
        self.store.channel(channel).unwrap()
    }

    /// One turn of the thread.
    fn turn(&mut self) -> Next {
        let Self { store, dumps, target, stop, schedule, .. } = self;
        Duty { store, dumps, keeper: None, target, stop }.turn(schedule)
    }

    /// Turns until there is nothing to do; returns for how many seconds.
    fn work(&mut self) -> u64 {
        loop {
            match self.turn() {
                Next::Turn => {}
                Next::Sleep(time) => return time.as_secs(),
                Next::End => panic!("nobody said so"),
            }
        }
    }

    fn sleep(&mut self, seconds: u64) {
        SECONDS.set(SECONDS.get() + seconds);
    }

    fn health(&self) -> Vec<String> {
        let text = self.dumps.report(&self.store.channels(), None, clock()).to_text(unix_time());
        text.lines().map(str::to_owned).collect()
    }

    fn dumped(&self, channel: &str) -> Vec<(u64, Vec<u8>)> {
        load(&self.memory, &tcm(channel)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = self.memory.list(Path::new(DATA)).unwrap().into_iter();
        let mut names: Vec<_> = entries.map(|entry| entry.name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn remove(&self, channel: &str) -> Result<(), dht_dump::DiskError> {
        let Self { memory, store, dumps, .. } = self;
        match dumps.remove_channel(memory, Path::new(DATA), store, &name(channel), |_| Ok(())) {
            Err(RemoveError::Disk(error)) => Err(error),
            Err(RemoveError::NotLogged) => unreachable!("the log is willing"),
            Ok(()) => Ok(()),
        }
    }

    /// A dump that is whole, but not in its place.
    fn completed(&self, channel: &str) -> Result<dht_dump::CompletedDump, dht_dump::DiskError> {
        let DumpTarget { disk, dir, options, .. } = &self.target;
        let mut dump = DumpWriter::create(disk, dir, &name(channel), *options)?;
        dump.record(Key(1), b"value")?;
        dump.complete()
    }
}

#[test]
fn a_dump_has_all_records_whatever_their_sizes() {
    let mut bench = Bench::new();
    let mut expected = Vec::new();
    for key in 0..5_000 {
        let value = match key % 1000 {
            7 => vec![7; 300_000],
            8 => Vec::new(),
            _ => format!("value {key}").into_bytes(),
        };
        bench.put("ch", key, &value);
        expected.push((key, value));
    }
    assert_eq!(bench.work(), 100);
    assert!(bench.dumped("ch") == expected);
}

#[test]
fn each_channel_is_dumped_in_each_period_and_health_tells_how_old_dumps_are() {
    let mut bench = Bench::new();
    bench.put("a", 1, b"one");
    bench.put("b", 1, b"one");
    assert_eq!(bench.health(), ["ok", "a never 0 0 none", "b never 0 0 none"]);
    assert_eq!(bench.work(), 100);
    bench.sleep(60);
    bench.put("b", 2, b"two");
    bench.put("new", 3, b"three");
    let expected = ["ok", "a 60 1 512 none", "b 60 1 512 none", "new never 0 0 none"];
    assert_eq!(bench.health(), expected);
    bench.sleep(40);
    assert_eq!(bench.work(), 100);
    assert_eq!(bench.health(), ["ok", "a 0 1 512 none", "b 0 2 512 none", "new 0 1 512 none"]);
    assert_eq!(bench.dumped("b"), [(1, b"one".to_vec()), (2, b"two".to_vec())]);
    let before = load(&bench.memory, &Path::new(DATA).join("b.tcm.backup")).unwrap();
    assert_eq!(before, [(1, b"one".to_vec())]);
}

/// Each call to the disk fails once: short of room, in a write, in a sync, in a rename.
#[test]
fn a_failed_dump_leaves_the_one_before_is_told_and_tried_again() {
    let mut calls = 0;
    for failing_call in 0.. {
        let mut bench = Bench::new();
        bench.put("a", 1, b"old");
        bench.put("b", 1, b"old");
        assert_eq!(bench.work(), 100);
        bench.sleep(100);
        bench.put("a", 1, b"new");
        bench.put("b", 1, b"new");
        let faults = Faults { failing_call: Some(failing_call), ..Faults::default() };
        bench.memory.set_faults(faults);
        assert_eq!(bench.turn(), Next::Turn);
        let spent = bench.memory.calls();
        bench.memory.set_faults(Faults::default());
        if failing_call == spent {
            assert!(failing_call >= 10, "{failing_call} calls");
            break;
        }
        calls += 1;
        let failed = bench.health()[0] != "ok";
        let now = bench.dumped("a")[0].1.clone();
        assert!(now == b"old" || now == b"new");
        assert!(failed || now == b"new");
        assert_eq!(bench.turn(), Next::Turn);
        assert_eq!(bench.dumped("b"), [(1, b"new".to_vec())], "b is not disturbed");
        if failed {
            bench.sleep(1);
            let health = bench.health();
            assert_eq!((&health[0][..], health.len()), ("degraded 1 failed, 0 stalled", 3));
            assert!(health[1].starts_with("a 101 1 512 cannot "), "{health:?}");
            assert!(health[1].ends_with(": injected"), "{health:?}");
            assert_eq!(bench.work(), 29);
            bench.sleep(29);
            assert_eq!(bench.turn(), Next::Turn);
        }
        assert_eq!(bench.dumped("a"), [(1, b"new".to_vec())]);
        assert_eq!(bench.health()[0], "ok");
        let litter = bench.names().into_iter().find(|name| name.ends_with(".dumping"));
        assert_eq!(litter, None);
    }
    assert!(calls >= 10);
}

#[test]
fn a_full_disk_is_told_for_each_channel_until_there_is_room() {
    let mut bench = Bench::new();
    bench.put("a", 1, b"old");
    bench.put("b", 1, b"old");
    assert_eq!(bench.work(), 100);
    bench.sleep(100);
    bench.put("a", 2, b"new");
    bench.put("b", 2, b"new");
    bench.memory.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    for wait in [30, 30, 30] {
        assert_eq!(bench.work(), wait);
        let health = bench.health();
        assert_eq!(health[0], "degraded 2 failed, 0 stalled");
        assert!(health[1..].iter().all(|line| line.contains("cannot write /data/")), "{health:?}");
        assert_eq!((bench.dumped("a").len(), bench.dumped("b").len()), (1, 1));
        bench.sleep(30);
    }
    bench.memory.set_faults(Faults { short_write_bytes: Some(7), ..Faults::default() });
    bench.work();
    assert_eq!(bench.health(), ["ok", "a 0 2 512 none", "b 0 2 512 none"]);
    assert_eq!((bench.dumped("a").len(), bench.dumped("b").len()), (2, 2));
}

#[test]
fn a_dump_is_given_up_when_the_node_stops() {
    let mut bench = Bench::new();
    bench.put("ch", 1, b"old");
    assert_eq!(bench.work(), 100);
    bench.sleep(100);
    bench.put("ch", 1, b"new");
    let before = bench.names();
    bench.stop.set();
    assert_eq!(bench.turn(), Next::End);
    assert_eq!(bench.dumped("ch"), [(1, b"old".to_vec())]);
    assert_eq!(bench.names(), before, "no litter");
    assert_eq!(bench.target.dump_all(&bench.store, None, &bench.dumps), 0);
    assert_eq!(bench.dumped("ch"), [(1, b"new".to_vec())]);
}

#[test]
fn a_channel_that_is_removed_while_it_is_dumped_does_not_come_back() {
    let mut bench = Bench::new();
    bench.put("ch", 1, b"old");
    bench.work();
    for key in 0..10_000 {
        bench.put("ch", key, b"new");
    }
    let channel = bench.channel("ch");
    let outcome = bench.target.dump(&channel, None, &bench.dumps, &mut |_| {
        bench.remove("ch").unwrap();
        ControlFlow::Continue(())
    });
    assert_eq!(outcome.unwrap(), Outcome::Removed);
    assert_eq!(bench.names(), ["deleted"]);
    assert_eq!(bench.health(), ["ok"]);

    // One that was removed before its turn.
    bench.put("ch", 1, b"again");
    bench.put("other", 1, b"x");
    bench.sleep(100);
    assert_eq!(bench.turn(), Next::Turn);
    bench.remove("other").unwrap();
    assert_eq!(bench.work(), 100);
    assert_eq!(bench.names(), ["ch.tcm", "ch.tcm.manifest", "deleted"]);
    assert_eq!(bench.dumped("ch"), [(1, b"again".to_vec())], "a new channel of that name");
}

/// A dump that is whole when its channel goes, committed before or after the removal; and the power
/// fails at every call.
#[test]
fn no_crash_brings_a_removed_channel_back() {
    for_seeds(30, |rng| {
        let commit_first = rng.one_in(2);
        for dead_from_call in 0.. {
            let bench = Bench::new();
            bench.put("ch", 1, b"value");
            assert_eq!(bench.target.dump_all(&bench.store, None, &bench.dumps), 0);
            let channel = bench.channel("ch");
            let faults = Faults { dead_from_call: Some(dead_from_call), ..Faults::default() };
            bench.memory.set_faults(faults);
            let completed = bench.completed("ch");
            let commit = |completed| {
                let Ok(dump) = completed else { return true };
                let committed = bench.dumps.commit(&channel, dump, unix_time(), None);
                committed.is_ok_and(|committed| committed.is_some())
            };
            let removed = if commit_first {
                commit(completed);
                bench.remove("ch").is_ok()
            } else {
                let removed = bench.remove("ch").is_ok();
                assert!(!commit(completed) || !removed, "committed after the removal");
                removed
            };
            let found = bench.memory.after_crash(&mut |n| rng.below(n));
            let here = load(&found, &tcm("ch"));
            if removed {
                assert!(here.is_err(), "it has come back");
            } else {
                let there = load(&found, &Path::new(DATA).join("deleted/ch.tcm"));
                assert!(here.is_ok() || there.is_ok(), "a dump was lost");
            }
            if removed && bench.memory.calls() <= dead_from_call {
                return; // It died after the last call.
            }
        }
    });
}

#[test]
fn dumps_and_removals_may_meet_anywhere() {
    let bench = Bench::new();
    for round in 0..200 {
        bench.put("ch", round, b"value");
        let channel = bench.channel("ch");
        std::thread::scope(|scope| {
            let dump = scope.spawn(|| {
                bench.target.dump(&channel, None, &bench.dumps, &mut |_| ControlFlow::Continue(()))
            });
            bench.remove("ch").unwrap();
            assert_ne!(dump.join().unwrap().unwrap(), Outcome::Stopped);
        });
        assert_eq!(bench.names(), ["deleted"], "round {round}");
    }
}

/// A disk whose syncs of files wait until they are told to go on.
struct BlockingDisk {
    memory: MemoryDisk,
    blocked: mpsc::Sender<mpsc::Sender<()>>,
}

struct BlockingFile(Box<dyn DiskFile>, mpsc::Sender<mpsc::Sender<()>>);

impl DiskFile for BlockingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let (go_on, wait) = mpsc::channel();
        self.1.send(go_on).unwrap();
        wait.recv().unwrap();
        self.0.sync()
    }
}

impl Disk for BlockingDisk {
    fn create_temporary(
        &self,
        dir: &Path,
        prefix: &str,
        suffix: &str,
        direct: bool,
    ) -> io::Result<(PathBuf, Box<dyn DiskFile>)> {
        let (path, file) = self.memory.create_temporary(dir, prefix, suffix, direct)?;
        Ok((path, Box::new(BlockingFile(file, self.blocked.clone()))))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn SharedFile>> {
        self.memory.create(path)
    }

    fn truncate(&self, path: &Path, file_bytes: u64) -> io::Result<()> {
        self.memory.truncate(path, file_bytes)
    }

    fn open(&self, path: &Path) -> io::Result<OpenFile> {
        self.memory.open(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.memory.list(dir)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.memory.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.memory.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.memory.remove(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.memory.create_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.memory.sync_dir(dir)
    }
}

#[test]
fn a_stalled_dump_is_found_and_disturbs_no_removal() {
    let memory = MemoryDisk::with_folder(DATA);
    let (blocked, blockades) = mpsc::channel();
    let disk = Arc::new(BlockingDisk { memory: memory.clone(), blocked });
    let bench = Bench::on(memory, disk);
    for channel in ["other", "stuck"] {
        bench.put(channel, 1, b"x");
    }
    let channel = bench.channel("stuck");
    std::thread::scope(|scope| {
        let dump = scope.spawn(|| {
            bench.target.dump(&channel, None, &bench.dumps, &mut |_| ControlFlow::Continue(()))
        });
        let go_on = blockades.recv().unwrap();
        // The dump has a clock of its own, which started later than that of this thread by less
        // than a minute.
        let after = |seconds| {
            let now = clock() + Duration::from_secs(seconds);
            bench.dumps.look(now);
            bench.dumps.report(&bench.store.channels(), None, now).to_text(unix_time())
        };
        assert!(after(500).starts_with("ok\n"));
        let stalled = after(800);
        assert!(stalled.starts_with("degraded 0 failed, 1 stalled\nother never 0 0 none\n"));
        assert!(stalled.contains("\nstuck never 0 0 stalled: no progress for "), "{stalled}");

        bench.remove("other").unwrap();
        go_on.send(()).unwrap();
        blockades.recv().unwrap().send(()).unwrap(); // The manifest's.
        assert_eq!(dump.join().unwrap().unwrap(), Outcome::Dumped);
    });
    assert_eq!(bench.health(), ["ok", "stuck 0 1 512 none"]);
    assert_eq!(bench.dumped("stuck"), [(1, b"x".to_vec())]);
}

#[test]
fn a_thread_that_panics_is_told_of() {
    let bench = Bench::new();
    bench.put("ch", 1, b"x");
    drop(TellOfPanic { dumps: &bench.dumps, ended: true });
    assert_eq!(bench.health()[0], "ok");
    drop(TellOfPanic { dumps: &bench.dumps, ended: false });
    assert_eq!(bench.health()[0], "degraded the thread that dumps has failed, see the log");
}

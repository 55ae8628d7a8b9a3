//! The power fails, or the process is killed, at every step of log, dump, rotation, removal and
//! start: what was acknowledged is there.
//!
//! A node without sockets: store, journals, dumps and restore on a disk in memory. One thread does
//! everything, but for the syncers, which it waits for.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dht_dump::memory_disk::{Faults, MemoryDisk};
use dht_dump::{Disk, DumpOptions};
use dht_storage::{Change, Notify, Sequence, Store, StoreOptions};
use dht_testkit::{Rng, for_seeds};
use dht_types::{ChannelName, HashRange, Key};

use super::{DurabilityConfig, Fate, Journal, JournalOptions, Keeper, Level};
use crate::config::OutOfRange;
use crate::persist::{DumpTarget, Dumps, LoadOptions, LogCut};
use crate::restore::{RestoreOptions, restore};

const DATA: &str = "/data";
const CHANNELS: [&str; 3] = ["a", "b", "c"];

#[allow(clippy::disallowed_methods, reason = "any point of time will do")]
fn clock() -> Instant {
    Instant::now()
}

/// So many ends of a life, by the environment: the long run has 100,000.
fn crashes() -> u64 {
    std::env::var("POWER_CUTS").map_or(3_000, |text| text.parse().unwrap())
}

type Id = (&'static str, u64);
type Records = BTreeMap<Id, Vec<u8>>;

/// What a node may come back with.
#[derive(Default)]
struct Oracle(BTreeMap<Id, States>);

/// Of a record; no value is "not there".
#[derive(Default)]
struct States {
    acknowledged: Option<Vec<u8>>,
    /// What it was changed to since, and nobody was told.
    later: Vec<Option<Vec<u8>>>,
}

impl Oracle {
    fn of(records: Records) -> Self {
        let states = |value| States { acknowledged: Some(value), later: Vec::new() };
        Self(records.into_iter().map(|(id, value)| (id, states(value))).collect())
    }

    fn changed(&mut self, id: Id, value: Option<Vec<u8>>) {
        self.0.entry(id).or_default().later.push(value);
    }

    fn acknowledge(&mut self, ids: impl IntoIterator<Item = Id>) {
        for id in ids {
            let states = self.0.entry(id).or_default();
            if let Some(last) = states.later.pop() {
                *states = States { acknowledged: last, later: Vec::new() };
            }
        }
    }

    fn ids(&self, channel: &str) -> Vec<Id> {
        self.0.keys().filter(|(name, _)| *name == channel).copied().collect()
    }

    fn check(&self, found: &Records, what: &str) {
        for id in found.keys() {
            assert!(self.0.contains_key(id), "{what}: {id:?} comes from nowhere");
        }
        for (id, States { acknowledged, later }) in &self.0 {
            let value = found.get(id).cloned();
            assert!(
                *acknowledged == value || later.contains(&value),
                "{what}: {id:?} came back as {value:?}, acknowledged was {acknowledged:?}"
            );
        }
    }
}

/// A life of a node.
struct Life {
    disk: Arc<dyn Disk>,
    store: Store,
    dumps: Dumps,
    keeper: Arc<Keeper>,
    journals: Vec<Journal>,
    target: DumpTarget,
}

fn config(rng: &mut Rng) -> DurabilityConfig {
    DurabilityConfig {
        level: Level::Disk,
        channels: BTreeMap::new(),
        segment_bytes: 1 << rng.within(7..11),
        dump_after_bytes: 1,
    }
}

impl Life {
    fn begin(memory: &MemoryDisk, boot: u64, rng: &mut Rng) -> Result<Self, String> {
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let store = Store::new(StoreOptions { shard_bits: 2, seed: rng.next() });
        let dumps = Dumps::new(Duration::from_secs(600));
        let config = config(rng);
        let load = LoadOptions {
            foreign: Vec::new(),
            hash_range: HashRange::FULL,
            out_of_range: OutOfRange::Load,
            abort_after_all_out_of_range: 0,
            accept_damaged: false,
            threads: rng.within(1..3),
            clock,
            unix_time: || 0,
        };
        let options = RestoreOptions {
            disk: Arc::clone(&disk),
            dir: Path::new(DATA),
            boot,
            durability: &config,
            load,
        };
        let keeper = restore(&options, &store, &dumps).map_err(|error| error.to_string())?;
        let keeper = Arc::new(keeper.expect("a level above memory"));
        let journal = |worker| {
            let (keeper, wake) = (Arc::clone(&keeper), Box::new(|| {}));
            Journal::new(JournalOptions { keeper, worker, wake }).unwrap()
        };
        let journals = (0..rng.within(1..4)).map(journal).collect();
        let target = DumpTarget {
            disk: Arc::clone(&disk),
            dir: DATA.into(),
            options: DumpOptions { direct: false, keep_backup: true },
            clock,
            unix_time: || 0,
        };
        Ok(Self { disk, store, dumps, keeper, journals, target })
    }

    fn records(&self) -> Records {
        let mut records = Records::new();
        for name in CHANNELS {
            let Some(channel) = self.store.channel(name) else { continue };
            channel.scan(dht_storage::Cursor::START, usize::MAX, |key, value| {
                records.insert((name, key.0), value.to_vec());
                ControlFlow::Continue(())
            });
        }
        records
    }

    /// Something that a node does; `Err` when the disk is gone.
    fn step(&mut self, oracle: &mut Oracle, rng: &mut Rng) -> Result<(), ()> {
        match rng.below(12) {
            0 => self.dump(rng),
            1 => self.remove_channel(oracle, rng),
            _ => self.turn(oracle, rng),
        }
    }

    /// A turn of a worker: some changes, one write, one sync, then the answers.
    fn turn(&mut self, oracle: &mut Oracle, rng: &mut Rng) -> Result<(), ()> {
        let worker = rng.within(0..self.journals.len());
        let mut ids = Vec::new();
        for _ in 0..rng.within(1..4) {
            let (name, key) = (*rng.pick(&CHANNELS), rng.below(12));
            let value = (!rng.one_in(4)).then(|| rng.bytes(0..50));
            let channel = self.store.channel_or_create(&name.parse().unwrap()).unwrap();
            let journal = &mut self.journals[worker];
            journal.admits(&channel).map_err(|_| ())?;
            let changed = channel
                .update_numbered(Key(key), Notify::No, journal.sequence(), |old| match &value {
                    Some(value) => Change::Put(value, true),
                    None => Change::Remove(old.is_some()),
                })
                .unwrap();
            if changed {
                journal.record(&channel, Key(key), value.as_deref());
                oracle.changed((name, key), value);
                ids.push((name, key));
            }
        }
        let journal = &mut self.journals[worker];
        if journal.write(clock) == Fate::Lost || !(ids.is_empty() || journal.wait()) {
            return Err(());
        }
        oracle.acknowledge(ids);
        Ok(())
    }

    fn remove_channel(&mut self, oracle: &mut Oracle, rng: &mut Rng) -> Result<(), ()> {
        let name = *rng.pick(&CHANNELS);
        let worker = rng.within(0..self.journals.len());
        let (store, journal) = (&self.store, &mut self.journals[worker]);
        let ids = oracle.ids(name);
        ids.iter().for_each(|id| oracle.changed(*id, None));
        let channel: ChannelName = name.parse().unwrap();
        let log =
            |channel: Option<&_>| journal.remove_channel(channel, store.cut(Sequence(0)), clock);
        let dir = Path::new(DATA);
        let removed = self.dumps.remove_channel(&*self.disk, dir, store, &channel, log);
        removed.map_err(drop)?;
        self.journals[worker].is_removed(&channel);
        oracle.acknowledge(ids);
        Ok(())
    }

    /// What a node does by itself when the disk is well again: workers write what waits, the next
    /// round dumps everything.
    fn recover(&mut self) {
        for journal in &mut self.journals {
            journal.retry_now();
            assert_eq!(journal.write(clock), Fate::Written);
            journal.wait();
            journal.durable();
        }
        let log = LogCut { store: &self.store, keeper: &self.keeper };
        for channel in self.store.channels() {
            let rest = &mut |_| ControlFlow::Continue(());
            self.target.dump(&channel, Some(log), &self.dumps, rest).unwrap();
        }
        self.keeper.dumped(&self.store, |channel| self.dumps.positions(channel.name()));
        assert_eq!(self.keeper.trouble(), None);
    }

    /// A round of dumps, of all channels or some of them.
    fn dump(&self, rng: &mut Rng) -> Result<(), ()> {
        let log = LogCut { store: &self.store, keeper: &self.keeper };
        for channel in self.store.channels() {
            if rng.one_in(3) {
                continue;
            }
            let rest = &mut |_| ControlFlow::Continue(());
            self.target.dump(&channel, Some(log), &self.dumps, rest).map_err(drop)?;
        }
        self.keeper.dumped(&self.store, |channel| self.dumps.positions(channel.name()));
        Ok(())
    }
}

#[test]
fn nothing_acknowledged_is_lost() {
    const LIVES: u64 = 10;
    for_seeds(crashes() / LIVES, |rng| {
        let mut memory = MemoryDisk::with_folder(DATA);
        let (mut oracle, mut boot) = (Oracle::default(), 1);
        for life in 0..LIVES {
            let reach = [20, 60, 200][rng.within(0..3)];
            let dead_from_call = Some(rng.within(0..reach));
            memory.set_faults(Faults { dead_from_call, ..Faults::default() });
            if let Ok(mut node) = Life::begin(&memory, boot, rng) {
                oracle.check(&node.records(), &format!("life {life}"));
                oracle = Oracle::of(node.records());
                while node.step(&mut oracle, rng).is_ok() {}
            }
            memory = if rng.one_in(3) {
                memory.after_kill()
            } else {
                boot += 1;
                memory.after_crash(&mut |n| rng.below(n))
            };
        }
        let node = Life::begin(&memory, boot, rng).unwrap_or_else(|error| panic!("{error}"));
        oracle.check(&node.records(), "the last life");
    });
}

/// A call to the disk fails once, whichever it is; the node goes on, and recovers by itself.
#[test]
fn a_failure_of_the_disk_loses_nothing_and_is_recovered_from() {
    for_seeds(crashes() / 5, |rng| {
        let memory = MemoryDisk::with_folder(DATA);
        let mut oracle = Oracle::default();
        let mut node = Life::begin(&memory, 1, rng).unwrap();
        let failing_call = Some(rng.within(0..60));
        let fails_after_work = rng.one_in(3);
        let capacity_bytes = rng.one_in(3).then(|| rng.within(0..3_000));
        let faults = Faults { failing_call, fails_after_work, capacity_bytes, ..Faults::default() };
        memory.set_faults(faults);
        for _ in 0..40 {
            // Nobody is told that it was done; the worker then looks what its syncer has to say.
            if node.step(&mut oracle, rng).is_err() {
                node.journals.iter_mut().for_each(|journal| _ = journal.durable());
            }
        }
        if rng.one_in(2) {
            let disk = memory.after_crash(&mut |n| rng.below(n));
            let found = Life::begin(&disk, 2, rng).unwrap_or_else(|error| panic!("{error}"));
            oracle.check(&found.records(), "after the failure");
            return;
        }
        memory.set_faults(Faults::default());
        node.recover();
        for _ in 0..10 {
            node.step(&mut oracle, rng).expect("the disk is well again");
        }
        let disk = memory.after_crash(&mut |n| rng.below(n));
        let found = Life::begin(&disk, 2, rng).unwrap_or_else(|error| panic!("{error}"));
        oracle.check(&found.records(), "after the recovery");
    });
}

/// All channels were removed since: no dump can end the trouble, and none is needed.
#[test]
fn a_failed_sync_is_recovered_from_without_channels() {
    let memory = MemoryDisk::with_folder(DATA);
    let mut node = Life::begin(&memory, 1, &mut Rng::new(1)).unwrap();
    node.keeper.disk_is_lost(7);
    assert!(node.keeper.trouble().is_some());
    node.recover();
}

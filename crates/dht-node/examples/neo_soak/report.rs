//! What came out: figures for people, and the checks that failed.

use std::fmt;
use std::thread;

use crate::Fault;
use crate::get_all::Scans;
use crate::mirror::{Kind, Mirror, Mirrored, Told};
use crate::oracle::Oracle;
use crate::settings::Settings;
use crate::soak::Soak;
use crate::universe::{ABSENT, Version};
use crate::watch::{MemoryFigures, QueuePeak};
use crate::writer::Written;

/// See the module.
pub(crate) struct Report {
    header: String,
    pub(crate) seconds: f64,
    pub(crate) settle_seconds: f64,
    pub(crate) written: Vec<Written>,
    pub(crate) scans: Vec<Scans>,
    mirrors: Vec<(usize, Kind, Told)>,
    memory: Option<MemoryFigures>,
    pub(crate) queues: Vec<QueuePeak>,
    records: usize,
    doubtful: usize,
    keys: usize,
    /// The checks that failed.
    pub(crate) failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(settings: &Settings, soak: &Soak) -> Self {
        let header = format!(
            "{} s, {} writes/s by {} writers, {} keys, {} Mirrors, {} GetAll loops, seed {}",
            settings.seconds,
            settings.writes_per_second,
            settings.writers,
            settings.keys,
            settings.mirrors,
            settings.get_alls,
            settings.seed,
        );
        Self {
            header,
            seconds: 0.0,
            settle_seconds: 0.0,
            written: Vec::new(),
            scans: Vec::new(),
            mirrors: Vec::new(),
            memory: None,
            queues: Vec::new(),
            records: 0,
            doubtful: 0,
            keys: soak.universe.len(),
            failures: Vec::new(),
        }
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    pub(crate) fn check(&mut self, is_good: bool, what: impl FnOnce() -> String) {
        if !is_good {
            self.fail(what());
        }
    }

    /// The results of threads; the faults of those that failed are kept.
    pub(crate) fn all<T>(
        &mut self,
        threads: impl Iterator<Item = thread::Result<Result<T, Fault>>>,
    ) -> Vec<T> {
        let mut results = Vec::new();
        for joined in threads {
            match joined {
                Ok(Ok(result)) => results.push(result),
                Ok(Err(fault)) => self.fail(fault.to_string()),
                Err(_) => self.fail("a thread panicked".to_owned()),
            }
        }
        results
    }

    pub(crate) fn check_memory(&mut self, figures: Result<MemoryFigures, Fault>) {
        match figures {
            Ok(figures) => {
                self.check(figures.is_flat(), || {
                    let (max, bound) = (figures.max_kib, figures.bound_kib());
                    format!("memory is not flat: {max:.0} KiB, {bound:.0} were allowed")
                });
                self.memory = Some(figures);
            }
            Err(fault) => self.fail(fault.to_string()),
        }
    }

    pub(crate) fn check_queues(&mut self) {
        for queue in self.queues.iter().filter(|queue| !queue.is_within()) {
            let what = format!("{} was {}, bound {}", queue.name, queue.peak, queue.bound);
            self.failures.push(what);
        }
    }

    /// Compares what the writers know, what the channel holds, and what the Mirrors hold.
    pub(crate) fn compare(
        &mut self,
        soak: &Soak,
        oracles: &[Oracle],
        contents: &[Version],
        mirrored: &[Mirrored],
    ) {
        self.records = contents.iter().filter(|version| **version != ABSENT).count();
        self.doubtful = soak.doubtful_len();
        let written = &contents[..soak.universe.len()];
        let wrong = written.iter().enumerate().filter(|(index, version)| {
            let oracle = oracles.iter().find(|oracle| oracle.is_mine(*index));
            oracle.is_some_and(|oracle| !oracle.allows(*index, **version))
        });
        let wrong: Vec<usize> = wrong.map(|(index, _)| index).collect();
        self.check(wrong.is_empty(), || {
            format!(
                "the channel: {} keys are not as they were written: {}",
                wrong.len(),
                few(&wrong)
            )
        });
        self.check(contents[soak.universe.sentinel()] != ABSENT, || "no sentinel".to_owned());
        for mirror in mirrored {
            self.mirrors.push((mirror.number, mirror.kind, mirror.told));
            let pairs = mirror.known.iter().zip(contents).enumerate();
            let wrong: Vec<_> = pairs.filter(|(_, (known, there))| known != there).collect();
            self.check(wrong.is_empty(), || {
                let (number, kind) = (mirror.number, mirror.kind);
                let keys = few(&wrong);
                let count = wrong.len();
                format!("Mirror {number} ({kind:?}) differs in {count} keys: {keys} (its, channel)")
            });
        }
    }

    fn told(&self) -> Told {
        let mut sum = Told::default();
        for (.., told) in &self.mirrors {
            sum.changes += told.changes;
            sum.removals += told.removals;
            sum.batches += told.batches;
            sum.refreshed += told.refreshed;
            sum.overflows += told.overflows;
            sum.suspensions += told.suspensions;
            sum.drops += told.drops;
        }
        sum
    }

    fn write_mirrors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |kind| self.mirrors.iter().filter(|(_, other, _)| *other == kind).count();
        let throughout =
            self.mirrors.iter().filter(|(number, ..)| !Mirror::may_be_dropped(*number));
        let (eager, slow, pausing) = (count(Kind::Eager), count(Kind::Slow), count(Kind::Pausing));
        let told = self.told();
        writeln!(
            f,
            "mirrors      {eager} eager, {slow} slow, {pausing} pausing; {} connected throughout; \
             {} drops, {} suspensions",
            throughout.count(),
            told.drops,
            told.suspensions
        )?;
        writeln!(
            f,
            "  told       {} changes, {} removals ({:.0}/s together), {} batches with {} records, \
             {} overflow notices",
            told.changes,
            told.removals,
            (told.changes + told.removals) as f64 / self.seconds,
            told.batches,
            told.refreshed,
            told.overflows
        )?;
        for (number, kind, told) in self.mirrors.iter().filter(|(_, kind, _)| *kind != Kind::Eager)
        {
            writeln!(
                f,
                "  Mirror {number:<3} {kind:?}: {} changes, {} removals, {} batches, {} overflow \
                 notices, {} suspensions, {} drops",
                told.changes,
                told.removals,
                told.batches,
                told.overflows,
                told.suspensions,
                told.drops
            )?;
        }
        writeln!(f, "  settled    {:.1} s after the last write", self.settle_seconds)
    }

    fn write_writers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: fn(&Written) -> u64| self.written.iter().map(of).sum::<u64>();
        let acknowledged = sum(Written::acknowledged);
        writeln!(
            f,
            "writes       {acknowledged} in {:.1} s: {:.0}/s ({} puts, {} updates, {} removes); \
             {} drops cut off {}",
            self.seconds,
            acknowledged as f64 / self.seconds,
            sum(|written| written.puts),
            sum(|written| written.updates),
            sum(|written| written.removes),
            sum(|written| written.drops),
            sum(|written| written.cut_off)
        )?;
        writeln!(
            f,
            "channel      {} records at the end; {} of {} keys in doubt by cut-off writes",
            self.records, self.doubtful, self.keys
        )
    }

    fn write_scans(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |of: fn(&Scans) -> u64| self.scans.iter().map(of).sum::<u64>();
        writeln!(
            f,
            "get_alls     {} finished, {} records in {} batches; {} suspensions, {} drops",
            sum(|scans| scans.finished),
            sum(|scans| scans.records),
            sum(|scans| scans.batches),
            sum(|scans| scans.suspensions),
            sum(|scans| scans.drops)
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.header)?;
        self.write_writers(f)?;
        self.write_mirrors(f)?;
        self.write_scans(f)?;
        if let Some(memory) = self.memory {
            writeln!(
                f,
                "memory       {:.0} KiB after {:.0} s, {:.0} at the end, {:.0} at most; \
                 {:+.0} KiB/minute",
                memory.first_kib,
                memory.warm_up_s,
                memory.last_kib,
                memory.max_kib,
                memory.kib_per_minute
            )?;
        }
        for queue in &self.queues {
            writeln!(f, "queue        {}: peak {}, bound {}", queue.name, queue.peak, queue.bound)?;
        }
        for failure in &self.failures {
            writeln!(f, "FAILED       {failure}")?;
        }
        write!(f, "{}", if self.failures.is_empty() { "all checks passed" } else { "failed" })
    }
}

/// The first of many.
fn few<T: fmt::Debug>(items: &[T]) -> String {
    const FEW: usize = 5;
    format!("{:?}", &items[..items.len().min(FEW)])
}

//! The phases, one after the other, each with a line of figures.

use std::{
    io::Write as _,
    sync::{
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
        mpsc::{SyncSender, sync_channel},
    },
    time::Instant,
};

use dht_protocol::legacy::requests::GetChannelSize;
use indicatif::HumanBytes;

use super::{
    check::{Differences, Expected, ScanCheck, check_value},
    crew::{Crew, Worker},
    plan::{FINAL, Fate, Plan, Version},
};
use crate::{Output, failure::Failure, progress::Progress, session::LegacySession};

/// What every phase needs.
pub(super) struct Work<'a> {
    pub(super) plan: &'a Plan,
    pub(super) crew: &'a Crew,
    pub(super) differences: &'a Differences,
    pub(super) out: &'a mut Output,
}

impl Work<'_> {
    /// Puts every record of the first phase.
    pub(super) fn put(&mut self) -> Result<(), Failure> {
        let (plan, crew) = (self.plan, self.crew);
        let total = self.total(Plan::base);
        self.timed("put", "records", total, |progress| {
            let part = |worker: &mut Worker<'_>| {
                let mut value = Vec::new();
                for place in plan.share(worker.number, worker.workers) {
                    if place.index < plan.base(place.channel) && !worker.is_called_off() {
                        plan.write_value(place, 0, &mut value);
                        let key = plan.key(place);
                        worker.session.node_for(key)?.put(plan.channel(place), key, &value)?;
                        worker.progress.add(value.len());
                    }
                }
                Ok(())
            };
            crew.work(crew.workers(), progress, part).map(drop)
        })
    }

    /// Reads every record back after the first phase.
    pub(super) fn get_first_values(&mut self) -> Result<(), Failure> {
        self.get_and_compare(Expected::First)
    }

    /// Reads every record back, those that must be gone too, when all is over.
    pub(super) fn get_final_values(&mut self) -> Result<(), Failure> {
        self.get_and_compare(Expected::Final)
    }

    fn get_and_compare(&mut self, expected: Expected) -> Result<(), Failure> {
        let (plan, crew, differences) = (self.plan, self.crew, self.differences);
        let total = self.total(Plan::end);
        self.timed("get", "records", total, |progress| {
            let part = |worker: &mut Worker<'_>| {
                let mut scratch = Vec::new();
                for place in plan.share(worker.number, worker.workers) {
                    if worker.is_called_off() {
                        break;
                    }
                    let key = plan.key(place);
                    let value = worker.session.node_for(key)?.get(plan.channel(place), key)?;
                    let value = value.as_deref();
                    worker.progress.add(value.map_or(0, <[u8]>::len));
                    if let Err(text) = check_value(plan, place, value, expected, &mut scratch) {
                        differences.add(format!("get: {text}"));
                    }
                }
                Ok(())
            };
            crew.work(crew.workers(), progress, part).map(drop)
        })
    }

    /// Scans all channels, `scans` times, while the crew writes into them.
    pub(super) fn scan_while_writing(&mut self, scans: u32) -> Result<(), Failure> {
        let (plan, crew, differences) = (self.plan, self.crew, self.differences);
        let total = self.total(Plan::base) * u64::from(scans);
        let writing = Writing::default();
        self.timed("scan", "records", total, |progress| {
            let written = Progress::hidden();
            let (began_tx, began_rx) = sync_channel(1);
            std::thread::scope(|scope| {
                let (writing, written) = (&writing, &written);
                let writers = scope.spawn(move || {
                    let part = |worker: &mut Worker<'_>| writing.write(plan, worker, &began_tx);
                    crew.work(crew.workers(), written, part).map(drop)
                });
                let expected = || Expected::Changing(writing.newest.load(Relaxed));
                // The scans are to meet writers. If these fail at once, there is no first write.
                let _ = began_rx.recv();
                let mut scan = |_| scan_all(plan, crew, differences, progress, &expected);
                let scanned = (0..scans).try_for_each(&mut scan);
                writing.stop.store(true, Relaxed);
                let written =
                    writers.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                scanned.and(written)
            })
        })?;
        let (writes, rounds) = (writing.writes.load(Relaxed), writing.newest.load(Relaxed));
        writeln!(self.out, "           meanwhile {writes} writes, in round {rounds}")?;
        Ok(())
    }

    /// Makes the last writes: from now on the state is known.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        let (plan, crew) = (self.plan, self.crew);
        // Three quarters of the first records are left alone, or nearly so many.
        let total = self.total(|plan, channel| plan.end(channel) - plan.base(channel) * 3 / 4);
        self.timed("settle", "writes", total, |progress| {
            let part = |worker: &mut Worker<'_>| {
                let mut value = Vec::new();
                for place in plan.share(worker.number, worker.workers) {
                    if worker.is_called_off() {
                        break;
                    }
                    let (key, channel) = (plan.key(place), plan.channel(place));
                    value.clear();
                    match plan.fate(place) {
                        Fate::Stable => continue,
                        Fate::Transient => worker.session.node_for(key)?.remove(channel, key)?,
                        fate @ (Fate::Replaced | Fate::Added) => {
                            let version = if fate == Fate::Added { 0 } else { FINAL };
                            plan.write_value(place, version, &mut value);
                            worker.session.node_for(key)?.put(channel, key, &value)?;
                        }
                    }
                    worker.progress.add(value.len());
                }
                Ok(())
            };
            crew.work(crew.workers(), progress, part).map(drop)
        })
    }

    /// Compares sizes and contents of all channels with the final state.
    pub(super) fn check(&mut self, session: &mut LegacySession) -> Result<(), Failure> {
        let (plan, crew, differences) = (self.plan, self.crew, self.differences);
        for (number, channel) in plan.channels().iter().enumerate() {
            let sizes = session.ask_all(&GetChannelSize { channel });
            session.finish()?;
            let (records, expected) =
                (sizes.iter().map(|(_, size)| size.records).sum::<u64>(), plan.present(number));
            if records != expected {
                differences.add(format!("size of {channel} is {records} records, not {expected}"));
            }
        }
        let total = self.total(Plan::present);
        self.timed("check", "records", total, |progress| {
            scan_all(plan, crew, differences, progress, &|| Expected::Final)
        })
    }

    fn total(&self, of_channel: impl Fn(&Plan, usize) -> u64) -> u64 {
        (0..self.plan.channels().len()).map(|channel| of_channel(self.plan, channel)).sum()
    }

    /// Runs a phase and prints its figures.
    fn timed(
        &mut self,
        name: &str,
        what: &str,
        total: u64,
        phase: impl FnOnce(&Progress) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let progress = Progress::alone(name, Some(total));
        let start = now();
        phase(&progress)?;
        let seconds = now().duration_since(start).as_secs_f64().max(0.001);
        let (count, bytes) = progress.counts();
        drop(progress);
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let rates = (count as f64 / seconds, bytes as f64 / seconds / 1e6);
        let bytes = HumanBytes(bytes).to_string();
        writeln!(
            self.out,
            "{name:<8} {count:>10} {what:<8} {bytes:>10} {seconds:>8.1} s {:>9.0}/s {:>7.1} MB/s",
            rates.0, rates.1
        )?;
        self.out.flush()?;
        Ok(())
    }
}

/// A program may ask for the time; here it only makes figures.
#[expect(clippy::disallowed_methods, reason = "measures the phases of a program")]
fn now() -> Instant {
    Instant::now()
}

/// Scans every channel, several at once, and checks what comes.
fn scan_all(
    plan: &Plan,
    crew: &Crew,
    differences: &Differences,
    progress: &Progress,
    expected: &(dyn Fn() -> Expected + Sync),
) -> Result<(), Failure> {
    let channels = plan.channels().len() as u64;
    let scanners = channels.min(crew.workers());
    let part = |worker: &mut Worker<'_>| {
        let all = plan.channels().iter().enumerate();
        let mine = all.filter(|(at, _)| *at as u64 % worker.workers == worker.number);
        for (number, channel) in mine {
            let mut check = ScanCheck::new(plan, number);
            let mut report = |text: String| differences.add(format!("scan: {text}"));
            for node in worker.session.nodes() {
                for record in node.get_all(channel)? {
                    let (key, value) = record?;
                    progress.add(value.len());
                    check.record(key, &value, expected()).unwrap_or_else(&mut report);
                }
            }
            check.missing(expected()).for_each(report);
        }
        Ok(())
    };
    crew.work(scanners, progress, part).map(drop)
}

/// The writers of the scan phase, and when they stop.
#[derive(Debug, Default)]
struct Writing {
    stop: AtomicBool,
    /// The highest version that a writer has begun to write.
    newest: AtomicU32,
    writes: AtomicU64,
}

impl Writing {
    /// Writes this worker's share, over and over with a version more, until told to stop. The first
    /// write of all workers is announced.
    fn write(
        &self,
        plan: &Plan,
        worker: &mut Worker<'_>,
        began_tx: &SyncSender<()>,
    ) -> Result<(), Failure> {
        for version in 1..FINAL {
            // Before the first value of that version can be in the node.
            self.newest.fetch_max(version, Relaxed);
            if !self.round(plan, worker, version, began_tx)? {
                break;
            }
        }
        Ok(())
    }

    /// One round; false if it was cut short.
    fn round(
        &self,
        plan: &Plan,
        worker: &mut Worker<'_>,
        version: Version,
        began_tx: &SyncSender<()>,
    ) -> Result<bool, Failure> {
        let mut value = Vec::new();
        let mut wrote = false;
        for place in plan.share(worker.number, worker.workers) {
            if self.stop.load(Relaxed) || worker.is_called_off() {
                return Ok(false);
            }
            let version = match plan.fate(place) {
                Fate::Stable => continue,
                Fate::Added if version > 1 => continue,
                Fate::Added => 0,
                Fate::Replaced | Fate::Transient => version,
            };
            let (key, channel) = (plan.key(place), plan.channel(place));
            let node = worker.session.node_for(key)?;
            if plan.fate(place) == Fate::Transient && version.is_multiple_of(2) {
                node.remove(channel, key)?;
            } else {
                plan.write_value(place, version, &mut value);
                node.put(channel, key, &value)?;
            }
            worker.progress.add(value.len());
            if self.writes.fetch_add(1, Relaxed) == 0 {
                let _ = began_tx.send(());
            }
            wrote = true;
        }
        // A share without anything to write must not spin.
        Ok(wrote)
    }
}

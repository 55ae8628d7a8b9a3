//! The phases, one after the other, each with a line of figures.

use std::{cell::Cell, io::Write as _, time::Instant};

use futures_util::StreamExt as _;
use indicatif::HumanBytes;
use tokio::sync::Notify;

use super::{
    check::{Differences, Expected, ScanCheck, check_value},
    crew::{Crew, Worker},
    plan::{FINAL, Fate, Plan, Version},
};
use crate::{Output, failure::Failure, progress::Progress};

/// What every phase needs.
pub(super) struct Work<'a> {
    pub(super) plan: &'a Plan,
    pub(super) crew: &'a Crew,
    pub(super) differences: &'a Differences,
    pub(super) out: &'a mut Output,
}

impl Work<'_> {
    /// Puts every record of the first phase.
    pub(super) async fn put(&mut self) -> Result<(), Failure> {
        let (plan, crew) = (self.plan, self.crew);
        let total = self.total(Plan::base);
        self.timed("put", "records", total, async |progress: &Progress| {
            let part = async |worker: &Worker<'_>| {
                let mut value = Vec::new();
                for place in plan.share(worker.number, worker.workers) {
                    if place.index < plan.base(place.channel) && !worker.is_called_off() {
                        plan.write_value(place, 0, &mut value);
                        let key = plan.key(place);
                        worker.channel(place).put(key, &value).await?;
                        worker.progress.add(value.len());
                    }
                }
                Ok(())
            };
            crew.work(crew.workers(), progress, part).await.map(drop)
        })
        .await
    }

    /// Reads every record back after the first phase.
    pub(super) async fn get_first_values(&mut self) -> Result<(), Failure> {
        self.get_and_compare(Expected::First).await
    }

    /// Reads every record back, those that must be gone too, when all is over.
    pub(super) async fn get_final_values(&mut self) -> Result<(), Failure> {
        self.get_and_compare(Expected::Final).await
    }

    async fn get_and_compare(&mut self, expected: Expected) -> Result<(), Failure> {
        let (plan, crew, differences) = (self.plan, self.crew, self.differences);
        let total = self.total(Plan::end);
        self.timed("get", "records", total, async |progress: &Progress| {
            let part = async |worker: &Worker<'_>| {
                let mut scratch = Vec::new();
                for place in plan.share(worker.number, worker.workers) {
                    if worker.is_called_off() {
                        break;
                    }
                    let key = plan.key(place);
                    let value = worker.channel(place).get(key).await?;
                    let value = value.as_deref();
                    worker.progress.add(value.map_or(0, <[u8]>::len));
                    if let Err(text) = check_value(plan, place, value, expected, &mut scratch) {
                        differences.add(format!("get: {text}"));
                    }
                }
                Ok(())
            };
            crew.work(crew.workers(), progress, part).await.map(drop)
        })
        .await
    }

    /// Scans all channels, `scans` times, while the crew writes into them.
    pub(super) async fn scan_while_writing(&mut self, scans: u32) -> Result<(), Failure> {
        let (plan, crew, differences) = (self.plan, self.crew, self.differences);
        let total = self.total(Plan::base) * u64::from(scans);
        let writing = Writing::default();
        self.timed("scan", "records", total, async |progress: &Progress| {
            let written = Progress::hidden();
            let part = async |worker: &Worker<'_>| writing.write(plan, worker).await;
            let writers = async {
                let result = crew.work(crew.workers(), &written, part).await.map(drop);
                // If they fail at once, there is no first write.
                writing.began.notify_one();
                result
            };
            let expected = || Expected::Changing(writing.newest.get());
            let scanners = async {
                // The scans are to meet writers.
                writing.began.notified().await;
                let mut result = Ok(());
                for _ in 0..scans {
                    if result.is_ok() {
                        result = scan_all(plan, crew, differences, progress, &expected).await;
                    }
                }
                writing.stop.set(true);
                result
            };
            let (written, scanned) = tokio::join!(writers, scanners);
            scanned.and(written)
        })
        .await?;
        let (writes, rounds) = (writing.writes.get(), writing.newest.get());
        writeln!(self.out, "           meanwhile {writes} writes, in round {rounds}")?;
        Ok(())
    }

    /// Makes the last writes: from now on the state is known.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        let (plan, crew) = (self.plan, self.crew);
        // Three quarters of the first records are left alone, or nearly so many.
        let total = self.total(|plan, channel| plan.end(channel) - plan.base(channel) * 3 / 4);
        self.timed("settle", "writes", total, async |progress: &Progress| {
            let part = async |worker: &Worker<'_>| {
                let mut value = Vec::new();
                for place in plan.share(worker.number, worker.workers) {
                    if worker.is_called_off() {
                        break;
                    }
                    let (key, channel) = (plan.key(place), worker.channel(place));
                    value.clear();
                    match plan.fate(place) {
                        Fate::Stable => continue,
                        Fate::Transient => drop(channel.remove(key).await?),
                        fate @ (Fate::Replaced | Fate::Added) => {
                            let version = if fate == Fate::Added { 0 } else { FINAL };
                            plan.write_value(place, version, &mut value);
                            channel.put(key, &value).await?;
                        }
                    }
                    worker.progress.add(value.len());
                }
                Ok(())
            };
            crew.work(crew.workers(), progress, part).await.map(drop)
        })
        .await
    }

    /// Compares sizes and contents of all channels with the final state.
    pub(super) async fn check(&mut self) -> Result<(), Failure> {
        let (plan, crew, differences) = (self.plan, self.crew, self.differences);
        for (number, channel) in crew.channels().iter().enumerate() {
            let (records, expected) = (channel.size().await?.records, plan.present(number));
            if records != expected {
                let name = channel.name();
                differences.add(format!("size of {name} is {records} records, not {expected}"));
            }
        }
        let total = self.total(Plan::present);
        self.timed("check", "records", total, async |progress: &Progress| {
            scan_all(plan, crew, differences, progress, &|| Expected::Final).await
        })
        .await
    }

    fn total(&self, of_channel: impl Fn(&Plan, usize) -> u64) -> u64 {
        (0..self.plan.channels().len()).map(|channel| of_channel(self.plan, channel)).sum()
    }

    /// Runs a phase and prints its figures.
    async fn timed(
        &mut self,
        name: &str,
        what: &str,
        total: u64,
        phase: impl AsyncFnOnce(&Progress) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let progress = Progress::alone(name, Some(total));
        let start = now();
        phase(&progress).await?;
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
async fn scan_all(
    plan: &Plan,
    crew: &Crew,
    differences: &Differences,
    progress: &Progress,
    expected: &dyn Fn() -> Expected,
) -> Result<(), Failure> {
    let channels = plan.channels().len() as u64;
    let scanners = channels.min(crew.workers());
    let part = async |worker: &Worker<'_>| {
        let all = worker.channels.iter().enumerate();
        let mine = all.filter(|(at, _)| *at as u64 % worker.workers == worker.number);
        for (number, channel) in mine {
            let mut check = ScanCheck::new(plan, number);
            let mut report = |text: String| differences.add(format!("scan: {text}"));
            let mut records = channel.get_all();
            while let Some(record) = records.next().await {
                let (key, value) = record?;
                progress.add(value.len());
                check.record(key, &value, expected()).unwrap_or_else(&mut report);
            }
            check.missing(expected()).for_each(report);
        }
        Ok(())
    };
    crew.work(scanners, progress, part).await.map(drop)
}

/// The writers of the scan phase, and when they stop.
#[derive(Debug, Default)]
struct Writing {
    /// Something was written, or will never be.
    began: Notify,
    stop: Cell<bool>,
    /// The highest version that a writer has begun to write.
    newest: Cell<Version>,
    writes: Cell<u64>,
}

impl Writing {
    /// Writes this worker's share, over and over with a version more, until told to stop. The first
    /// write of all workers is announced.
    async fn write(&self, plan: &Plan, worker: &Worker<'_>) -> Result<(), Failure> {
        for version in 1..FINAL {
            // Before the first value of that version can be in the node.
            self.newest.set(self.newest.get().max(version));
            if !self.round(plan, worker, version).await? {
                break;
            }
        }
        Ok(())
    }

    /// One round; false if it was cut short.
    async fn round(
        &self,
        plan: &Plan,
        worker: &Worker<'_>,
        version: Version,
    ) -> Result<bool, Failure> {
        let mut value = Vec::new();
        let mut wrote = false;
        for place in plan.share(worker.number, worker.workers) {
            if self.stop.get() || worker.is_called_off() {
                return Ok(false);
            }
            let version = match plan.fate(place) {
                Fate::Stable => continue,
                Fate::Added if version > 1 => continue,
                Fate::Added => 0,
                Fate::Replaced | Fate::Transient => version,
            };
            let (key, channel) = (plan.key(place), worker.channel(place));
            if plan.fate(place) == Fate::Transient && version.is_multiple_of(2) {
                channel.remove(key).await?;
            } else {
                plan.write_value(place, version, &mut value);
                channel.put(key, &value).await?;
            }
            worker.progress.add(value.len());
            self.writes.set(self.writes.get() + 1);
            self.began.notify_one();
            wrote = true;
        }
        // A share without anything to write must not spin.
        Ok(wrote)
    }
}

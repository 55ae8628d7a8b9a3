//! Processor and memory figures of this process, from `/proc`.

use std::fs;
use std::time::{Duration, Instant};

/// The process group of a stats line.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessFigures {
    /// Percent of one core in user mode since the last line.
    pub cpu_user: f64,
    /// Percent of one core in the kernel since the last line.
    pub cpu_system: f64,
    /// The sum of both.
    pub cpu_total: f64,
    /// Address space, in bytes.
    pub vsz_bytes: u64,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// Resident memory, in percent of the machine's.
    pub mem_percentage: f64,
}

/// Figures of this process since its start, and of now. All zero where there is no `/proc`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessTotals {
    /// Seconds of all threads in user mode.
    pub cpu_user_s: f64,
    /// Seconds of all threads in the kernel.
    pub cpu_system_s: f64,
    /// Address space, in bytes.
    pub vsz_bytes: u64,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// Threads.
    pub threads: u64,
}

/// See [`ProcessTotals`].
#[must_use]
pub fn totals() -> ProcessTotals {
    let Some(sample) = read_sample() else { return ProcessTotals::default() };
    let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
    ProcessTotals {
        cpu_user_s: ratio(sample.user_ticks as f64, ticks_per_s),
        cpu_system_s: ratio(sample.system_ticks as f64, ticks_per_s),
        vsz_bytes: sample.vsz_bytes,
        rss_bytes: sample.rss_pages * rustix::param::page_size() as u64,
        threads: sample.threads,
    }
}

/// What `/proc/self/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    user_ticks: u64,
    system_ticks: u64,
    threads: u64,
    vsz_bytes: u64,
    rss_pages: u64,
}

/// Remembers the last reading, for the figures "since the last line".
#[derive(Debug)]
pub struct ProcessMeter {
    last: Option<(Instant, Sample)>,
    /// Ticks in a second, for the times of the process.
    ticks_per_s: u64,
    page_bytes: u64,
    machine_bytes: u64,
}

impl ProcessMeter {
    /// Starts measuring at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            last: read_sample().map(|sample| (now, sample)),
            ticks_per_s: rustix::param::clock_ticks_per_second(),
            page_bytes: rustix::param::page_size() as u64,
            machine_bytes: parse_mem_total(&meminfo).unwrap_or(0),
        }
    }

    /// The figures since the last call. All zero where there is no `/proc`.
    pub fn figures(&mut self, now: Instant) -> ProcessFigures {
        read_sample().map_or_else(ProcessFigures::default, |sample| self.advance(now, sample))
    }

    fn advance(&mut self, now: Instant, sample: Sample) -> ProcessFigures {
        let (before, last) = self.last.replace((now, sample)).unwrap_or((now, sample));
        let elapsed = now.saturating_duration_since(before);
        let cpu_user = self.percent(sample.user_ticks, last.user_ticks, elapsed);
        let cpu_system = self.percent(sample.system_ticks, last.system_ticks, elapsed);
        let rss_bytes = sample.rss_pages * self.page_bytes;
        ProcessFigures {
            cpu_user,
            cpu_system,
            cpu_total: cpu_user + cpu_system,
            vsz_bytes: sample.vsz_bytes,
            rss_bytes,
            mem_percentage: ratio(rss_bytes as f64 * 100.0, self.machine_bytes as f64),
        }
    }

    fn percent(&self, ticks: u64, ticks_before: u64, elapsed: Duration) -> f64 {
        let seconds = ratio(ticks.saturating_sub(ticks_before) as f64, self.ticks_per_s as f64);
        ratio(seconds * 100.0, elapsed.as_secs_f64())
    }
}

/// `a / b`, or 0 if `b` is.
fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}

fn read_sample() -> Option<Sample> {
    parse_stat(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// Reads `pid (name) state ppid ..`. The name may hold blanks and parentheses: fields are counted
/// from the last `)`, behind which comes field 3 of proc(5).
fn parse_stat(text: &str) -> Option<Sample> {
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse().ok();
    Some(Sample {
        user_ticks: number(14)?,
        system_ticks: number(15)?,
        threads: number(20)?,
        vsz_bytes: number(23)?,
        rss_pages: number(24)?,
    })
}

/// The machine's memory in bytes: the line `MemTotal: N kB` of `/proc/meminfo`.
fn parse_mem_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some instant: only differences matter.
    #[expect(clippy::disallowed_methods, reason = "there is no other way to make an Instant")]
    fn now() -> Instant {
        Instant::now()
    }

    const STAT: &str = "42 (dht) node (1)) S 1 42 42 0 -1 4194560 1234 0 5 0 300 100 0 0 20 0 4 0 \
                        9999 123456789 2500 18446744073709551615 1 1 0 0 0 0 0 4096 16384 0 0 0 \
                        17\n";

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let expected = Sample {
            user_ticks: 300,
            system_ticks: 100,
            threads: 4,
            vsz_bytes: 123_456_789,
            rss_pages: 2500,
        };
        assert_eq!(parse_stat(STAT), Some(expected));
        for text in ["", "42 (x", "42 (x) S 1 2", &STAT.replace("300", "x")] {
            assert_eq!(parse_stat(text), None, "{text}");
        }
        assert_eq!(parse_mem_total("MemTotal:   1000 kB\nMemFree: 1 kB\n"), Some(1_024_000));
        assert_eq!(parse_mem_total("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn figures_are_per_period() {
        let start = now();
        let sample = parse_stat(STAT).unwrap();
        let mut meter = ProcessMeter {
            last: Some((start, Sample { user_ticks: 100, system_ticks: 50, ..sample })),
            ticks_per_s: 100,
            page_bytes: 4096,
            machine_bytes: 102_400_000,
        };
        let figures = meter.advance(start + Duration::from_secs(10), sample);
        let expected = ProcessFigures {
            cpu_user: 20.0,
            cpu_system: 5.0,
            cpu_total: 25.0,
            vsz_bytes: 123_456_789,
            rss_bytes: 10_240_000,
            mem_percentage: 10.0,
        };
        assert_eq!(figures, expected);
        let idle = meter.advance(start + Duration::from_secs(20), sample);
        assert_eq!((idle.cpu_user, idle.cpu_total), (0.0, 0.0));
    }

    #[test]
    fn this_process_has_memory() {
        let figures = ProcessMeter::new(now()).figures(now());
        assert!(figures.rss_bytes > 0 && figures.vsz_bytes > figures.rss_bytes);
        assert!(figures.mem_percentage > 0.0 && figures.mem_percentage < 100.0);
        let totals = totals();
        assert!(totals.rss_bytes > 0 && totals.threads > 0, "{totals:?}");
    }
}

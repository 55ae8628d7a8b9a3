//! What the node process says of itself: its memory, and its queues' peaks.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Fault;
use crate::soak::{Phase, Soak};

/// How often memory is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// Growth that is no leak: queues of Mirrors that happen to be suspended at the same time.
const GROWTH_KIB_MAX: f64 = 20.0 * 1024.0;
/// The same, as a share of what there was.
const GROWTH_SHARE_MAX: f64 = 0.10;
/// Samples that the start and the end are averages of.
const AVERAGED: usize = 10;
/// How far a connection's output may exceed its bound: by one answer or one step of a stream,
/// which here have a batch of 128 KiB at most, and a little more if it cannot be compressed.
const OUTPUT_STEP_BYTES: u64 = 2 * 128 * 1024;
/// How long the node may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Memory over time: seconds of the run, and KiB.
#[derive(Debug, Default)]
pub(crate) struct Memory(Vec<(f64, f64)>);

/// What a memory curve says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryFigures {
    pub(crate) warm_up_s: f64,
    /// Averages of some seconds after the warm-up and before the end, and the greatest value
    /// after the warm-up, in KiB.
    pub(crate) first_kib: f64,
    pub(crate) last_kib: f64,
    pub(crate) max_kib: f64,
    /// Of the line that fits best.
    pub(crate) kib_per_minute: f64,
}

/// Samples the resident memory of a process until the chaos is over.
pub(crate) fn memory(soak: &Soak, pid: u32) -> Result<Memory, Fault> {
    let mut samples = Vec::new();
    let mut next = Instant::now();
    while soak.phase() == Phase::Chaos {
        samples.push((soak.began.elapsed().as_secs_f64(), resident_kib(pid)?));
        next += PERIOD;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(Memory(samples))
}

/// `VmRSS` of a process.
fn resident_kib(pid: u32) -> Result<f64, Fault> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS in /proc")?;
    Ok(kib.parse()?)
}

impl Memory {
    /// The figures of a run that has warmed up after so many seconds.
    pub(crate) fn figures(&self, warm_up_s: f64) -> Result<MemoryFigures, Fault> {
        let at = self.0.partition_point(|(second, _)| *second < warm_up_s);
        let warm = &self.0[at..];
        if warm.is_empty() {
            return Err("no memory sample after the warm-up".into());
        }
        let count = AVERAGED.min(warm.len());
        let max_kib = warm.iter().map(|(_, kib)| *kib).fold(0.0, f64::max);
        Ok(MemoryFigures {
            warm_up_s,
            first_kib: mean(warm[..count].iter().map(|(_, kib)| *kib)),
            last_kib: mean(warm[warm.len() - count..].iter().map(|(_, kib)| *kib)),
            max_kib,
            kib_per_minute: 60.0 * slope(warm),
        })
    }
}

impl MemoryFigures {
    /// What the greatest value may be.
    pub(crate) fn bound_kib(&self) -> f64 {
        self.first_kib * (1.0 + GROWTH_SHARE_MAX) + GROWTH_KIB_MAX
    }

    pub(crate) fn is_flat(&self) -> bool {
        self.max_kib <= self.bound_kib()
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// Least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let x_mean = mean(points.iter().map(|(x, _)| *x));
    let y_mean = mean(points.iter().map(|(_, y)| *y));
    let covariance: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

/// How full a queue of the node has been.
#[derive(Debug)]
pub(crate) struct QueuePeak {
    pub(crate) name: String,
    pub(crate) peak: u64,
    pub(crate) bound: u64,
}

impl QueuePeak {
    pub(crate) fn is_within(&self) -> bool {
        let more = if self.name == "output_bytes" { OUTPUT_STEP_BYTES } else { 0 };
        self.peak <= self.bound + more
    }
}

/// Asks the node's command socket.
pub(crate) fn queue_peaks(socket: &Path) -> Result<Vec<QueuePeak>, Fault> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"queues\n")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let peaks: Vec<_> = reply.lines().map(queue_peak).collect::<Result<_, _>>()?;
    if peaks.is_empty() { Err("the node tells of no queue".into()) } else { Ok(peaks) }
}

fn queue_peak(line: &str) -> Result<QueuePeak, Fault> {
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or_else(|| format!("not a queue: {line}"));
    Ok(QueuePeak { name: word()?.to_owned(), peak: word()?.parse()?, bound: word()?.parse()? })
}

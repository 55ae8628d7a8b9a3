//! Service that goes on: puts and gets of random records by one connection, at a fixed rate.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dht_testkit::Rng;

/// Requests a second: half puts, half gets.
const RATE: u64 = 10_000;

/// A connection to a server, whichever.
pub(crate) trait Client {
    /// Puts a record and waits for the answer.
    fn put(&mut self, key: u64, value: &[u8]) -> io::Result<()>;
    /// Gets a record and waits for the answer.
    fn get(&mut self, key: u64) -> io::Result<()>;
}

/// How long puts took, in nanoseconds, ascending.
#[derive(Debug)]
pub(crate) struct Latencies(Vec<u64>);

impl Latencies {
    /// Of all of these puts together: a quantile of a few thousand puts is a guess, that of all
    /// rounds is less of one.
    pub(crate) fn of(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        Self(nanos)
    }

    /// Each put, in nanoseconds.
    pub(crate) fn nanos(&self) -> &[u64] {
        &self.0
    }

    /// What this share of the puts took at most, in microseconds; NaN without any.
    pub(crate) fn quantile_us(&self, share: f64) -> f64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let index = (self.0.len() as f64 * share) as usize;
        self.0.get(index).map_or(f64::NAN, |nanos| *nanos as f64 / 1e3)
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p999) = (self.quantile_us(0.5), self.quantile_us(0.999));
        write!(f, "p50 {p50:.0} us, p99.9 {p999:.0} us of {}", self.0.len())
    }
}

/// Serves until `stop` is set. A request that is late because the one before took long is sent at
/// once, and its wait counts: the rate is that of clients who do not know of each other.
pub(crate) fn run(
    client: &mut dyn Client,
    records: usize,
    stop: &AtomicBool,
) -> io::Result<Latencies> {
    let mut rng = Rng::new(17);
    let period = Duration::from_nanos(1_000_000_000 / RATE);
    let (mut due, mut nanos) = (Instant::now(), Vec::new());
    while !stop.load(Relaxed) {
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        let key = rng.below(records as u64);
        if rng.one_in(2) {
            client.put(key, &value(key))?;
            nanos.push(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
        } else {
            client.get(key)?;
        }
        due += period;
    }
    Ok(Latencies::of(nanos))
}

/// Serves for a fixed time.
pub(crate) fn run_for(
    client: &mut dyn Client,
    records: usize,
    time: Duration,
) -> io::Result<Latencies> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(time);
            stop.store(true, Relaxed);
        });
        run(client, records, &stop)
    })
}

/// A value that compresses badly.
pub(crate) fn value(key: u64) -> [u8; super::VALUE_BYTES] {
    let mut rng = Rng::new(key);
    let mut value = [0; super::VALUE_BYTES];
    for chunk in value.chunks_mut(8) {
        chunk.copy_from_slice(&rng.next().to_le_bytes()[..chunk.len()]);
    }
    value
}

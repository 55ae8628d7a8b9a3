//! Which keys are asked for most, by a sample of the requests.
//!
//! Every so many requests about a record (`[Admin] hot_key_sample`) a worker notes the key of one,
//! in a table of its own that forgets what is rare: when it is full, the least counted key makes
//! room, and the new one takes over its count as its possible error (the algorithm "space saving").
//! So a key that makes up more than one in [`KEYS_MAX`] of the requests is never missed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dht_types::{ChannelName, Key};

/// Keys that a worker counts.
const KEYS_MAX: usize = 64;

/// What is told is about the last time of this length that is over, and about what came since.
const WINDOW: Duration = Duration::from_secs(30);

/// A key and how often it was found in the sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HotKey {
    pub(crate) channel: ChannelName,
    pub(crate) key: Key,
    pub(crate) count: u64,
    /// So much of the count may be others'.
    pub(crate) error: u64,
}

/// One worker's table; the worker never waits for who reads it.
#[derive(Debug, Default)]
pub(crate) struct HotKeys(Mutex<Windows>);

#[derive(Debug, Default)]
struct Windows {
    /// When the present one began.
    began: Option<Instant>,
    last: Window,
    present: Window,
}

#[derive(Debug, Default)]
struct Window {
    keys: Vec<HotKey>,
    samples: u64,
    length: Duration,
}

/// What was found, of all workers.
#[derive(Debug, Default)]
pub(crate) struct HotReport {
    /// The most frequent first.
    pub(crate) keys: Vec<HotKey>,
    /// All samples.
    pub(crate) samples: u64,
    /// Over how much time they were taken.
    pub(crate) over: Duration,
}

impl Window {
    fn add(&mut self, channel: &str, key: Key) {
        self.samples += 1;
        let same = |hot: &&mut HotKey| hot.key == key && hot.channel.as_str() == channel;
        if let Some(hot) = self.keys.iter_mut().find(same) {
            hot.count += 1;
            return;
        }
        // A request with a name that is none is refused.
        let Ok(channel) = ChannelName::new(channel.as_bytes()) else { return };
        if self.keys.len() < KEYS_MAX {
            self.keys.push(HotKey { channel, key, count: 1, error: 0 });
        } else if let Some(least) = self.keys.iter_mut().min_by_key(|hot| hot.count) {
            let error = least.count;
            *least = HotKey { channel, key, count: error + 1, error };
        }
    }
}

impl HotKeys {
    fn lock(&self) -> MutexGuard<'_, Windows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a key of the sample, unless somebody is reading.
    pub(crate) fn note(&self, channel: &str, key: Key, now: Instant) {
        let Ok(mut windows) = self.0.try_lock() else { return };
        let began = *windows.began.get_or_insert(now);
        let length = now.saturating_duration_since(began);
        if length >= WINDOW {
            windows.last = std::mem::take(&mut windows.present);
            windows.last.length = length;
            windows.began = Some(now);
        }
        windows.present.add(channel, key);
    }

    /// Adds what was found in the last minute at most.
    fn add_to(&self, report: &mut HotReport, now: Instant) {
        let windows = self.lock();
        let Some(began) = windows.began else { return };
        let length = now.saturating_duration_since(began);
        let mut over = Duration::ZERO;
        let mut add = |window: &Window, length: Duration| {
            over += length;
            report.samples += window.samples;
            for hot in &window.keys {
                let same =
                    |other: &&mut HotKey| other.key == hot.key && other.channel == hot.channel;
                match report.keys.iter_mut().find(same) {
                    Some(other) => {
                        other.count += hot.count;
                        other.error += hot.error;
                    }
                    None => report.keys.push(hot.clone()),
                }
            }
        };
        if length < 2 * WINDOW {
            add(&windows.present, length);
            add(&windows.last, windows.last.length);
        }
        report.over = report.over.max(over);
    }
}

/// What all workers have found.
pub(crate) fn report<'a>(workers: impl Iterator<Item = &'a HotKeys>, now: Instant) -> HotReport {
    let mut report = HotReport::default();
    workers.for_each(|worker| worker.add_to(&mut report, now));
    report.keys.sort_by_key(|hot| std::cmp::Reverse(hot.count - hot.error));
    report
}

/// Says which requests are in the sample: one in so many on the average, at distances that vary, so
/// that no rhythm of the clients hides a key.
#[derive(Debug)]
pub(crate) struct Sampler {
    /// One in so many; 0: none.
    every: u32,
    left: u32,
    /// Where the distances come from: Marsaglia's xorshift, never 0.
    state: u32,
}

impl Sampler {
    pub(crate) const fn new(every: u32) -> Self {
        Self { every, left: every, state: 0x9e37_79b9 }
    }

    /// Whether there is a sample.
    pub(crate) const fn is_on(&self) -> bool {
        self.every > 0
    }

    /// A request about a record: whether it is one of the sample.
    #[inline]
    pub(crate) const fn takes(&mut self) -> bool {
        if self.every == 0 {
            return false;
        }
        self.left -= 1;
        let takes = self.left == 0;
        if takes {
            self.left = self.distance();
        }
        takes
    }

    /// From 1 to twice the mean, less 1.
    const fn distance(&mut self) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        1 + self.state % self.every.saturating_mul(2).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use dht_testkit::for_seeds;

    use super::*;
    use crate::program::now;

    #[test]
    fn a_hot_key_is_found_among_many_cold_ones() {
        for_seeds(50, |rng| {
            let (hot, at) = (HotKeys::default(), now());
            for _ in 0..5_000 {
                let key = if rng.below(10) == 0 { 7 } else { 1_000 + rng.below(100_000) };
                hot.note("c", Key(key), at);
            }
            let report = report([&hot].into_iter(), at);
            assert_eq!(report.samples, 5_000);
            assert_eq!(report.keys[0].key, Key(7), "{:?}", &report.keys[..3]);
            assert_eq!(report.keys.len(), KEYS_MAX);
        });
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let (hot, at) = (HotKeys::default(), now());
        hot.note("c", Key(1), at);
        hot.note("c", Key(2), at + WINDOW);
        let keys = |now| report([&hot].into_iter(), now).keys.len();
        assert_eq!(keys(at + WINDOW), 2);
        assert_eq!(keys(at + 3 * WINDOW), 0, "nobody has asked for a minute");
        hot.note("c", Key(3), at + 2 * WINDOW);
        hot.note("c", Key(4), at + 3 * WINDOW);
        assert_eq!(keys(at + 3 * WINDOW), 2);
    }

    #[test]
    fn a_key_in_step_with_the_sample_is_found_as_often_as_it_comes() {
        for every in [1, 2, 16, 1024] {
            let mut sampler = Sampler::new(every);
            let (mut all, mut hot) = (0_u32, 0_u32);
            // Every 16th request is for the hot key: never the one that a fixed distance takes.
            for request in 0..every * 20_000 {
                if sampler.takes() {
                    all += 1;
                    hot += u32::from(request % 16 == 5);
                }
            }
            assert!((19_000..=21_000).contains(&all), "one in {every}: {all} samples");
            assert!((all / 20..all / 12).contains(&hot), "one in {every}: {hot} of {all}");
        }
        assert!((0..100).all(|_| !Sampler::new(0).takes()));
    }
}

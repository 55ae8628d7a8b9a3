//! What all threads of the soak share: the node's address, the phase, the keys in doubt.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::time::{Duration, Instant};

use dht_testkit::Rng;

use crate::universe::Universe;

/// The channel.
pub(crate) const CHANNEL: &str = "soak";

/// What goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Writers write, connections are dropped.
    Chaos = 0,
    /// Nothing is written or dropped any more, all Mirrors read as fast as they can.
    Settle = 1,
    /// The Mirrors hand in what they hold.
    Over = 2,
}

/// See the module.
pub(crate) struct Soak {
    pub(crate) legacy: SocketAddr,
    pub(crate) neo: SocketAddr,
    pub(crate) universe: Universe,
    pub(crate) seed: u64,
    pub(crate) began: Instant,
    /// How long connections live that are to be dropped: shortest and longest.
    pub(crate) life: (Duration, Duration),
    phase: AtomicU8,
    /// By index: a write of this key was under way when its connection was dropped. It may be
    /// done, or not, and even later than writes that follow over another connection.
    doubtful: Vec<AtomicBool>,
}

impl Soak {
    pub(crate) fn new(
        (legacy, neo): (SocketAddr, SocketAddr),
        universe: Universe,
        seed: u64,
        seconds: u64,
    ) -> Self {
        let doubtful = (0..universe.len_with_sentinel()).map(|_| AtomicBool::new(false)).collect();
        let longest = Duration::from_secs((seconds / 5).clamp(5, 90));
        let life = (longest / 8, longest);
        let (phase, began) = (AtomicU8::new(Phase::Chaos as u8), Instant::now());
        Self { legacy, neo, universe, seed, began, life, phase, doubtful }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            0 => Phase::Chaos,
            1 => Phase::Settle,
            _ => Phase::Over,
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, SeqCst);
    }

    pub(crate) fn is_doubtful(&self, index: usize) -> bool {
        self.doubtful[index].load(SeqCst)
    }

    pub(crate) fn doubt(&self, index: usize) {
        self.doubtful[index].store(true, SeqCst);
    }

    pub(crate) fn doubtful_len(&self) -> usize {
        self.doubtful.iter().filter(|doubtful| doubtful.load(SeqCst)).count()
    }

    /// The randomness of one thread, named by its trade and number.
    pub(crate) const fn rng(&self, trade: u64, number: usize) -> Rng {
        let mut rng = Rng::new(self.seed ^ (trade << 32) ^ number as u64);
        Rng::new(rng.next())
    }

    /// When a connection that is made now is to be dropped.
    pub(crate) fn drop_at(&self, rng: &mut Rng) -> Instant {
        Instant::now() + between(rng, self.life)
    }
}

/// A duration from a range.
pub(crate) fn between(rng: &mut Rng, (shortest, longest): (Duration, Duration)) -> Duration {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).expect("minutes");
    let spread = millis(longest) - millis(shortest) + 1;
    shortest + Duration::from_millis(rng.below(spread))
}

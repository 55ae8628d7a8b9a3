//! A Mirror's client: keeps a map by what it is told, sometimes slowly, sometimes not at all.
//!
//! ```text
//! Reading --Suspend, Ack--> Suspended --Resume, Ack--> Reading     the kind that pauses
//! connected --dropped--> connected anew, empty map, initial refresh
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use dht_protocol::neo::batch::{decompress, next_refreshed};
use dht_protocol::neo::client::Reply;
use dht_protocol::neo::requests::{Mirror as Request, MirrorMessage};
use dht_protocol::neo::{Control, RequestId};
use dht_protocol::wire::Reader;
use dht_testkit::Rng;
use dht_types::Key;

use crate::Fault;
use crate::link::Link;
use crate::soak::{CHANNEL, Phase, Soak, between};
use crate::universe::{ABSENT, Version};

/// How a Mirror's client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads as fast as it can.
    Eager,
    /// Reads [`SLOW_TURN_BYTES`] at a time.
    Slow,
    /// Suspends now and then.
    Pausing,
}

/// What a slow one reads before it rests.
const SLOW_TURN_BYTES: usize = 4 * 1024;
/// How long a slow one rests.
const SLOW_REST: Duration = Duration::from_millis(10);
/// Receive buffer of those that are not eager.
const SLOW_BUFFER_BYTES: usize = 64 * 1024;
/// How long one that pauses reads, and how long it does not.
const READS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(15));
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(25));
/// Period of those that ask for refreshes.
const REFRESH_PERIOD_S: u32 = 60;
/// Names this trade to [`Soak::rng`].
const TRADE: u64 = 2;

/// What others see of a Mirror while it runs.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// When it was told something for the last time, in milliseconds of the run.
    pub(crate) told_at_ms: AtomicU64,
    pub(crate) has_sentinel: AtomicBool,
}

/// What happened to a Mirror.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) changes: u64,
    pub(crate) removals: u64,
    pub(crate) batches: u64,
    pub(crate) refreshed: u64,
    pub(crate) overflows: u64,
    pub(crate) suspensions: u64,
    pub(crate) drops: u64,
}

/// A Mirror at the end.
#[derive(Debug)]
pub(crate) struct Mirrored {
    pub(crate) number: usize,
    pub(crate) kind: Kind,
    /// What it holds, by index.
    pub(crate) known: Vec<Version>,
    pub(crate) told: Told,
}

/// See the module.
pub(crate) struct Mirror<'s> {
    soak: &'s Soak,
    pulse: &'s Pulse,
    number: usize,
    kind: Kind,
    rng: Rng,
    known: Vec<Version>,
    /// By index: the latest version it ever saw. None before that may come.
    latest: Vec<Version>,
    told: Told,
    play: Play,
    value: Vec<u8>,
    records: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Play {
    Reading { until: Instant },
    Suspending,
    Suspended { until: Instant },
    Resuming,
}

impl<'s> Mirror<'s> {
    pub(crate) fn new(soak: &'s Soak, pulse: &'s Pulse, number: usize, kind: Kind) -> Self {
        let nothing = vec![ABSENT; soak.universe.len_with_sentinel()];
        Self {
            soak,
            pulse,
            number,
            kind,
            rng: soak.rng(TRADE, number),
            known: nothing.clone(),
            latest: nothing,
            told: Told::default(),
            play: Play::Resuming,
            value: Vec::new(),
            records: Vec::new(),
        }
    }

    /// One in three is never dropped.
    pub(crate) const fn may_be_dropped(number: usize) -> bool {
        !number.is_multiple_of(3)
    }

    /// Mirrors until all is over.
    pub(crate) fn run(mut self) -> Result<Mirrored, Fault> {
        loop {
            let drop_at = self.soak.drop_at(&mut self.rng);
            let drop_at = Self::may_be_dropped(self.number).then_some(drop_at);
            self.live(drop_at).map_err(|fault| format!("Mirror {}: {fault}", self.number))?;
            if self.soak.phase() == Phase::Over {
                let Self { number, kind, known, told, .. } = self;
                return Ok(Mirrored { number, kind, known, told });
            }
            self.told.drops += 1;
        }
    }

    /// One connection, from an empty map to its end.
    fn live(&mut self, drop_at: Option<Instant>) -> Result<(), Fault> {
        self.known.fill(ABSENT);
        let buffer = (self.kind != Kind::Eager).then_some(SLOW_BUFFER_BYTES);
        let mut link = Link::connect(self.soak.neo, buffer)?;
        let periodic_refresh_s = if self.number % 3 == 1 { REFRESH_PERIOD_S } else { 0 };
        let request = Request {
            start_suspended: false,
            channel: CHANNEL,
            initial_refresh: true,
            periodic_refresh_s,
        };
        let id = link.client.start(request, &mut link.out)?;
        link.send()?;
        self.play = Play::Reading { until: Instant::now() + between(&mut self.rng, READS) };
        loop {
            let phase = self.soak.phase();
            if phase == Phase::Over {
                return Ok(());
            }
            let now = Instant::now();
            if phase == Phase::Chaos && drop_at.is_some_and(|drop_at| now >= drop_at) {
                return Ok(());
            }
            if self.kind == Kind::Pausing {
                self.play(&mut link, id, phase, now)?;
            }
            let is_slow = self.kind == Kind::Slow && phase == Phase::Chaos;
            let bytes_max = if is_slow { SLOW_TURN_BYTES } else { usize::MAX };
            link.turn(bytes_max, |_, _, event| self.on(&event.reply))?;
            if is_slow {
                std::thread::sleep(SLOW_REST);
            }
        }
    }

    /// Suspends and resumes when it is time.
    fn play(
        &mut self,
        link: &mut Link,
        id: RequestId,
        phase: Phase,
        now: Instant,
    ) -> Result<(), Fault> {
        match self.play {
            Play::Reading { until } if phase == Phase::Chaos && now >= until => {
                link.client.control(id, Control::Suspend, &mut link.out)?;
                self.play = Play::Suspending;
                self.told.suspensions += 1;
            }
            Play::Suspended { until } if phase != Phase::Chaos || now >= until => {
                link.client.control(id, Control::Resume, &mut link.out)?;
                self.play = Play::Resuming;
            }
            _ => return Ok(()),
        }
        Ok(link.send()?)
    }

    fn on(&mut self, reply: &Reply<'_>) -> Result<(), Fault> {
        let message = match reply {
            Reply::Mirror(message) => message,
            Reply::Controlled(Control::Suspend) => {
                let until = Instant::now() + between(&mut self.rng, PAUSES);
                self.play = Play::Suspended { until };
                return Ok(());
            }
            Reply::Controlled(Control::Resume) => {
                let until = Instant::now() + between(&mut self.rng, READS);
                self.play = Play::Reading { until };
                return Ok(());
            }
            reply => return Err(format!("unexpected {reply:?}").into()),
        };
        if matches!(self.play, Play::Suspended { .. }) {
            return Err("it was told something while it was suspended".into());
        }
        let since = self.soak.began.elapsed().as_millis();
        self.pulse.told_at_ms.store(u64::try_from(since)?, SeqCst);
        match *message {
            MirrorMessage::Started => Ok(()),
            MirrorMessage::RecordChanged(key, value) => {
                self.told.changes += 1;
                self.saw(key, value)
            }
            MirrorMessage::RecordDeleted(key) => {
                self.told.removals += 1;
                let index = self.soak.universe.index(key).ok_or("an unknown key was removed")?;
                self.known[index] = ABSENT;
                Ok(())
            }
            MirrorMessage::RecordRefreshBatch(batch) => self.refresh(batch),
            MirrorMessage::UpdateOverflow => {
                self.told.overflows += 1;
                Ok(())
            }
            MirrorMessage::ChannelRemoved | MirrorMessage::Error | MirrorMessage::Ack => {
                Err(format!("unexpected {message:?}").into())
            }
        }
    }

    fn refresh(&mut self, batch: &[u8]) -> Result<(), Fault> {
        self.told.batches += 1;
        let mut records = std::mem::take(&mut self.records);
        decompress(batch, &mut records)?;
        let mut r = Reader::new(&records);
        while let Some(record) = next_refreshed(&mut r) {
            let (key, value) = record?;
            self.told.refreshed += 1;
            self.saw(key, value)?;
        }
        self.records = records;
        Ok(())
    }

    /// It was told a record's value.
    fn saw(&mut self, key: Key, value: &[u8]) -> Result<(), Fault> {
        let universe = self.soak.universe;
        let (index, version) = universe.read_value(key, value, &mut self.value)?;
        let latest = self.latest[index];
        if version < latest && !self.soak.is_doubtful(index) {
            return Err(format!("key {index} went back from version {latest} to {version}").into());
        }
        self.latest[index] = version;
        self.known[index] = version;
        if index == universe.sentinel() {
            self.pulse.has_sentinel.store(true, SeqCst);
        }
        Ok(())
    }
}

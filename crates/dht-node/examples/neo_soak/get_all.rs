//! A GetAll loop: scans the channel again and again while it changes.
//!
//! A scan that ends must have returned no key twice and each record that was there all the time.

use std::time::{Duration, Instant};

use dht_protocol::neo::batch::{decompress, next_key, next_record};
use dht_protocol::neo::client::Reply;
use dht_protocol::neo::requests::{GetAll, GetAllMessage};
use dht_protocol::neo::{Control, RequestId};
use dht_protocol::wire::Reader;
use dht_testkit::Rng;
use dht_types::Key;

use crate::Fault;
use crate::link::Link;
use crate::soak::{CHANNEL, Phase, Soak, between};
use crate::universe::{ABSENT, Universe, Version};

/// How long a loop rests between two scans.
const REST: Duration = Duration::from_millis(250);
/// How long a scan is suspended.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(1500));
/// One scan in so many is suspended on the way, one is dropped.
const ONE_IN: u64 = 8;
/// Longest time of a scan.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a scan of keys alone knows of a record that is there.
const SOME_VERSION: Version = Version::MAX;
/// Names this trade to [`Soak::rng`].
const TRADE: u64 = 3;

/// What the loops did.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Scans {
    pub(crate) finished: u64,
    pub(crate) records: u64,
    pub(crate) batches: u64,
    pub(crate) suspensions: u64,
    pub(crate) drops: u64,
}

/// What happens to a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Finished,
    /// In the middle.
    Dropped,
    Suspended(Duration),
}

/// One scan.
struct Scan {
    universe: Universe,
    keys_only: bool,
    /// By index: what it returned.
    found: Vec<Version>,
    records: u64,
    batches: u64,
    is_finished: bool,
    is_suspended: bool,
}

/// Scans until the chaos is over. Every fourth loop asks for keys alone.
pub(crate) fn run(soak: &Soak, number: usize) -> Result<Scans, Fault> {
    let (mut rng, mut scans) = (soak.rng(TRADE, number), Scans::default());
    let mut link = Link::connect(soak.neo, None)?;
    while soak.phase() == Phase::Chaos {
        let fate = fate(&mut rng);
        let mut scan = Scan::new(soak.universe, number % 4 == 3);
        scan.run(&mut link, fate).map_err(|fault| format!("GetAll loop {number}: {fault}"))?;
        scans.records += scan.records;
        scans.batches += scan.batches;
        match fate {
            Fate::Dropped => {
                scans.drops += 1;
                link = Link::connect(soak.neo, None)?;
                continue;
            }
            Fate::Suspended(_) => scans.suspensions += 1,
            Fate::Finished => {}
        }
        scan.check_stable()?;
        scans.finished += 1;
        std::thread::sleep(REST);
    }
    Ok(scans)
}

/// What the channel holds now.
pub(crate) fn contents(soak: &Soak) -> Result<Vec<Version>, Fault> {
    let mut scan = Scan::new(soak.universe, false);
    scan.run(&mut Link::connect(soak.neo, None)?, Fate::Finished)?;
    scan.check_stable()?;
    Ok(scan.found)
}

fn fate(rng: &mut Rng) -> Fate {
    match rng.below(ONE_IN) {
        0 => Fate::Dropped,
        1 => Fate::Suspended(between(rng, PAUSES)),
        _ => Fate::Finished,
    }
}

impl Scan {
    fn new(universe: Universe, keys_only: bool) -> Self {
        let found = vec![ABSENT; universe.len_with_sentinel()];
        let (records, batches) = (0, 0);
        Self {
            universe,
            keys_only,
            found,
            records,
            batches,
            is_finished: false,
            is_suspended: false,
        }
    }

    /// Runs to its end, or to where it is dropped.
    fn run(&mut self, link: &mut Link, fate: Fate) -> Result<(), Fault> {
        let id = link.client.start(
            GetAll {
                start_suspended: false,
                channel: CHANNEL,
                continue_from: None,
                keys_only: self.keys_only,
                filter: b"",
            },
            &mut link.out,
        )?;
        link.send()?;
        let mut to_suspend = match fate {
            Fate::Suspended(pause) => Some(pause),
            Fate::Finished | Fate::Dropped => None,
        };
        let give_up = Instant::now() + PATIENCE;
        while !self.is_finished {
            self.turn(link, give_up)?;
            if self.batches == 0 {
                continue;
            }
            if fate == Fate::Dropped {
                return Ok(());
            }
            if let Some(pause) = to_suspend.take().filter(|_| !self.is_finished) {
                self.pause(link, id, pause, give_up)?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, link: &mut Link, give_up: Instant) -> Result<(), Fault> {
        link.full_turn(|_, _, event| self.on(&event.reply))?;
        if Instant::now() > give_up {
            return Err("the scan does not end".into());
        }
        Ok(())
    }

    /// Suspends, waits, resumes. The scan may end before the node hears of it.
    fn pause(
        &mut self,
        link: &mut Link,
        id: RequestId,
        pause: Duration,
        give_up: Instant,
    ) -> Result<(), Fault> {
        link.client.control(id, Control::Suspend, &mut link.out)?;
        link.send()?;
        while !self.is_suspended && !self.is_finished {
            self.turn(link, give_up)?;
        }
        if self.is_finished {
            return Ok(());
        }
        std::thread::sleep(pause);
        let batches = self.batches;
        self.turn(link, give_up)?;
        // A pause takes effect at the next record; behind the last one there is none.
        if self.is_finished {
            return Ok(());
        }
        if self.batches != batches {
            return Err("a batch came while the scan was suspended".into());
        }
        link.client.control(id, Control::Resume, &mut link.out)?;
        Ok(link.send()?)
    }

    fn on(&mut self, reply: &Reply<'_>) -> Result<(), Fault> {
        match reply {
            Reply::GetAll(GetAllMessage::Started) | Reply::Controlled(Control::Resume) => Ok(()),
            Reply::Controlled(Control::Suspend) => {
                self.is_suspended = true;
                Ok(())
            }
            Reply::GetAll(GetAllMessage::Finished) => {
                self.is_finished = true;
                Ok(())
            }
            Reply::GetAll(GetAllMessage::RecordBatch(batch)) => self.batch(batch),
            reply => Err(format!("unexpected {reply:?}").into()),
        }
    }

    fn batch(&mut self, batch: &[u8]) -> Result<(), Fault> {
        self.batches += 1;
        let (mut records, mut scratch) = (Vec::new(), Vec::new());
        decompress(batch, &mut records)?;
        let mut r = Reader::new(&records);
        if self.keys_only {
            while let Some(key) = next_key(&mut r) {
                let index = self.universe.index(key?).ok_or("a key that nobody has written")?;
                self.found(index, SOME_VERSION)?;
            }
        } else {
            while let Some(record) = next_record(&mut r) {
                let (key, value): (Key, &[u8]) = record?;
                let (index, version) = self.universe.read_value(key, value, &mut scratch)?;
                self.found(index, version)?;
            }
        }
        Ok(())
    }

    fn found(&mut self, index: usize, version: Version) -> Result<(), Fault> {
        self.records += 1;
        match std::mem::replace(&mut self.found[index], version) {
            ABSENT => Ok(()),
            _ => Err(format!("key {index} was returned twice").into()),
        }
    }

    /// Whatever was there during the whole scan has to be found.
    fn check_stable(&self) -> Result<(), Fault> {
        let mut stable = (0..self.universe.len()).filter(|index| self.universe.is_stable(*index));
        match stable.find(|index| self.found[*index] == ABSENT) {
            None => Ok(()),
            Some(index) => Err(format!("GetAll did not return key {index}").into()),
        }
    }
}

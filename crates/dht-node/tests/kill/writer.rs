//! One thread of the load: as many writes under way as its window takes, each known to its oracle.
//!
//! ```text
//! choose a write -> oracle.begin -> neo.rs, legacy.rs: its bytes -> one send for many
//!                                   their answers -> oracle.settle
//! ```
//!
//! A writer has two connections, and now and then goes over to the other one when all is answered:
//! so the changes of a record are in the logs of more than one worker.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use dht_testkit::{Peer, Rng};

use crate::legacy::Legacy;
use crate::neo::Neo;
use crate::oracle::Oracle;
use crate::records::{ABSENT, CHANNELS, HOT_KEYS, Place, Size, Version, is_huge};

/// How many writes are under way at most; one of these for each life.
const WINDOWS: [usize; 4] = [1, 32, 128, 400];
/// Bytes that are sent at a time, about.
const SEND_BYTES: usize = 64 * 1024;
/// After at most so many writes, the other connection has its turn.
const WRITES_UNTIL_SWITCH_MAX: usize = 2000;
/// Records of a batch at most.
const BATCH_RECORDS_MAX: usize = 30;
/// One of so many writes to an own channel removes it.
const REMOVE_CHANNEL_ONE_IN: u64 = 150;
const RECEIVE_BYTES: usize = 64 * 1024;

/// Acknowledged writes.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) puts: u64,
    pub(crate) updates: u64,
    pub(crate) removes: u64,
    /// Records in batches.
    pub(crate) batched: u64,
    pub(crate) channels: u64,
}

impl Counts {
    pub(crate) const fn all(&self) -> u64 {
        self.puts + self.updates + self.removes + self.batched + self.channels
    }

    pub(crate) const fn add(&mut self, other: &Self) {
        self.puts += other.puts;
        self.updates += other.updates;
        self.removes += other.removes;
        self.batched += other.batched;
        self.channels += other.channels;
    }

    pub(crate) const fn subtract(&mut self, other: &Self) {
        self.puts -= other.puts;
        self.updates -= other.updates;
        self.removes -= other.removes;
        self.batched -= other.batched;
        self.channels -= other.channels;
    }
}

/// A write.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) kind: Kind,
    /// What it makes of which records; an Update says so when it has decided.
    pub(crate) changes: Vec<(Place, Version)>,
}

/// What a write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Put,
    /// Of a record that is there when it is executed, or is not.
    Remove {
        is_there: bool,
    },
    /// Of a record that is there.
    Update(Place),
    Batch,
    /// Index, and what the oracle calls the removal.
    RemoveChannel {
        channel: usize,
        number: u64,
    },
}

impl Op {
    /// It was acknowledged.
    pub(crate) fn settle(&self, oracle: &mut Oracle, counts: &mut Counts) {
        for (place, version) in &self.changes {
            oracle.settle(*place, *version);
        }
        match self.kind {
            Kind::Put => counts.puts += 1,
            Kind::Remove { .. } => counts.removes += 1,
            Kind::Update(place) => {
                oracle.lock(place, false);
                counts.updates += 1;
            }
            Kind::Batch => counts.batched += self.changes.len() as u64,
            Kind::RemoveChannel { channel, number } => {
                oracle.settle_removal(channel, number);
                counts.channels += 1;
            }
        }
    }
}

/// The protocol that a writer speaks.
enum Protocol {
    Neo(Neo),
    Legacy(Legacy),
}

/// See the module.
pub(crate) struct Writer {
    pub(crate) oracle: Oracle,
    pub(crate) counts: Counts,
    rng: Rng,
    protocol: Protocol,
}

impl Writer {
    /// The first half of them speaks neo.
    pub(crate) fn new(number: usize, rng: Rng) -> Self {
        let protocol = if Self::is_neo(number) {
            Protocol::Neo(Neo::default())
        } else {
            Protocol::Legacy(Legacy::default())
        };
        Self { oracle: Oracle::new(number), counts: Counts::default(), rng, protocol }
    }

    pub(crate) const fn is_neo(number: usize) -> bool {
        number < crate::records::WRITERS / 2
    }

    /// Writes until the node ends, which must not happen before `is_ending`.
    pub(crate) fn run(
        &mut self,
        peers: &mut [Peer; 2],
        is_ending: &AtomicBool,
    ) -> Result<(), String> {
        self.forget_under_way();
        let window = *self.rng.pick(&WINDOWS);
        let (mut out, mut input, mut active) = (Vec::new(), Vec::new(), 0);
        let mut until_switch = self.rng.within(1..WRITES_UNTIL_SWITCH_MAX);
        loop {
            if until_switch == 0 && self.under_way() == 0 {
                active = 1 - active;
                until_switch = self.rng.within(1..WRITES_UNTIL_SWITCH_MAX);
            }
            while until_switch > 0 && self.under_way() < window && out.len() < SEND_BYTES {
                until_switch -= 1;
                let write = self.choose();
                match &mut self.protocol {
                    Protocol::Neo(neo) => neo.start(write, &self.oracle, &mut out),
                    Protocol::Legacy(legacy) => legacy.start(write, &self.oracle, &mut out),
                }
            }
            let stream = &mut peers[active].0;
            let sent = stream.write_all(&out);
            out.clear();
            // Even if nobody takes what is sent: answers may be there.
            let received = receive(stream, &mut input);
            self.answers(&mut input, &mut out)?;
            match received.and_then(|there_is_more| sent.map(|()| there_is_more)) {
                Ok(true) => {}
                _ if is_ending.load(SeqCst) => return self.receive_rest(stream, &mut input),
                Ok(false) => return Err("the node ended a connection".to_owned()),
                Err(error) => return Err(format!("the node ended a connection: {error}")),
            }
        }
    }

    /// Answers that the node has given in time.
    fn receive_rest(&mut self, stream: &mut impl Read, input: &mut Vec<u8>) -> Result<(), String> {
        while matches!(receive(stream, input), Ok(true)) {}
        self.answers(input, &mut Vec::new())
    }

    fn under_way(&self) -> usize {
        match &self.protocol {
            Protocol::Neo(neo) => neo.under_way(),
            Protocol::Legacy(legacy) => legacy.under_way(),
        }
    }

    /// What was under way when the node ended is the oracle's business now.
    fn forget_under_way(&mut self) {
        match &mut self.protocol {
            Protocol::Neo(neo) => neo.forget_under_way(),
            Protocol::Legacy(legacy) => legacy.forget_under_way(),
        }
    }

    /// Takes whole answers from the front of `input`.
    fn answers(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), String> {
        let (oracle, counts, mut rest) = (&mut self.oracle, &mut self.counts, &input[..]);
        match &mut self.protocol {
            Protocol::Neo(neo) => neo.answers(&mut rest, oracle, counts, &mut self.rng, out)?,
            Protocol::Legacy(legacy) => legacy.answers(&mut rest, oracle, counts)?,
        }
        let taken = input.len() - rest.len();
        input.drain(..taken);
        Ok(())
    }

    fn choose(&mut self) -> Op {
        let channel = self.choose_channel();
        let is_own = CHANNELS[channel].owner.is_some();
        if is_own && self.rng.one_in(REMOVE_CHANNEL_ONE_IN) {
            let (changes, number) = self.oracle.begin_removal(channel);
            return Op { kind: Kind::RemoveChannel { channel, number }, changes };
        }
        let place = self.choose_place(channel);
        let is_neo = matches!(self.protocol, Protocol::Neo(_));
        match self.rng.below(100) {
            0..15 => self.remove(place),
            // Not of an own channel, which may be removed in between.
            15..35 if is_neo && !is_own && self.can_be_updated(place) => {
                self.oracle.lock(place, true);
                Op { kind: Kind::Update(place), changes: Vec::new() }
            }
            15..25 if !is_neo => self.batch(channel),
            _ => self.put(place, Kind::Put),
        }
    }

    fn choose_channel(&mut self) -> usize {
        loop {
            let channel = self.rng.within(0..CHANNELS.len());
            if self.oracle.keys(channel) > 0 {
                return channel;
            }
        }
    }

    /// A key that no Update has locked. There are more keys than a window's.
    fn choose_place(&mut self, channel: usize) -> Place {
        let keys = self.oracle.keys(channel);
        loop {
            let keys = if self.rng.one_in(4) { HOT_KEYS } else { keys };
            let place = Place { channel, number: self.rng.within(0..keys) };
            if !self.oracle.is_locked(place) {
                return place;
            }
        }
    }

    /// Huge values are not read: two connections full of them could wait for each other.
    fn can_be_updated(&self, place: Place) -> bool {
        self.oracle.settled(place).is_some_and(|version| version != ABSENT && !is_huge(version))
    }

    fn remove(&mut self, place: Place) -> Op {
        let is_there = self.oracle.latest(place) != ABSENT;
        self.oracle.begin(place, ABSENT);
        Op { kind: Kind::Remove { is_there }, changes: vec![(place, ABSENT)] }
    }

    fn put(&mut self, place: Place, kind: Kind) -> Op {
        let size = choose_size(&mut self.rng, matches!(self.protocol, Protocol::Neo(_)));
        let version = self.oracle.next_version(size);
        self.oracle.begin(place, version);
        Op { kind, changes: vec![(place, version)] }
    }

    /// Records of one channel; a key may be there twice.
    fn batch(&mut self, channel: usize) -> Op {
        let mut changes = Vec::new();
        if self.rng.one_in(200) {
            let (place, version) =
                (self.choose_place(channel), self.oracle.next_version(Size::Huge));
            self.oracle.begin(place, version);
            changes.push((place, version));
        }
        for _ in 0..self.rng.within(1..BATCH_RECORDS_MAX + 1) {
            let place = self.choose_place(channel);
            changes.append(&mut self.put(place, Kind::Batch).changes);
        }
        Op { kind: Kind::Batch, changes }
    }
}

/// Mostly small ones.
pub(crate) fn choose_size(rng: &mut Rng, is_neo: bool) -> Size {
    match rng.below(3000) {
        0 if is_neo => Size::Huge,
        1..60 if is_neo => Size::Empty,
        60..500 => Size::Tiny,
        500..650 => Size::Large,
        _ => Size::Small,
    }
}

/// Receives once; `false` at the end of the connection.
fn receive(stream: &mut impl Read, input: &mut Vec<u8>) -> io::Result<bool> {
    let mut bytes = [0; RECEIVE_BYTES];
    loop {
        match stream.read(&mut bytes) {
            Ok(len) => {
                input.extend_from_slice(&bytes[..len]);
                return Ok(len > 0);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

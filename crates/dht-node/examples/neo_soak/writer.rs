//! A writer: bursts of writes at its share of the rate, each checked against what it knows.
//!
//! ```text
//! pick distinct keys -> send the burst -> all acknowledged: the oracle knows what is there
//!                                      '> connection dropped: these keys are in doubt
//! ```

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use dht_protocol::legacy::requests as legacy;
use dht_protocol::neo::client::{Event, Reply};
use dht_protocol::neo::requests::{
    NewValue, Put, PutReply, Remove, RemoveReply, Update, UpdateAction, UpdateMessage, UpdateReply,
    fnv1a64,
};
use dht_protocol::neo::{Client, RequestId};
use dht_protocol::wire::Writer as WireWriter;
use dht_testkit::Rng;

use crate::Fault;
use crate::link::{Link, connect, is_timeout};
use crate::oracle::Oracle;
use crate::soak::{CHANNEL, Phase, Soak};
use crate::universe::{ABSENT, Version};

/// Most writes of a burst.
const BURST_MAX: usize = 400;
/// Fewest writes that make a burst.
const BURST_MIN: usize = 32;
/// How long a writer rests when too few writes are due.
const REST: Duration = Duration::from_millis(2);
/// How long a node may take to acknowledge a burst.
const PATIENCE: Duration = Duration::from_secs(60);
/// Names this trade to [`Soak::rng`].
const TRADE: u64 = 1;

/// What a writer did.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) puts: u64,
    pub(crate) updates: u64,
    pub(crate) removes: u64,
    /// Writes that were under way when their connection was dropped.
    pub(crate) cut_off: u64,
    pub(crate) drops: u64,
}

impl Written {
    /// Acknowledged writes.
    pub(crate) const fn acknowledged(&self) -> u64 {
        self.puts + self.updates + self.removes
    }
}

/// See the module.
pub(crate) struct Writer<'s> {
    soak: &'s Soak,
    connection: Connection,
    is_neo: bool,
    pub(crate) oracle: Oracle,
    pub(crate) written: Written,
    rng: Rng,
    /// By index: the last burst in which the key was.
    stamps: Vec<u64>,
    burst: u64,
    value: Vec<u8>,
}

enum Connection {
    Neo(Box<Link>),
    Legacy(TcpStream),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Put,
    Update,
    Remove,
}

#[derive(Debug, Clone, Copy)]
struct Op {
    kind: Kind,
    index: usize,
    /// What will be there: [`ABSENT`] for a Remove; for an Update as long as it is undecided, what
    /// it will write if it writes.
    version: Version,
    /// Whether the node has all it needs to do it.
    is_decided: bool,
}

impl<'s> Writer<'s> {
    /// Every other writer speaks neo.
    pub(crate) fn new(soak: &'s Soak, number: usize, writers: usize) -> Result<Self, Fault> {
        let keys = soak.universe.len();
        let is_neo = number.is_multiple_of(2);
        Ok(Self {
            soak,
            connection: Connection::new(soak, is_neo)?,
            is_neo,
            oracle: Oracle::new(number, writers, keys),
            written: Written::default(),
            rng: soak.rng(TRADE, number),
            stamps: vec![0; keys],
            burst: 0,
            value: Vec::new(),
        })
    }

    /// Puts each of its keys once.
    pub(crate) fn load(&mut self) -> Result<(), Fault> {
        let indices: Vec<usize> = self.oracle.indices(self.soak.universe.len()).collect();
        for indices in indices.chunks(BURST_MAX) {
            let ops: Vec<Op> = indices.iter().map(|index| self.op(Kind::Put, *index)).collect();
            self.write(&ops, false)?;
        }
        Ok(())
    }

    /// Writes until the chaos is over.
    pub(crate) fn run(mut self, per_second: f64) -> Result<(Oracle, Written), Fault> {
        self.written = Written::default();
        let began = Instant::now();
        let mut drop_at = self.soak.drop_at(&mut self.rng);
        let mut asked = 0;
        while self.soak.phase() == Phase::Chaos {
            let due = (began.elapsed().as_secs_f64() * per_second) as usize;
            let due = due.saturating_sub(asked);
            if due < BURST_MIN {
                std::thread::sleep(REST);
                continue;
            }
            let ops = self.pick(due.min(BURST_MAX));
            asked += ops.len();
            let cut = Instant::now() >= drop_at;
            self.write(&ops, cut)?;
            if cut {
                self.written.drops += 1;
                self.connection = Connection::new(self.soak, self.is_neo)?;
                drop_at = self.soak.drop_at(&mut self.rng);
            }
        }
        Ok((self.oracle, self.written))
    }

    fn op(&mut self, kind: Kind, index: usize) -> Op {
        let version = match kind {
            Kind::Remove => ABSENT,
            Kind::Put | Kind::Update => self.oracle.next_version(),
        };
        Op { kind, index, version, is_decided: !matches!(kind, Kind::Update) }
    }

    /// Writes of distinct keys; of those that are there, some are removed or updated.
    fn pick(&mut self, count: usize) -> Vec<Op> {
        self.burst += 1;
        let indices = self.oracle.indices(self.soak.universe.len()).len();
        let mut ops = Vec::with_capacity(count);
        for _ in 0..count {
            let index = self.oracle.nth(self.rng.within(0..indices));
            if std::mem::replace(&mut self.stamps[index], self.burst) == self.burst {
                continue;
            }
            let is_there = self.oracle.settled(index) != ABSENT;
            let kind = match self.rng.below(10) {
                0 | 1 if is_there && !self.soak.universe.is_stable(index) => Kind::Remove,
                2 | 3 if is_there && self.is_neo => Kind::Update,
                _ => Kind::Put,
            };
            ops.push(self.op(kind, index));
        }
        ops
    }

    /// Sends a burst and waits for the answers; with `cut`, it is cut off on the way.
    fn write(&mut self, ops: &[Op], cut: bool) -> Result<(), Fault> {
        let mut under_way = HashMap::new();
        match &mut self.connection {
            Connection::Neo(_) => self.write_neo(ops, cut, &mut under_way)?,
            Connection::Legacy(_) => self.write_legacy(ops, cut, &mut under_way)?,
        }
        for op in under_way.into_values().filter(|op| op.is_decided) {
            self.written.cut_off += 1;
            self.oracle.cut_off(self.soak, op.index, op.version);
        }
        Ok(())
    }

    fn write_neo(
        &mut self,
        ops: &[Op],
        cut: bool,
        under_way: &mut HashMap<u64, Op>,
    ) -> Result<(), Fault> {
        let universe = self.soak.universe;
        let Connection::Neo(link) = &mut self.connection else { return Ok(()) };
        for op in ops {
            let (channel, key) = (CHANNEL, universe.key(op.index));
            let id = match op.kind {
                Kind::Put => {
                    universe.write_value(op.index, op.version, &mut self.value);
                    link.client.start(Put { channel, key, value: &self.value }, &mut link.out)?
                }
                Kind::Update => {
                    let action = UpdateAction::GetRecord;
                    link.client.start(Update { channel, key, action }, &mut link.out)?
                }
                Kind::Remove => link.client.start(Remove { channel, key }, &mut link.out)?,
            };
            under_way.insert(id.get(), *op);
        }
        link.send()?;
        let turns = if cut { self.rng.below(2) } else { u64::MAX };
        let give_up = Instant::now() + PATIENCE;
        let (soak, rng) = (self.soak, &mut self.rng);
        let (oracle, written) = (&mut self.oracle, &mut self.written);
        let mut answers = NeoAnswers { soak, oracle, written, rng, under_way, scratch: Vec::new() };
        for _ in 0..turns {
            if answers.under_way.is_empty() {
                return Ok(());
            }
            link.full_turn(|client, out, event| answers.on(client, out, event))?;
            if Instant::now() > give_up {
                return Err("a node does not answer a burst of neo writes".into());
            }
        }
        Ok(())
    }

    fn write_legacy(
        &mut self,
        ops: &[Op],
        cut: bool,
        under_way: &mut HashMap<u64, Op>,
    ) -> Result<(), Fault> {
        let universe = self.soak.universe;
        let Connection::Legacy(stream) = &mut self.connection else { return Ok(()) };
        let mut out = Vec::new();
        for op in ops {
            let (channel, key) = (CHANNEL, universe.key(op.index));
            if let Kind::Remove = op.kind {
                legacy::encode(&legacy::Remove { channel, key }, &mut WireWriter::new(&mut out));
            } else {
                universe.write_value(op.index, op.version, &mut self.value);
                let value = legacy::Value::Bytes(&self.value);
                legacy::encode(
                    &legacy::Put { channel, key, value },
                    &mut WireWriter::new(&mut out),
                );
            }
        }
        let mut acknowledged = ops.len();
        if cut {
            out.truncate(self.rng.within(0..out.len() + 1));
            acknowledged = self.rng.within(0..2) * self.rng.within(0..ops.len());
        }
        stream.write_all(&out)?;
        for (number, op) in ops.iter().enumerate() {
            if number >= acknowledged || !receive_ok(stream, cut)? {
                under_way.extend((number as u64..).zip(ops[number..].iter().copied()));
                break;
            }
            match op.kind {
                Kind::Remove => self.written.removes += 1,
                Kind::Put | Kind::Update => self.written.puts += 1,
            }
            self.oracle.settle(op.index, op.version);
        }
        Ok(())
    }
}

impl Connection {
    fn new(soak: &Soak, is_neo: bool) -> Result<Self, Fault> {
        Ok(if is_neo {
            Self::Neo(Box::new(Link::connect(soak.neo, None)?))
        } else {
            Self::Legacy(connect(soak.legacy, None)?)
        })
    }
}

/// Receives a status, which has to be 200. `false`: none has come for a while, which is all right
/// only if the request `may_be_cut`.
fn receive_ok(stream: &mut TcpStream, may_be_cut: bool) -> Result<bool, Fault> {
    const OK: [u8; 4] = 200u32.to_le_bytes();
    let (mut status, mut have) = ([0; 4], 0);
    let give_up = Instant::now() + PATIENCE;
    while have < status.len() {
        match stream.read(&mut status[have..]) {
            Ok(0) => return Err("the node ended a legacy connection".into()),
            Ok(len) => have += len,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) && may_be_cut => return Ok(false),
            Err(error) if is_timeout(&error) && Instant::now() < give_up => {}
            Err(error) => return Err(error.into()),
        }
    }
    if status == OK { Ok(true) } else { Err(format!("legacy status {status:?}").into()) }
}

/// Looks at the answers to a burst.
struct NeoAnswers<'a> {
    soak: &'a Soak,
    oracle: &'a mut Oracle,
    written: &'a mut Written,
    rng: &'a mut Rng,
    under_way: &'a mut HashMap<u64, Op>,
    scratch: Vec<u8>,
}

impl NeoAnswers<'_> {
    fn on(
        &mut self,
        client: &mut Client,
        out: &mut Vec<u8>,
        event: &Event<'_>,
    ) -> Result<(), Fault> {
        let id = event.id;
        let op = *self.under_way.get(&id.get()).ok_or("an answer to nothing")?;
        match event.reply {
            Reply::Put(PutReply::Put) => self.settle(op),
            Reply::Remove(RemoveReply::Removed) => self.settle(op),
            Reply::Remove(RemoveReply::NoRecord) => {
                self.oracle.check(op.index, ABSENT)?;
                self.settle(op);
            }
            Reply::Update(UpdateReply::RecordValue(value)) => {
                return self.decide(client, out, id, op, value);
            }
            Reply::Update(UpdateReply::NoRecord) => self.oracle.check(op.index, ABSENT)?,
            Reply::Update(UpdateReply::Ok) => self.settle(op),
            Reply::Update(UpdateReply::UpdateConflict) if self.oracle.is_doubtful(op.index) => {}
            reply => return Err(format!("{op:?} was answered by {reply:?}").into()),
        }
        self.under_way.remove(&id.get());
        Ok(())
    }

    fn settle(&mut self, op: Op) {
        match op.kind {
            Kind::Put => self.written.puts += 1,
            Kind::Update => self.written.updates += 1,
            Kind::Remove => self.written.removes += 1,
        }
        self.oracle.settle(op.index, op.version);
    }

    /// The node has sent the record of an Update: it must be what was written, and mostly is
    /// written again.
    fn decide(
        &mut self,
        client: &mut Client,
        out: &mut Vec<u8>,
        id: RequestId,
        mut op: Op,
        value: &[u8],
    ) -> Result<(), Fault> {
        let universe = self.soak.universe;
        let (_, found) = universe.read_value(universe.key(op.index), value, &mut self.scratch)?;
        self.oracle.check(op.index, found)?;
        match self.rng.below(8) {
            0 => {
                op.version = found;
                client.update(id, &UpdateMessage::LeaveRecord, out)?;
            }
            1 if !universe.is_stable(op.index) => {
                op.version = ABSENT;
                client.update(id, &UpdateMessage::RemoveRecord, out)?;
            }
            _ => {
                universe.write_value(op.index, op.version, &mut self.scratch);
                let new = NewValue { original_hash: fnv1a64(value), value: &self.scratch };
                client.update(id, &UpdateMessage::UpdateRecord(new), out)?;
            }
        }
        op.is_decided = true;
        self.under_way.insert(id.get(), op);
        Ok(())
    }
}

/// Puts the record that ends it all, and waits for the answer.
pub(crate) fn write_sentinel(soak: &Soak) -> Result<(), Fault> {
    let mut link = Link::connect(soak.neo, None)?;
    let (universe, mut value) = (soak.universe, Vec::new());
    universe.write_value(universe.sentinel(), 1, &mut value);
    let put = Put { channel: CHANNEL, key: universe.key(universe.sentinel()), value: &value };
    link.client.start(put, &mut link.out)?;
    link.send()?;
    let give_up = Instant::now() + PATIENCE;
    while link.client.active_len() > 0 {
        link.full_turn(|_, _, event| match event.reply {
            Reply::Put(PutReply::Put) => Ok(()),
            reply => Err(format!("the sentinel was answered by {reply:?}").into()),
        })?;
        if Instant::now() > give_up {
            return Err("the node does not take the sentinel".into());
        }
    }
    Ok(())
}

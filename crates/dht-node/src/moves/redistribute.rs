//! The work of a legacy Redistribute, on a thread of its own.
//!
//! ```text
//! range set and kept, takers told to clients
//! > for each channel: scan > a batch for each taker > sent > stored there > removed here
//! > the smaller range told to clients > status
//! ```
//!
//! Order, status and log lines are the original's. Other than there: empty and large records are
//! moved; a node of ours gets Forward, which replaces nothing; clients hear of the smaller range
//! when all has gone, and until then what is here is read here; the channels made meanwhile are
//! moved too.
//!
//! Source: spec `node` 13, `protocol-legacy` 11.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dht_protocol::legacy::batch::{BatchWriter, Compressor, RECORD_OVERHEAD_BYTES};
use dht_protocol::legacy::requests::{GetVersion, MOVE_VERSION, MoveMessage, Put, Taker, Value};
use dht_protocol::legacy::{self, ARRAY_BYTES_MAX, Command, Status};
use dht_protocol::neo::requests::HashRangeUpdate;
use dht_protocol::wire::Writer;
use dht_storage::{Channel, Cursor, Notify};
use dht_types::{HashRange, Key};

use super::peer::{Peer, PeerError};
use super::receiving::Receiving;
use super::{GivingTurn, Requester};
use crate::node::NEO_PORT_OFFSET;
use crate::ranges::gained;
use crate::shared::Shared;

const REQUEST_LOG: &str = "dhtnode.request.RedistributeRequest";
const PROCESS_LOG: &str = "dhtnode.node.RedistributionProcess";

/// Bytes of a batch before compression, larger single records excepted.
/// Source: spec `protocol-legacy` 8.
const BATCH_BYTES: usize = 65_536;

/// Records that are looked at between two looks whether the node stops.
const SCAN_RECORDS: usize = 4096;

/// Pause before a channel that went wrong is gone through again. Source: spec `node` 13.3.
const RETRY: Duration = Duration::from_secs(2);

/// How often a node has to close the connection on MovePart before it is taken for one of the
/// original, and the pause in between.
const ORIGINAL_TRIES: usize = 3;
const ORIGINAL_RETRY: Duration = Duration::from_millis(100);

/// Records between two lines of progress. Source: the same.
const PROGRESS_RECORDS: u64 = 100_000;

/// Longest value that PutBatch can carry to a node of the original, compressed or not: LZO adds a
/// sixteenth at most, and the array has a limit.
const ORIGINAL_VALUE_BYTES_MAX: usize = ARRAY_BYTES_MAX / 17 * 16 - 4096;

/// What a Redistribute comes to.
#[derive(Debug)]
pub(crate) struct Redistribution {
    outcome: Mutex<Option<Outcome>>,
    requester: Requester,
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Ended(Status),
    Stopped,
}

impl Redistribution {
    /// Starts the work. The range is valid and not empty, the takers are other nodes.
    pub(crate) fn start(
        turn: GivingTurn,
        range: HashRange,
        takers: &[Taker],
        requester: Requester,
    ) -> std::io::Result<Arc<Self>> {
        let this = Arc::new(Self { outcome: Mutex::new(None), requester });
        let shared = Arc::clone(&turn.shared);
        let targets = takers.iter().map(Target::new).collect();
        let compressor = Compressor::new();
        let mut work = Work { turn, range, targets, compressor, told: Arc::clone(&this) };
        shared.moves.spawn(move || {
            let outcome = match work.run() {
                ControlFlow::Continue(status) => Outcome::Ended(status),
                ControlFlow::Break(()) => Outcome::Stopped,
            };
            let told = Arc::clone(&work.told);
            // Whoever asks again at once must find the turn free.
            drop(work);
            *told.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            told.requester.wake();
        })?;
        Ok(this)
    }

    /// The status, at the end. A node that stops answers nothing.
    pub(crate) fn status(&self) -> Option<Status> {
        match *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Outcome::Ended(status)) => Some(status),
            Some(Outcome::Stopped) | None => None,
        }
    }
}

struct Work {
    turn: GivingTurn,
    range: HashRange,
    targets: Vec<Target>,
    compressor: Compressor,
    told: Arc<Redistribution>,
}

/// A taker, and what is on its way there.
struct Target {
    taker: Taker,
    address: SocketAddrV4,
    peer: Option<Peer>,
    /// Whether it is a node of ours; asked when it is connected for the first time.
    is_ours: Option<bool>,
    batch: BatchWriter,
    keys: Vec<Key>,
    /// Something went wrong in this pass: it gets nothing more before the next.
    failed: bool,
}

/// The address of a node that a request names.
pub(crate) fn node_address(address: &str, port: u16) -> Option<SocketAddrV4> {
    address.parse().ok().map(|ip: Ipv4Addr| SocketAddrV4::new(ip, port))
}

impl Target {
    fn new(taker: &Taker) -> Self {
        let address = node_address(&taker.address, taker.port).expect("the request checked it");
        Self {
            taker: taker.clone(),
            address,
            peer: None,
            is_ours: None,
            batch: BatchWriter::new(BATCH_BYTES),
            keys: Vec::new(),
            failed: false,
        }
    }

    /// What neo clients are told.
    fn news(&self) -> HashRangeUpdate {
        let port = self.taker.port.saturating_add(NEO_PORT_OFFSET);
        HashRangeUpdate::NewNode(SocketAddrV4::new(*self.address.ip(), port), self.taker.range)
    }

    /// An open connection, and whether the node is one of ours.
    fn connect(&mut self, shared: &Shared) -> Result<bool, PeerError> {
        if let (Some(_), Some(is_ours)) = (&self.peer, self.is_ours) {
            return Ok(is_ours);
        }
        if self.is_ours.is_none() {
            self.is_ours = Some(is_ours(self.address, shared)?);
        }
        self.peer = Some(Peer::connect(self.address)?);
        Ok(self.is_ours == Some(true))
    }

    /// Sends what was gathered. On success it is stored there.
    fn send(
        &mut self,
        shared: &Shared,
        channel: &Channel,
        compressor: &mut Compressor,
    ) -> Result<(), PeerError> {
        let is_ours = self.connect(shared)?;
        let (address, stop) = (self.address, &shared.moves.stop);
        let peer = self.peer.as_mut().expect("connected");
        let command = if is_ours { Command::Forward } else { Command::PutBatch };
        let mut w = Writer::new(&mut peer.output);
        w.u32(command as u32);
        w.array(channel.name().as_bytes());
        self.batch.finish(compressor, &mut w);
        let sent = peer.status(stop);
        if !matches!(sent, Ok(Status::Ok)) {
            self.peer = None;
        }
        match (sent?, &self.keys[..]) {
            (Status::Ok, _) => Ok(()),
            // Alone, and not as a batch: there may be a rule against that.
            (_, &[key]) if !is_ours => self.put(shared, channel, key),
            (refused, _) => Err(PeerError::Status(address, refused)),
        }
    }

    /// Sends one record by itself.
    fn put(&mut self, shared: &Shared, channel: &Channel, key: Key) -> Result<(), PeerError> {
        let mut peer = Peer::connect(self.address)?;
        let found = channel.get(key, |value| {
            let put = Put { channel: channel.name(), key, value: Value::Bytes(value) };
            legacy::encode(&put, &mut Writer::new(&mut peer.output));
        });
        if found.is_none() {
            return Ok(());
        }
        match peer.status(&shared.moves.stop)? {
            Status::Ok => Ok(()),
            refused => Err(PeerError::Status(self.address, refused)),
        }
    }
}

/// Whether a node is one of ours. Whoever is killed closes the connection like a node that knows no
/// such request: only who does so each time, and answers what the original knows, is none.
fn is_ours(address: SocketAddrV4, shared: &Shared) -> Result<bool, PeerError> {
    let stop = &shared.moves.stop;
    for _ in 0..ORIGINAL_TRIES {
        let mut peer = Peer::connect(address)?;
        legacy::encode(&GetVersion, &mut Writer::new(&mut peer.output));
        peer.send()?;
        let known = peer.receive(stop, legacy::requests::decode::<GetVersion>)?;
        known.map_err(|status| PeerError::Status(address, status))?;
        match peer.ask(stop, &MoveMessage::Info { version: MOVE_VERSION }) {
            Ok(_) | Err(PeerError::Refused(..)) => return Ok(true),
            Err(PeerError::Closed(_)) if !stop.wait(ORIGINAL_RETRY) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(false)
}

/// Why a scan stopped at a record.
enum Halt {
    /// This target's batch has no room for it.
    Full(usize),
    /// It has looked at enough for once.
    Budget,
}

/// How a pass through a channel went.
#[derive(Default)]
struct Pass {
    scanned: u64,
    forwarded: u64,
    failed: bool,
}

impl Work {
    fn shared(&self) -> &Arc<Shared> {
        &self.turn.shared
    }

    /// `Break`: the node stops.
    fn run(&mut self) -> ControlFlow<(), Status> {
        let Some(old) = self.set_range() else { return ControlFlow::Continue(Status::Error) };
        let mut done = HashSet::new();
        // Channels may be made while others are gone through.
        loop {
            let channels = self.shared().store.channels();
            let new = channels.into_iter().find(|channel| !done.contains(channel.name()));
            let Some(channel) = new else { break };
            done.insert(channel.name().clone());
            self.channel(&channel)?;
        }
        let ranges = &self.shared().ranges;
        ranges.change(|view| view.giving.clear());
        if !gained(self.range, old).is_empty() {
            ranges.tell([HashRangeUpdate::ChangeHashRange(self.range)]);
        }
        log::info!(target: PROCESS_LOG, "Finishing redistribution.");
        ControlFlow::Continue(Status::Ok)
    }

    /// Takes the new range. Returns the old one; `None` if the new one cannot be kept.
    fn set_range(&self) -> Option<HashRange> {
        let shared = self.shared();
        let (range, ranges) = (self.range, &shared.ranges);
        log::info!(
            target: REQUEST_LOG,
            "Setting hash range: 0x{:016X}..0x{:016X}", range.min(), range.max()
        );
        if let Err(error) = ranges.save(range) {
            log::error!(target: REQUEST_LOG, "Nothing is redistributed: {error}");
            return None;
        }
        let old = ranges.current().0.owned;
        let parts = gained(old, range);
        let receiving =
            (!parts.is_empty()).then(|| Arc::new(Receiving::new(parts, (shared.moves.clock)())));
        // Only what was ours can be here, and is looked for.
        let giving = self.targets.iter().map(|target| target.taker.range).collect();
        if let Err(error) =
            shared.moves.lock().note(ranges, |journal| journal.remove_foreign(range))
        {
            log::error!(target: REQUEST_LOG, "cannot write the journal of moves: {error}");
        }
        // Takers first: a client that is refused here has to know where to turn.
        ranges.tell(self.targets.iter().map(Target::news));
        let generation = ranges.change(|view| {
            view.owned = range;
            view.giving = giving;
            view.receiving = receiving;
        });
        if gained(range, old).is_empty() {
            ranges.tell([HashRangeUpdate::ChangeHashRange(range)]);
        }
        if !ranges.wait_until_seen(generation) {
            log::warn!(target: REQUEST_LOG, "a worker is late; going on");
        }
        let bytes = shared.bytes();
        let multiplier = shared.settings.redist_memory_limit_multiplier;
        let limit = times(bytes, multiplier);
        shared.moves.batch_limit_bytes.store(limit.max(1), Relaxed);
        log::info!(
            target: PROCESS_LOG,
            "Starting redistribution. Calculated maximum storage size = {limit} (current: {bytes} \
             x multipler: {multiplier:.2})"
        );
        Some(old)
    }

    /// Goes through a channel until all that has to leave it has left.
    fn channel(&mut self, channel: &Arc<Channel>) -> ControlFlow<()> {
        if self.targets.is_empty() {
            return ControlFlow::Continue(());
        }
        let name = channel.name();
        log::info!(target: REQUEST_LOG, "Redistributing channel '{name}'");
        loop {
            let records = channel.usage().records;
            self.targets.iter_mut().for_each(|target| target.failed = false);
            let pass = self.pass(channel, records)?;
            let left = channel.usage().records;
            let suffix = if pass.failed {
                " (error occurred during iteration over channel, retrying in 2s)"
            } else {
                ""
            };
            log::info!(
                target: REQUEST_LOG,
                "Finished redistributing channel '{name}': {}/{records} records iterated, channel \
                 now contains {left} records{suffix}",
                pass.scanned
            );
            if !pass.failed {
                return ControlFlow::Continue(());
            }
            if self.shared().moves.stop.wait(RETRY) {
                return ControlFlow::Break(());
            }
        }
    }

    fn pass(&mut self, channel: &Arc<Channel>, records: u64) -> ControlFlow<(), Pass> {
        let mut pass = Pass::default();
        let mut next_line = PROGRESS_RECORDS;
        let mut cursor = Some(Cursor::START);
        while let Some(from) = cursor {
            if self.shared().moves.stop.is_set() {
                return ControlFlow::Break(());
            }
            let (rest, halt) = self.gather(channel, from, &mut pass);
            cursor = rest;
            if let Halt::Full(target) = halt {
                self.send(channel, target, &mut pass)?;
            }
            if pass.scanned >= next_line {
                next_line += PROGRESS_RECORDS;
                log::trace!(
                    target: REQUEST_LOG,
                    "Progress redistributing channel '{}': {}/{records} records iterated, {} \
                     forwarded, channel now contains {} records",
                    channel.name(), pass.scanned, pass.forwarded, channel.usage().records
                );
            }
        }
        for target in 0..self.targets.len() {
            self.send(channel, target, &mut pass)?;
        }
        ControlFlow::Continue(pass)
    }

    /// Puts records into their batches, up to one that finds no room.
    fn gather(
        &mut self,
        channel: &Channel,
        from: Cursor,
        pass: &mut Pass,
    ) -> (Option<Cursor>, Halt) {
        let (range, targets) = (self.range, &mut self.targets);
        let mut halt = Halt::Budget;
        let rest = channel.scan(from, SCAN_RECORDS, |key, value| {
            let taker = targets.iter().position(|target| target.taker.range.contains(key));
            let Some(at) = taker.filter(|_| !range.contains(key)) else {
                pass.scanned += 1;
                return ControlFlow::Continue(());
            };
            let target = &mut targets[at];
            if target.failed || !may_go(target, key, value) {
                pass.failed |= target.failed;
                pass.scanned += 1;
                return ControlFlow::Continue(());
            }
            if !target.batch.add(key, value) {
                halt = Halt::Full(at);
                return ControlFlow::Break(());
            }
            if value.len() + RECORD_OVERHEAD_BYTES > BATCH_BYTES {
                log::warn!(
                    target: REQUEST_LOG,
                    "Forwarding large record {key} ({} bytes) individually", value.len()
                );
            }
            target.keys.push(key);
            pass.scanned += 1;
            ControlFlow::Continue(())
        });
        (rest, halt)
    }

    /// Sends a target's batch, and has removed what was stored there.
    fn send(&mut self, channel: &Arc<Channel>, at: usize, pass: &mut Pass) -> ControlFlow<()> {
        let Self { targets, compressor, turn, .. } = self;
        let (target, shared) = (&mut targets[at], &turn.shared);
        if target.keys.is_empty() {
            return ControlFlow::Continue(());
        }
        let sent = target.send(shared, channel, compressor);
        let keys = std::mem::take(&mut target.keys);
        target.batch = BatchWriter::new(BATCH_BYTES);
        match sent {
            Ok(()) => {
                pass.forwarded += keys.len() as u64;
                // Compat: those who mirror the channel are told of removals.
                if shared.moves.remove(shared, channel, &keys, Notify::IfPresent) {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            }
            Err(PeerError::Stopped) => ControlFlow::Break(()),
            Err(error) => {
                target.failed = true;
                pass.failed = true;
                let name = channel.name();
                match keys[..] {
                    [key] => log::error!(
                        target: REQUEST_LOG,
                        "Error while sending record {key} to channel '{name}': {error}"
                    ),
                    _ => log::error!(
                        target: REQUEST_LOG,
                        "Error while sending batch of {} records to channel '{name}': {error}",
                        keys.len()
                    ),
                }
                ControlFlow::Continue(())
            }
        }
    }
}

/// So many bytes times a positive factor, without a fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast keeps within the limits of the type"
)]
fn times(bytes: u64, factor: f64) -> u64 {
    (bytes as f64 * factor) as u64
}

/// Whether a record can be sent at all. One that a node of the original cannot take is kept.
fn may_go(target: &Target, key: Key, value: &[u8]) -> bool {
    if target.is_ours != Some(false) {
        return true;
    }
    let fits = value.len() <= ORIGINAL_VALUE_BYTES_MAX && !value.is_empty();
    if !fits {
        log::warn!(
            target: REQUEST_LOG,
            "Keeping record {key} ({} bytes), which node {} cannot take", value.len(),
            target.address
        );
    }
    fits
}

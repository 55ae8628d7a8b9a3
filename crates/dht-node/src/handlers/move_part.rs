//! MovePart, of our own: a part of the hash range changes hands.

use std::sync::Arc;

use dht_protocol::batch::records_of;
use dht_protocol::legacy::requests::{
    MOVE_VERSION, MoveInfo, MoveMessage, MovePart, MoveReply, MoveToken, Moved, next_moved,
};
use dht_protocol::legacy::{CloseReason, Status};
use dht_protocol::neo::requests::MoveUpdate;
use dht_protocol::neo::{self, Payload, RequestId};
use dht_protocol::wire::Reader;
use dht_storage::Notify;
use dht_types::{HashRange, Key};

use super::remove::remove_record;
use super::{NeoStream, Outcome, Step, Stream};
use crate::context::{Context, writer};
use crate::moves::{ClaimStream, GivePart, Job, Moves, PurgeStream, Requester, node_address};
use crate::ranges::without;

/// Records that are stored together: those of a batch, if they have more than 16 bytes each.
const PUTS_MAX: usize = 16 * 1024;

/// A move that this connection has asked for. It is given up with it.
pub(crate) struct MoveStream {
    work: Arc<GivePart>,
}

pub(super) fn legacy(cx: &mut Context, request: &MovePart<'_>, out: &mut Vec<u8>) -> Outcome {
    let message = match MoveMessage::decode(request.message) {
        Ok(message) => message,
        Err(error) => return Outcome::Close(CloseReason::MalformedMove(error)),
    };
    let reply = match message {
        MoveMessage::Info { version } => info(cx, version),
        MoveMessage::Start { version, part, address, port } => {
            match version_is_ours(version).and_then(|()| start(cx, part, address, port, 0)) {
                Ok(stream) => {
                    Status::Ok.encode(&mut writer(out));
                    return Outcome::Stream(Stream::Move(stream));
                }
                Err(why) => MoveReply::Refused(why),
            }
        }
        MoveMessage::Begin { version, token, part, value_bytes, .. } => {
            let shared = &cx.shared;
            let begun = version_is_ours(version).and_then(|()| {
                Moves::begin_taking(shared, token, part, value_bytes, requester(cx, 0))
            });
            match begun {
                Ok(job) => return purge(cx, part, token, MoveReply::Done, Some(job)),
                Err(why) => MoveReply::Refused(why),
            }
        }
        MoveMessage::Records { token, channel, batch } => match store(cx, token, channel, batch) {
            Ok(MoveReply::Refused(why)) => {
                cx.shared.moves.void(token);
                MoveReply::Refused(why)
            }
            Ok(reply) => reply,
            Err(reason) => return Outcome::Close(reason),
        },
        MoveMessage::DropChannel { token, channel } => match cx.shared.moves.taking(token) {
            Some(part) => return drop_channel(cx, part, token, channel),
            None => no_such_move(),
        },
        MoveMessage::Claim { token } => {
            return Outcome::Stream(Stream::Claim(ClaimStream::new(token)));
        }
        MoveMessage::Cancel { token, part } => match Moves::cancel(&cx.shared, token, part) {
            MoveReply::NotClaimed => return purge(cx, part, token, MoveReply::NotClaimed, None),
            claimed if cx.shared.ranges.is_synced() => claimed,
            // The giver forgets the part when it hears that: a power cut must not change it.
            claimed => {
                let job = Moves::sync_range(&cx.shared, requester(cx, 0));
                let stream = PurgeStream::new(part, token, Vec::new(), claimed).after(job);
                return Outcome::Stream(Stream::Purge(Box::new(stream)));
            }
        },
    };
    answer(&reply, out)
}

fn answer(reply: &MoveReply, out: &mut Vec<u8>) -> Outcome {
    Status::Ok.encode(&mut writer(out));
    reply.encode_array(&mut writer(out));
    Outcome::Done
}

fn no_such_move() -> MoveReply {
    MoveReply::Refused("there is no such move here; it was cancelled or replaced".to_owned())
}

fn version_is_ours(version: u16) -> Result<(), String> {
    if version == MOVE_VERSION {
        return Ok(());
    }
    Err(format!(
        "version {version} of moving is not spoken here, but {MOVE_VERSION}; bring all nodes and \
         dhtredist to one version"
    ))
}

fn info(cx: &Context, version: u16) -> MoveReply {
    if let Err(why) = version_is_ours(version) {
        return MoveReply::Refused(why);
    }
    let (usage, limit) = (cx.shared.store.usage(), cx.shared.settings.bytes_max);
    let room = if limit == 0 { u64::MAX } else { limit.saturating_sub(cx.shared.bytes()) };
    MoveReply::Info(MoveInfo {
        version: MOVE_VERSION,
        range: cx.view.owned,
        records: usage.records,
        value_bytes: usage.value_bytes,
        room_bytes: room,
        is_busy: cx.shared.moves.is_busy(),
    })
}

/// Refuses what cannot work, before anything changes.
fn start(
    cx: &Context,
    part: HashRange,
    address: &str,
    port: u16,
    stream: u64,
) -> Result<MoveStream, String> {
    let settings = &cx.shared.settings;
    if node_address(address, port).is_none() {
        return Err(format!("{address}:{port} is no IPv4 address and port"));
    }
    if (address, port) == (&settings.address, settings.port) {
        return Err(format!("{address}:{port} is this node itself"));
    }
    let owned = cx.view.owned;
    if without(owned, part).is_none() {
        return Err(format!("{part} is no end of this node's hash range {owned}"));
    }
    if !cx.shared.ranges.is_kept() {
        return Err(
            "the giver was started without a config file, so it would forget its new hash \
                    range; start it with --config FILE"
                .to_owned(),
        );
    }
    let turn = Moves::take_turn(&cx.shared)
        .ok_or("busy: another move is under way here; try again later")?;
    let work = GivePart::start(turn, part, address, port, requester(cx, stream))
        .map_err(|error| format!("the giver cannot start a thread for it: {error}"))?;
    Ok(MoveStream { work })
}

fn requester(cx: &Context, stream: u64) -> Requester {
    Requester { mailbox: Arc::clone(&cx.mailbox), conn: cx.conn, stream }
}

/// Removes what lies here of the part, after the job, then answers.
fn purge(
    cx: &Context,
    part: HashRange,
    token: MoveToken,
    reply: MoveReply,
    job: Option<Arc<Job>>,
) -> Outcome {
    let stream = PurgeStream::new(part, token, cx.shared.store.channels(), reply);
    let stream = job.into_iter().fold(stream, PurgeStream::after);
    Outcome::Stream(Stream::Purge(Box::new(stream)))
}

fn drop_channel(cx: &mut Context, part: HashRange, token: MoveToken, channel: &str) -> Outcome {
    let channels = cx.channel(channel).into_iter().collect();
    let stream = PurgeStream::new(part, token, channels, MoveReply::Done);
    Outcome::Stream(Stream::Purge(Box::new(stream)))
}

/// Stores what has come. Nobody sees it before the claim, and nobody who listens is told.
fn store(
    cx: &mut Context,
    token: MoveToken,
    channel: &str,
    batch: &[u8],
) -> Result<MoveReply, CloseReason> {
    let Some(part) = cx.shared.moves.store_in_part(token) else { return Ok(no_such_move()) };
    let mut buffer = std::mem::take(&mut cx.codec.records);
    let stored = records_of(batch, &mut buffer)
        .map_err(CloseReason::MalformedBatch)
        .and_then(|records| store_records(cx, part, channel, records));
    cx.codec.records = buffer;
    cx.codec.trim();
    cx.shared.moves.leave_part();
    stored
}

fn store_records(
    cx: &mut Context,
    part: HashRange,
    channel: &str,
    records: &[u8],
) -> Result<MoveReply, CloseReason> {
    let (mut r, mut puts) = (Reader::new(records), Vec::new());
    while let Some(record) = next_moved(&mut r) {
        let Moved { key, value } = record.map_err(CloseReason::MalformedMove)?;
        if !part.contains(key) {
            return Ok(MoveReply::Refused(format!("key {key} does not lie in {part}")));
        }
        let is_removal = value.is_none();
        puts.extend(value.map(|value| (key, value)));
        // What comes of a key is done in its order.
        if !is_removal && puts.len() < PUTS_MAX {
            continue;
        }
        let mut done = put(cx, channel, &puts);
        puts.clear();
        if is_removal {
            done = done.and_then(|()| remove(cx, channel, key));
        }
        if let Err(why) = done {
            return Ok(MoveReply::Refused(why));
        }
    }
    let done = put(cx, channel, &puts);
    Ok(done.map_or_else(MoveReply::Refused, |()| MoveReply::Done))
}

fn put(cx: &mut Context, channel: &str, records: &[(Key, &[u8])]) -> Result<(), String> {
    if records.is_empty() {
        return Ok(());
    }
    if cx.exceeds_limit(records.iter().map(|(_, value)| value.len() as u64).sum()) {
        return Err("no room: the taker's size_limit is reached".to_owned());
    }
    let stored = cx.put_many(channel, records);
    stored.map_err(|error| format!("the taker cannot store a record: {error}"))
}

fn remove(cx: &mut Context, channel: &str, key: Key) -> Result<(), String> {
    let Some(channel) = cx.channel(channel) else { return Ok(()) };
    let removed = remove_record(cx, &channel, key, Notify::No);
    removed.map(|_| ()).map_err(|error| format!("the taker cannot remove a record: {error}"))
}

pub(super) fn neo(
    cx: &Context,
    id: RequestId,
    request: &neo::requests::MovePart<'_>,
    out: &mut Vec<u8>,
) -> Option<NeoStream> {
    if !cx.client_is_admin {
        MoveUpdate::NotPermitted.write(id, out);
        return None;
    }
    match start(cx, request.part, request.address, request.port, id.get()) {
        Ok(stream) => Some(NeoStream::Move(stream)),
        Err(why) => {
            MoveUpdate::Refused(&why).write(id, out);
            None
        }
    }
}

impl MoveStream {
    /// The same for a neo client.
    pub(crate) fn neo_step(&self, id: RequestId, out: &mut Vec<u8>) -> Step {
        match self.work.news() {
            None => return Step::Idle,
            Some((MoveReply::Progress(progress), _)) => {
                MoveUpdate::Progress(progress).write(id, out);
                return Step::Idle;
            }
            Some((MoveReply::Finished(progress), _)) => {
                MoveUpdate::Finished(progress).write(id, out);
            }
            Some((MoveReply::Refused(why), _)) => MoveUpdate::Refused(&why).write(id, out),
            Some((other, _)) => unreachable!("{other:?} ends no move"),
        }
        Step::Done
    }

    /// Gives it up, if that is still possible.
    pub(crate) fn cancel(&self) {
        self.work.cancel();
    }

    /// Tells how far it is. `peer_speaks`: the client has sent something, which cancels.
    pub(crate) fn step(&mut self, peer_speaks: bool, out: &mut Vec<u8>) -> Step {
        if peer_speaks {
            self.work.cancel();
        }
        let Some((reply, is_end)) = self.work.news() else { return Step::Idle };
        reply.encode_array(&mut writer(out));
        if is_end { Step::Done } else { Step::Idle }
    }
}

impl Drop for MoveStream {
    fn drop(&mut self) {
        self.work.cancel();
    }
}

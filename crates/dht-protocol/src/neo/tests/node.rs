//! A node as small as can be: maps for a store, and one connection's [`Server`].

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use dht_lzo::Compressor;
use dht_types::{HashRange, Key};

use crate::neo::batch::GetAllBatch;
use crate::neo::requests::{
    ExistsReply, GetAllMessage, GetChannelsMessage, GetReply, MirrorMessage, MoveUpdate, NewValue,
    PutReply, RemoveChannelReply, RemoveReply, ResponsibleRange, Update, UpdateAction,
    UpdateMessage, UpdateReply, fnv1a64,
};
use crate::neo::{
    CloseReason, Control, Event, Message, Payload, Refusal, Request, RequestId, Server, Supported,
    Suspendable,
};

type Channel = BTreeMap<Key, Vec<u8>>;

/// See the module.
pub(super) struct Node {
    pub(super) server: Server,
    pub(super) channels: BTreeMap<String, Channel>,
    pub(super) range: HashRange,
    pub(super) is_admin: bool,
    pub(super) refusals: Vec<Refusal>,
    pub(super) abandoned: Vec<RequestId>,
    streams: BTreeMap<RequestId, Stream>,
    updates: BTreeMap<RequestId, (String, Key)>,
    compressor: Compressor,
}

struct Stream {
    state: Suspendable,
    channel: String,
    work: Work,
}

enum Work {
    GetAll { from: Bound<Key>, batch: GetAllBatch },
    Mirror { queue: VecDeque<(Key, bool)>, removed: bool },
}

impl Node {
    pub(super) fn new() -> Self {
        Self {
            server: Server::new(),
            channels: BTreeMap::new(),
            range: HashRange::FULL,
            is_admin: true,
            refusals: Vec::new(),
            abandoned: Vec::new(),
            streams: BTreeMap::new(),
            updates: BTreeMap::new(),
            compressor: Compressor::new(),
        }
    }

    /// Takes all whole messages, as a node does: those that it can look at ahead first.
    pub(super) fn receive(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CloseReason> {
        loop {
            let mut ahead = Vec::new();
            while let Some(single) = self.server.look_ahead(input) {
                ahead.push(single);
            }
            for (id, request) in ahead {
                Supported::Yes.write(id, out);
                self.start(id, &request, out)?;
            }
            match self.server.next(input, out)? {
                Some(event) => self.execute(&event, out)?,
                None => return Ok(()),
            }
        }
    }

    fn execute(&mut self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), CloseReason> {
        match *event {
            Event::Start { id, request } => self.start(id, &request, out),
            Event::Message { id, message: Message::Control(control) } => {
                self.control(id, control, out)
            }
            Event::Message { id, message: Message::Update(message) } => {
                let (channel, key) = self.updates.remove(&id).expect("an Update that waits");
                let reply = match message {
                    UpdateMessage::UpdateRecord(new) => self.write(&channel, key, &new),
                    UpdateMessage::RemoveRecord => {
                        self.channel(&channel).remove(&key);
                        self.changed(&channel, key, false);
                        UpdateReply::Ok
                    }
                    UpdateMessage::LeaveRecord => UpdateReply::Ok,
                };
                reply.write(id, out);
                self.server.finish(id);
                Ok(())
            }
            Event::Message { message: Message::CancelMove, .. } => {
                unreachable!("no MovePart goes on here")
            }
            Event::Abandoned { id, .. } => {
                self.streams.remove(&id);
                self.updates.remove(&id);
                self.abandoned.push(id);
                Ok(())
            }
            Event::Refused(refusal) => {
                self.refusals.push(refusal);
                Ok(())
            }
        }
    }

    pub(super) fn channel(&mut self, name: &str) -> &mut Channel {
        self.channels.entry(name.to_owned()).or_default()
    }

    fn start(
        &mut self,
        id: RequestId,
        request: &Request<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), CloseReason> {
        match *request {
            Request::GetHashRange(_) => ResponsibleRange(self.range).write(id, out),
            Request::Put(put) => {
                let reply = if self.range.contains(put.key) {
                    self.channel(put.channel).insert(put.key, put.value.to_vec());
                    self.changed(put.channel, put.key, true);
                    PutReply::Put
                } else {
                    PutReply::WrongNode
                };
                reply.write(id, out);
            }
            Request::Get(get) => match self.channel(get.channel).get(&get.key) {
                Some(value) => GetReply::Got(value).write(id, out),
                None => GetReply::NoRecord.write(id, out),
            },
            Request::Exists(exists) => {
                let found = self.channel(exists.channel).contains_key(&exists.key);
                let reply = if found { ExistsReply::RecordExists } else { ExistsReply::NoRecord };
                reply.write(id, out);
            }
            Request::Remove(remove) => {
                let removed = self.channel(remove.channel).remove(&remove.key).is_some();
                if removed {
                    self.changed(remove.channel, remove.key, false);
                }
                let reply = if removed { RemoveReply::Removed } else { RemoveReply::NoRecord };
                reply.write(id, out);
            }
            Request::GetChannels(_) => {
                for name in self.channels.keys() {
                    GetChannelsMessage::ChannelName(name.as_bytes()).write(id, out);
                }
                GetChannelsMessage::Finished.write(id, out);
            }
            Request::RemoveChannel(remove) => self.remove_channel(id, remove.channel, out),
            Request::MovePart(_) => {
                MoveUpdate::NotPermitted.write(id, out);
                self.server.finish(id);
            }
            Request::Update(update) => return self.update(id, &update, out),
            Request::GetAll(get_all) => {
                self.channel(get_all.channel);
                let from = get_all.continue_from.map_or(Bound::Unbounded, Bound::Excluded);
                let work = Work::GetAll { from, batch: GetAllBatch::new() };
                GetAllMessage::Started.write(id, out);
                self.stream(id, get_all.start_suspended, get_all.channel, work);
            }
            Request::Mirror(mirror) => {
                self.channel(mirror.channel);
                let work = Work::Mirror { queue: VecDeque::new(), removed: false };
                MirrorMessage::Started.write(id, out);
                self.stream(id, mirror.start_suspended, mirror.channel, work);
            }
        }
        Ok(())
    }

    fn stream(&mut self, id: RequestId, start_suspended: bool, channel: &str, work: Work) {
        let state = Suspendable::new(start_suspended);
        let stream = Stream { state, channel: channel.to_owned(), work };
        assert!(self.streams.insert(id, stream).is_none(), "a new id");
    }

    fn remove_channel(&mut self, id: RequestId, channel: &str, out: &mut Vec<u8>) {
        if !self.is_admin {
            RemoveChannelReply::NotPermitted.write(id, out);
            return;
        }
        self.channels.remove(channel);
        for stream in self.streams.values_mut().filter(|stream| stream.channel == channel) {
            if let Work::Mirror { queue, removed } = &mut stream.work {
                queue.clear();
                *removed = true;
            }
        }
        RemoveChannelReply::ChannelRemoved.write(id, out);
    }

    fn update(
        &mut self,
        id: RequestId,
        update: &Update<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), CloseReason> {
        let Update { channel, key, action } = *update;
        let reply = match action {
            _ if !self.range.contains(key) => UpdateReply::WrongNode,
            UpdateAction::Unknown(kind) => {
                return Err(CloseReason::UnknownMessage { id, kind: kind.into() });
            }
            UpdateAction::UpdateRecord(new) => self.write(channel, key, &new),
            UpdateAction::GetRecord => match self.channel(channel).get(&key) {
                None => UpdateReply::NoRecord,
                Some(value) => {
                    UpdateReply::RecordValue(value).write(id, out);
                    self.updates.insert(id, (channel.to_owned(), key));
                    return Ok(());
                }
            },
        };
        reply.write(id, out);
        self.server.finish(id);
        Ok(())
    }

    fn write(&mut self, channel: &str, key: Key, new: &NewValue<'_>) -> UpdateReply<'static> {
        let stored = self.channel(channel).get(&key);
        if stored.is_some_and(|stored| fnv1a64(stored) != new.original_hash) {
            return UpdateReply::UpdateConflict;
        }
        self.channel(channel).insert(key, new.value.to_vec());
        self.changed(channel, key, true);
        UpdateReply::Ok
    }

    fn changed(&mut self, channel: &str, key: Key, is_put: bool) {
        for stream in self.streams.values_mut().filter(|stream| stream.channel == channel) {
            if let Work::Mirror { queue, .. } = &mut stream.work {
                queue.push_back((key, is_put));
            }
        }
    }

    fn control(
        &mut self,
        id: RequestId,
        control: Control,
        out: &mut Vec<u8>,
    ) -> Result<(), CloseReason> {
        let reaction = self.streams.get_mut(&id).expect("a stream runs").state.control(control);
        reaction.write(id, out);
        if reaction == crate::neo::suspendable::Reaction::Close {
            return Err(CloseReason::EarlyAck(id));
        }
        if reaction.is_end() {
            self.streams.remove(&id);
            self.server.finish(id);
        }
        Ok(())
    }

    /// Lets every stream do one thing, if there is one to do.
    pub(super) fn step(&mut self, out: &mut Vec<u8>) {
        for (id, stream) in &mut self.streams {
            if !stream.state.is_running() {
                continue;
            }
            let channel = self.channels.get(&stream.channel);
            match &mut stream.work {
                Work::GetAll { from, batch } => {
                    let next =
                        channel.and_then(|channel| channel.range((*from, Bound::Unbounded)).next());
                    match next {
                        Some((key, value)) if batch.add(*key, value) => {
                            *from = Bound::Excluded(*key);
                        }
                        Some(_) => batch.write(*id, &mut self.compressor, out),
                        None => {
                            batch.write(*id, &mut self.compressor, out);
                            GetAllMessage::Finished.write(*id, out);
                            stream.state.finished();
                        }
                    }
                }
                Work::Mirror { queue, removed } => match queue.pop_front() {
                    Some((key, true)) => {
                        if let Some(value) = channel.and_then(|channel| channel.get(&key)) {
                            MirrorMessage::RecordChanged(key, value).write(*id, out);
                        }
                    }
                    Some((key, false)) => MirrorMessage::RecordDeleted(key).write(*id, out),
                    None if *removed => {
                        MirrorMessage::ChannelRemoved.write(*id, out);
                        stream.state.finished();
                    }
                    None => {}
                },
            }
        }
    }
}

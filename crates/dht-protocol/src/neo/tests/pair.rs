//! Client and node against each other in memory: many requests at once, bytes in random pieces,
//! every legal order of pauses, ends and removals. Neither may ever find fault with the other.

use std::collections::{BTreeMap, BTreeSet};

use dht_testkit::{Rng, for_seeds};
use dht_types::Key;

use super::node::Node;
use crate::neo::batch::{decompress, next_record};
use crate::neo::client::{Event, Reply};
use crate::neo::requests::{
    Exists, ExistsReply, Get, GetAll, GetAllMessage, GetChannels, GetHashRange, GetReply, Mirror,
    MirrorMessage, NewValue, Put, PutReply, Remove, RemoveChannel, Update, UpdateAction,
    UpdateMessage, UpdateReply, fnv1a64,
};
use crate::neo::{Client, Command, Control, Request, RequestId};
use crate::wire::Reader;

/// A client's view of a GetAll or Mirror.
#[derive(Debug, Default)]
struct Stream {
    started: bool,
    /// A Suspend was acknowledged, and no Resume since.
    suspended: bool,
    in_progress: bool,
    records: BTreeMap<Key, Vec<u8>>,
}

/// Both sides, and the bytes between them.
struct Pair {
    client: Client,
    node: Node,
    /// Sent, and not yet delivered.
    to_node: Vec<u8>,
    to_client: Vec<u8>,
    /// Delivered, and not yet taken.
    node_input: Vec<u8>,
    client_input: Vec<u8>,
    streams: BTreeMap<RequestId, Stream>,
    /// What is asked of records that nobody changes.
    expected: BTreeMap<RequestId, Key>,
    finished_get_alls: usize,
    removed_mirrors: usize,
}

/// Records of the channel that is only read.
fn constant_value(key: Key) -> Vec<u8> {
    format!("{key}").into_bytes().repeat(1 + usize::try_from(key.0 % 200).expect("small"))
}

const CONSTANT_KEYS: u64 = 150;

fn deliver(rng: &mut Rng, from: &mut Vec<u8>, to: &mut Vec<u8>) {
    let len = if rng.one_in(3) { from.len() } else { rng.within(0..from.len().min(30) + 1) };
    to.extend(from.drain(..len));
}

impl Pair {
    fn new() -> Self {
        let mut node = Node::new();
        for key in (0..CONSTANT_KEYS).map(Key) {
            node.channel("constant").insert(key, constant_value(key));
        }
        Self {
            client: Client::new(),
            node,
            to_node: Vec::new(),
            to_client: Vec::new(),
            node_input: Vec::new(),
            client_input: Vec::new(),
            streams: BTreeMap::new(),
            expected: BTreeMap::new(),
            finished_get_alls: 0,
            removed_mirrors: 0,
        }
    }

    fn start<'a>(&mut self, request: impl Into<Request<'a>>) -> RequestId {
        let request = request.into();
        let id = self.client.start(request, &mut self.to_node).expect("there is room");
        if matches!(request.command(), Command::GetAll | Command::Mirror) {
            self.streams.insert(id, Stream::default());
        }
        id
    }

    fn start_any(&mut self, rng: &mut Rng) {
        let (channel, key) = (*rng.pick(&["a", "b"]), Key(rng.below(20)));
        let start_suspended = rng.one_in(3);
        match rng.below(12) {
            0 => self.start(GetHashRange),
            1 => self.start(GetChannels),
            2 if rng.one_in(3) => self.start(RemoveChannel { channel }),
            3 => self.start(Remove { channel, key }),
            4 => self.start(Update { channel, key, action: UpdateAction::GetRecord }),
            5 | 6 => {
                let (continue_from, keys_only) = (None, false);
                let channel = "constant";
                let (start_suspended, filter) = (false, &b""[..]);
                self.start(GetAll { start_suspended, channel, continue_from, keys_only, filter })
            }
            7 => {
                let (initial_refresh, periodic_refresh_s) = (false, 0);
                self.start(Mirror { start_suspended, channel, initial_refresh, periodic_refresh_s })
            }
            8 => {
                let key = Key(rng.below(2 * CONSTANT_KEYS));
                let id = self.start(Get { channel: "constant", key });
                self.expected.insert(id, key);
                id
            }
            9 => {
                let key = Key(rng.below(2 * CONSTANT_KEYS));
                let id = self.start(Exists { channel: "constant", key });
                self.expected.insert(id, key);
                id
            }
            _ => self.start(Put { channel, key, value: &rng.bytes(0..40) }),
        };
    }

    fn control_any(&mut self, rng: &mut Rng, controls: &[Control]) {
        let ids: Vec<RequestId> = self.streams.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = *rng.pick(&ids);
        let stream = self.streams.get_mut(&id).expect("just seen");
        let sent = self.client.control(id, *rng.pick(controls), &mut self.to_node);
        assert_eq!(sent.is_ok(), stream.started && !stream.in_progress);
        stream.in_progress |= sent.is_ok();
    }

    /// Moves some bytes, and lets both sides take what is whole.
    fn turn(&mut self, rng: &mut Rng) {
        deliver(rng, &mut self.to_node, &mut self.node_input);
        let mut input = &self.node_input[..];
        self.node.receive(&mut input, &mut self.to_client).expect("the client keeps the rules");
        let left = input.len();
        self.node_input.drain(..self.node_input.len() - left);
        if rng.one_in(2) {
            self.node.step(&mut self.to_client);
        }
        deliver(rng, &mut self.to_client, &mut self.client_input);
        let bytes = std::mem::take(&mut self.client_input);
        let mut input = &bytes[..];
        loop {
            let event = self.client.next(&mut input, &mut self.to_node);
            match event.expect("the node keeps the rules") {
                Some(event) => self.arrived(rng, &event),
                None => break,
            }
        }
        self.client_input = input.to_vec();
    }

    fn arrived(&mut self, rng: &mut Rng, event: &Event<'_>) {
        let id = event.id;
        match event.reply {
            Reply::Put(reply) => assert_eq!(reply, PutReply::Put),
            Reply::Get(reply) => {
                let key = self.expected.remove(&id).expect("asked once");
                let value = constant_value(key);
                let found = GetReply::Got(&value);
                let expected = if key.0 < CONSTANT_KEYS { found } else { GetReply::NoRecord };
                assert_eq!(reply, expected);
            }
            Reply::Exists(reply) => {
                let key = self.expected.remove(&id).expect("asked once");
                assert_eq!(reply == ExistsReply::RecordExists, key.0 < CONSTANT_KEYS);
            }
            Reply::Update(UpdateReply::RecordValue(value)) => {
                let original_hash = fnv1a64(value);
                let new = NewValue { original_hash, value: b"updated" };
                let decision = *rng.pick(&[
                    UpdateMessage::UpdateRecord(new),
                    UpdateMessage::RemoveRecord,
                    UpdateMessage::LeaveRecord,
                ]);
                self.client.update(id, &decision, &mut self.to_node).expect("it waits");
            }
            Reply::GetAll(message) => self.get_all(id, &message),
            Reply::Mirror(message) => self.mirror(id, &message),
            Reply::Controlled(control) => {
                let stream = self.streams.get_mut(&id).expect("it runs");
                stream.in_progress = false;
                match control {
                    Control::Suspend => stream.suspended = true,
                    Control::Resume => stream.suspended = false,
                    Control::Stop | Control::Ack => {}
                }
            }
            Reply::Unsupported(_) | Reply::UnknownStatus(_) => panic!("{event:?}"),
            Reply::Remove(_)
            | Reply::RemoveChannel(_)
            | Reply::GetChannels(_)
            | Reply::HashRange(_)
            | Reply::HashRangeUpdate(_)
            | Reply::Move(_)
            | Reply::Update(_) => {}
        }
        if event.is_last {
            self.streams.remove(&id);
        }
    }

    fn get_all(&mut self, id: RequestId, message: &GetAllMessage<'_>) {
        let stream = self.streams.get_mut(&id).expect("it runs");
        match message {
            GetAllMessage::Started => stream.started = true,
            GetAllMessage::RecordBatch(batch) => {
                assert!(!stream.suspended, "nothing follows the Ack of a Suspend");
                let mut records = Vec::new();
                decompress(batch, &mut records).expect("our own batch");
                let mut r = Reader::new(&records);
                while let Some(record) = next_record(&mut r) {
                    let (key, value) = record.expect("our own record");
                    assert_eq!(
                        stream.records.insert(key, value.to_vec()),
                        None,
                        "none comes twice"
                    );
                }
            }
            GetAllMessage::Finished => {
                let all = (0..CONSTANT_KEYS).map(|key| (Key(key), constant_value(Key(key))));
                assert!(stream.records.iter().map(|(k, v)| (*k, v.clone())).eq(all));
                self.finished_get_alls += 1;
            }
            GetAllMessage::Ack | GetAllMessage::Error => panic!("{message:?}"),
        }
    }

    fn mirror(&mut self, id: RequestId, message: &MirrorMessage<'_>) {
        let stream = self.streams.get_mut(&id).expect("it runs");
        match message {
            MirrorMessage::Started => stream.started = true,
            MirrorMessage::RecordChanged(..) | MirrorMessage::RecordDeleted(_) => {
                assert!(!stream.suspended, "nothing follows the Ack of a Suspend");
            }
            MirrorMessage::ChannelRemoved => self.removed_mirrors += 1,
            _ => panic!("{message:?}"),
        }
    }

    /// Ids that both sides agree to be running once nothing is under way.
    fn running(&self) -> BTreeSet<RequestId> {
        let client: BTreeSet<_> = self.client.active().map(|(id, _)| id).collect();
        let node: BTreeSet<_> = self.node.server.active().map(|(id, _)| id).collect();
        assert_eq!(client, node);
        client
    }

    fn is_quiet(&self) -> bool {
        self.to_node.is_empty()
            && self.to_client.is_empty()
            && self.node_input.is_empty()
            && self.client_input.is_empty()
    }
}

#[test]
fn client_and_node_never_find_fault_with_each_other() {
    let ends = std::sync::Mutex::new((0, 0));
    let ends_seen = std::panic::AssertUnwindSafe(&ends);
    for_seeds(60, |rng| {
        let mut pair = Pair::new();
        for _ in 0..400 {
            match rng.below(6) {
                0 => pair.start_any(rng),
                1 => {
                    let controls = [Control::Suspend, Control::Resume, Control::Stop];
                    let without_stop = if rng.one_in(20) { 3 } else { 2 };
                    pair.control_any(rng, &controls[..without_stop]);
                }
                _ => pair.turn(rng),
            }
        }
        // Every GetAll ends by itself; everything else is answered, or has to be stopped.
        while pair.client.active().any(|(_, command)| command == Command::GetAll) {
            pair.control_any(rng, &[Control::Resume]);
            pair.turn(rng);
        }
        while pair.client.active().any(|(_, command)| command != Command::GetHashRange) {
            pair.control_any(rng, &[Control::Stop]);
            pair.turn(rng);
        }
        while !pair.is_quiet() {
            pair.turn(rng);
        }
        assert!(pair.expected.is_empty() && pair.streams.is_empty());
        assert!(pair.node.refusals.is_empty() && pair.node.abandoned.is_empty());
        for id in pair.running() {
            let command = pair.client.active().find(|(running, _)| *running == id);
            assert_eq!(command, Some((id, Command::GetHashRange)));
        }
        let mut ends = ends_seen.lock().expect("no panic above");
        ends.0 += pair.finished_get_alls;
        ends.1 += pair.removed_mirrors;
    });
    let (finished, removed) = *ends.lock().expect("no panic above");
    assert!(
        finished > 60 && removed > 10 || std::env::var_os("SEED").is_some(),
        "{finished} {removed}"
    );
}

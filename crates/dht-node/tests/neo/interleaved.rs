//! A thousand requests of all kinds over one connection, sent ahead in pieces of any size, against
//! a `BTreeMap`. The node executes the requests of a connection in their order, so the answer to
//! each is known before the first byte is sent.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;

use dht_testkit::{NodeSettings, Rng, for_seeds};

use crate::mirror::{CHANGES, Told};
use crate::support::{Client, Node, Records, decompress, pairs, records, unique, workers};
use crate::wire::{self, ACK, GetAll, LEAVE_RECORD, Mirror, REMOVE_RECORD, STOP, SUSPEND};

/// Requests of one run.
const REQUESTS: usize = 1000;
/// The channel that everything changes. Its few keys meet again and again.
const HOT: &str = "hot";
const HOT_KEYS: u64 = 24;
/// A channel that is removed now and then.
const FLEETING: &str = "fleeting";
/// A channel that nothing changes.
const FROZEN: &str = "frozen";

/// A run that was thought out ahead.
struct Script {
    /// What the client sends.
    bytes: Vec<u8>,
    /// What is said to each request, by id.
    answers: BTreeMap<u64, Vec<Vec<u8>>>,
    /// Scans of the frozen channel.
    scans: Vec<u64>,
    /// The Mirror of the hot channel, and the changes that it may tell, in order.
    mirror: u64,
    changes: VecDeque<Change>,
    /// What the channels hold.
    model: BTreeMap<&'static str, Records>,
    next_id: u64,
}

/// A change of the hot channel: the new value, or a removal.
type Change = (u64, Option<Vec<u8>>);

impl Script {
    fn new(client: &mut Client) -> Self {
        let mirror = client.start_stream(&Mirror { channel: HOT, ..CHANGES }.encode());
        let model = BTreeMap::from([(HOT, Records::new()), (FLEETING, Records::new())]);
        let (answers, changes) = (BTreeMap::new(), VecDeque::new());
        let next_id = client.new_id();
        Self { bytes: Vec::new(), answers, scans: Vec::new(), mirror, changes, model, next_id }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Sends a message of a request that runs.
    fn send(&mut self, id: u64, payload: &[u8]) {
        self.bytes.extend(wire::message(id, payload));
    }

    /// Sends a request that is answered by these messages behind "supported".
    fn ask(&mut self, request: &[u8], answers: &[&[u8]]) -> u64 {
        let id = self.new_id();
        self.send(id, request);
        let mut all = vec![vec![wire::SUPPORTED]];
        all.extend(answers.iter().map(|answer| answer.to_vec()));
        self.answers.insert(id, all);
        id
    }

    fn answer(&mut self, id: u64, answer: &[u8]) {
        self.answers.get_mut(&id).expect("it was asked").push(answer.to_vec());
    }

    fn write(&mut self, channel: &'static str, key: u64, value: &[u8]) {
        self.model.get_mut(channel).expect("known").insert(key, value.to_vec());
        if channel == HOT {
            self.changes.push_back((key, Some(value.to_vec())));
        }
    }

    fn erase(&mut self, channel: &'static str, key: u64) -> bool {
        let was_there = self.model.get_mut(channel).expect("known").remove(&key).is_some();
        if was_there && channel == HOT {
            self.changes.push_back((key, None));
        }
        was_there
    }

    /// One request more, or two halves of one.
    fn add(&mut self, rng: &mut Rng) {
        let (channel, key) = (*rng.pick(&[HOT, HOT, HOT, FLEETING]), rng.below(HOT_KEYS));
        let found = self.model[channel].get(&key).cloned();
        match rng.below(20) {
            0..=5 => {
                let lengths = if rng.one_in(50) { 60_000..90_000 } else { 0..100 };
                let value = rng.bytes(lengths);
                self.ask(&wire::put(channel, key, &value), &[&[1]]);
                self.write(channel, key, &value);
            }
            6..=8 => {
                let request = wire::get(channel, key);
                match found {
                    None => self.ask(&request, &[&[1]]),
                    Some(value) => self.ask(&request, &[&[2], &wire::array(value)]),
                };
            }
            9 | 10 => {
                let status = if found.is_some() { 1 } else { 2 };
                self.ask(&wire::exists(channel, key), &[&[status]]);
            }
            11 | 12 => {
                let status = 1 + u8::from(self.erase(channel, key));
                self.ask(&wire::remove(channel, key), &[&[status]]);
            }
            13..=15 => self.add_update(rng, channel, key),
            16 => {
                let request = GetAll { channel: FROZEN, ..GetAll::default() };
                if rng.one_in(3) {
                    let scan = self.new_id();
                    self.send(scan, &request.encode());
                    self.scans.push(scan);
                } else {
                    let suspended = GetAll { suspended: true, ..request }.encode();
                    let id = self.ask(&suspended, &[&[5], ACK, ACK]);
                    self.send(id, SUSPEND);
                    self.send(id, STOP);
                }
            }
            17 => {
                self.ask(&wire::remove_channel(FLEETING), &[&[1]]);
                self.model.insert(FLEETING, Records::new());
            }
            18 => drop(self.ask(&wire::get("no/channel", key), &[&[4]])),
            _ => {
                let id = self.new_id();
                self.send(id, &[200, 0]);
                self.answers.insert(id, vec![vec![wire::UNKNOWN_CODE]]);
            }
        }
    }

    /// An Update, with another request between its halves.
    fn add_update(&mut self, rng: &mut Rng, channel: &'static str, key: u64) {
        let Some(old) = self.model[channel].get(&key).cloned() else {
            self.ask(&wire::update_get(channel, key), &[&[7]]);
            return;
        };
        let value = [&[5], &wire::array(&old)[..]].concat();
        let id = self.ask(&wire::update_get(channel, key), &[&value]);
        if rng.one_in(2) {
            let new = rng.bytes(0..50);
            self.ask(&wire::put(channel, key, &new), &[&[1]]);
            self.write(channel, key, &new);
        }
        let now = self.model[channel].get(&key).cloned();
        let status = match rng.below(4) {
            0 => {
                self.send(id, LEAVE_RECORD);
                6
            }
            1 => {
                self.send(id, REMOVE_RECORD);
                self.erase(channel, key);
                6
            }
            _ => {
                let new = rng.bytes(0..50);
                self.send(id, &wire::update_record(&old, &new));
                if now == Some(old) {
                    self.write(channel, key, &new);
                    6
                } else {
                    8
                }
            }
        };
        self.answer(id, &[status]);
    }
}

/// Sends the script in pieces, while what comes back is received and compared.
fn play(client: &mut Client, script: &Script, pieces: &[usize], frozen: &Records) {
    let mut stream = client.peer.0.try_clone().expect("a socket");
    let mut bytes = &script.bytes[..];
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for len in pieces.iter().cycle() {
                let (piece, rest) = bytes.split_at(bytes.len().min(*len));
                stream.write_all(piece).expect("the node reads");
                bytes = rest;
                if rest.is_empty() {
                    return;
                }
            }
        });
        for (id, answers) in &script.answers {
            for answer in answers {
                assert!(client.receive(*id) == *answer, "request {id}: {:02x?}", &answer[..1]);
            }
        }
    });
    for scan in &script.scans {
        assert_eq!((client.receive(*scan), client.receive(*scan)), (vec![0xfd], vec![5]));
        let batches = client.batches_to_the_end(*scan);
        assert!(unique(batches.iter().flat_map(|batch| pairs(batch))) == *frozen);
    }
    for channel in [HOT, FLEETING] {
        assert!(client.records(channel) == script.model[channel], "{channel}");
    }
    compare_mirror(client, script);
    client.settle();
}

/// Each change is told, in order, but for the value: that is one which the record had then or
/// later. Only of a record that was removed meanwhile changes may be missing.
fn compare_mirror(client: &mut Client, script: &Script) {
    let told = client.control_after(script.mirror, STOP);
    let mut told = told.iter().map(|payload| Told::read(payload)).peekable();
    for (at, (key, value)) in script.changes.iter().enumerate() {
        let mut later = script.changes.range(at..).filter(|(later, _)| later == key);
        match told.peek() {
            Some(Told::Deleted(deleted)) if deleted == key && value.is_none() => drop(told.next()),
            Some(Told::Changed(changed, now)) if changed == key && value.is_some() => {
                let known = later.any(|(_, later)| later.as_ref() == Some(now));
                assert!(known, "key {key} never had this value");
                told.next();
            }
            other => assert!(
                value.is_some() && later.any(|(_, later)| later.is_none()),
                "change {at} of key {key} is missing; told instead: {other:.100?}"
            ),
        }
    }
    assert_eq!(told.next(), None);
}

/// Runs of so many seeds, in pieces of lengths that `piece` draws.
fn run(
    settings: &NodeSettings,
    seeds: u64,
    piece: impl Fn(&mut Rng) -> usize + std::panic::RefUnwindSafe,
) {
    let node = Node::with(settings);
    let frozen = records(100, 1000);
    node.client().put_all(FROZEN, &frozen);
    let node = std::panic::AssertUnwindSafe(&node);
    for_seeds(seeds, |rng| {
        let mut client = node.admin();
        let mut script = Script::new(&mut client);
        for _ in 0..REQUESTS {
            script.add(rng);
        }
        let pieces: Vec<usize> = (0..1000).map(|_| piece(rng)).collect();
        play(&mut client, &script, &pieces, &frozen);
        client.remove_channel(HOT);
        client.remove_channel(FLEETING);
    });
}

#[test]
fn requests_in_pieces_of_any_size() {
    for count in [1, 4] {
        run(&workers(count), 4, |rng| rng.within(1..3000));
    }
}

#[test]
fn requests_in_a_few_bytes_each() {
    run(&workers(1), 1, |rng| rng.within(1..20));
}

#[test]
fn requests_all_at_once() {
    for count in [1, 4] {
        run(&workers(count), 4, |rng| rng.within(1 << 16..1 << 24));
    }
}

/// The same from many clients at a time, each with channels of its own to compare with.
#[test]
fn many_clients_at_once_get_their_own_answers() {
    let node = Node::with(&workers(4));
    std::thread::scope(|scope| {
        for number in 0..8_u64 {
            let node = &node;
            scope.spawn(move || {
                let channel = format!("own{number}");
                let mut client = node.client();
                let all = records(300 + number, 50);
                for _ in 0..3 {
                    client.put_all(&channel, &all);
                    assert!(client.records(&channel) == all);
                }
                let id = client.start_stream(
                    &Mirror { channel: &channel, initial_refresh: true, ..CHANGES }.encode(),
                );
                let payload = client.receive(id);
                assert_eq!(payload[0], 9);
                assert!(!decompress(&payload[1..]).is_empty());
            });
        }
    });
}

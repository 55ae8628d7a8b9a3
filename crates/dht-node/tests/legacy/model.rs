//! Random requests, pipelined in random pieces, against a `BTreeMap`, through the wire.
//!
//! Groups of requests go out over several connections in turn, each group after the answers to the
//! one before: so the order of all requests is known, whichever worker serves them.

use std::collections::BTreeMap;

use dht_testkit::legacy::{self, array, request, status};
use dht_testkit::{Peer, Rng, for_seeds};

use crate::support::{Client, Node, Records, blob_of, keys, pairs, unique, workers};

/// Groups of requests in a run.
const GROUPS: usize = 40;
/// Most requests in a group.
const GROUP_MAX: usize = 60;
/// Connections that take turns.
const CONNECTIONS: usize = 4;
/// Few keys, so that they meet again. Odd ones are the node's.
const KEYS: u64 = 24;
/// A small batch, so that scans have many and values are easily too long.
const BATCH_BYTES: usize = 1024;
const VALUE_BYTES_MAX: usize = BATCH_BYTES - 32;
/// What an empty channel and a record without its value are said to take, in bytes.
const CHANNEL_BYTES: u64 = 525_376;
const RECORD_BYTES: u64 = 56;

/// What a node should hold, and how it should answer.
#[derive(Default)]
struct Model {
    channels: BTreeMap<String, Records>,
}

/// What has to come back for a request.
enum Answer {
    /// Just these bytes.
    Bytes(Vec<u8>),
    /// A scan with these records.
    Records(Records),
    /// A scan with these keys.
    Keys(Vec<u64>),
    /// A size: records and bytes.
    Size(u64, u64),
}

fn only(status: u32) -> Answer {
    Answer::Bytes(status.to_le_bytes().to_vec())
}

fn ok(rest: &[u8]) -> Answer {
    Answer::Bytes([&status::OK.to_le_bytes(), rest].concat())
}

const fn is_ours(key: u64) -> bool {
    key % 2 == 1
}

fn size_of(channel: &Records) -> u64 {
    let values: usize = channel.values().map(Vec::len).sum();
    CHANNEL_BYTES + channel.len() as u64 * RECORD_BYTES + values as u64
}

impl Model {
    /// A random request, and what has to come back.
    fn step(&mut self, rng: &mut Rng) -> (Vec<u8>, Answer) {
        let channel = *rng.pick(&["a", "b", "c"]);
        let key = rng.below(KEYS);
        match rng.below(20) {
            0..=5 => self.put(channel, key, &random_value(rng)),
            6 | 7 => (legacy::get(channel, key), ok(&array(self.value(channel, key)))),
            8 => {
                let exists = u8::from(!self.value(channel, key).is_empty());
                (legacy::exists(channel, key), ok(&[exists]))
            }
            9 | 10 => self.remove(channel, key),
            11 | 12 => self.put_batch(channel, rng),
            13 => {
                let names = self.channels.keys().flat_map(|name| array(name.as_bytes()));
                let list: Vec<u8> = names.chain(array(b"")).collect();
                (legacy::get_channels(), ok(&list))
            }
            14 => self.size(channel, rng),
            15 if rng.one_in(3) => {
                self.channels.remove(channel);
                (legacy::remove_channel(channel), only(status::OK))
            }
            16 => self.listen_and_go_on(channel),
            17 => bad_name(rng),
            18 => (legacy::get_version(), Answer::Bytes(legacy::version_answer())),
            _ => self.scan(channel, rng),
        }
    }

    fn value(&self, channel: &str, key: u64) -> &[u8] {
        self.channels.get(channel).and_then(|records| records.get(&key)).map_or(b"", Vec::as_slice)
    }

    fn put(&mut self, channel: &str, key: u64, value: &[u8]) -> (Vec<u8>, Answer) {
        let answer = match value.len() {
            _ if !is_ours(key) => status::WRONG_NODE,
            0 => status::EMPTY_VALUE,
            len if len > VALUE_BYTES_MAX => status::VALUE_TOO_BIG,
            _ => {
                self.channel(channel).insert(key, value.to_vec());
                status::OK
            }
        };
        (legacy::put(channel, key, value), only(answer))
    }

    fn channel(&mut self, channel: &str) -> &mut Records {
        self.channels.entry(channel.to_owned()).or_default()
    }

    fn remove(&mut self, channel: &str, key: u64) -> (Vec<u8>, Answer) {
        let answer = if is_ours(key) { status::OK } else { status::WRONG_NODE };
        if let Some(records) = self.channels.get_mut(channel).filter(|_| is_ours(key)) {
            records.remove(&key);
        }
        (legacy::remove(channel, key), only(answer))
    }

    /// Mostly good records, up to the first that is not.
    fn put_batch(&mut self, channel: &str, rng: &mut Rng) -> (Vec<u8>, Answer) {
        let record = |rng: &mut Rng| {
            let key = if rng.one_in(10) { rng.below(KEYS) } else { rng.below(KEYS) | 1 };
            (key, if rng.one_in(20) { Vec::new() } else { rng.bytes(1..2 * BATCH_BYTES) })
        };
        let records: Vec<_> = (0..rng.below(8)).map(|_| record(rng)).collect();
        let stored = self.channel(channel);
        let mut answer = status::OK;
        for (key, value) in &records {
            if value.is_empty() || !is_ours(*key) {
                let empty = value.is_empty();
                answer = if empty { status::EMPTY_VALUE } else { status::WRONG_NODE };
                break;
            }
            stored.insert(*key, value.clone());
        }
        let slices: Vec<_> = records.iter().map(|(key, value)| (*key, &value[..])).collect();
        (legacy::put_batch(channel, &blob_of(&slices)), only(answer))
    }

    fn size(&self, channel: &str, rng: &mut Rng) -> (Vec<u8>, Answer) {
        if rng.one_in(2) {
            let records = self.channels.get(channel);
            let size = records.map_or((0, 0), |records| (records.len() as u64, size_of(records)));
            return (legacy::get_channel_size(channel), Answer::Size(size.0, size.1));
        }
        let records: usize = self.channels.values().map(Records::len).sum();
        let bytes = self.channels.values().map(size_of).sum();
        (legacy::get_size(), Answer::Size(records as u64, bytes))
    }

    /// A Listen that the request right behind it ends.
    fn listen_and_go_on(&mut self, channel: &str) -> (Vec<u8>, Answer) {
        self.channel(channel);
        let pair = [legacy::listen(channel), legacy::get_version()].concat();
        (pair, ok(&legacy::version_answer()))
    }

    fn scan(&self, channel: &str, rng: &mut Rng) -> (Vec<u8>, Answer) {
        let all = self.channels.get(channel).cloned().unwrap_or_default();
        match rng.below(3) {
            0 => (legacy::get_all(channel), Answer::Records(all)),
            1 => (legacy::get_all_keys(channel), Answer::Keys(all.into_keys().collect())),
            _ => {
                let filter = rng.bytes(0..3);
                let mut found = all;
                found.retain(|_, value| contains(value, &filter));
                (legacy::get_all_filter(channel, &filter), Answer::Records(found))
            }
        }
    }
}

fn contains(value: &[u8], filter: &[u8]) -> bool {
    filter.is_empty() || value.windows(filter.len()).any(|part| part == filter)
}

/// Short mostly; sometimes empty, as long as may be, or longer.
fn random_value(rng: &mut Rng) -> Vec<u8> {
    match rng.below(10) {
        0 => Vec::new(),
        1 => rng.bytes(VALUE_BYTES_MAX - 1..VALUE_BYTES_MAX + 2),
        2 => rng.bytes(1..3 * BATCH_BYTES),
        _ => rng.bytes(1..80),
    }
}

/// A request with arguments that would all be refused, of which the name is the first.
fn bad_name(rng: &mut Rng) -> (Vec<u8>, Answer) {
    let names: [&[u8]; 4] = [b"", b"a b", b"a/b", b"\xff"];
    let name = *rng.pick(&names);
    let name = array(name);
    let text = array(b"malformed");
    let arguments: [(u32, &[&[u8]]); 6] = [
        (1, &[&name, &text, &text]),
        (7, &[&name, &text]),
        (18, &[&name]),
        (25, &[&name]),
        (31, &[&name, &text]),
        (34, &[&name, &text]),
    ];
    let (code, arguments) = rng.pick(&arguments);
    (request(*code, arguments), only(status::BAD_CHANNEL_NAME))
}

/// Sends bytes in random pieces.
fn send_in_pieces(peer: &mut Peer, mut bytes: &[u8], rng: &mut Rng) {
    while !bytes.is_empty() {
        let piece = if rng.one_in(2) { bytes.len() } else { rng.within(1..bytes.len() + 1) };
        peer.send(&bytes[..piece]);
        bytes = &bytes[piece..];
    }
}

fn check(peer: &mut Peer, answer: Answer) {
    match answer {
        Answer::Bytes(bytes) => assert_eq!(peer.receive(bytes.len()), bytes),
        Answer::Records(records) => {
            let found = peer.batches(b"");
            assert_eq!(unique(found.iter().flat_map(|batch| pairs(batch))), records);
        }
        Answer::Keys(expected) => {
            let batches = peer.batches(b"");
            let mut found: Vec<u64> = batches.iter().flat_map(|batch| keys(batch)).collect();
            found.sort_unstable();
            assert_eq!(found, expected);
        }
        Answer::Size(records, bytes) => assert_eq!(peer.size(b""), (records, bytes)),
    }
}

fn node_agrees_with_the_model(count: usize) {
    let settings = workers(count).with("Server", "minval", "0x8000000000000000").with(
        "Options_Memory",
        "batch_size",
        &BATCH_BYTES.to_string(),
    );
    for_seeds(8, |rng| {
        let node = Node::with(&settings);
        let mut model = Model::default();
        let mut peers: Vec<Peer> = (0..CONNECTIONS).map(|_| node.connect()).collect();
        for group in 0..GROUPS {
            let len = rng.within(1..GROUP_MAX + 1);
            let (requests, answers): (Vec<_>, Vec<_>) = (0..len).map(|_| model.step(rng)).unzip();
            let peer = &mut peers[group % CONNECTIONS];
            send_in_pieces(peer, &requests.concat(), rng);
            answers.into_iter().for_each(|answer| check(peer, answer));
        }
    });
}

#[test]
fn a_node_with_one_worker_agrees_with_the_model() {
    node_agrees_with_the_model(1);
}

#[test]
fn a_node_with_four_workers_agrees_with_the_model() {
    node_agrees_with_the_model(4);
}

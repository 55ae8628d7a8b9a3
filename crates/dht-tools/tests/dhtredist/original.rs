//! Fleets with nodes of the original: here one that does what those do, by the specification.
//!
//! It knows no MovePart and closes the connection on it, as on every unknown code. Its range
//! changes before its records move; it forwards them by PutBatch, large ones by Put, and removes
//! them when the other node has taken them.
//!
//! Source: spec `protocol-legacy` 7.1, 7.2, 7.3 to 7.5, 7.17, 11.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use dht_client::NodeAddress;
use dht_client::blocking::legacy::Connection;
use dht_protocol::legacy::batch::{BatchWriter, Compressor, decompress, next_record};
use dht_protocol::legacy::requests::{MoveReply, PutBatch, Taker, Value};
use dht_protocol::legacy::{Limits, Parsed, Request, Server, Status};
use dht_protocol::wire::{Reader, Writer};
use dht_testkit::wait_for;
use dht_types::{HashRange, Key};

use crate::setup::{CHANNEL, Node, NodesFile, channel, timeouts};

/// Bytes of a batch before compression, as the original has it.
const BATCH_BYTES: usize = 65_536;

/// Its `batch_size`: a longer value is none that a client can have put.
const VALUE_BYTES_MAX: usize = BATCH_BYTES - 32;

#[derive(Clone)]
struct Original {
    address: NodeAddress,
    state: Arc<Mutex<State>>,
}

struct State {
    range: HashRange,
    records: BTreeMap<u64, Vec<u8>>,
    /// Refuses MovePart with these words, instead of not knowing it: a later version of ours.
    refusal: Option<&'static str>,
}

impl Original {
    fn start(range: HashRange, records: BTreeMap<u64, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(Mutex::new(State { range, records, refusal: None }));
        let this = Self { address: NodeAddress { host: "127.0.0.1".to_owned(), port }, state };
        let served = this.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let node = served.clone();
                thread::spawn(move || node.serve(stream));
            }
        });
        this
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().expect("nothing panics there"))
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut server = Server::new(Limits { put_value_bytes_max: VALUE_BYTES_MAX });
        let (mut input, mut bytes) = (Vec::new(), [0; 65_536]);
        loop {
            let (mut rest, mut out) = (&input[..], Vec::new());
            match server.next(&mut rest) {
                Parsed::Incomplete => match stream.read(&mut bytes).ok()? {
                    0 => return None,
                    len => {
                        input.extend_from_slice(&bytes[..len]);
                        continue;
                    }
                },
                Parsed::Request(request) => self.answer(&request, &mut out)?,
                Parsed::Refused(_, status) => status.encode(&mut Writer::new(&mut out)),
                Parsed::Close(_) => return None,
            }
            let taken = input.len() - rest.len();
            input.drain(..taken);
            stream.write_all(&out).ok()?;
        }
    }

    /// `None` closes the connection.
    fn answer(&self, request: &Request<'_>, out: &mut Vec<u8>) -> Option<()> {
        let mut w = Writer::new(out);
        let status = match request {
            Request::GetVersion(_) => {
                Status::Ok.encode(&mut w);
                w.array(b"20110401");
                return Some(());
            }
            Request::GetResponsibleRange(_) => {
                let range = self.with(|state| state.range);
                Status::Ok.encode(&mut w);
                w.u64(range.min());
                w.u64(range.max());
                return Some(());
            }
            Request::Put(request) => match request.value {
                Value::Bytes(value) => self.put([(request.key, value.to_vec())]),
                Value::TooLong(_) => Status::ValueTooBig,
            },
            Request::PutBatch(request) => self.put(unpack(request.batch)),
            Request::Redistribute(request) => {
                let range = HashRange::new(request.min, request.max).ok()?;
                self.redistribute(range, request.takers);
                Status::Ok
            }
            Request::MovePart(_) => {
                let why = self.with(|state| state.refusal)?;
                Status::Ok.encode(&mut w);
                MoveReply::Refused(why.to_owned()).encode_array(&mut w);
                return Some(());
            }
            _ => return None,
        };
        status.encode(&mut w);
        Some(())
    }

    /// Stores records up to the first that it cannot take.
    fn put(&self, records: impl IntoIterator<Item = (Key, Vec<u8>)>) -> Status {
        self.with(|state| {
            for (key, value) in records {
                if !state.range.contains(key) {
                    return Status::WrongNode;
                }
                if value.is_empty() {
                    return Status::EmptyValue;
                }
                state.records.insert(key.0, value);
            }
            Status::Ok
        })
    }

    fn redistribute(&self, range: HashRange, takers: &[Taker]) {
        self.with(|state| state.range = range);
        for taker in takers {
            let leaves = |key: &u64| taker.range.contains(Key(*key)) && !range.contains(Key(*key));
            let records = self.with(|state| {
                let records = state.records.iter().filter(|(key, _)| leaves(key));
                records.map(|(key, value)| (*key, value.clone())).collect::<Vec<_>>()
            });
            let address = NodeAddress { host: taker.address.clone(), port: taker.port };
            let mut client = Connection::new(address, timeouts());
            for some in records.chunks(50) {
                // It tries again until the other node has its new range.
                wait_for("the taker to take them", || forward(&mut client, some).then_some(()));
                self.with(|state| some.iter().for_each(|(key, _)| drop(state.records.remove(key))));
            }
        }
    }
}

fn unpack(blob: &[u8]) -> Vec<(Key, Vec<u8>)> {
    let mut records = Vec::new();
    decompress(blob, &mut records).expect("a sound batch");
    let mut r = Reader::new(&records);
    let records = std::iter::from_fn(|| next_record(&mut r)).map(|record| {
        let (key, value) = record.expect("a sound record");
        (key.parse().expect("a key"), value.to_vec())
    });
    records.collect()
}

/// Sends batches, and what fits none by itself. `false`: the node did not take it.
fn forward(client: &mut Connection, records: &[(u64, Vec<u8>)]) -> bool {
    let mut batches = vec![BatchWriter::new(BATCH_BYTES)];
    for (key, value) in records {
        if value.len() > VALUE_BYTES_MAX {
            if client.put(&channel(), Key(*key), value).is_err() {
                return false;
            }
            continue;
        }
        if !batches.last_mut().expect("one at least").add(Key(*key), value) {
            batches.push(BatchWriter::new(BATCH_BYTES));
            assert!(batches.last_mut().expect("just made").add(Key(*key), value));
        }
    }
    batches.iter_mut().all(|batch| {
        let mut blob = Vec::new();
        batch.finish(&mut Compressor::new(), &mut Writer::new(&mut blob));
        client.call(&PutBatch { channel: CHANNEL, batch: &blob[8..] }).is_ok()
    })
}

/// Records as clients of the original can have put them.
fn sample() -> BTreeMap<u64, Vec<u8>> {
    let len = |key: u64| {
        if key % 50 < 2 { VALUE_BYTES_MAX } else { 1 + usize::try_from(key % 900).expect("small") }
    };
    (0..2000).map(|key| (key, vec![b'v'; len(key)])).collect()
}

fn fill(node: &Node, records: &BTreeMap<u64, Vec<u8>>) {
    let records: Vec<_> = records.iter().map(|(key, value)| (*key, value.clone())).collect();
    assert!(forward(&mut node.client(), &records));
}

/// Every record is at the node that owns it, and at no other.
fn assert_all(ours: &[&Node], originals: &[&Original], records: &BTreeMap<u64, Vec<u8>>) {
    let ours = ours.iter().map(|node| (node.range(), node.records()));
    let originals = originals
        .iter()
        .map(|node| node.with(|State { range, records, .. }| (*range, records.clone())));
    let mut found = BTreeMap::new();
    for (range, records) in ours.chain(originals) {
        for (key, value) in records {
            assert!(range.contains(Key(key)), "{key} is not in {range}");
            assert!(found.insert(key, value).is_none(), "{key} is at two nodes");
        }
    }
    assert!(found == *records, "{} records instead of {}", found.len(), records.len());
}

pub(crate) fn a_node_of_the_original_gets_its_share() {
    let ours = Node::start(HashRange::FULL);
    let original = Original::start(HashRange::EMPTY, BTreeMap::new());
    let records = sample();
    fill(&ours, &records);
    let ran = NodesFile::of([ours.address(), original.address.clone()]).execute(&[]);
    assert!(ran.stdout.contains("finished. 100.00% of nodes done.\n"), "{}", ran.stdout);
    assert_all(&[&ours], &[&original], &records);
    assert!(original.with(|state| state.records.len()) == 1000);
}

pub(crate) fn a_node_of_the_original_gives() {
    let records = sample();
    let original = Original::start(HashRange::FULL, records.clone());
    let ours = Node::start(HashRange::EMPTY);
    NodesFile::of([original.address.clone(), ours.address()]).execute(&[]);
    assert_all(&[&ours], &[&original], &records);
    assert_eq!(ours.records().len(), 1000);
}

/// Both give and both get, while the ranges of all four change.
pub(crate) fn nodes_of_both_kinds_move_at_once() {
    let records = sample();
    let half = |min| HashRange::new(min, min | u64::MAX >> 1).expect("valid");
    let in_range = |range: HashRange| {
        let inside = records.iter().filter(|(key, _)| range.contains(Key(**key)));
        inside.map(|(key, value)| (*key, value.clone())).collect::<BTreeMap<_, _>>()
    };
    let (lower, upper) = (half(0), half(1 << 63));
    let (ours, new) = (Node::start(lower), Node::start(HashRange::EMPTY));
    fill(&ours, &in_range(lower));
    let original = Original::start(upper, in_range(upper));
    let other = Original::start(HashRange::EMPTY, BTreeMap::new());
    let addresses =
        [ours.address(), original.address.clone(), new.address(), other.address.clone()];
    NodesFile::of(addresses).execute(&[]);
    assert_all(&[&ours, &new], &[&original, &other], &records);
    for count in [ours.records().len(), new.records().len()] {
        assert_eq!(count, 500);
    }
}

pub(crate) fn nodes_of_another_version_are_refused() {
    let ours = Node::start(HashRange::FULL);
    let other = Original::start(HashRange::EMPTY, BTreeMap::new());
    other.with(|state| state.refusal = Some("version 1 of moving is not spoken here, but 9"));
    let ran = NodesFile::of([ours.address(), other.address.clone()]).run(&["-x"]);
    assert_eq!(ran.exit, 1, "{ran:?}");
    let why = format!("node {}: version 1 of moving is not spoken here", other.address);
    assert!(ran.stderr.contains(&why), "{}", ran.stderr);
    assert_eq!(ours.range(), HashRange::FULL);
    assert_eq!(other.with(|state| state.range), HashRange::EMPTY);
}

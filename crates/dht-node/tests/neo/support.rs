//! A node for a test, and clients that speak to it by hand.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::ops::{Deref, Range};
use std::os::unix::net::UnixStream;
use std::path::Path;

use dht_protocol::neo::batch;
use dht_protocol::wire::Reader;
use dht_testkit::{NodeProcess, NodeSettings, Peer};
use tempfile::TempDir;

use crate::wire::{self, GetAll, SUPPORTED, UNKNOWN_CODE};

/// What a channel holds, by key.
pub(crate) type Records = BTreeMap<u64, Vec<u8>>;

/// The channel that most tests use.
pub(crate) const CHANNEL: &str = "ch";

/// A node in a folder that vanishes with it.
pub(crate) struct Node {
    process: NodeProcess,
    dir: TempDir,
}

impl Node {
    /// A node with the configuration of the original's test suite.
    pub(crate) fn start() -> Self {
        Self::with(&NodeSettings::default())
    }

    pub(crate) fn with(settings: &NodeSettings) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self { process: NodeProcess::start(Self::exe(), dir.path(), settings), dir }
    }

    fn exe() -> &'static Path {
        Path::new(env!("CARGO_BIN_EXE_dhtnode"))
    }

    /// Kills it and starts it again.
    pub(crate) fn restart(self) -> Self {
        let Self { process, dir } = self;
        let port = process.address().port();
        process.kill();
        Self { process: NodeProcess::restart(Self::exe(), dir.path(), port), dir }
    }

    /// A client that may do everything.
    pub(crate) fn admin(&self) -> Client {
        Client::greet(self.connect_neo(), "admin")
    }

    /// A client that may not remove channels.
    pub(crate) fn client(&self) -> Client {
        Client::greet(self.connect_neo(), "neotest")
    }
}

impl Deref for Node {
    type Target = NodeProcess;

    fn deref(&self) -> &NodeProcess {
        &self.process
    }
}

/// What the command socket says.
pub(crate) fn command(node: &Node, command: &str) -> String {
    let path = node.dir().join("dhtnode.socket");
    let mut stream = UnixStream::connect(path).expect("the node listens");
    stream.write_all(format!("{command}\n").as_bytes()).expect("the node reads");
    stream.shutdown(Shutdown::Write).expect("connected");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("the node answers");
    reply
}

/// Settings with so many workers.
pub(crate) fn workers(count: usize) -> NodeSettings {
    NodeSettings::default().with("Performance", "workers", &count.to_string())
}

/// An authenticated connection. What the node says is sorted by request.
pub(crate) struct Client {
    pub(crate) peer: Peer,
    /// Messages that arrived while another request was waited for.
    inbox: HashMap<u64, VecDeque<Vec<u8>>>,
    next_id: u64,
}

impl Client {
    /// Authenticates, and has to be accepted.
    pub(crate) fn greet(mut peer: Peer, name: &str) -> Self {
        wire::greet(&mut peer, name);
        Self { peer, inbox: HashMap::new(), next_id: 1 }
    }

    /// An id that was not used on this connection.
    pub(crate) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Sends a message of a request.
    pub(crate) fn send(&mut self, id: u64, payload: &[u8]) {
        self.peer.send(&wire::message(id, payload));
    }

    /// Starts a request under a new id.
    pub(crate) fn start(&mut self, request: &[u8]) -> u64 {
        let id = self.new_id();
        self.send(id, request);
        id
    }

    /// Starts a request, which the node has to support.
    pub(crate) fn start_supported(&mut self, request: &[u8]) -> u64 {
        let id = self.start(request);
        assert_eq!(self.receive(id), [SUPPORTED]);
        id
    }

    /// Starts a GetAll or a Mirror, which has to say Started.
    pub(crate) fn start_stream(&mut self, request: &[u8]) -> u64 {
        let id = self.start_supported(request);
        assert_eq!(self.receive(id), [5], "Started");
        id
    }

    /// The next message of any request that was not received yet.
    pub(crate) fn receive_any(&mut self) -> (u64, Vec<u8>) {
        let header = self.peer.receive(10);
        assert_eq!(header.iter().fold(0, |parity, byte| parity ^ byte), 0, "parity");
        assert_eq!(header[0], wire::REQUEST);
        let body_bytes = u64::from_le_bytes(header[1..9].try_into().expect("eight bytes"));
        let mut body = self.peer.receive(usize::try_from(body_bytes).expect("fits memory"));
        let payload = body.split_off(8);
        (u64::from_le_bytes(body.try_into().expect("eight bytes")), payload)
    }

    /// The next message of a request.
    pub(crate) fn receive(&mut self, id: u64) -> Vec<u8> {
        loop {
            if let Some(payload) = self.inbox.get_mut(&id).and_then(VecDeque::pop_front) {
                return payload;
            }
            let (id, payload) = self.receive_any();
            self.inbox.entry(id).or_default().push_back(payload);
        }
    }

    /// The second message of a request's answer; the first has to be "supported".
    pub(crate) fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        let id = self.start_supported(request);
        self.receive(id)
    }

    /// Sends a control message, which has to be acknowledged before anything else is said.
    pub(crate) fn control(&mut self, id: u64, control: &[u8]) {
        assert!(self.control_after(id, control).is_empty());
    }

    /// Sends a control message, which has to be acknowledged. Returns what was under way before.
    pub(crate) fn control_after(&mut self, id: u64, control: &[u8]) -> Vec<Vec<u8>> {
        self.send(id, control);
        let mut before = Vec::new();
        loop {
            match self.receive(id) {
                ack if ack == wire::ACK => return before,
                other => before.push(other),
            }
        }
    }

    /// Has everything answered that was sent until now, and whatever the node does by itself after
    /// an event done: a turn of a worker ends with a step of each stream.
    pub(crate) fn settle(&mut self) {
        for _ in 0..3 {
            let id = self.start(&[0, 0]);
            assert_eq!(self.receive(id), [UNKNOWN_CODE]);
        }
    }

    /// The connection serves requests, and says nothing more for this one.
    pub(crate) fn assert_silent(&mut self, id: u64) {
        self.settle();
        let more = self.inbox.get(&id).into_iter().flatten().next();
        assert_eq!(more, None, "nothing more for request {id}");
    }

    /// The node closes the connection without another byte.
    pub(crate) fn assert_closed(&mut self) {
        let more = self.peer.receive_to_end();
        assert!(more.is_empty(), "nothing but the end: {more:02x?}");
    }

    pub(crate) fn put(&mut self, channel: &str, key: u64, value: &[u8]) {
        assert_eq!(self.ask(&wire::put(channel, key, value)), [1], "Put");
    }

    /// Puts many records at once.
    pub(crate) fn put_all(&mut self, channel: &str, records: &Records) {
        let ids = self.send_puts(channel, records);
        self.receive_puts(ids);
    }

    /// The first half of it: sends the requests. Returns their ids.
    pub(crate) fn send_puts(&mut self, channel: &str, records: &Records) -> Range<u64> {
        // What comes back is far less than what two sockets buffer.
        assert!(records.len() < 5000);
        let first = self.next_id;
        let mut bytes = Vec::new();
        for (key, value) in records {
            bytes.extend(wire::message(self.new_id(), &wire::put(channel, *key, value)));
        }
        self.peer.send(&bytes);
        first..self.next_id
    }

    /// The second half: receives the answers.
    pub(crate) fn receive_puts(&mut self, ids: Range<u64>) {
        for id in ids {
            assert_eq!((self.receive(id), self.receive(id)), (vec![SUPPORTED], vec![1]));
        }
    }

    /// A record; `None` if there is none.
    pub(crate) fn get(&mut self, channel: &str, key: u64) -> Option<Vec<u8>> {
        let id = self.start_supported(&wire::get(channel, key));
        match self.receive(id)[..] {
            [1] => None,
            [2] => Some(unwrap_array(&self.receive(id))),
            ref other => panic!("neither NoRecord nor Got: {other:02x?}"),
        }
    }

    pub(crate) fn remove(&mut self, channel: &str, key: u64) {
        assert_eq!(self.ask(&wire::remove(channel, key)), [2], "Removed");
    }

    pub(crate) fn remove_channel(&mut self, channel: &str) {
        assert_eq!(self.ask(&wire::remove_channel(channel)), [1], "ChannelRemoved");
    }

    /// The names of all channels, sorted.
    pub(crate) fn channels(&mut self) -> Vec<String> {
        let id = self.start_supported(&wire::get_channels());
        let mut names = Vec::new();
        loop {
            match self.receive(id).split_first().expect("a type") {
                (2, name) => names.push(String::from_utf8(unwrap_array(name)).expect("ASCII")),
                (3, []) => break,
                other => panic!("neither ChannelName nor Finished: {other:02x?}"),
            }
        }
        names.sort();
        names
    }

    /// All records of a channel by a GetAll; none may come twice.
    pub(crate) fn records(&mut self, channel: &str) -> Records {
        let id = self.start_stream(&GetAll { channel, ..GetAll::default() }.encode());
        unique(self.batches_to_the_end(id).iter().flat_map(|batch| pairs(batch)))
    }

    /// The batches of a running GetAll up to its end, which is acknowledged.
    pub(crate) fn batches_to_the_end(&mut self, id: u64) -> Vec<Vec<u8>> {
        let mut batches = Vec::new();
        loop {
            let payload = self.receive(id);
            match payload[..] {
                [7, ref batch @ ..] => batches.push(decompress(batch)),
                [8] => {
                    self.send(id, wire::ACK);
                    return batches;
                }
                ref other => panic!("neither RecordBatch nor Finished: {other:02x?}"),
            }
        }
    }
}

/// The bytes of an array that is all of its message.
pub(crate) fn unwrap_array(payload: &[u8]) -> Vec<u8> {
    let (len, bytes) = payload.split_first_chunk().expect("a length");
    assert_eq!(u64::from_le_bytes(*len), bytes.len() as u64);
    bytes.to_vec()
}

/// The records of a batch, an array, in their raw form.
pub(crate) fn decompress(payload: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    batch::decompress(&unwrap_array(payload), &mut records).expect("a sound batch");
    records
}

/// Keys and values of a GetAll's batch.
pub(crate) fn pairs(records: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut r = Reader::new(records);
    let next = || batch::next_record(&mut r).transpose().expect("a sound record");
    std::iter::from_fn(next).map(|(key, value)| (key.0, value.to_vec())).collect()
}

/// Keys of a GetAll's batch that has nothing else.
pub(crate) fn keys(records: &[u8]) -> Vec<u64> {
    let mut r = Reader::new(records);
    let next = || batch::next_key(&mut r).transpose().expect("a sound key");
    std::iter::from_fn(next).map(|key| key.0).collect()
}

/// Keys and values of a Mirror's refresh.
pub(crate) fn refreshed(records: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut r = Reader::new(records);
    let next = || batch::next_refreshed(&mut r).transpose().expect("a sound record");
    std::iter::from_fn(next).map(|(key, value)| (key.0, value.to_vec())).collect()
}

/// Records by key; no key may come twice.
pub(crate) fn unique(records: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Records {
    let mut found = Records::new();
    for (key, value) in records {
        assert!(found.insert(key, value).is_none(), "key {key:016x} came twice");
    }
    found
}

/// So many records, which do not compress, with keys from 0 on.
pub(crate) fn records(count: u64, value_bytes: usize) -> Records {
    let mut rng = dht_testkit::Rng::new(count);
    (0..count).map(|key| (key, rng.bytes(value_bytes..value_bytes + 1))).collect()
}

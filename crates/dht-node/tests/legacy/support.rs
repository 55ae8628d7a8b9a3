//! A node for a test, and what its answers mean.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;

use dht_protocol::legacy::batch::{self, Compressor};
use dht_protocol::wire::Reader;
use dht_testkit::legacy::{self, status};
use dht_testkit::{NodeProcess, NodeSettings, Peer, wait_for};
use tempfile::TempDir;

/// What a scan finds, by key.
pub(crate) type Records = BTreeMap<u64, Vec<u8>>;

/// The program under test.
pub(crate) fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dhtnode"))
}

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
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), settings)
    }

    /// A node in a folder that another one has left.
    pub(crate) fn start_in(dir: TempDir, settings: &NodeSettings) -> Self {
        Self { process: NodeProcess::start(exe(), dir.path(), settings), dir }
    }

    /// Stops it in order. Returns its folder.
    pub(crate) fn stop(self) -> TempDir {
        let ended = self.process.stop();
        assert!(ended.success(), "{ended}");
        self.dir
    }

    /// Ends it as a crash would. Returns its folder.
    pub(crate) fn crash(self) -> TempDir {
        self.process.kill();
        self.dir
    }

    /// Tells it to stop. Returns whether it did so in order, what it wrote to stderr, its folder.
    pub(crate) fn stop_with_errors(mut self) -> (bool, String, TempDir) {
        self.process.signal("TERM");
        let ended = self.process.wait();
        (ended.success(), self.process.stderr(), self.dir)
    }

    /// Waits until just so many connections are open, the one that asks among them.
    pub(crate) fn wait_for_connections(&self, asking: &mut Peer, count: u64) {
        wait_for("the number of connections", || (asking.num_connections() == count).then_some(()));
    }
}

impl Deref for Node {
    type Target = NodeProcess;

    fn deref(&self) -> &NodeProcess {
        &self.process
    }
}

/// Settings with so many workers.
pub(crate) fn workers(count: usize) -> NodeSettings {
    NodeSettings::default().with("Performance", "workers", &count.to_string())
}

/// A client's questions, for those tests that only want to know the answer.
pub(crate) trait Client {
    /// Sends a request. Returns the status of its answer.
    fn ask(&mut self, request: &[u8]) -> u32;
    /// Puts a record, which has to succeed.
    fn put(&mut self, channel: &str, key: u64, value: &[u8]);
    /// The value of a record; empty if there is none.
    fn get(&mut self, channel: &str, key: u64) -> Vec<u8>;
    /// Whether a record exists.
    fn exists(&mut self, channel: &str, key: u64) -> bool;
    /// All channels, sorted.
    fn channels(&mut self) -> Vec<String>;
    /// Records and bytes that GetSize or GetChannelSize tells.
    fn size(&mut self, request: &[u8]) -> (u64, u64);
    /// Open connections.
    fn num_connections(&mut self) -> u64;
    /// The batches that GetAll, GetAllKeys or GetAllFilter answers, decompressed.
    fn batches(&mut self, request: &[u8]) -> Vec<Vec<u8>>;
    /// All records of a channel; none may come twice.
    fn records(&mut self, channel: &str) -> Records;
    /// The connection is between requests, and serves the next.
    fn assert_usable(&mut self);
    /// The node closes the connection without another byte.
    fn assert_closed(&mut self);
}

impl Client for Peer {
    fn ask(&mut self, request: &[u8]) -> u32 {
        self.send(request);
        self.receive_u32()
    }

    fn put(&mut self, channel: &str, key: u64, value: &[u8]) {
        assert_eq!(self.ask(&legacy::put(channel, key, value)), status::OK);
    }

    fn get(&mut self, channel: &str, key: u64) -> Vec<u8> {
        assert_eq!(self.ask(&legacy::get(channel, key)), status::OK);
        self.receive_array()
    }

    fn exists(&mut self, channel: &str, key: u64) -> bool {
        assert_eq!(self.ask(&legacy::exists(channel, key)), status::OK);
        match self.receive(1)[0] {
            0 => false,
            1 => true,
            other => panic!("{other} is no bool"),
        }
    }

    fn channels(&mut self) -> Vec<String> {
        assert_eq!(self.ask(&legacy::get_channels()), status::OK);
        let mut names = receive_list(self);
        names.sort();
        names.into_iter().map(|name| String::from_utf8(name).expect("ASCII")).collect()
    }

    fn size(&mut self, request: &[u8]) -> (u64, u64) {
        assert_eq!(self.ask(request), status::OK);
        let peer = self.0.peer_addr().expect("connected");
        assert_eq!(self.receive_array(), peer.ip().to_string().as_bytes());
        assert_eq!(self.receive_u16(), peer.port());
        (self.receive_u64(), self.receive_u64())
    }

    fn num_connections(&mut self) -> u64 {
        assert_eq!(self.ask(&legacy::get_num_connections()), status::OK);
        let peer = self.0.peer_addr().expect("connected");
        assert_eq!(self.receive_array(), peer.ip().to_string().as_bytes());
        assert_eq!(self.receive_u16(), peer.port());
        self.receive_u64()
    }

    fn batches(&mut self, request: &[u8]) -> Vec<Vec<u8>> {
        assert_eq!(self.ask(request), status::OK);
        let batches = receive_list(self);
        batches.iter().map(|batch| decompress(batch)).collect()
    }

    fn records(&mut self, channel: &str) -> Records {
        unique(self.batches(&legacy::get_all(channel)).iter().flat_map(|batch| pairs(batch)))
    }

    fn assert_usable(&mut self) {
        self.send(&legacy::get_version());
        let answer = legacy::version_answer();
        assert_eq!(self.receive(answer.len()), answer);
    }

    fn assert_closed(&mut self) {
        assert_eq!(self.receive_to_end(), b"", "nothing but the end");
    }
}

/// Arrays up to an empty one.
fn receive_list(peer: &mut Peer) -> Vec<Vec<u8>> {
    std::iter::repeat_with(|| peer.receive_array()).take_while(|item| !item.is_empty()).collect()
}

/// The records of a batch in their raw form.
pub(crate) fn decompress(batch: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    batch::decompress(batch, &mut records).expect("a sound batch");
    records
}

/// Keys and values of a decompressed batch.
pub(crate) fn pairs(records: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut r = Reader::new(records);
    let mut pairs = Vec::new();
    while let Some(record) = batch::next_record(&mut r) {
        let (key, value) = record.expect("a sound record");
        pairs.push((key.parse().expect("a sound key").0, value.to_vec()));
    }
    pairs
}

/// Keys of a decompressed batch of GetAllKeys.
pub(crate) fn keys(records: &[u8]) -> Vec<u64> {
    let mut r = Reader::new(records);
    let mut keys = Vec::new();
    while let Some(key) = batch::next_key(&mut r) {
        keys.push(key.expect("a sound key").parse().expect("a sound key").0);
    }
    keys
}

/// Records by key; no key may come twice.
pub(crate) fn unique(records: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Records {
    let mut found = Records::new();
    for (key, value) in records {
        assert!(found.insert(key, value).is_none(), "key {key:016x} came twice");
    }
    found
}

/// A batch with anything in it.
pub(crate) fn blob(records: &[u8]) -> Vec<u8> {
    let mut blob = (records.len() as u64).to_le_bytes().to_vec();
    Compressor::new().compress(records, &mut blob);
    blob
}

/// A record as it stands in a batch.
pub(crate) fn record(key: u64, value: &[u8]) -> Vec<u8> {
    [legacy::key(key), legacy::array(value)].concat()
}

/// A batch of records.
pub(crate) fn blob_of(records: &[(u64, &[u8])]) -> Vec<u8> {
    let raw: Vec<u8> = records.iter().flat_map(|(key, value)| record(*key, value)).collect();
    blob(&raw)
}

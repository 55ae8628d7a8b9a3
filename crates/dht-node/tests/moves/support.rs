//! Nodes with a range, and the requests that move records.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dht_client::blocking::Timeouts;
use dht_client::blocking::legacy::{Cluster, Connection};
use dht_client::blocking::neo;
use dht_client::{ClientCredentials, NodeAddress};
use dht_protocol::legacy::batch::{BatchWriter, Compressor};
use dht_protocol::legacy::requests::{
    MOVE_VERSION, MoveMessage, MovePart, MoveReply, Redistribute, Taker,
};
use dht_protocol::legacy::{self, Request};
use dht_protocol::wire::{Reader, Writer};
use dht_testkit::{NodeProcess, NodeSettings, Peer, SmallDisk, wait_for};
use dht_types::{ChannelName, HashRange, Key};
use tempfile::TempDir;

pub(crate) const OK: u32 = 200;
pub(crate) const ERROR: u32 = 500;

/// Bytes of a file system that can be filled.
const DISK_BYTES: u64 = 4 << 20;

/// A node in a folder that vanishes with it.
pub(crate) struct Node {
    process: NodeProcess,
    dir: TempDir,
}

impl std::ops::Deref for Node {
    type Target = NodeProcess;

    fn deref(&self) -> &NodeProcess {
        &self.process
    }
}

pub(crate) fn lower_half() -> HashRange {
    HashRange::new(0, u64::MAX >> 1).expect("valid")
}

pub(crate) fn upper_half() -> HashRange {
    HashRange::new(1 << 63, u64::MAX).expect("valid")
}

fn settings(range: HashRange) -> NodeSettings {
    NodeSettings::default()
        .with("Server", "minval", &format!("{:#018x}", range.min()))
        .with("Server", "maxval", &format!("{:#018x}", range.max()))
        .with("Performance", "workers", "2")
}

impl Node {
    pub(crate) fn start(range: HashRange) -> Self {
        Self::with(&settings(range))
    }

    pub(crate) fn with(settings: &NodeSettings) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self { process: NodeProcess::start(exe(), dir.path(), settings), dir }
    }

    /// One whose data lies in a file system that can be filled; none where that cannot be had.
    pub(crate) fn on_small_disk(range: HashRange) -> Option<(Self, SmallDisk)> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let disk = SmallDisk::mount(&dir.path().join("data"), DISK_BYTES)?;
        let process = NodeProcess::start(exe(), dir.path(), &settings(range));
        Some((Self { process, dir }, disk))
    }

    pub(crate) fn settings(range: HashRange) -> NodeSettings {
        settings(range)
    }

    /// Ends it as a crash would, and starts it again on its port, with the config file as it is.
    pub(crate) fn crash_and_restart(self) -> Self {
        self.crash().start()
    }

    /// Ends it as a crash would.
    pub(crate) fn crash(self) -> Crashed {
        let Self { process, dir } = self;
        let port = process.address().port();
        process.kill();
        Crashed { dir, port }
    }

    /// Stops it in order and starts it again, so that it has dumped all.
    pub(crate) fn restart(self) -> Self {
        let Self { process, dir } = self;
        let port = process.address().port();
        assert!(process.stop().success());
        Self { process: NodeProcess::restart(exe(), dir.path(), port), dir }
    }

    pub(crate) fn config(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("etc/config.ini")).expect("the test wrote it")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log/root.log")).expect("the node writes it")
    }

    pub(crate) fn client(&self) -> Connection {
        Connection::new(node_address(self.address()), timeouts())
    }

    pub(crate) fn neo(&self) -> neo::Connection {
        let mut address = self.address();
        address.set_port(address.port() + 100);
        neo::Connection::new(node_address(address), credentials(), timeouts())
    }

    pub(crate) fn range(&self) -> HashRange {
        self.client().handshake().expect("the node answers")
    }

    pub(crate) fn taker(&self, range: HashRange) -> Taker {
        let address = self.address();
        Taker { address: address.ip().to_string(), port: address.port(), range }
    }

    pub(crate) fn records(&self, channel: &str) -> BTreeMap<u64, Vec<u8>> {
        let mut client = self.client();
        let mut found = BTreeMap::new();
        for record in client.get_all(&name(channel)).expect("the node answers") {
            let (key, value) = record.expect("the node answers");
            assert!(found.insert(key.0, value).is_none(), "key {key} came twice");
        }
        found
    }
}

/// A node that does not run, and what it has left.
pub(crate) struct Crashed {
    pub(crate) dir: TempDir,
    pub(crate) port: u16,
}

impl Crashed {
    /// Starts it again on its port, with the config file as it is.
    pub(crate) fn start(self) -> Node {
        let Self { dir, port } = self;
        Node { process: NodeProcess::restart(exe(), dir.path(), port), dir }
    }
}

fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dhtnode"))
}

/// A number of a test as a length.
pub(crate) fn small(number: u64) -> usize {
    number.try_into().expect("numbers of tests are small")
}

pub(crate) fn name(channel: &str) -> ChannelName {
    channel.parse().expect("a valid name")
}

pub(crate) fn node_address(address: SocketAddr) -> NodeAddress {
    NodeAddress { host: address.ip().to_string(), port: address.port() }
}

pub(crate) fn timeouts() -> Timeouts {
    let minute = Some(Duration::from_secs(60));
    Timeouts { connect: minute, io: minute }
}

pub(crate) fn credentials() -> Arc<ClientCredentials> {
    Arc::new(ClientCredentials::new("admin", [0; 128]))
}

/// The legacy client of all these nodes, with a fresh handshake.
pub(crate) fn cluster(nodes: &[&Node]) -> Cluster {
    let nodes: Vec<_> = nodes.iter().map(|node| node_address(node.address())).collect();
    let cluster = Cluster::connect(&nodes, timeouts()).expect("all of them answer");
    assert!(cluster.warnings().is_empty(), "{:?}", cluster.warnings());
    cluster
}

/// A request's bytes.
pub(crate) fn encode(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.encode(&mut Writer::new(&mut bytes));
    bytes
}

pub(crate) fn redistribute(range: HashRange, takers: &[Taker]) -> Vec<u8> {
    let (min, max) = (range.min(), range.max());
    encode(&Request::Redistribute(Redistribute { min, max, takers }))
}

/// Sends a request, returns the status.
pub(crate) fn ask(node: &Node, request: &[u8]) -> u32 {
    let mut peer = node.connect();
    peer.send(request);
    peer.receive_u32()
}

/// A batch with these records.
pub(crate) fn batch(records: &[(u64, &[u8])]) -> Vec<u8> {
    let mut batch = BatchWriter::new(1 << 30);
    for (key, value) in records {
        assert!(batch.add(Key(*key), value));
    }
    let mut array = Vec::new();
    batch.finish(&mut Compressor::new(), &mut Writer::new(&mut array));
    array.split_off(8)
}

/// The records of a batch.
pub(crate) fn unbatch(blob: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut records = Vec::new();
    legacy::batch::decompress(blob, &mut records).expect("a sound batch");
    let mut r = Reader::new(&records);
    let next = || legacy::batch::next_record(&mut r);
    std::iter::from_fn(next)
        .map(|record| {
            let (key, value) = record.expect("a sound record");
            (key.parse().expect("a key").0, value.to_vec())
        })
        .collect()
}

/// The request that a message about a move is.
pub(crate) fn encode_move(message: &MoveMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut Writer::new(&mut bytes));
    encode(&Request::MovePart(MovePart { message: &bytes }))
}

/// A conversation about a move.
pub(crate) struct Mover(pub(crate) Peer);

impl Mover {
    pub(crate) fn connect(node: &Node) -> Self {
        Self(node.connect())
    }

    pub(crate) fn send(&mut self, message: &MoveMessage<'_>) {
        self.0.send(&encode_move(message));
        assert_eq!(self.0.receive_u32(), OK);
    }

    pub(crate) fn reply(&mut self) -> MoveReply {
        let reply = self.0.receive_array();
        let mut array = Vec::new();
        Writer::new(&mut array).array(&reply);
        MoveReply::decode_array(&mut Reader::new(&array)).expect("a sound reply")
    }

    pub(crate) fn ask(&mut self, message: &MoveMessage<'_>) -> MoveReply {
        self.send(message);
        self.reply()
    }
}

/// The message that has a part given to a node.
pub(crate) fn start_move(part: HashRange, taker: &Taker) -> MoveMessage<'_> {
    let Taker { address, port, .. } = taker;
    MoveMessage::Start { version: MOVE_VERSION, part, address, port: *port }
}

/// Moves a part to the end. Returns the reply that ends it.
pub(crate) fn move_part(giver: &Node, taker: &Node, part: HashRange) -> MoveReply {
    wait_for("the giver and the taker to be free", || {
        let mut mover = Mover::connect(giver);
        mover.send(&start_move(part, &taker.taker(part)));
        loop {
            match mover.reply() {
                MoveReply::Progress(_) => {}
                MoveReply::Refused(why) if why.contains("busy") => return None,
                end => return Some(end),
            }
        }
    })
}

//! A node with an admin port, and what it says there.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use dht_testkit::{NodeProcess, NodeSettings, Peer, legacy};
use serde_json::Value;
use tempfile::TempDir;

use crate::driver::agent;

const LISTENS: &str = "a page to look at: http://";

/// A process in a folder of its own; killed when dropped.
pub(crate) struct Node {
    pub(crate) process: NodeProcess,
    /// As `http://127.0.0.1:12345`.
    pub(crate) origin: String,
    dir: TempDir,
}

impl Node {
    /// On an admin port that the system chooses.
    pub(crate) fn start(settings: &NodeSettings) -> Self {
        Self::start_at(0, settings)
    }

    pub(crate) fn start_at(admin_port: u16, settings: &NodeSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings.clone().with("Admin", "port", &admin_port.to_string());
        let exe = Path::new(env!("CARGO_BIN_EXE_dhtnode"));
        let process = NodeProcess::start(exe, dir.path(), &settings);
        let mut peer = process.connect();
        // It listens a moment before it serves.
        peer.send(&legacy::get_version());
        assert_eq!(peer.receive(20), legacy::version_answer());
        let log = fs::read_to_string(dir.path().join("log/root.log")).unwrap();
        let (_, address) = log.split_once(LISTENS).expect("a line tells the address");
        let origin = format!("http://{}", address.split('/').next().unwrap());
        Self { process, origin, dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn get(&self, path: &str) -> String {
        let mut answer = agent().get(format!("{}{path}", self.origin)).call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status.json")).unwrap()
    }

    pub(crate) fn uptime(&self) -> u64 {
        self.status()["uptime_s"].as_u64().expect("a number")
    }
}

/// Puts records under keys from 0 on, one after the other.
pub(crate) fn put(peer: &mut Peer, channel: &str, records: u64, value: &[u8]) {
    for key in 0..records {
        peer.send(&legacy::put(channel, key, value));
        assert_eq!(peer.receive_u32(), legacy::status::OK);
    }
}

/// A Listen that was accepted, on a connection of its own.
pub(crate) fn listen(node: &Node, channel: &str) -> Peer {
    let mut peer = node.process.connect();
    peer.send(&legacy::listen(channel));
    assert_eq!(peer.receive_u32(), legacy::status::OK);
    peer
}

/// Puts and Gets so many records at a time: what keeps a worker busy.
pub(crate) const BURST: usize = 64;

/// The key that a burst asks for most.
pub(crate) const HOT_KEY: u64 = 0;

/// Sends a burst and reads its answers; false if the connection ends instead.
pub(crate) fn burst(peer: &mut Peer, channel: &str, number: u64) -> bool {
    const VALUE: [u8; 100] = [b'v'; 100];
    let keys = (number * BURST as u64..).take(BURST).map(|key| key % 10_000);
    let requests: Vec<u8> = keys
        .flat_map(|key| {
            // Every other Get is for one key, which is hot.
            let wanted = if key % 2 == 0 { HOT_KEY } else { key };
            [legacy::put(channel, key, &VALUE), legacy::get(channel, wanted)].concat()
        })
        .collect();
    // A status; a status and a value.
    let mut answers = vec![0; (4 + 4 + 8 + VALUE.len()) * BURST];
    peer.0.write_all(&requests).and_then(|()| peer.0.read_exact(&mut answers)).is_ok()
}

//! A node that answers as a test says, a clock that does not run, and a folder for the dumps.

use std::{
    cell::RefCell,
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use dht_client::NodeAddress;
use dht_dump::{DumpOptions, Entry, OsDisk, open_dump};
use dht_types::{ChannelName, Key};
use tempfile::TempDir;

use crate::{
    clock::Clock,
    cycle::Cycle,
    source::{NodeError, RecordsError, Source, Take},
};

/// What a node answers to one question.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// To any question: nothing.
    Away,
    /// To a handshake: yes.
    There,
    Channels(&'static [&'static str]),
    Records(&'static [(u64, &'static str)]),
    /// The connection breaks behind these records.
    BrokenRecords(&'static [(u64, &'static str)]),
}

/// See the module.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// An empty value may stand for a record that was removed.
    pub(crate) by_legacy: bool,
    /// Seconds of every wait, once the test has put them here.
    pub(crate) slept: Vec<u64>,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self { dir, answers: Arc::default(), by_legacy: true, slept: Vec::new() }
    }

    /// Adds answers that the node gives, in this order.
    pub(crate) fn script(&self, answers: &[Answer]) {
        self.answers.lock().expect("no panic").extend(answers);
    }

    pub(crate) fn assert_all_asked(&self) {
        assert_eq!(self.answers.lock().expect("no panic").len(), 0, "answers are left");
    }

    pub(crate) fn cycle(&self) -> Cycle {
        let node = "127.0.0.1:1".parse().expect("an address");
        let (answers, by_legacy) = (Arc::clone(&self.answers), self.by_legacy);
        let source = ScriptedSource { node, answers, by_legacy };
        let options = DumpOptions { direct: false, keep_backup: true };
        let dir = self.dir.path().to_owned();
        Cycle::new(Box::new(source), Arc::new(OsDisk), dir, options, Arc::default())
    }

    #[expect(clippy::disallowed_methods, reason = "there is no other way to make an Instant")]
    pub(crate) fn clock(&self) -> StoppedClock {
        StoppedClock { now: Instant::now(), slept: Vec::new() }
    }

    /// Everything in the data folder but manifests, which go where their dumps go; sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let files = RefCell::new(Vec::new());
        let list = |dir: &Path, prefix: &str| {
            for entry in std::fs::read_dir(dir).expect("our folder") {
                let name = entry.expect("our folder").file_name().into_string().expect("ASCII");
                files.borrow_mut().push(format!("{prefix}{name}"));
            }
        };
        list(self.dir.path(), "");
        let deleted = self.dir.path().join("deleted");
        if deleted.is_dir() {
            list(&deleted, "deleted/");
        }
        let mut files = files.into_inner();
        files.retain(|name| !name.contains(dht_dump::MANIFEST_SUFFIX));
        files.sort();
        files
    }

    /// The records of a channel's dump.
    pub(crate) fn dump(&self, channel: &str) -> Vec<(u64, Vec<u8>)> {
        let path = self.dir.path().join(format!("{channel}.tcm"));
        let mut reader = open_dump(&OsDisk, &path).expect("a dump");
        let mut records = Vec::new();
        while let Some(Entry::Record { key, value }) = reader.next().expect("a whole dump") {
            records.push((key.0, value.to_vec()));
        }
        records
    }
}

struct ScriptedSource {
    node: NodeAddress,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    by_legacy: bool,
}

impl ScriptedSource {
    fn answer(&self) -> Answer {
        self.answers.lock().expect("no panic").pop_front().expect("the script goes so far")
    }
}

impl Source for ScriptedSource {
    fn address(&self) -> &NodeAddress {
        &self.node
    }

    fn handshake(&mut self) -> Result<(), NodeError> {
        match self.answer() {
            Answer::Away => Err("away".into()),
            Answer::There => Ok(()),
            other => panic!("a handshake, not {other:?}"),
        }
    }

    fn channels(&mut self) -> Result<Vec<String>, NodeError> {
        match self.answer() {
            Answer::Away => Err("away".into()),
            Answer::Channels(names) => Ok(names.iter().map(ToString::to_string).collect()),
            other => panic!("a list of channels, not {other:?}"),
        }
    }

    fn records(&mut self, _channel: &ChannelName, take: &mut Take<'_>) -> Result<(), RecordsError> {
        let (records, end) = match self.answer() {
            Answer::Away => (&[][..], Err("away".into())),
            Answer::Records(records) => (records, Ok(())),
            Answer::BrokenRecords(records) => (records, Err("broken".into())),
            other => panic!("the records of a channel, not {other:?}"),
        };
        for (key, value) in records {
            take(Key(*key), value.as_bytes())?;
        }
        end.map_err(RecordsError::Node)
    }

    fn sends_values_of_removed_records(&self) -> bool {
        self.by_legacy
    }
}

/// Stands still but for sleeps; its random numbers are 0.
pub(crate) struct StoppedClock {
    now: Instant,
    pub(crate) slept: Vec<u64>,
}

impl Clock for StoppedClock {
    fn now(&self) -> Instant {
        self.now
    }

    fn sleep(&mut self, wait: Duration) {
        self.now += wait;
        self.slept.push(wait.as_secs());
    }

    fn local_time_in(&self, wait: Duration) -> String {
        format!("now and {wait:?}")
    }

    fn random_below(&mut self, _bound: u64) -> u64 {
        0
    }
}

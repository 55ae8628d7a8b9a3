//! The node's side.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use dht_dump::{Disk, DumpOptions, DumpWriter, OsDisk};
use dht_testkit::{NodeProcess, NodeSettings, Peer, legacy, wait_for};
use dht_types::Key;

use crate::traffic::{self, Client};
use crate::{Fault, Measured};

const CHANNEL: &str = "bench";
/// Traffic before a dump.
const IDLE: Duration = Duration::from_secs(2);

/// Makes the first dump.
pub(crate) fn prepare(dir: &Path, records: usize) -> Result<(), Fault> {
    let data = dir.join("data");
    std::fs::create_dir_all(&data)?;
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let options = DumpOptions { direct: false, keep_backup: false };
    let mut dump = DumpWriter::create(&disk, &data, &CHANNEL.parse()?, options)?;
    for key in 0..records as u64 {
        dump.record(Key(key), &traffic::value(key))?;
    }
    dump.finish()?;
    Ok(())
}

/// Loads, serves, dumps while serving.
pub(crate) fn measure(exe: &Path, dir: &Path, records: usize) -> Result<Measured, Fault> {
    let log = dir.join("log/root.log");
    // The log of the round before.
    let _ = std::fs::remove_file(&log);
    let settings = NodeSettings::default()
        .with("Options_Memory", "disable_direct_io", "false")
        .with("LOG.Root", "level", "info")
        // The first dump is somewhere in the first period.
        .with("Dumps", "period_s", "12");
    let node = NodeProcess::start(exe, dir, &settings);
    let line = |begin: &str, index: usize| {
        let text = std::fs::read_to_string(&log).ok()?;
        text.lines().filter(|line| line.contains(begin)).nth(index).map(str::to_owned)
    };
    let load_s = took(&line("Finished loading channel", 0).ok_or("no load in the log")?)?;
    let mut client = NodeClient(node.connect());
    // The first dump may come at once; it is part of nothing, so that the second comes when the
    // time without dumps was long enough.
    wait_for("the first dump", || line("Finished dumping channel", 0));
    let idle = traffic::run_for(&mut client, records, IDLE)?;
    wait_for("the second dump to begin", || line("Dumping channel", 1));
    let stop = AtomicBool::new(false);
    let (dumping, finished) = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| traffic::run(&mut client, records, &stop));
        let finished = wait_for("the second dump", || line("Finished dumping channel", 1));
        stop.store(true, Relaxed);
        (traffic.join(), finished)
    });
    let dumping = dumping.map_err(|_| "the traffic has failed")??;
    node.kill();
    Ok(Measured { load_s, dump_s: took(&finished)?, idle, dumping })
}

/// The seconds in `..., took 1.23s, ...`
fn took(line: &str) -> Result<f64, Fault> {
    let seconds = line.split_once("took ").and_then(|(_, rest)| rest.split_once('s'));
    Ok(seconds.ok_or("a line without a time")?.0.parse()?)
}

struct NodeClient(Peer);

impl Client for NodeClient {
    fn put(&mut self, key: u64, value: &[u8]) -> io::Result<()> {
        self.0.send(&legacy::put(CHANNEL, key, value));
        assert_eq!(self.0.receive_u32(), legacy::status::OK);
        Ok(())
    }

    fn get(&mut self, key: u64) -> io::Result<()> {
        self.0.send(&legacy::get(CHANNEL, key));
        assert_eq!(self.0.receive_u32(), legacy::status::OK);
        assert_eq!(self.0.receive_array().len(), super::VALUE_BYTES);
        Ok(())
    }
}

//! The command line.

use std::path::PathBuf;

use crate::Fault;

/// How to call the program.
pub(crate) const USAGE: &str = "\
neo_soak: Mirrors, scans and writers on one node, until something breaks or the time is over.

    cargo build --release -p dht-node --bin dhtnode
    cargo run --release -p dht-node --example neo_soak -- [options]

    --seconds N            how long to write (600)
    --writes-per-second N  of all writers together (20000)
    --mirrors N            a quarter of them slow or suspended now and then (20)
    --get-alls N           loops that scan the channel (4)
    --writers N            half of them neo, half legacy (4)
    --keys N               different keys that are written (50000)
    --seed N               of all that is random (1)
    --dhtnode PATH         the node's program (beside this one's folder)";

/// See [`USAGE`].
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) seconds: u64,
    pub(crate) writes_per_second: u64,
    pub(crate) mirrors: usize,
    pub(crate) get_alls: usize,
    pub(crate) writers: usize,
    pub(crate) keys: usize,
    pub(crate) seed: u64,
    pub(crate) dhtnode: PathBuf,
}

impl Settings {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Fault> {
        let mut settings = Self {
            seconds: 600,
            writes_per_second: 20_000,
            mirrors: 20,
            get_alls: 4,
            writers: 4,
            keys: 50_000,
            seed: 1,
            dhtnode: default_dhtnode()?,
        };
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name}: no value\n\n{USAGE}"))?;
            settings.set(&name, &value).map_err(|fault| format!("{name}: {fault}\n\n{USAGE}"))?;
        }
        if settings.writers == 0 || settings.keys < settings.writers || settings.seconds == 0 {
            return Err("at least one writer, a key for each, and a second".into());
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        match name {
            "--seconds" => self.seconds = value.parse()?,
            "--writes-per-second" => self.writes_per_second = value.parse()?,
            "--mirrors" => self.mirrors = value.parse()?,
            "--get-alls" => self.get_alls = value.parse()?,
            "--writers" => self.writers = value.parse()?,
            "--keys" => self.keys = value.parse()?,
            "--seed" => self.seed = value.parse()?,
            "--dhtnode" => self.dhtnode = std::path::absolute(value)?,
            _ => return Err("no such option".into()),
        }
        Ok(())
    }
}

/// `target/release/dhtnode`, beside `target/release/examples/neo_soak`.
fn default_dhtnode() -> Result<PathBuf, Fault> {
    let own = std::env::current_exe()?;
    let folder = own.ancestors().nth(2).ok_or("this program has no folder")?;
    Ok(folder.join("dhtnode"))
}

//! The side of redis: RESP by hand, and its log.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dht_testkit::{free_port, wait_for};

use crate::traffic::{self, Client};
use crate::{Fault, Measured};

/// Sets that are sent before their answers are read, when the records are put the first time.
const PIPELINE: u64 = 1000;
/// Traffic before a dump.
const IDLE: Duration = Duration::from_secs(2);

/// Whether there is a redis-server to compare with.
pub(crate) fn is_installed() -> bool {
    let version = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Makes the first dump.
pub(crate) fn prepare(dir: &Path, records: usize) -> Result<(), Fault> {
    let redis = Redis::start(dir)?;
    let mut client = redis.connect()?;
    let records = records as u64;
    for first in (0..records).step_by(usize::try_from(PIPELINE)?) {
        let batch = first..records.min(first + PIPELINE);
        let mut bytes = Vec::new();
        for key in batch.clone() {
            bytes.extend(command(&[b"SET", &key_text(key), &traffic::value(key)]));
        }
        client.stream.get_mut().write_all(&bytes)?;
        for _ in batch {
            client.answer()?;
        }
    }
    client.call(&[b"SAVE"])?;
    Ok(())
}

/// Loads, serves, dumps while serving.
pub(crate) fn measure(dir: &Path, records: usize) -> Result<Measured, Fault> {
    let redis = Redis::start(dir)?;
    let mut client = redis.connect()?;
    let log = std::fs::read_to_string(dir.join("redis.log"))?;
    // "... * DB loaded from disk: 4.812 seconds"
    let loaded = log.lines().rev().find_map(|line| line.split_once("DB loaded from disk: "));
    let loaded = loaded.ok_or("redis has loaded nothing")?.1;
    let load_s = loaded.split(' ').next().unwrap_or_default().parse()?;
    let idle = traffic::run_for(&mut client, records, IDLE)?;
    let mut control = redis.connect()?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| traffic::run(&mut client, records, &stop));
        let began = Instant::now();
        control.call(&[b"BGSAVE"])?;
        while control.call(&[b"INFO", b"persistence"])?.contains("rdb_bgsave_in_progress:1") {
            std::thread::sleep(Duration::from_millis(5));
        }
        let dump_s = began.elapsed().as_secs_f64();
        stop.store(true, Relaxed);
        let dumping = traffic.join().map_err(|_| "the traffic has failed")??;
        let info = control.call(&[b"INFO", b"persistence"])?;
        if !info.contains("rdb_last_bgsave_status:ok") {
            return Err("BGSAVE has failed".into());
        }
        Ok(Measured { load_s, dump_s, idle, dumping })
    })
}

/// A server; killed when dropped.
struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    /// Starts it in `dir`, where its dump is, and waits until that is loaded.
    fn start(dir: &Path) -> Result<Self, Fault> {
        let port = free_port();
        let port_text = port.to_string();
        let process = Command::new("redis-server")
            .args(["--port", &port_text, "--bind", "127.0.0.1", "--logfile", "redis.log"])
            .args(["--save", "", "--appendonly", "no", "--rdbcompression", "no"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let redis = Self { process, port };
        wait_for("redis to load its dump", || {
            // While it loads, it answers with an error.
            redis.connect().ok()?.call(&[b"PING"]).ok()
        });
        Ok(redis)
    }

    fn connect(&self) -> io::Result<RedisClient> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        Ok(RedisClient { stream: BufReader::new(stream) })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It ends with this program anyway, but for its files.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct RedisClient {
    stream: BufReader<TcpStream>,
}

impl RedisClient {
    fn call(&mut self, words: &[&[u8]]) -> io::Result<String> {
        self.stream.get_mut().write_all(&command(words))?;
        self.answer()
    }

    /// One answer: a simple string, or a bulk string.
    fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.trim_end();
        match line.split_at_checked(1) {
            Some(("+", text)) => Ok(text.to_owned()),
            Some(("$", len)) => {
                let len: usize = len.parse().map_err(io::Error::other)?;
                let mut bytes = vec![0; len + 2];
                self.stream.read_exact(&mut bytes)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => Err(io::Error::other(format!("redis answers '{line}'"))),
        }
    }
}

impl Client for RedisClient {
    fn put(&mut self, key: u64, value: &[u8]) -> io::Result<()> {
        self.call(&[b"SET", &key_text(key), value]).map(drop)
    }

    fn get(&mut self, key: u64) -> io::Result<()> {
        self.call(&[b"GET", &key_text(key)]).map(drop)
    }
}

/// A key as the node's legacy protocol sends it.
fn key_text(key: u64) -> [u8; 16] {
    dht_types::Key(key).to_hex()
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend_from_slice(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

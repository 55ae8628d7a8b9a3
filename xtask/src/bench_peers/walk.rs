//! All records of a server, in its own order: GetAll of a node, SCAN and MGET of redis and valkey.
//!
//! The answers are read and counted, not unpacked: what is measured is the server. Meanwhile, in a
//! second measurement, eight other clients get records, for the effect on their p99.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dht_testkit::legacy;

use super::figures::{Figures, Walk};
use super::options::Options;
use super::rounds::Generator;
use super::servers::{Protocol, Server};

/// The word of `--only` for it.
pub(super) const NAME: &str = "walk";
/// Keys of one SCAN; those of an answer go into one MGET.
const SCAN_KEYS: &str = "1000";
/// A server that is silent for longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Walks every server that can be walked, round after round.
pub(super) fn run(
    options: &Options,
    generator: &Generator<'_>,
    figures: &mut Figures,
) -> Result<(), String> {
    let servers = &generator.servers.all;
    let servers: Vec<_> = servers.iter().filter(|server| can_be_walked(server)).collect();
    for round in 1..=options.rounds {
        println!("walk, round {round} of {}", options.rounds);
        for server in &servers {
            let walk = measure(options, generator, server)
                .map_err(|error| format!("{}: {error}", server.name))?;
            println!("  {:16} {walk}", server.name);
            figures.add_walk(&server.name, walk);
        }
    }
    Ok(())
}

const fn can_be_walked(server: &Server) -> bool {
    matches!(server.protocol, Protocol::Legacy | Protocol::Resp)
}

fn measure(options: &Options, generator: &Generator<'_>, server: &Server) -> Result<Walk, String> {
    let failed = |error: io::Error| error.to_string();
    let (start, cpu) = (now(), cpu_ns(server.pid).map_err(failed)?);
    walk(server).map_err(failed)?;
    let seconds = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let (cpu, records) =
        ((cpu_ns(server.pid).map_err(failed)? - cpu) as f64 / 1e3, options.keys as f64);
    let alone = generator.others(server)?;
    let over = AtomicBool::new(false);
    let (walked, others) = std::thread::scope(|scope| {
        let walks = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                walk(server)?;
            }
            Ok(())
        });
        let others = generator.others(server);
        over.store(true, Ordering::Relaxed);
        (walks.join().expect("it does not panic"), others)
    });
    walked.map_err(failed)?;
    Ok(Walk {
        cpu_us: cpu / records,
        records_per_second: records / seconds,
        p99_alone: alone.p99,
        p99_meanwhile: others?.p99,
    })
}

#[expect(clippy::disallowed_methods, reason = "a measurement")]
fn now() -> Instant {
    Instant::now()
}

/// Run time of all threads of a process, in nanoseconds.
fn cpu_ns(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        sum += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

fn walk(server: &Server) -> io::Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", server.port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    match server.protocol {
        Protocol::Resp => scan(stream),
        _ => get_all(stream),
    }
}

/// Legacy GetAll: a status, arrays, and an empty array.
fn get_all(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&legacy::get_all("test"))?;
    let mut reader = BufReader::with_capacity(256 * 1024, stream);
    let mut status = [0; 4];
    reader.read_exact(&mut status)?;
    if u32::from_le_bytes(status) != legacy::status::OK {
        return Err(io::Error::other("the node refuses a GetAll"));
    }
    loop {
        let mut len = [0; 8];
        reader.read_exact(&mut len)?;
        match u64::from_le_bytes(len) {
            0 => return Ok(()),
            len => skip(&mut reader, len)?,
        }
    }
}

fn skip(reader: &mut BufReader<TcpStream>, len: u64) -> io::Result<()> {
    let skipped = io::copy(&mut reader.take(len), &mut io::sink())?;
    if skipped == len { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// SCAN, and an MGET for what each brings.
fn scan(stream: TcpStream) -> io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(256 * 1024, stream);
    let mut cursor = b"0".to_vec();
    loop {
        let words: [&[u8]; 4] = [b"SCAN", &cursor, b"COUNT", SCAN_KEYS.as_bytes()];
        out.write_all(&command(&words))?;
        // An array of two: the cursor, and an array of keys.
        number(&mut reader, b'*')?;
        cursor = bulk(&mut reader)?;
        let keys = number(&mut reader, b'*')?;
        let keys: Vec<_> = (0..keys).map(|_| bulk(&mut reader)).collect::<Result<_, _>>()?;
        if !keys.is_empty() {
            let words: Vec<&[u8]> =
                std::iter::once(&b"MGET"[..]).chain(keys.iter().map(Vec::as_slice)).collect();
            out.write_all(&command(&words))?;
            for _ in 0..number(&mut reader, b'*')? {
                let len = number(&mut reader, b'$')?;
                skip(&mut reader, len + 2)?;
            }
        }
        if cursor == b"0" {
            return Ok(());
        }
    }
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The number of a line that begins with `kind`.
fn number(reader: &mut BufReader<TcpStream>, kind: u8) -> io::Result<u64> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let rest = line.strip_prefix(kind as char).map(str::trim_end);
    let unexpected = || io::Error::other(format!("unexpected answer {line:?}"));
    rest.and_then(|digits| digits.parse().ok()).ok_or_else(unexpected)
}

fn bulk(reader: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let len = number(reader, b'$')?;
    let len = usize::try_from(len).ok().filter(|len| *len < 1 << 20);
    let mut bytes =
        vec![0; len.ok_or_else(|| io::Error::other("a key that long is not ours"))? + 2];
    reader.read_exact(&mut bytes)?;
    bytes.truncate(bytes.len() - 2);
    Ok(bytes)
}

//! liblzo2, `lzokay` and ours side by side: MB/s of uncompressed data, and compressed size.
//!
//! `cargo bench -p dht-lzo`. Each round runs all of them once, in turn, so that a machine that is
//! busy for a while slows down all alike; the medians are printed. Batches have 64 KiB as on the
//! wire. "small" is a GetAll of a few records.
#![expect(clippy::disallowed_methods, reason = "it measures time")]
#![expect(clippy::unwrap_used, reason = "a panic is a failed run")]

use std::hint::black_box;
use std::time::Instant;

use dht_lzo::{Compressor, decompress};
use dht_testkit::Rng;

#[path = "../tests/oracle/mod.rs"]
mod oracle;
#[path = "../tests/shapes/mod.rs"]
mod shapes;

use oracle::Oracle;

const BATCH_BYTES: usize = 65_536;
/// Bytes of all batches of a shape. They fit no cache but the last.
const TOTAL_BYTES: usize = 4 << 20;
const ROUNDS: usize = 15;
/// `lzokay`'s compressor takes some hundred times as long; it gets this part of the data.
const LZOKAY_SHARE: usize = 32;

/// One thing to measure: it works through all batches and says how many bytes that were.
struct Contender<'a> {
    name: &'static str,
    run: Box<dyn FnMut() -> usize + 'a>,
    mb_per_second: Vec<f64>,
}

impl<'a> Contender<'a> {
    fn new(name: &'static str, run: impl FnMut() -> usize + 'a) -> Self {
        Self { name, run: Box::new(run), mb_per_second: Vec::new() }
    }

    fn median(&mut self) -> f64 {
        self.mb_per_second.sort_by(f64::total_cmp);
        self.mb_per_second[self.mb_per_second.len() / 2]
    }
}

/// Runs all contenders in turn, `ROUNDS` times, and prints their medians in one line.
fn race(title: &str, mut contenders: Vec<Contender<'_>>) {
    for round in 0..=ROUNDS {
        for contender in &mut contenders {
            let start = Instant::now();
            let bytes = (contender.run)();
            let rate = bytes as f64 / start.elapsed().as_secs_f64() / 1e6;
            // The first round warms up.
            if round > 0 {
                contender.mb_per_second.push(rate);
            }
        }
    }
    print!("{title:32}");
    for contender in &mut contenders {
        let median = contender.median();
        print!("  {} {median:6.0}", contender.name);
    }
    println!();
}

fn main() {
    let oracle = Oracle::load();
    let small = ("small json", shapes::json as shapes::Shape);
    let named = shapes::ALL.iter().map(|shape| (*shape, BATCH_BYTES)).chain([(small, 500)]);
    for ((name, shape), batch_bytes) in named {
        let mut rng = Rng::new(1);
        let count = TOTAL_BYTES / batch_bytes;
        let batches: Vec<_> = (0..count).map(|_| shape(&mut rng, batch_bytes)).collect();
        compress_all(name, oracle.as_ref(), &batches);
        decompress_all(name, oracle.as_ref(), &batches);
    }
}

fn compress_all(name: &str, oracle: Option<&Oracle>, batches: &[Vec<u8>]) {
    let mut contenders = Vec::new();
    if let Some(oracle) = oracle {
        let mut out = Vec::new();
        contenders.push(Contender::new("liblzo2", move || {
            each(batches, |batch| oracle.compress(batch, black_box(&mut out)))
        }));
    }
    let few = &batches[..batches.len().div_ceil(LZOKAY_SHARE)];
    contenders.push(Contender::new("lzokay", move || {
        each(few, |batch| drop(black_box(lzokay::compress::compress(batch))))
    }));
    let (mut compressor, mut out) = (Compressor::new(), Vec::new());
    contenders.push(Contender::new("ours", move || {
        each(batches, |batch| {
            out.clear();
            compressor.compress(batch, black_box(&mut out));
        })
    }));
    race(&format!("compress {name}"), contenders);
}

fn decompress_all(name: &str, oracle: Option<&Oracle>, batches: &[Vec<u8>]) {
    let ours: Vec<_> = batches.iter().map(|batch| compressed(batch)).collect();
    // All read the same streams: those of liblzo2, where it is there.
    let theirs: Option<Vec<_>> = oracle.map(|oracle| {
        let compress = |batch| {
            let mut stream = Vec::new();
            oracle.compress(batch, &mut stream);
            stream
        };
        batches.iter().map(|batch| compress(batch)).collect()
    });
    let streams = theirs.as_ref().unwrap_or(&ours);
    let mut out = vec![0; batches[0].len()];
    let mut contenders = Vec::new();
    if let Some(oracle) = oracle {
        let mut out = out.clone();
        contenders.push(Contender::new("liblzo2", move || {
            each(streams, |stream| {
                oracle.decompress(stream, black_box(&mut out)).unwrap();
            });
            TOTAL_BYTES
        }));
    }
    {
        let mut out = out.clone();
        contenders.push(Contender::new("lzokay", move || {
            each(streams, |stream| {
                lzokay::decompress::decompress(stream, black_box(&mut out)).unwrap();
            });
            TOTAL_BYTES
        }));
    }
    contenders.push(Contender::new("ours", move || {
        each(streams, |stream| decompress(stream, black_box(&mut out)).unwrap());
        TOTAL_BYTES
    }));
    race(&format!("decompress {name}"), contenders);

    let part = |streams: &[Vec<u8>]| {
        streams.iter().map(Vec::len).sum::<usize>() as f64 / TOTAL_BYTES as f64
    };
    let theirs = theirs.as_deref().map_or(f64::NAN, part);
    println!("{:32}  liblzo2 {theirs:6.3}  ours {:6.3}", format!("size {name}"), part(&ours));
}

fn compressed(data: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    Compressor::new().compress(data, &mut stream);
    stream
}

/// Calls `work` for each of the buffers; returns their total length.
fn each(buffers: &[Vec<u8>], mut work: impl FnMut(&[u8])) -> usize {
    for buffer in buffers {
        work(buffer);
    }
    buffers.iter().map(Vec::len).sum()
}

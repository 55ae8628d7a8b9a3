//! Ours against liblzo2, in both directions and on damaged streams.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use dht_lzo::{Compressor, decompress};
use dht_testkit::{Rng, for_seeds};
use oracle::Oracle;

mod oracle;
mod shapes;

/// Each side reads the other's stream of `data`. Returns the lengths of ours and of theirs.
fn check(oracle: &Oracle, compressor: &mut Compressor, data: &[u8]) -> (usize, usize) {
    let mut out = vec![0xaa; data.len()];
    let mut ours = Vec::new();
    compressor.compress(data, &mut ours);
    assert_eq!(oracle.decompress(&ours, &mut out), Ok(data.len()));
    assert_eq!(out, data);

    out.fill(0xaa);
    let mut theirs = Vec::new();
    oracle.compress(data, &mut theirs);
    assert_eq!(decompress(&theirs, &mut out), Ok(()));
    assert_eq!(out, data);
    (ours.len(), theirs.len())
}

#[test]
fn every_short_length_in_both_directions() {
    let Some(oracle) = Oracle::load() else { return };
    for_seeds(8, |rng| {
        let mut compressor = Compressor::new();
        for (_, shape) in shapes::ALL {
            let data = shape(rng, 300);
            for len in 0..=300 {
                check(&oracle, &mut compressor, &data[..len]);
            }
        }
    });
}

#[test]
fn batches_in_both_directions_and_of_nearly_the_same_size() {
    let Some(oracle) = Oracle::load() else { return };
    for_seeds(20, |rng| {
        let mut compressor = Compressor::new();
        for (name, shape) in shapes::ALL {
            let len = rng.within(1_000..140_000);
            let (ours, theirs) = check(&oracle, &mut compressor, &shape(rng, len));
            assert!(ours * 100 <= theirs * 103 + 1_000, "{name}: {ours} bytes, theirs {theirs}");
        }
    });
}

#[test]
fn ten_mebibytes_in_both_directions() {
    let Some(oracle) = Oracle::load() else { return };
    let mut rng = Rng::new(1);
    let mut compressor = Compressor::new();
    for shape in [shapes::random, shapes::json] {
        check(&oracle, &mut compressor, &shape(&mut rng, 10 << 20));
    }
    check(&oracle, &mut compressor, &vec![0; 10 << 20]);
}

/// A few bytes changed, removed, inserted or doubled.
fn damage(rng: &mut Rng, stream: &mut Vec<u8>) {
    for _ in 0..rng.within(1..4) {
        let at = rng.within(0..stream.len() + 1);
        match rng.below(6) {
            0 => stream.truncate(at),
            1 => stream.insert(at, rng.bytes(1..2)[0]),
            2 if at < stream.len() => drop(stream.remove(at)),
            3 if at < stream.len() => stream[at] ^= 1 << rng.below(8),
            4 if at < stream.len() => stream[at] = *rng.pick(&[0, 1, 15, 16, 17, 18, 32, 64, 255]),
            _ => stream.extend_from_within(at..),
        }
    }
}

/// The same verdict, and the same bytes, on whatever stream. Returns whether it was accepted.
fn check_verdict(oracle: &Oracle, stream: &[u8], len_max: usize) -> bool {
    let mut theirs = vec![0; len_max];
    let verdict = oracle.decompress(stream, &mut theirs);
    let len = verdict.unwrap_or(len_max);
    let mut ours = vec![0; len];
    let found = decompress(stream, &mut ours);
    assert_eq!(found.is_ok(), verdict.is_ok(), "{found:?} {verdict:?} {stream:02x?}");
    if verdict.is_ok() {
        assert_eq!(ours, theirs[..len], "{stream:02x?}");
    }
    verdict.is_ok()
}

#[test]
fn damaged_streams_find_the_same_verdict() {
    let Some(oracle) = Oracle::load() else { return };
    for_seeds(100, |rng| {
        let mut compressor = Compressor::new();
        for (_, shape) in shapes::ALL {
            let len = rng.within(1..2_000);
            let data = shape(rng, len);
            let mut whole = Vec::new();
            compressor.compress(&data, &mut whole);
            if rng.one_in(4) {
                whole = lzokay::compress::compress(&data).unwrap();
            }
            for _ in 0..50 {
                let mut stream = whole.clone();
                damage(rng, &mut stream);
                check_verdict(&oracle, &stream, len * 2);
            }
        }
    });
}

/// Short streams of few values, so that every instruction meets every other and many are whole.
#[test]
fn made_up_streams_find_the_same_verdict() {
    let Some(oracle) = Oracle::load() else { return };
    for_seeds(200, |rng| {
        let mut accepted = 0;
        for _ in 0..500 {
            let mut stream = Vec::new();
            for _ in 0..rng.within(1..12) {
                stream.push(*rng.pick(&[0, 0, 1, 2, 3, 4, 15, 16, 17, 18, 21, 25, 32, 33, 64, 96]));
            }
            stream.extend([0x11, 0, 0]);
            accepted += usize::from(check_verdict(&oracle, &stream, 5_000));
        }
        assert!(accepted > 10, "only {accepted} streams are whole: the test shows little");
    });
}

//! Data of the shapes that batches have, and of some that they have not.
#![allow(clippy::cast_possible_truncation, reason = "random bits, cut to size")]
#![allow(dead_code, reason = "the bench and each test use a part of it")]

use dht_testkit::Rng;

/// A generator of about as many bytes as it is asked for.
pub(crate) type Shape = fn(&mut Rng, usize) -> Vec<u8>;

/// All shapes by name.
pub(crate) const ALL: [(&str, Shape); 8] = [
    ("binary structs", structs),
    ("json", json),
    ("random", random),
    ("keys only", keys),
    ("runs", runs),
    ("few letters", few_letters),
    ("one byte", |rng, len| vec![rng.next() as u8; len]),
    ("far repeats", far_repeats),
];

/// Records as in a neo batch: `| 8: u64 | key: u64 | length: u64 | value |`.
fn record(batch: &mut Vec<u8>, key: u64, value: &[u8]) {
    batch.extend(8_u64.to_le_bytes());
    batch.extend(key.to_le_bytes());
    batch.extend((value.len() as u64).to_le_bytes());
    batch.extend(value);
}

/// Records of small numbers, a time stamp and a counter, as D structs lie in memory.
pub(crate) fn structs(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut batch = Vec::new();
    while batch.len() < len {
        let mut value = Vec::new();
        for _ in 0..rng.within(3..12) {
            value.extend((rng.below(1000) as u32).to_le_bytes());
            value.extend((1_400_000_000 + rng.below(1 << 16)).to_le_bytes());
            value.extend([rng.below(4) as u8, 0, 0, 0]);
        }
        record(&mut batch, rng.next(), &value);
    }
    batch.truncate(len);
    batch
}

/// Records of JSON-like text.
pub(crate) fn json(rng: &mut Rng, len: usize) -> Vec<u8> {
    const WORDS: [&str; 8] =
        ["campaign", "advertiser", "click", "germany", "mobile", "tablet", "banner", "true"];
    let mut batch = Vec::new();
    while batch.len() < len {
        let value = format!(
            "{{\"user\":\"{:016x}\",\"segments\":[{},{},{}],\"last_seen\":{},\"{}\":\"{}\"}}",
            rng.next(),
            rng.below(10_000),
            rng.below(10_000),
            rng.below(10_000),
            1_400_000_000 + rng.below(10_000_000),
            rng.pick(&WORDS),
            rng.pick(&WORDS),
        );
        record(&mut batch, rng.next(), value.as_bytes());
    }
    batch.truncate(len);
    batch
}

/// Nothing to find.
pub(crate) fn random(rng: &mut Rng, len: usize) -> Vec<u8> {
    rng.bytes(len..len + 1)
}

/// Legacy keys: `| 16: u64 | 16 hex digits |`.
fn keys(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut batch = Vec::new();
    while batch.len() < len {
        batch.extend(16_u64.to_le_bytes());
        batch.extend(format!("{:016x}", rng.next() >> 20).bytes());
    }
    batch.truncate(len);
    batch
}

/// Runs of one byte, from 1 to some hundred bytes long.
fn runs(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut data = Vec::new();
    while data.len() < len {
        let (byte, run_max) = (rng.next() as u8, *rng.pick(&[3, 40, 700]));
        data.extend(std::iter::repeat_n(byte, rng.within(1..run_max)));
    }
    data.truncate(len);
    data
}

/// Many short matches at all small distances.
fn few_letters(rng: &mut Rng, len: usize) -> Vec<u8> {
    let letters = rng.within(2..5) as u64;
    (0..len).map(|_| b'a' + rng.below(letters) as u8).collect()
}

/// Random pieces that come again after any distance, also the largest and larger ones.
fn far_repeats(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut data = rng.bytes(64..300);
    while data.len() < len {
        let distances = [1, 8, 300, 2_048, 2_049, 16_384, 16_385, 32_768, 49_151, 49_152, 65_536];
        let distance = *rng.pick(&distances) + rng.within(0..3);
        let from = data.len().saturating_sub(distance);
        let to = data.len().min(from + rng.within(4..400));
        data.extend_from_within(from..to);
        let fresh_max = *rng.pick(&[1, 5, 40, 3_000]);
        data.extend(rng.bytes(0..fresh_max));
    }
    data.truncate(len);
    data
}

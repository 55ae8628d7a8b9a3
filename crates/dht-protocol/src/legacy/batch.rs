//! Batches: many records in one compressed array.
//!
//! ```text
//! batch  := u64 length L of what follows decompressed | LZO1X stream
//! record := u64 16 | 16 hex digits | u64 value length | value       repeated to the end of L
//!           u64 16 | 16 hex digits                                  in GetAllKeys
//! ```
//!
//! Source: spec `protocol-legacy` 8. Invariant: a record that does not fit beside others travels in
//! a batch of its own; none is ever left out for its size.

pub use dht_lzo::Compressor;
use dht_types::Key;

use super::requests::KeyField;
use crate::batch::write_array;
pub use crate::batch::{BATCH_BYTES_MAX, BatchError, decompress};
use crate::wire::{Reader, Writer};

/// Bytes of a record in a batch besides its value.
pub const RECORD_OVERHEAD_BYTES: usize = 8 + Key::HEX_BYTES + 8;

/// Collects records until a batch is full.
#[derive(Debug)]
pub struct BatchWriter {
    records: Vec<u8>,
    bytes_max: usize,
}

impl BatchWriter {
    /// A batch of at most `bytes_max` bytes before compression, single big records excepted.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { records: Vec::new(), bytes_max }
    }

    /// Whether there is no record in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes before compression.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records.len()
    }

    fn fits(&self, record_bytes: usize) -> bool {
        self.is_empty() || self.records.len() + record_bytes <= self.bytes_max
    }

    /// Adds a record. `false`: it has to go into the next batch.
    #[must_use]
    pub fn add(&mut self, key: Key, value: &[u8]) -> bool {
        let fits = self.fits(RECORD_OVERHEAD_BYTES + value.len());
        if fits {
            let mut w = Writer::new(&mut self.records);
            KeyField::Key(key).encode(&mut w);
            w.array(value);
        }
        fits
    }

    /// Adds a key alone. `false`: it has to go into the next batch.
    #[must_use]
    pub fn add_key(&mut self, key: Key) -> bool {
        let fits = self.fits(8 + Key::HEX_BYTES);
        if fits {
            KeyField::Key(key).encode(&mut Writer::new(&mut self.records));
        }
        fits
    }

    /// Appends the batch as an array, and starts the next one.
    pub fn finish(&mut self, compressor: &mut Compressor, w: &mut Writer<'_>) {
        write_array(&self.records, compressor, w);
        // One big record must not make every later batch of this request as big.
        if self.records.capacity() > 4 * self.bytes_max {
            self.records = Vec::new();
        }
        self.records.clear();
    }
}

/// The next record of a decompressed batch; `None` at its end.
pub fn next_record<'a>(r: &mut Reader<'a>) -> Option<Result<(KeyField, &'a [u8]), BatchError>> {
    if r.is_empty() {
        return None;
    }
    let mut record = || Some((next_key_field(r)?, r.array("value", BATCH_BYTES_MAX).ok()?));
    Some(record().ok_or(BatchError::Record))
}

/// The next key of a decompressed GetAllKeys batch; `None` at its end.
pub fn next_key(r: &mut Reader<'_>) -> Option<Result<KeyField, BatchError>> {
    if r.is_empty() { None } else { Some(next_key_field(r).ok_or(BatchError::Record)) }
}

fn next_key_field(r: &mut Reader<'_>) -> Option<KeyField> {
    let text = r.array("key", BATCH_BYTES_MAX).ok()?;
    Some(Key::from_hex(text).map_or_else(KeyField::Malformed, KeyField::Key))
}

#[cfg(test)]
mod tests {
    use dht_testkit::{for_seeds, from_hex};

    use super::*;

    /// One batch as an array, decoded again.
    fn records_of(array: &[u8]) -> Vec<(Key, Vec<u8>)> {
        let mut r = Reader::new(array);
        let batch = r.array("batch", usize::MAX).expect("a whole array");
        assert!(r.is_empty());
        let mut records = Vec::new();
        decompress(batch, &mut records).expect("our own batch");
        let mut r = Reader::new(&records);
        let mut found = Vec::new();
        while let Some(record) = next_record(&mut r) {
            let (key, value) = record.expect("our own record");
            found.push((key.parse().expect("our own key"), value.to_vec()));
        }
        found
    }

    #[test]
    fn the_worked_example_is_read() {
        let blob = from_hex(
            "23 00 00 00 00 00 00 00
             06 10 00 00 00 00 00 00 00 30 29 00 00 0c 64 65
             61 64 03 00 00 00 00 00 00 00 61 62 63 11 00 00",
        );
        let mut array = Vec::new();
        Writer::new(&mut array).array(&blob);
        assert_eq!(records_of(&array), [(Key(0xdead), b"abc".to_vec())]);
    }

    #[test]
    fn a_batch_without_records_is_eleven_bytes() {
        let mut out = Vec::new();
        BatchWriter::new(1024).finish(&mut Compressor::new(), &mut Writer::new(&mut out));
        assert_eq!(out, from_hex("0b00000000000000 0000000000000000 110000"));
    }

    #[test]
    fn records_fill_batches_up_to_the_limit_and_none_is_left_out() {
        for_seeds(100, |rng| {
            let limit = rng.within(64..2000);
            let mut batch = BatchWriter::new(limit);
            let (mut compressor, mut put, mut found) = (Compressor::new(), Vec::new(), Vec::new());
            let mut send = |batch: &mut BatchWriter| {
                let mut out = Vec::new();
                batch.finish(&mut compressor, &mut Writer::new(&mut out));
                found.extend(records_of(&out));
            };
            for _ in 0..100 {
                let (key, value) = (Key(rng.next()), rng.bytes(0..3000));
                if !batch.add(key, &value) {
                    assert!(batch.len() + RECORD_OVERHEAD_BYTES + value.len() > limit);
                    send(&mut batch);
                    assert!(batch.add(key, &value), "an empty batch takes any record");
                }
                assert!(batch.len() <= limit.max(RECORD_OVERHEAD_BYTES + value.len()));
                if batch.len() > limit {
                    assert!(!batch.add(key, b""), "a big record travels alone");
                }
                put.push((key, value));
            }
            send(&mut batch);
            assert_eq!(found, put);
        });
    }

    #[test]
    fn keys_alone_are_24_bytes_each() {
        let mut batch = BatchWriter::new(48);
        assert!(batch.add_key(Key(1)) && batch.add_key(Key(2)) && !batch.add_key(Key(3)));
        let mut out = Vec::new();
        batch.finish(&mut Compressor::new(), &mut Writer::new(&mut out));
        let mut records = Vec::new();
        decompress(&out[8..], &mut records).expect("our own batch");
        let mut r = Reader::new(&records);
        assert_eq!(next_key(&mut r), Some(Ok(Key(1).into())));
        assert_eq!(next_key(&mut r), Some(Ok(Key(2).into())));
        assert_eq!(next_key(&mut r), None);
    }

    #[test]
    fn a_damaged_batch_is_refused_without_a_large_allocation() {
        let mut records = Vec::new();
        assert_eq!(decompress(&[0; 4], &mut records), Err(BatchError::NoLength));
        for claim in [u64::MAX, BATCH_BYTES_MAX as u64 + 1, 100_000] {
            let mut batch = claim.to_le_bytes().to_vec();
            batch.extend_from_slice(&[0x11, 0, 0]);
            assert_eq!(decompress(&batch, &mut records), Err(BatchError::TooLong(claim)));
        }
        assert!(records.capacity() < 4096);
        let cut = from_hex("2300000000000000 06 10 00 00");
        assert!(matches!(decompress(&cut, &mut records), Err(BatchError::Compression(_))));
    }

    #[test]
    fn a_record_past_the_end_is_refused() {
        let mut whole = BatchWriter::new(1024);
        assert!(whole.add(Key(1), b"value"));
        for len in 1..whole.len() {
            let mut r = Reader::new(&whole.records[..len]);
            assert_eq!(next_record(&mut r), Some(Err(BatchError::Record)), "{len}");
        }
    }
}

//! Batches: many records in one compressed array.
//!
//! ```text
//! batch   := u64 length L of what follows decompressed | LZO1X stream
//! GetAll  := u64 8 | u64 key | u64 value length | value     repeated to the end of L
//!            u64 8 | u64 key                                if keys alone were asked for
//! refresh := u64 key | u64 value length | value             of a Mirror
//! ```
//!
//! Source: spec `protocol-neo` 15. Invariant: a record that does not fit beside others travels in a
//! batch of its own. (The original leaves it out.)

pub use dht_lzo::Compressor;
use dht_types::Key;

use super::requests::{GetAllMessage, MirrorMessage};
use super::{RequestId, frame};
use crate::batch::write_array;
pub use crate::batch::{BATCH_BYTES_MAX, BatchError, decompress};
use crate::wire::{Reader, Writer};

/// Bytes before compression that fill a batch. Compat: 64 KiB whatever the node's `batch_size` is.
pub const BATCH_CAPACITY_BYTES: usize = 64 * 1024;

/// Bytes of a GetAll record besides its value.
pub const GET_ALL_OVERHEAD_BYTES: usize = GET_ALL_KEY_BYTES + 8;
/// Bytes of a GetAll key alone.
pub const GET_ALL_KEY_BYTES: usize = 8 + KEY_BYTES;
/// Bytes of a refreshed record besides its value.
pub const REFRESH_OVERHEAD_BYTES: usize = KEY_BYTES + 8;

const KEY_BYTES: usize = 8;

/// Collects records, or keys alone, for a GetAll.
#[derive(Debug, Default)]
pub struct GetAllBatch(Records);

/// Collects records for a Mirror's refresh.
#[derive(Debug, Default)]
pub struct RefreshBatch(Records);

/// Records before compression.
#[derive(Debug, Default)]
struct Records(Vec<u8>);

impl Records {
    fn write(&mut self, kind: u8, id: RequestId, compressor: &mut Compressor, out: &mut Vec<u8>) {
        frame::write_message(out, id, |w| {
            w.u8(kind);
            write_array(&self.0, compressor, w);
        });
        // One big record must not make every later batch of this request as big.
        if self.0.capacity() > 4 * BATCH_CAPACITY_BYTES {
            self.0 = Vec::new();
        }
        self.0.clear();
    }
}

impl GetAllBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is no record in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// Bytes before compression.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.0.len()
    }

    fn fits(&self, record_bytes: usize) -> bool {
        self.is_empty() || self.len() + record_bytes <= BATCH_CAPACITY_BYTES
    }

    /// Adds a record. `false`: it has to go into the next batch. An empty batch takes any.
    #[must_use]
    pub fn add(&mut self, key: Key, value: &[u8]) -> bool {
        let fits = self.fits(GET_ALL_OVERHEAD_BYTES + value.len());
        if fits {
            self.push_key(key).array(value);
        }
        fits
    }

    /// Adds a key alone. `false`: it has to go into the next batch.
    #[must_use]
    pub fn add_key(&mut self, key: Key) -> bool {
        let fits = self.fits(GET_ALL_KEY_BYTES);
        if fits {
            self.push_key(key);
        }
        fits
    }

    fn push_key(&mut self, key: Key) -> Writer<'_> {
        let mut w = Writer::new(&mut self.0.0);
        w.len(KEY_BYTES);
        w.u64(key.0);
        w
    }

    /// Appends the batch as a message, and starts the next one.
    pub fn write(&mut self, id: RequestId, compressor: &mut Compressor, out: &mut Vec<u8>) {
        self.0.write(GetAllMessage::RECORD_BATCH, id, compressor, out);
    }
}

impl RefreshBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is no record in it. Such a batch is never sent.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// Bytes before compression.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.0.len()
    }

    /// Whether it has to be sent.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.len() >= BATCH_CAPACITY_BYTES
    }

    /// Adds a record. `false`: it has to go into the next batch; so has every record once the
    /// batch [is full](Self::is_full). An empty batch takes any. Compat: the last record may carry
    /// a batch past its capacity, up to twice of it; one that is longer by itself travels alone.
    #[must_use]
    pub fn add(&mut self, key: Key, value: &[u8]) -> bool {
        let alone = REFRESH_OVERHEAD_BYTES + value.len() > BATCH_CAPACITY_BYTES;
        let fits = self.is_empty() || !alone && !self.is_full();
        if fits {
            let mut w = Writer::new(&mut self.0.0);
            w.u64(key.0);
            w.array(value);
        }
        fits
    }

    /// Appends the batch as a message, and starts the next one.
    pub fn write(&mut self, id: RequestId, compressor: &mut Compressor, out: &mut Vec<u8>) {
        self.0.write(MirrorMessage::RECORD_REFRESH_BATCH, id, compressor, out);
    }
}

/// The next record of a decompressed GetAll batch; `None` at its end.
pub fn next_record<'a>(r: &mut Reader<'a>) -> Option<Result<(Key, &'a [u8]), BatchError>> {
    next(r, |r| Some((prefixed_key(r)?, r.array("value", BATCH_BYTES_MAX).ok()?)))
}

/// The next key of a decompressed GetAll batch of keys alone; `None` at its end.
pub fn next_key(r: &mut Reader<'_>) -> Option<Result<Key, BatchError>> {
    next(r, prefixed_key)
}

/// The next record of a decompressed refresh batch; `None` at its end.
pub fn next_refreshed<'a>(r: &mut Reader<'a>) -> Option<Result<(Key, &'a [u8]), BatchError>> {
    next(r, |r| Some((Key(r.u64().ok()?), r.array("value", BATCH_BYTES_MAX).ok()?)))
}

fn next<'a, T>(
    r: &mut Reader<'a>,
    record: impl FnOnce(&mut Reader<'a>) -> Option<T>,
) -> Option<Result<T, BatchError>> {
    if r.is_empty() { None } else { Some(record(r).ok_or(BatchError::Record)) }
}

fn prefixed_key(r: &mut Reader<'_>) -> Option<Key> {
    let key_bytes = r.u64().ok()?;
    (key_bytes == KEY_BYTES as u64).then_some(Key(r.u64().ok()?))
}

#[cfg(test)]
mod tests {
    use dht_testkit::{for_seeds, from_hex, to_hex};

    use super::super::requests::Payload;
    use super::*;

    const ID: u64 = 4;

    fn id() -> RequestId {
        RequestId::new(ID).expect("not 0")
    }

    /// What a message of one batch holds, decompressed.
    fn records_of(message: &[u8], kind: u8) -> Vec<u8> {
        let frame = frame::next_frame(&mut &message[..]).expect("ours").expect("whole");
        let payload = &frame.body[RequestId::BYTES..];
        assert_eq!(payload[0], kind);
        let batch = match kind {
            7 => match GetAllMessage::decode(payload) {
                Ok(GetAllMessage::RecordBatch(batch)) => batch,
                other => panic!("{other:?}"),
            },
            _ => match MirrorMessage::decode(payload) {
                Ok(MirrorMessage::RecordRefreshBatch(batch)) => batch,
                other => panic!("{other:?}"),
            },
        };
        let mut records = Vec::new();
        decompress(batch, &mut records).expect("our own batch");
        records
    }

    fn all<'a, T>(
        records: &'a [u8],
        next: impl Fn(&mut Reader<'a>) -> Option<Result<T, BatchError>>,
    ) -> Vec<T> {
        let mut r = Reader::new(records);
        std::iter::from_fn(|| next(&mut r)).collect::<Result<_, _>>().expect("our own records")
    }

    #[test]
    fn batches_have_the_bytes_of_the_specification() {
        let (mut compressor, mut out) = (Compressor::new(), Vec::new());
        let mut batch = GetAllBatch::new();
        assert!(batch.add(Key(0xdead), b"abc"));
        batch.write(id(), &mut compressor, &mut out);
        let one = from_hex(
            "01 38 00 00 00 00 00 00 00 39   04 00 00 00 00 00 00 00
             07  27 00 00 00 00 00 00 00
                 1b 00 00 00 00 00 00 00
                 2c 08 00 00 00 00 00 00 00 ad de 00 00 00 00 00 00
                 03 00 00 00 00 00 00 00 61 62 63 11 00 00",
        );
        assert_eq!(to_hex(&out), to_hex(&one));
        assert_eq!(all(&records_of(&one, 7), next_record), [(Key(0xdead), &b"abc"[..])]);
        out.clear();
        batch.write(id(), &mut compressor, &mut out);
        let none = from_hex(
            "01 1c 00 00 00 00 00 00 00 1d   04 00 00 00 00 00 00 00
             07  0b 00 00 00 00 00 00 00   00 00 00 00 00 00 00 00  11 00 00",
        );
        assert_eq!(to_hex(&out), to_hex(&none));
        out.clear();
        let mut batch = RefreshBatch::new();
        assert!(batch.add(Key(0xdead), b"abc"));
        batch.write(id(), &mut compressor, &mut out);
        let refreshed = from_hex(
            "09  1f 00 00 00 00 00 00 00   13 00 00 00 00 00 00 00
             24 ad de 00 00 00 00 00 00 03 00 00 00 00 00 00 00 61 62 63 11 00 00",
        );
        assert_eq!(to_hex(&out[18..]), to_hex(&refreshed));
        assert_eq!(all(&records_of(&out, 9), next_refreshed), [(Key(0xdead), &b"abc"[..])]);
    }

    #[test]
    fn the_longest_value_of_a_client_fills_a_batch_exactly() {
        let mut batch = GetAllBatch::new();
        assert!(batch.add(Key(1), &[1; super::super::CLIENT_VALUE_BYTES_MAX]));
        assert_eq!(batch.len(), BATCH_CAPACITY_BYTES);
        assert!(!batch.add_key(Key(2)));
    }

    #[test]
    fn get_all_batches_keep_to_their_capacity_and_leave_no_record_out() {
        for_seeds(30, |rng| {
            let (mut compressor, mut put, mut found) = (Compressor::new(), Vec::new(), Vec::new());
            let mut batch = GetAllBatch::new();
            let mut send = |batch: &mut GetAllBatch| {
                let mut out = Vec::new();
                batch.write(id(), &mut compressor, &mut out);
                let records = records_of(&out, 7);
                let owned = all(&records, next_record).into_iter().map(|(k, v)| (k, v.to_vec()));
                found.extend(owned);
            };
            for _ in 0..40 {
                let (key, value) =
                    (Key(rng.next()), vec![7; rng.within(0..90_000) >> rng.below(9)]);
                if !batch.add(key, &value) {
                    assert!(batch.len() + 24 + value.len() > BATCH_CAPACITY_BYTES);
                    send(&mut batch);
                    assert!(batch.add(key, &value), "an empty batch takes any record");
                }
                assert!(batch.len() <= BATCH_CAPACITY_BYTES.max(24 + value.len()));
                put.push((key, value));
            }
            send(&mut batch);
            assert_eq!(found, put);
        });
    }

    #[test]
    fn refresh_batches_are_sent_once_they_are_full_and_long_records_alone() {
        for_seeds(30, |rng| {
            let (mut compressor, mut put, mut found) = (Compressor::new(), Vec::new(), Vec::new());
            let mut batch = RefreshBatch::new();
            let mut send = |batch: &mut RefreshBatch| {
                let mut out = Vec::new();
                batch.write(id(), &mut compressor, &mut out);
                let records = records_of(&out, 9);
                let records = all(&records, next_refreshed);
                let bytes: usize = records.iter().map(|(_, value)| 16 + value.len()).sum();
                assert!(records.len() == 1 || bytes < 2 * BATCH_CAPACITY_BYTES, "{bytes}");
                found.extend(records.into_iter().map(|(k, v)| (k, v.to_vec())));
            };
            for _ in 0..40 {
                let (key, value) =
                    (Key(rng.next()), vec![7; rng.within(0..90_000) >> rng.below(9)]);
                if !batch.add(key, &value) {
                    assert!(16 + value.len() > BATCH_CAPACITY_BYTES);
                    send(&mut batch);
                    assert!(batch.add(key, &value), "an empty batch takes any record");
                }
                if batch.is_full() {
                    assert!(!batch.add(key, &value), "a full batch takes none");
                    send(&mut batch);
                }
                put.push((key, value));
            }
            send(&mut batch);
            assert_eq!(found, put);
        });
    }

    #[test]
    fn keys_alone_are_16_bytes_each() {
        let mut batch = GetAllBatch::new();
        let keys: Vec<Key> = (0..4096).map(Key).collect();
        assert!(keys.iter().all(|key| batch.add_key(*key)));
        assert_eq!(batch.len(), BATCH_CAPACITY_BYTES);
        assert!(!batch.add_key(Key(0)));
        let mut out = Vec::new();
        batch.write(id(), &mut Compressor::new(), &mut out);
        assert!(batch.is_empty());
        assert_eq!(all(&records_of(&out, 7), next_key), keys);
    }

    #[test]
    fn a_record_past_the_end_or_with_another_key_length_is_refused() {
        let mut batch = GetAllBatch::new();
        assert!(batch.add(Key(1), b"value"));
        let whole = batch.0.0;
        for len in 1..whole.len() {
            let mut r = Reader::new(&whole[..len]);
            assert_eq!(next_record(&mut r), Some(Err(BatchError::Record)), "{len}");
        }
        for key_bytes in [0, 7, 9, 16, u64::MAX] {
            let mut bytes = key_bytes.to_le_bytes().to_vec();
            bytes.extend_from_slice(&[0; 40]);
            assert_eq!(next_key(&mut Reader::new(&bytes)), Some(Err(BatchError::Record)));
        }
        assert_eq!(next_refreshed(&mut Reader::new(&[0; 15])), Some(Err(BatchError::Record)));
    }

    #[test]
    fn any_bytes_end_in_records_or_an_error() {
        for_seeds(300, |rng| {
            let bytes = rng.bytes(0..200);
            let mut records = Vec::new();
            let _ = decompress(&bytes, &mut records);
            assert!(records.capacity() <= 256 * bytes.len());
            let mut r = Reader::new(&bytes);
            while let Some(Ok(_)) = next_record(&mut r) {}
            let mut r = Reader::new(&bytes);
            while let Some(Ok(_)) = next_refreshed(&mut r) {}
        });
    }
}

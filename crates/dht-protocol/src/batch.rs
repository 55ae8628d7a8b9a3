//! What the batches of both protocols have in common: many records in one compressed array.
//!
//! ```text
//! array := u64 bytes that follow | u64 length L of the records | LZO1X stream of just L bytes
//! ```
//!
//! What a record looks like differs: see [`crate::legacy::batch`] and [`crate::neo::batch`].
//! Source: spec `protocol-legacy` 8, `protocol-neo` 15.

use dht_lzo::Compressor;

use crate::wire::Writer;

/// Most bytes that a batch may decompress to: what one array of the protocol can carry at any
/// sensible ratio, and a bound on what a peer can make us allocate.
pub const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Of so many bytes at the beginning of a batch it is told whether compression is worth its time.
const SAMPLE_BYTES: usize = 8 * 1024;

/// No LZO stream expands by more than this factor: 255 bytes for one of a run length.
const EXPANSION_MAX: usize = 256;

/// Why a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Shorter than its length field.
    #[error("shorter than its length field")]
    NoLength,
    /// It claims more than the limit, or than its stream can possibly hold.
    #[error("it claims {0} bytes")]
    TooLong(u64),
    /// The stream is damaged, or holds more or less than announced.
    #[error("the compressed stream is damaged: {0}")]
    Compression(dht_lzo::DecompressError),
    /// A record runs past the end.
    #[error("a record runs past the end")]
    Record,
}

/// Appends `records`, compressed, as an array.
pub(crate) fn write_array(records: &[u8], compressor: &mut Compressor, w: &mut Writer<'_>) {
    let out = w.buffer();
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&(records.len() as u64).to_le_bytes());
    compressor.compress(records, out);
    let array_bytes = (out.len() - start - 8) as u64;
    out[start..start + 8].copy_from_slice(&array_bytes.to_le_bytes());
}

/// Appends `records` without the length of the array, compressed if that makes them a quarter
/// shorter at least. Whether it does is told from their beginning.
pub fn compress_if_worth(records: &[u8], compressor: &mut Compressor, out: &mut Vec<u8>) {
    out.extend_from_slice(&(records.len() as u64).to_le_bytes());
    let start = out.len();
    let sample = &records[..records.len().min(SAMPLE_BYTES)];
    compressor.compress(sample, out);
    let is_worth = 4 * (out.len() - start) <= 3 * sample.len();
    if is_worth && sample.len() == records.len() {
        return;
    }
    out.truncate(start);
    if is_worth {
        compressor.compress(records, out);
    } else {
        dht_lzo::store(records, out);
    }
}

/// The same, and not compressed in any case.
pub fn store(records: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(records.len() as u64).to_le_bytes());
    dht_lzo::store(records, out);
}

/// The records of a batch: where they are if it is not compressed, else decompressed into `buffer`.
pub fn records_of<'a>(batch: &'a [u8], buffer: &'a mut Vec<u8>) -> Result<&'a [u8], BatchError> {
    if let Some((len, stream)) = batch.split_first_chunk()
        && let Some(records) = dht_lzo::stored(stream)
        && records.len() as u64 == u64::from_le_bytes(*len)
        && records.len() <= BATCH_BYTES_MAX
    {
        return Ok(records);
    }
    decompress(batch, buffer)?;
    Ok(buffer)
}

/// Decompresses a batch into `records`, whose former content is thrown away.
pub fn decompress(batch: &[u8], records: &mut Vec<u8>) -> Result<(), BatchError> {
    let (len, stream) = batch.split_first_chunk().ok_or(BatchError::NoLength)?;
    let announced = u64::from_le_bytes(*len);
    let len = usize::try_from(announced)
        .ok()
        .filter(|len| *len <= BATCH_BYTES_MAX && *len <= stream.len() * EXPANSION_MAX)
        .ok_or(BatchError::TooLong(announced))?;
    // What is there already need not be overwritten twice.
    records.resize(len, 0);
    dht_lzo::decompress(stream, records).map_err(BatchError::Compression)
}

#[cfg(test)]
mod tests {
    use dht_testkit::for_seeds;

    use super::*;

    #[test]
    fn a_batch_reads_back_whether_or_not_it_is_worth_to_compress_it() {
        for_seeds(200, |rng| {
            let len = rng.within(0..40_000);
            let shared = rng.below(101);
            let mut records = Vec::new();
            while records.len() < len {
                let byte = if rng.below(100) < shared { 7 } else { rng.next().to_le_bytes()[0] };
                records.push(byte);
            }
            let (mut out, mut read) = (b"before".to_vec(), vec![1; rng.within(0..50_000)]);
            compress_if_worth(&records, &mut Compressor::new(), &mut out);
            let batch = &out[6..];
            assert!(
                batch.len() <= 8 + records.len() + records.len() / 255 + 5,
                "never much longer"
            );
            assert!(shared < 95 || len < 1000 || batch.len() < len * 3 / 4 + 8, "{shared} {len}");
            decompress(batch, &mut read).expect("our own batch");
            assert_eq!(read, records);
            assert_eq!(records_of(batch, &mut read), Ok(&records[..]));
            let mut stored = Vec::new();
            store(&records, &mut stored);
            assert_eq!(records_of(&stored, &mut read), Ok(&records[..]));
            let wrong = [&(records.len() as u64 + 1).to_le_bytes(), &batch[8..]].concat();
            assert!(records_of(&wrong, &mut read).is_err());
        });
    }
}

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

/// Appends `records`, compressed, without the length of the array.
pub fn compress(records: &[u8], compressor: &mut Compressor, out: &mut Vec<u8>) {
    out.extend_from_slice(&(records.len() as u64).to_le_bytes());
    compressor.compress(records, out);
}

/// Decompresses a batch into `records`, whose former content is thrown away.
pub fn decompress(batch: &[u8], records: &mut Vec<u8>) -> Result<(), BatchError> {
    let (len, stream) = batch.split_first_chunk().ok_or(BatchError::NoLength)?;
    let announced = u64::from_le_bytes(*len);
    let len = usize::try_from(announced)
        .ok()
        .filter(|len| *len <= BATCH_BYTES_MAX && *len <= stream.len() * EXPANSION_MAX)
        .ok_or(BatchError::TooLong(announced))?;
    records.clear();
    records.resize(len, 0);
    dht_lzo::decompress(stream, records).map_err(BatchError::Compression)
}

//! Writes the bytes of a dump, in file order.

use std::io::{self, Write};

use dht_types::Key;

use super::{BLOCK_BYTES, RECORD_OVERHEAD_BYTES, VERSION};

/// Writes one dump to `W`: the version at first, then records, then the end.
///
/// Small writes; `W` should have a buffer. After an error `W` holds nobody knows what.
pub struct TcmEncoder<W> {
    out: W,
    totals: TcmTotals,
}

/// How much a dump holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcmTotals {
    /// Records.
    pub records: u64,
    /// What they take in the file: for each the value and
    /// [`RECORD_OVERHEAD_BYTES`]. The `bytes` of dhtdump's stats.
    pub record_bytes: u64,
}

impl TcmTotals {
    /// Counts a record.
    pub(super) const fn add(&mut self, value_bytes: u64) {
        self.records += 1;
        self.record_bytes += RECORD_OVERHEAD_BYTES as u64 + value_bytes;
    }

    /// Bytes from the begin of the file to the end of the end marker.
    #[must_use]
    pub const fn content_bytes(self) -> u64 {
        8 + self.record_bytes + 8
    }

    /// Length of the file: the content and the padding.
    #[must_use]
    pub const fn file_bytes(self) -> u64 {
        self.content_bytes().next_multiple_of(BLOCK_BYTES as u64)
    }
}

impl<W: Write> TcmEncoder<W> {
    /// Begins a dump.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&VERSION.to_le_bytes())?;
        Ok(Self { out, totals: TcmTotals::default() })
    }

    /// Appends a record. Any length of value will do, 0 as well.
    pub fn record(&mut self, key: Key, value: &[u8]) -> io::Result<()> {
        let value_bytes = value.len() as u64;
        let mut head = [0; RECORD_OVERHEAD_BYTES];
        head[..8].copy_from_slice(&(Key::HEX_BYTES as u64).to_le_bytes());
        head[8..24].copy_from_slice(&key.to_hex());
        head[24..].copy_from_slice(&value_bytes.to_le_bytes());
        self.out.write_all(&head)?;
        self.out.write_all(value)?;
        self.totals.add(value_bytes);
        Ok(())
    }

    /// What was written so far.
    pub const fn totals(&self) -> TcmTotals {
        self.totals
    }

    /// Ends the dump: end marker and padding. Does not flush `W`.
    pub fn finish(mut self) -> io::Result<(W, TcmTotals)> {
        let padding = self.totals.file_bytes() - self.totals.content_bytes();
        let padding = usize::try_from(padding).expect("padding is shorter than a block");
        self.out.write_all(&0_u64.to_le_bytes())?;
        self.out.write_all(&[0; BLOCK_BYTES][..padding])?;
        Ok((self.out, self.totals))
    }
}

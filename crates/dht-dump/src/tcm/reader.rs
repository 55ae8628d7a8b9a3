//! Reads the bytes of a dump, record by record, and tells a whole one from one cut short.

use std::{
    fmt,
    io::{self, Read},
    ops::Range,
};

use dht_types::Key;

use super::{TcmTotals, VERSION};

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Reads one dump from `R`.
///
/// Keeps one buffer of 1 MiB, or as large as the largest record so far; it grows only as bytes
/// arrive, so a length that lies cannot make it large. Bytes behind the end marker are
/// ignored.
pub struct TcmReader<R> {
    input: R,
    /// How long the input is said to be; no field may reach beyond.
    input_bytes: u64,
    /// `buffer[start..end]` are the bytes that were read and are not done with.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the file of `buffer[start]`.
    offset: u64,
    /// Length of the entry that was handed out last: it is still in front.
    entry_bytes: u64,
    /// Whether the end marker was seen.
    ended: bool,
}

/// One entry of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A record.
    Record {
        /// Its key.
        key: Key,
        /// Its value; may be empty.
        value: &'a [u8],
    },
    /// A record whose key is none: not 16 hex digits, nor 8 bytes. The framing is still sound, so
    /// reading goes on behind it.
    BadKey {
        /// What stands where the key should be.
        bytes: &'a [u8],
        /// Length of its value, which is skipped.
        value_bytes: u64,
        /// Where the record begins in the file.
        offset: u64,
    },
}

/// Why a dump cannot be read. Asked again, the reader gives the same answer.
#[derive(Debug, thiserror::Error)]
pub enum TcmError {
    /// The file has another format, probably that of before the public code. It may be skipped.
    #[error("Unsupported dump file format: {version}")]
    Unsupported {
        /// The first eight bytes.
        version: u64,
    },
    /// The file ends before its end marker, or a length in it is damaged.
    #[error(
        "the dump is truncated or damaged: the {field} at offset {offset} takes {wanted} bytes, \
         but {available} are left"
    )]
    Truncated {
        /// The field that is not whole.
        field: TcmField,
        /// Where it begins in the file.
        offset: u64,
        /// Its length in bytes.
        wanted: u64,
        /// Bytes that the file has from there on.
        available: u64,
    },
    /// These bytes are not those that were written: the manifest beside the file tells another
    /// checksum of them. Nothing of them, nor of what follows, was handed out. Only a
    /// [`DumpReader`](crate::DumpReader) finds this.
    #[error(
        "the dump is damaged in the {bytes} bytes from offset {offset} on: their checksum is \
         {found:016x}, but the manifest beside it says {expected:016x}"
    )]
    DamagedBlock {
        /// Where the block begins in the file.
        offset: u64,
        /// How long it is.
        bytes: u64,
        /// XXH3 of the block, 64 bits.
        found: u64,
        /// What it was when the file was written.
        expected: u64,
    },
    /// The framing is sound, but the bytes are not those that were written: the manifest beside the
    /// file tells another checksum. Only a [`DumpReader`](crate::DumpReader) finds this.
    #[error(
        "the dump is damaged at an unknown offset: its checksum is {found:016x}, but the manifest \
         beside it says {expected:016x}"
    )]
    Checksum {
        /// XXH3 of the file, 64 bits.
        found: u64,
        /// What it was when the file was written.
        expected: u64,
    },
    /// The file cannot be read.
    #[error("cannot read at offset {offset}: {source}")]
    Io {
        /// Where in the file.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
}

/// A field of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcmField {
    /// The first eight bytes of the file.
    Version,
    /// The eight bytes before a key; 0 is the end marker.
    KeyLength,
    /// A key.
    Key,
    /// The eight bytes before a value.
    ValueLength,
    /// A value.
    Value,
}

impl<R: Read> TcmReader<R> {
    /// Begins to read. `input_bytes` is the length of the file, or `u64::MAX` for a stream of
    /// unknown length.
    pub fn new(input: R, input_bytes: u64) -> Result<Self, TcmError> {
        let mut reader = Self {
            input,
            input_bytes,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            offset: 0,
            entry_bytes: 0,
            ended: false,
        };
        match reader.number(0, TcmField::Version)? {
            VERSION => reader.entry_bytes = 8,
            version => return Err(TcmError::Unsupported { version }),
        }
        Ok(reader)
    }

    /// The next entry; `None` at the end marker, and ever after.
    // A lending iterator: what it returns borrows from it, which `Iterator` cannot say.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, TcmError> {
        if self.ended {
            return Ok(None);
        }
        self.drop_previous()?;
        let key_bytes = self.number(0, TcmField::KeyLength)?;
        if key_bytes == 0 {
            self.ended = true;
            self.entry_bytes = 8;
            return Ok(None);
        }
        let key_at = self.take(8, key_bytes, TcmField::Key)?;
        let value_bytes = self.number(key_at.end, TcmField::ValueLength)?;
        let value_from = key_at.end + 8;
        self.check_bound(value_from, value_bytes, TcmField::Value)?;
        let entry_bytes = value_from as u64 + value_bytes;

        let Some(key) = parse_key(self.ahead(&key_at)) else {
            self.entry_bytes = entry_bytes;
            let (bytes, offset) = (self.ahead(&key_at), self.offset);
            return Ok(Some(Entry::BadKey { bytes, value_bytes, offset }));
        };
        let value_at = self.take(value_from, value_bytes, TcmField::Value)?;
        self.entry_bytes = entry_bytes;
        Ok(Some(Entry::Record { key, value: self.ahead(&value_at) }))
    }

    /// Offset in the file behind what was returned last: how far reading has come, in bytes. At
    /// the end it is the length of the content, without padding.
    pub const fn offset(&self) -> u64 {
        self.offset + self.entry_bytes
    }

    /// Gives back what it reads from, which stands anywhere behind the last entry.
    pub(crate) fn into_input(self) -> R {
        self.input
    }

    /// The bytes at a place counted from the front entry. They must have been [taken](Self::take).
    fn ahead(&self, at: &Range<usize>) -> &[u8] {
        &self.buffer[self.start + at.start..self.start + at.end]
    }

    /// Reads a length or the version, `from` bytes into the front entry.
    fn number(&mut self, from: usize, field: TcmField) -> Result<u64, TcmError> {
        let at = self.take(from, 8, field)?;
        Ok(u64::from_le_bytes(self.ahead(&at).try_into().expect("eight bytes were taken")))
    }

    /// Brings a field into the buffer; returns where it is, counted from the front entry.
    fn take(
        &mut self,
        from: usize,
        wanted: u64,
        field: TcmField,
    ) -> Result<Range<usize>, TcmError> {
        self.check_bound(from, wanted, field)?;
        let to = usize::try_from(wanted).ok().and_then(|wanted| from.checked_add(wanted));
        let to = to.ok_or_else(|| self.io_error(io::ErrorKind::OutOfMemory.into()))?;
        while self.end - self.start < to {
            if self.read_some(to)? == 0 {
                let available = (self.end - self.start).saturating_sub(from) as u64;
                let offset = self.offset + from as u64;
                return Err(TcmError::Truncated { field, offset, wanted, available });
            }
        }
        Ok(from..to)
    }

    /// Whether a field fits into what the file has left.
    fn check_bound(&self, from: usize, wanted: u64, field: TcmField) -> Result<(), TcmError> {
        let offset = self.offset + from as u64;
        let available = self.input_bytes.saturating_sub(offset);
        if wanted > available {
            return Err(TcmError::Truncated { field, offset, wanted, available });
        }
        Ok(())
    }

    /// Reads once, behind what the buffer has. Makes room first, for `wanted` bytes at most or for
    /// a chunk. Returns 0 at the end of the input.
    fn read_some(&mut self, wanted: usize) -> Result<usize, TcmError> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            let input_bytes = usize::try_from(self.input_bytes).unwrap_or(usize::MAX);
            let len = wanted.min(self.buffer.len() * 2).max(CHUNK_BYTES.min(input_bytes));
            let memory = self.buffer.try_reserve_exact(len - self.end);
            memory.map_err(|_| self.io_error(io::ErrorKind::OutOfMemory.into()))?;
            self.buffer.resize(len, 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io_error(error)),
            }
        }
    }

    /// Lets go of the entry that was handed out last, the part of it that is not in the buffer
    /// included.
    fn drop_previous(&mut self) -> Result<(), TcmError> {
        while self.entry_bytes > 0 {
            let (offset, wanted) = (self.offset, self.entry_bytes);
            if self.start == self.end && self.read_some(0)? == 0 {
                let field = TcmField::Value;
                return Err(TcmError::Truncated { field, offset, wanted, available: 0 });
            }
            let buffered = self.end - self.start;
            let dropped = usize::try_from(wanted).map_or(buffered, |wanted| wanted.min(buffered));
            self.start += dropped;
            self.offset += dropped as u64;
            self.entry_bytes -= dropped as u64;
        }
        Ok(())
    }

    fn io_error(&self, source: io::Error) -> TcmError {
        TcmError::Io { offset: self.offset + (self.end - self.start) as u64, source }
    }
}

/// A key as the file has it: 16 hex digits of either case, or eight raw bytes.
fn parse_key(bytes: &[u8]) -> Option<Key> {
    // Compat: builds of May to July 2018 wrote keys raw by mistake, and such files still exist.
    match <[u8; 8]>::try_from(bytes) {
        Ok(raw) => Some(Key(u64::from_le_bytes(raw))),
        Err(_) => Key::from_hex(bytes).ok(),
    }
}

impl fmt::Display for TcmField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "version",
            Self::KeyLength => "key length",
            Self::Key => "key",
            Self::ValueLength => "value length",
            Self::Value => "value",
        })
    }
}

/// Reads a dump to its end and counts its records, those with a bad key left out.
pub fn verify_tcm(input: impl Read, input_bytes: u64) -> Result<TcmTotals, TcmError> {
    let mut reader = TcmReader::new(input, input_bytes)?;
    let mut totals = TcmTotals::default();
    while let Some(entry) = reader.next()? {
        if let Entry::Record { value, .. } = entry {
            totals.add(value.len() as u64);
        }
    }
    Ok(totals)
}

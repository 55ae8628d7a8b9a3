//! Collects small writes into large ones that suit direct I/O, and sums up what went through: as a
//! whole, and block by block.

use std::hash::Hasher as _;
use std::io::{self, Write};

use twox_hash::XxHash3_64;

use crate::disk::DiskFile;

/// So many bytes of a file have a checksum of their own in the manifest. The last are fewer.
pub(crate) const CHECKED_BYTES: usize = 1 << 20;
/// Bytes that go to the file at a time, past the page cache: a disk is busy only as long as it has
/// something to do, and it does the parts of one large write side by side.
const BUFFER_BYTES: usize = 8 * CHECKED_BYTES;
/// Bytes that are summed up at a time, and that go to the page cache at a time: work for the
/// processor, which others wait for, some of them as long as one such piece takes.
const PIECE_BYTES: usize = CHECKED_BYTES / 4;
/// Where the buffer begins in memory is a multiple of this: what direct I/O wants of any device.
const BUFFER_ALIGNMENT_BYTES: usize = 4096;

/// Writes to a file: aligned in memory, and whole buffers except for the last.
pub(crate) struct BlockWriter {
    file: Box<dyn DiskFile>,
    /// Longer than needed, so that an aligned part of it can be used without unsafe code. Must not
    /// be reallocated.
    memory: Box<[u8]>,
    /// Where the aligned part begins.
    aligned: usize,
    /// Bytes that go to the file at a time: pieces.
    capacity: usize,
    /// Bytes in the aligned part that are not written yet.
    filled: usize,
    /// Of whole pieces, written or not.
    checksum: XxHash3_64,
    /// Of those since the last of `block_checksums`.
    block: XxHash3_64,
    /// Bytes in `block`.
    block_bytes: usize,
    /// Of each [`CHECKED_BYTES`] of them.
    block_checksums: Vec<u64>,
}

/// XXH3 of what was written, 64 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checksums {
    /// Of all of it.
    pub(crate) whole: u64,
    /// Of each [`CHECKED_BYTES`] of it.
    pub(crate) blocks: Vec<u64>,
}

impl BlockWriter {
    pub(crate) fn new(file: Box<dyn DiskFile>) -> Self {
        let capacity = if file.bypasses_cache() { BUFFER_BYTES } else { PIECE_BYTES };
        let memory = vec![0; capacity + BUFFER_ALIGNMENT_BYTES].into_boxed_slice();
        let beyond = memory.as_ptr().addr() % BUFFER_ALIGNMENT_BYTES;
        let aligned = (BUFFER_ALIGNMENT_BYTES - beyond) % BUFFER_ALIGNMENT_BYTES;
        Self {
            file,
            memory,
            aligned,
            capacity,
            filled: 0,
            checksum: XxHash3_64::new(),
            block: XxHash3_64::new(),
            block_bytes: 0,
            block_checksums: Vec::new(),
        }
    }

    /// Writes what is left and gives the file back, with the checksums of all that was written.
    pub(crate) fn into_file(mut self) -> io::Result<(Box<dyn DiskFile>, Checksums)> {
        self.sum_up(self.filled % PIECE_BYTES);
        if self.block_bytes > 0 {
            self.end_block();
        }
        self.empty()?;
        let whole = self.checksum.finish();
        Ok((self.file, Checksums { whole, blocks: self.block_checksums }))
    }

    /// Takes the last bytes of the buffer into the checksums: those in memory, not what a file
    /// system makes of them.
    fn sum_up(&mut self, bytes: usize) {
        let end = self.aligned + self.filled;
        let piece = &self.memory[end - bytes..end];
        self.checksum.write(piece);
        self.block.write(piece);
        self.block_bytes += bytes;
        if self.block_bytes == CHECKED_BYTES {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        self.block_checksums.push(self.block.finish());
        (self.block, self.block_bytes) = (XxHash3_64::new(), 0);
    }

    /// Writes what the buffer holds. Only the last time it may be less than full.
    fn empty(&mut self) -> io::Result<()> {
        write_all(&mut *self.file, &self.memory[self.aligned..self.aligned + self.filled])?;
        self.filled = 0;
        Ok(())
    }
}

impl Write for BlockWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filled == self.capacity {
            self.empty()?;
        }
        let taken = bytes.len().min(PIECE_BYTES - self.filled % PIECE_BYTES);
        let at = self.aligned + self.filled;
        self.memory[at..at + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        if taken > 0 && self.filled.is_multiple_of(PIECE_BYTES) {
            self.sum_up(PIECE_BYTES);
        }
        Ok(taken)
    }

    /// Does nothing: a buffer that is not full is written at the end only.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all bytes, however many the file takes at a time.
pub fn write_all(file: &mut dyn DiskFile, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

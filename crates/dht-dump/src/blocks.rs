//! Collects small writes into large ones that suit direct I/O, and sums up what went through: as a
//! whole, and block by block.

use std::io::{self, Write};

use twox_hash::XxHash3_64;

use crate::disk::DiskFile;

/// So many bytes of a file have a checksum of their own in the manifest. The last are fewer.
pub(crate) const CHECKED_BYTES: usize = 1 << 20;
/// Bytes that go to the file at a time. Past the page cache a disk is busy only as long as it has
/// something to do, and it does the parts of one large write side by side.
const BUFFER_BYTES: usize = 8 * CHECKED_BYTES;
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
    /// Bytes in the aligned part that are not written yet.
    filled: usize,
    /// Of what was written.
    checksum: XxHash3_64,
    /// Of each [`CHECKED_BYTES`] of it.
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
        let memory = vec![0; BUFFER_BYTES + BUFFER_ALIGNMENT_BYTES].into_boxed_slice();
        let beyond = memory.as_ptr().addr() % BUFFER_ALIGNMENT_BYTES;
        let aligned = (BUFFER_ALIGNMENT_BYTES - beyond) % BUFFER_ALIGNMENT_BYTES;
        let (checksum, block_checksums) = (XxHash3_64::new(), Vec::new());
        Self { file, memory, aligned, filled: 0, checksum, block_checksums }
    }

    /// Writes what is left and gives the file back, with the checksums of all that was written.
    pub(crate) fn into_file(mut self) -> io::Result<(Box<dyn DiskFile>, Checksums)> {
        if self.filled > 0 {
            self.empty()?;
        }
        let whole = std::hash::Hasher::finish(&self.checksum);
        Ok((self.file, Checksums { whole, blocks: self.block_checksums }))
    }

    /// Writes what the buffer holds. Only the last time it may be less than full.
    fn empty(&mut self) -> io::Result<()> {
        let bytes = &self.memory[self.aligned..self.aligned + self.filled];
        // Of the bytes in memory, not of what a file system makes of them.
        std::hash::Hasher::write(&mut self.checksum, bytes);
        self.block_checksums.extend(bytes.chunks(CHECKED_BYTES).map(XxHash3_64::oneshot));
        write_all(&mut *self.file, bytes)?;
        self.filled = 0;
        Ok(())
    }
}

impl Write for BlockWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filled == BUFFER_BYTES {
            self.empty()?;
        }
        let taken = bytes.len().min(BUFFER_BYTES - self.filled);
        let at = self.aligned + self.filled;
        self.memory[at..at + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
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

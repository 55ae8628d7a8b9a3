//! Reads a dump and verifies it by the manifest that belongs to it.
//!
//! ```text
//! open     the dump, then <channel>.tcm.manifest and .manifest.old: which belongs to this file?
//! next     ... entries, as TcmReader has them
//! verify   reads what is left, the padding: is all of it as it was written?
//! ```
//!
//! With a manifest, each block of 1 MiB is compared before any of its bytes is used: nothing that
//! `next` hands out is damaged. (A manifest of an earlier build has the checksum of the whole file
//! only: then `verify` tells, when all records have been handed out.)

use std::hash::Hasher;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use crate::blocks::CHECKED_BYTES;
use crate::disk::{Disk, FileIdentity, OpenFile};
use crate::folder::{BACKUP_SUFFIX, MANIFEST_SUFFIX, OLD_MANIFEST_SUFFIX, with_suffix};
use crate::manifest::{Manifest, ManifestError};
use crate::tcm::{Entry, TcmError, TcmReader};

/// A dump that is being read.
pub struct DumpReader {
    tcm: TcmReader<Input>,
    beside: Beside,
    identity: FileIdentity,
}

/// What lies beside a dump.
#[derive(Debug)]
pub enum Beside {
    /// No manifest: the dump is from another program.
    Nothing,
    /// The manifest of this very file: what is read is compared with it.
    Manifest(Manifest),
    /// A manifest of another file that had this name before, or of that which this is a copy of.
    OfAnotherFile,
    /// A manifest that cannot be used.
    Unusable(ManifestError),
}

impl DumpReader {
    /// Which file it is, and what lies beside it, whether or not its content can be read.
    pub fn examine(disk: &dyn Disk, path: &Path) -> Result<(FileIdentity, Beside), TcmError> {
        let file = disk.open(path).map_err(|source| TcmError::Io { offset: 0, source })?;
        Ok((file.identity, Beside::look(disk, path, &file)))
    }

    /// Opens a dump or a backup, and its manifest. That there is none, or not the right one, is no
    /// error.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, TcmError> {
        let cannot_open = |source| TcmError::Io { offset: 0, source };
        let file = disk.open(path).map_err(cannot_open)?;
        let beside = Beside::look(disk, path, &file);
        let (identity, file_bytes) = (file.identity, file.file_bytes);
        match TcmReader::new(Input::new(file.content, &beside), file_bytes) {
            Ok(tcm) => Ok(Self { tcm, beside, identity }),
            // Another format is skipped, so a flipped bit here would lose a channel in silence.
            Err(TcmError::Unsupported { version }) => {
                if let Beside::Manifest(manifest) = &beside {
                    let content = disk.open(path).map_err(cannot_open)?.content;
                    Input::new(content, &beside).verify(manifest, 0)?;
                }
                Err(TcmError::Unsupported { version })
            }
            Err(error) => Err(damage(error)),
        }
    }

    /// The next entry; `None` at the end marker, and ever after.
    // A lending iterator: what it returns borrows from it, which `Iterator` cannot say.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, TcmError> {
        self.tcm.next().map_err(damage)
    }

    /// Offset in the file behind what was returned last; at the end, the length of the content
    /// without padding.
    pub const fn offset(&self) -> u64 {
        self.tcm.offset()
    }

    /// What lies beside it.
    pub const fn beside(&self) -> &Beside {
        &self.beside
    }

    /// Its manifest, if it has one.
    pub const fn manifest(&self) -> Option<&Manifest> {
        self.beside.manifest()
    }

    /// Which file it is.
    pub const fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Reads to the end of the file. If it has a manifest: are the bytes those that were written?
    pub fn verify(self) -> Result<(), TcmError> {
        let offset = self.tcm.offset();
        match &self.beside {
            Beside::Manifest(manifest) => self.tcm.into_input().verify(manifest, offset),
            Beside::Nothing | Beside::OfAnotherFile | Beside::Unusable(_) => Ok(()),
        }
    }
}

impl Beside {
    /// The manifest of the very file.
    #[must_use]
    pub const fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Manifest(manifest) => Some(manifest),
            Self::Nothing | Self::OfAnotherFile | Self::Unusable(_) => None,
        }
    }

    /// Looks for the manifest of a dump or a backup. A crash, or an operator who gave a backup the
    /// name of the dump, may have left it under the name of the other one's.
    fn look(disk: &dyn Disk, path: &Path, file: &OpenFile) -> Self {
        let [own, other] = manifests_of(path);
        let read = |path: &Path| match Manifest::read(disk, path) {
            Ok(None) => Self::Nothing,
            Ok(Some(manifest)) if manifest.belongs_to(file) => Self::Manifest(manifest),
            Ok(Some(_)) => Self::OfAnotherFile,
            Err(error) => Self::Unusable(error),
        };
        let beside = read(&own);
        if matches!(beside, Self::Manifest(_)) {
            return beside;
        }
        match read(&other) {
            Self::Manifest(manifest) => Self::Manifest(manifest),
            Self::Nothing | Self::OfAnotherFile | Self::Unusable(_) => beside,
        }
    }
}

/// Where the manifest of a dump or a backup should be, and where it may be.
fn manifests_of(path: &Path) -> [PathBuf; 2] {
    let name = path.as_os_str().as_encoded_bytes();
    let is_backup = name.ends_with(BACKUP_SUFFIX.as_bytes());
    let dump = if is_backup { path.with_extension("") } else { path.to_owned() };
    let of_dump = with_suffix(&dump, MANIFEST_SUFFIX);
    let of_backup = with_suffix(&dump, OLD_MANIFEST_SUFFIX);
    if is_backup { [of_backup, of_dump] } else { [of_dump, of_backup] }
}

/// The bytes of a dump, compared with its manifest as they are read.
struct Input {
    content: Box<dyn Read + Send>,
    check: Check,
}

enum Check {
    /// There is nothing to compare with.
    Nothing,
    /// The manifest knows the whole only.
    Whole(Box<XxHash3_64>),
    Blocks(CheckedBlocks),
}

/// Reads block by block, and hands on only what is as it was written.
struct CheckedBlocks {
    expected: Vec<u64>,
    /// Blocks that were read.
    read: usize,
    /// The last one of them, and which of its bytes are still to be handed on.
    block: Box<[u8]>,
    start: usize,
    end: usize,
    /// A block was damaged; so are all reads from then on.
    damaged: Option<DamagedBlock>,
}

/// On its way through [`TcmReader`], which knows I/O errors only.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the {bytes} bytes from offset {offset} on are not as they were written")]
struct DamagedBlock {
    offset: u64,
    bytes: u64,
    found: u64,
    expected: u64,
}

/// Gets a [`DamagedBlock`] out again.
fn damage(error: TcmError) -> TcmError {
    let TcmError::Io { source, .. } = &error else { return error };
    let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<DamagedBlock>());
    match inner {
        Some(&DamagedBlock { offset, bytes, found, expected }) => {
            TcmError::DamagedBlock { offset, bytes, found, expected }
        }
        None => error,
    }
}

impl Input {
    fn new(content: Box<dyn Read + Send>, beside: &Beside) -> Self {
        let check = match beside {
            Beside::Manifest(manifest) if manifest.blocks.is_empty() => {
                Check::Whole(Box::new(XxHash3_64::new()))
            }
            Beside::Manifest(manifest) => Check::Blocks(CheckedBlocks {
                expected: manifest.blocks.clone(),
                read: 0,
                block: vec![0; CHECKED_BYTES].into_boxed_slice(),
                start: 0,
                end: 0,
                damaged: None,
            }),
            Beside::Nothing | Beside::OfAnotherFile | Beside::Unusable(_) => Check::Nothing,
        };
        Self { content, check }
    }

    /// Reads what is left and compares; `offset` is for an error's message.
    fn verify(mut self, manifest: &Manifest, offset: u64) -> Result<(), TcmError> {
        let read = io::copy(&mut self, &mut io::sink());
        read.map_err(|source| damage(TcmError::Io { offset, source }))?;
        match self.check {
            Check::Nothing => Ok(()),
            Check::Whole(sum) => {
                let (found, expected) = (sum.finish(), manifest.checksum);
                if found == expected { Ok(()) } else { Err(TcmError::Checksum { found, expected }) }
            }
            Check::Blocks(blocks) if blocks.read == blocks.expected.len() => Ok(()),
            // It had the right length when it was opened.
            Check::Blocks(_) => {
                Err(TcmError::Io { offset, source: io::ErrorKind::UnexpectedEof.into() })
            }
        }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.check {
            Check::Nothing => self.content.read(buffer),
            Check::Whole(checksum) => {
                let read = self.content.read(buffer)?;
                checksum.write(&buffer[..read]);
                Ok(read)
            }
            Check::Blocks(blocks) => {
                if blocks.start == blocks.end {
                    blocks.next(&mut self.content)?;
                }
                let read = buffer.len().min(blocks.end - blocks.start);
                buffer[..read].copy_from_slice(&blocks.block[blocks.start..][..read]);
                blocks.start += read;
                Ok(read)
            }
        }
    }
}

impl CheckedBlocks {
    /// Reads the next block. At the end of the file it has no bytes.
    fn next(&mut self, content: &mut dyn Read) -> io::Result<()> {
        if let Some(damaged) = self.damaged {
            return Err(io::Error::other(damaged));
        }
        (self.start, self.end) = (0, 0);
        let filled = fill(content, &mut self.block)?;
        if filled == 0 {
            return Ok(());
        }
        let found = XxHash3_64::oneshot(&self.block[..filled]);
        // More blocks than were written: the file grew since it was opened.
        let expected = self.expected.get(self.read).copied().unwrap_or(!found);
        if found != expected {
            let offset = self.read as u64 * CHECKED_BYTES as u64;
            let damaged = DamagedBlock { offset, bytes: filled as u64, found, expected };
            self.damaged = Some(damaged);
            return Err(io::Error::other(damaged));
        }
        (self.read, self.end) = (self.read + 1, filled);
        Ok(())
    }
}

/// Reads until the buffer is full or the input ends; returns how many bytes.
fn fill(content: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match content.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

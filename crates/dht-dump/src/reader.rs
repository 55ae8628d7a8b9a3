//! Reads a dump and verifies it by the manifest beside it.
//!
//! ```text
//! open     the dump, then <dump>.manifest: does it belong to this very file?
//! next     ... entries, as TcmReader has them; every byte that is read is summed up
//! verify   reads what is left, the padding, and compares the checksum
//! ```
//!
//! One pass: what is wrong with a dump whose framing is sound shows at its end, when its records
//! have been handed out.

use std::hash::Hasher;
use std::io::{self, Read};
use std::path::Path;

use twox_hash::XxHash3_64;

use crate::disk::{Disk, FileIdentity};
use crate::folder::{MANIFEST_SUFFIX, with_suffix};
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
    /// The manifest of this very file: [`DumpReader::verify`] compares them.
    Manifest(Manifest),
    /// A manifest of another file that had this name before, or of that which this is a copy of.
    OfAnotherFile,
    /// A manifest that cannot be used.
    Unusable(ManifestError),
}

impl DumpReader {
    /// Opens a dump, and its manifest. That there is none, or not the right one, is no error.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, TcmError> {
        let cannot_open = |source| TcmError::Io { offset: 0, source };
        let file = disk.open(path).map_err(cannot_open)?;
        let beside = match Manifest::read(disk, &with_suffix(path, MANIFEST_SUFFIX)) {
            Ok(None) => Beside::Nothing,
            Ok(Some(manifest)) if manifest.belongs_to(&file) => Beside::Manifest(manifest),
            Ok(Some(_)) => Beside::OfAnotherFile,
            Err(error) => Beside::Unusable(error),
        };
        let checksum = matches!(beside, Beside::Manifest(_)).then(XxHash3_64::new);
        let (identity, file_bytes) = (file.identity, file.file_bytes);
        match TcmReader::new(Input { content: file.content, checksum }, file_bytes) {
            Ok(tcm) => Ok(Self { tcm, beside, identity }),
            // Another format is skipped, so a flipped bit here would lose a channel in silence.
            Err(TcmError::Unsupported { version }) => {
                if let Beside::Manifest(manifest) = beside {
                    let content = disk.open(path).map_err(cannot_open)?.content;
                    Input { content, checksum: Some(XxHash3_64::new()) }.verify(&manifest, 0)?;
                }
                Err(TcmError::Unsupported { version })
            }
            Err(error) => Err(error),
        }
    }

    /// The next entry; `None` at the end marker, and ever after.
    // A lending iterator: what it returns borrows from it, which `Iterator` cannot say.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, TcmError> {
        self.tcm.next()
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

/// The bytes of a dump, summed up as they are read if somebody wants to know.
struct Input {
    content: Box<dyn Read + Send>,
    checksum: Option<XxHash3_64>,
}

impl Input {
    /// Reads what is left and compares; `offset` is for an error's message.
    fn verify(mut self, manifest: &Manifest, offset: u64) -> Result<(), TcmError> {
        io::copy(&mut self, &mut io::sink()).map_err(|source| TcmError::Io { offset, source })?;
        let (found, expected) = (self.checksum.map_or(0, |sum| sum.finish()), manifest.checksum);
        if found == expected { Ok(()) } else { Err(TcmError::Checksum { found, expected }) }
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        if let Some(checksum) = &mut self.checksum {
            checksum.write(&buffer[..read]);
        }
        Ok(read)
    }
}

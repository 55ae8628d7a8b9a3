//! The manifest: a small text beside a dump that says what the dump must be.
//!
//! ```text
//! dht-dump-manifest 1
//! records 2
//! record_bytes 74
//! file_bytes 512
//! xxh3_64 0123456789abcdef              of the whole file, padding included
//! inode 1234
//! modified_ns 1700000000000000000
//! end 0123456789abcdef                  XXH3 of all bytes before this line
//! ```
//!
//! A dump and its manifest are two files, and other programs replace the dump alone. So a manifest
//! speaks only of the file with its inode, its time of change and its length, and of no other one:
//! it **belongs** to that file. Why a good dump is never refused by this: see docs/dump-format.md.
//!
//! The format can grow: a reader skips lines that it does not know. The number in the first line
//! changes only if an older reader would misunderstand the lines that it does know.

use std::io::Read;
use std::path::Path;

use twox_hash::XxHash3_64;

use crate::disk::{Disk, FileIdentity, OpenFile};
use crate::tcm::TcmTotals;

/// What the first line says before the version.
const TITLE: &str = "dht-dump-manifest ";
/// The version of the format.
const VERSION: &str = "1";
/// Greatest length of a manifest in bytes: many times what the known lines take.
const MANIFEST_BYTES_MAX: u64 = 4096;

/// What was known of a dump when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Records in the dump.
    pub records: u64,
    /// Bytes that they take in it ([`TcmTotals::record_bytes`]).
    pub record_bytes: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// XXH3 of the file's bytes, 64 bits, seed 0.
    pub checksum: u64,
    /// The file that it speaks of.
    pub identity: FileIdentity,
}

/// Why a manifest says nothing. That is no fault of the dump beside it.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Another program's file, or one that is cut short or damaged.
    #[error("it is damaged, or no manifest")]
    Malformed,
    /// A later version of this program has written it.
    #[error("its version is unknown: {0}")]
    Version(String),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

impl Manifest {
    pub(crate) const fn new(totals: TcmTotals, checksum: u64, identity: FileIdentity) -> Self {
        let TcmTotals { records, record_bytes } = totals;
        Self { records, record_bytes, file_bytes: totals.file_bytes(), checksum, identity }
    }

    /// Whether it speaks of this file.
    #[must_use]
    pub fn belongs_to(&self, file: &OpenFile) -> bool {
        (self.identity, self.file_bytes) == (file.identity, file.file_bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { records, record_bytes, file_bytes, checksum, identity } = self;
        let FileIdentity { inode, modified_ns } = identity;
        let text = format!(
            "{TITLE}{VERSION}\nrecords {records}\nrecord_bytes {record_bytes}\n\
             file_bytes {file_bytes}\nxxh3_64 {checksum:016x}\ninode {inode}\n\
             modified_ns {modified_ns}\n"
        );
        let end = XxHash3_64::oneshot(text.as_bytes());
        format!("{text}end {end:016x}\n")
    }

    /// Understands the bytes of a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let malformed = || ManifestError::Malformed;
        let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
        let (title, _) = text.split_once('\n').ok_or_else(malformed)?;
        let version = title.strip_prefix(TITLE).ok_or_else(malformed)?;
        if version != VERSION {
            return Err(ManifestError::Version(version.escape_debug().to_string()));
        }
        let (lines, end) = text.rsplit_once("\nend ").ok_or_else(malformed)?;
        let sum = XxHash3_64::oneshot(&bytes[..=lines.len()]);
        if end != format!("{sum:016x}\n") {
            return Err(malformed());
        }
        let fields = Fields(lines);
        Ok(Self {
            records: fields.get("records")?,
            record_bytes: fields.get("record_bytes")?,
            file_bytes: fields.get("file_bytes")?,
            checksum: u64::from_str_radix(fields.find("xxh3_64")?, 16).map_err(|_| malformed())?,
            identity: FileIdentity {
                inode: fields.get("inode")?,
                modified_ns: fields.get("modified_ns")?,
            },
        })
    }

    /// Reads a manifest; nothing if there is none.
    pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, ManifestError> {
        let file = match disk.open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut bytes = Vec::new();
        file.content.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes)?;
        Self::parse(&bytes).map(Some)
    }
}

/// The lines `name value`.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn find(&self, name: &str) -> Result<&'a str, ManifestError> {
        let mut pairs = self.0.lines().filter_map(|line| line.split_once(' '));
        let pair = pairs.find(|(found, _)| *found == name);
        pair.map(|(_, value)| value).ok_or(ManifestError::Malformed)
    }

    fn get<T: std::str::FromStr>(&self, name: &str) -> Result<T, ManifestError> {
        self.find(name)?.parse().map_err(|_| ManifestError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let identity = FileIdentity { inode: 1234, modified_ns: 1_700_000_000_000_000_001 };
        let totals = TcmTotals { records: 2, record_bytes: 74 };
        Manifest::new(totals, 0x0123_4567_89ab_cdef, identity)
    }

    #[test]
    fn a_manifest_has_the_text_of_the_format() {
        let text = manifest().to_text();
        let (lines, end) = text.split_at(text.find("end ").unwrap());
        let expected = "dht-dump-manifest 1\nrecords 2\nrecord_bytes 74\nfile_bytes 512\n\
                        xxh3_64 0123456789abcdef\ninode 1234\nmodified_ns 1700000000000000001\n";
        assert_eq!(lines, expected);
        assert_eq!(end, format!("end {:016x}\n", XxHash3_64::oneshot(lines.as_bytes())));
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest());
    }

    #[test]
    fn a_later_writer_may_add_lines_and_another_version_is_left_alone() {
        let text = manifest().to_text();
        let (lines, _) = text.split_at(text.find("end ").unwrap());
        let more = format!("{lines}log_position 17 42\n");
        let more = format!("{more}end {:016x}\n", XxHash3_64::oneshot(more.as_bytes()));
        assert_eq!(Manifest::parse(more.as_bytes()).unwrap(), manifest());
        let other = text.replace("manifest 1\n", "manifest 2\n");
        let error = Manifest::parse(other.as_bytes()).unwrap_err();
        assert!(matches!(&error, ManifestError::Version(version) if version == "2"), "{error}");
    }

    #[test]
    fn no_damaged_or_shortened_manifest_is_understood() {
        let text = manifest().to_text().into_bytes();
        for at in 0..text.len() {
            assert!(Manifest::parse(&text[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = text.clone();
                damaged[at] ^= 1 << bit;
                assert!(Manifest::parse(&damaged).is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}

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
//! log_position 17 42                    where the log was when the dump began, if there is one
//! blocks 1048576 0123456789abcdef ...   XXH3 of each 1048576 bytes of the file, or what is left
//! end 0123456789abcdef                  XXH3 of all bytes before this line
//! ```
//!
//! A dump and its manifest are two files, and other programs replace the dump alone. So a manifest
//! speaks only of the file with its inode, its time of change and its length, and of no other one:
//! it **belongs** to that file. Why a good dump is never refused by this: see docs/dump-format.md.
//!
//! The format can grow: a reader skips lines that it does not know. The number in the first line
//! changes only if an older reader would misunderstand the lines that it does know.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use twox_hash::XxHash3_64;

use crate::blocks::{CHECKED_BYTES, Checksums};
use crate::disk::{Disk, FileIdentity, OpenFile};
use crate::tcm::TcmTotals;

/// What the first line says before the version.
const TITLE: &str = "dht-dump-manifest ";
/// The version of the format.
const VERSION: &str = "1";
/// Names of the lines that need not be there.
const LOG_POSITION: &str = "log_position";
const BLOCKS: &str = "blocks";
/// Greatest length of a manifest in bytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Most blocks that a manifest speaks of: those of a dump of 3 TiB take 51 MiB. A manifest of a
/// larger one has the checksum of the whole only.
const BLOCKS_MAX: usize = 3 << 20;
/// Greatest length of a [`LogPosition`] in bytes: 20 digits for each of 512 workers, three times.
const LOG_POSITION_BYTES_MAX: usize = 32 << 10;

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
    /// Where the log was when the dump began, if there is a log.
    pub log_position: Option<LogPosition>,
    /// XXH3 of each MiB of the file's bytes, 64 bits, seed 0; the last are fewer. Empty if the
    /// writer knew nothing of blocks.
    pub blocks: Vec<u64>,
}

/// A place in the log of changes: what is behind it may be missing in the dump. It means something
/// to whoever writes the log, and nothing to this crate: a text of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPosition(String);

impl LogPosition {
    /// From a text of at least one and at most 32768 bytes, without control characters.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=LOG_POSITION_BYTES_MAX).contains(&text.len());
        (fits && !text.contains(char::is_control)).then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
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
    pub(crate) fn new(
        totals: TcmTotals,
        checksums: Checksums,
        identity: FileIdentity,
        log_position: Option<LogPosition>,
    ) -> Self {
        let TcmTotals { records, record_bytes } = totals;
        let Checksums { whole: checksum, mut blocks } = checksums;
        if blocks.len() > BLOCKS_MAX {
            blocks.clear();
        }
        let file_bytes = totals.file_bytes();
        Self { records, record_bytes, file_bytes, checksum, identity, log_position, blocks }
    }

    /// Whether it speaks of this file.
    #[must_use]
    pub fn belongs_to(&self, file: &OpenFile) -> bool {
        (self.identity, self.file_bytes) == (file.identity, file.file_bytes)
    }

    /// Whether nothing damaged is ever handed out by who reads the file: it knows of blocks.
    #[must_use]
    pub const fn is_checked_before_use(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Its bytes.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { records, record_bytes, file_bytes, checksum, identity, .. } = self;
        let FileIdentity { inode, modified_ns } = identity;
        let mut text = format!(
            "{TITLE}{VERSION}\nrecords {records}\nrecord_bytes {record_bytes}\n\
             file_bytes {file_bytes}\nxxh3_64 {checksum:016x}\ninode {inode}\n\
             modified_ns {modified_ns}\n"
        );
        if let Some(LogPosition(position)) = &self.log_position {
            text += &format!("{LOG_POSITION} {position}\n");
        }
        if !self.blocks.is_empty() {
            text += &format!("{BLOCKS} {CHECKED_BYTES}");
            for block in &self.blocks {
                write!(text, " {block:016x}").expect("a string takes everything");
            }
            text.push('\n');
        }
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
            checksum: hex(fields.find("xxh3_64")?)?,
            identity: FileIdentity {
                inode: fields.get("inode")?,
                modified_ns: fields.get("modified_ns")?,
            },
            log_position: match fields.find(LOG_POSITION) {
                Ok(position) => Some(LogPosition::new(position).ok_or_else(malformed)?),
                Err(_) => None,
            },
            blocks: fields.find(BLOCKS).map_or(Ok(Vec::new()), blocks)?,
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

fn hex(digits: &str) -> Result<u64, ManifestError> {
    u64::from_str_radix(digits, 16).map_err(|_| ManifestError::Malformed)
}

/// `<bytes of a block> <checksum> ...`; none if the blocks have another size than ours, as the
/// checksum of the whole then does.
fn blocks(value: &str) -> Result<Vec<u64>, ManifestError> {
    let (size, sums) = value.split_once(' ').ok_or(ManifestError::Malformed)?;
    if size != CHECKED_BYTES.to_string() {
        return Ok(Vec::new());
    }
    sums.split(' ').map(hex).collect()
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
        let checksums = Checksums { whole: 0x0123_4567_89ab_cdef, blocks: vec![1, 0xabc] };
        Manifest::new(totals, checksums, identity, LogPosition::new("17 42"))
    }

    #[test]
    fn a_manifest_has_the_text_of_the_format() {
        let text = manifest().to_text();
        let (lines, end) = text.split_at(text.find("end ").unwrap());
        let expected = "dht-dump-manifest 1\nrecords 2\nrecord_bytes 74\nfile_bytes 512\n\
                        xxh3_64 0123456789abcdef\ninode 1234\nmodified_ns 1700000000000000001\n\
                        log_position 17 42\n\
                        blocks 1048576 0000000000000001 0000000000000abc\n";
        assert_eq!(lines, expected);
        assert_eq!(end, format!("end {:016x}\n", XxHash3_64::oneshot(lines.as_bytes())));
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest());
    }

    /// With `lines` in the place of those behind `modified_ns`.
    fn with_lines(lines: &str) -> String {
        let text = manifest().to_text();
        let (known, _) = text.split_at(text.find(LOG_POSITION).unwrap());
        let text = format!("{known}{lines}");
        format!("{text}end {:016x}\n", XxHash3_64::oneshot(text.as_bytes()))
    }

    #[test]
    fn a_later_writer_may_add_lines_and_another_version_is_left_alone() {
        let text = manifest().to_text();
        let lines = &text[text.find(LOG_POSITION).unwrap()..text.find("end ").unwrap()];
        let more = with_lines(&format!("compression none\n{lines}shards 1 2\n"));
        assert_eq!(Manifest::parse(more.as_bytes()).unwrap(), manifest());
        let other = text.replace("manifest 1\n", "manifest 2\n");
        let error = Manifest::parse(other.as_bytes()).unwrap_err();
        assert!(matches!(&error, ManifestError::Version(version) if version == "2"), "{error}");
    }

    #[test]
    fn an_earlier_writer_knew_neither_log_nor_blocks() {
        let found = Manifest::parse(with_lines("").as_bytes()).unwrap();
        assert_eq!(found, Manifest { log_position: None, blocks: Vec::new(), ..manifest() });
        let other_blocks = with_lines("blocks 512 0000000000000001\n");
        assert!(Manifest::parse(other_blocks.as_bytes()).unwrap().blocks.is_empty());
        for lines in ["blocks 1048576\n", "blocks 1048576 x\n", "log_position a\tb\n"] {
            assert!(Manifest::parse(with_lines(lines).as_bytes()).is_err(), "{lines}");
        }
    }

    #[test]
    fn a_log_position_is_one_line() {
        assert_eq!(LogPosition::new("1:2 3:4").unwrap().as_str(), "1:2 3:4");
        let long = "1".repeat(LOG_POSITION_BYTES_MAX + 1);
        for text in ["", "a\nend 1", "\0", &long] {
            assert_eq!(LogPosition::new(text), None);
        }
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

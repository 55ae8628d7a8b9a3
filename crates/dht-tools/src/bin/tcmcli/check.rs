//! Whether dump files are whole, and how much they hold.
//!
//! The format has no checksum, so this finds what breaks the framing: a cut, a wrong length, a bad
//! key, an end marker in the middle. If there is a manifest that belongs to the file, every changed
//! byte is found; without one, a changed byte in a value stays unnoticed.

use std::{fmt, io::Write, os::unix::fs::FileExt as _, path::Path, process::ExitCode};

use dht_dump::{BLOCK_BYTES, Beside, DumpReader, Entry, OsDisk, RECORD_OVERHEAD_BYTES, TcmError};

/// What a dump holds, and the first thing that is wrong with it.
#[derive(Debug, Default)]
struct Report {
    /// Records with a good key.
    records: u64,
    /// What they take in the file, as dhtdump counts it.
    record_bytes: u64,
    /// How often a key comes again. Not damage: who loads the dump takes the last one.
    duplicate_keys: usize,
    /// Records without a value. Not damage: who loads the dump leaves them out.
    empty_values: u64,
    /// Records with a key that is none.
    bad_keys: u64,
    /// What is to be said of the manifest; nothing if there is none.
    manifest: String,
    damage: Option<Damage>,
}

/// Why a dump is not whole.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error(transparent)]
    Dump(#[from] TcmError),
    #[error("the key of the record at offset {offset} is neither 16 hex digits nor 8 bytes")]
    BadKey { offset: u64 },
    #[error(
        "the end marker at offset {offset} is followed by {rest_bytes} bytes that are no padding"
    )]
    BehindEnd { offset: u64, rest_bytes: u64 },
    #[error("the manifest says that there are {expected} records")]
    Count { expected: u64 },
}

/// Prints a line for each file. Exit code 1 if any is damaged.
pub(crate) fn print_all(files: &[String], out: &mut impl Write) -> ExitCode {
    let mut whole = true;
    for file in files {
        let report = examine(Path::new(file));
        whole &= report.damage.is_none();
        // The exit code tells as well, if nobody reads the lines.
        let _ = writeln!(out, "{file}: {report}");
    }
    if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reads a dump to its end or to the first break in its framing.
fn examine(path: &Path) -> Report {
    let mut report = Report::default();
    let mut keys = Vec::new();
    if let Err(damage) = report.read(path, &mut keys) {
        report.damage.get_or_insert(damage);
    }
    report.duplicate_keys = count_duplicates(keys);
    report
}

impl Report {
    /// Counts, and collects the keys: eight bytes of memory for each record.
    fn read(&mut self, path: &Path, keys: &mut Vec<u64>) -> Result<(), Damage> {
        let (_, beside) = DumpReader::examine(&OsDisk, path)?;
        self.manifest = match &beside {
            Beside::Nothing => String::new(),
            Beside::Manifest(_) => ", with its manifest".to_owned(),
            Beside::OfAnotherFile => ", the manifest beside it is of another file".to_owned(),
            Beside::Unusable(error) => format!(", the manifest beside it is of no use: {error}"),
        };
        let mut reader = DumpReader::open(&OsDisk, path)?;
        while let Some(entry) = reader.next()? {
            match entry {
                Entry::Record { key, value } => {
                    self.records += 1;
                    self.record_bytes += (RECORD_OVERHEAD_BYTES + value.len()) as u64;
                    self.empty_values += u64::from(value.is_empty());
                    keys.push(key.0);
                }
                Entry::BadKey { offset, .. } => {
                    self.bad_keys += 1;
                    self.damage.get_or_insert(Damage::BadKey { offset });
                }
            }
        }
        check_padding(path, reader.offset())?;
        reader.verify()?;
        let expected = beside.manifest().map(|manifest| manifest.records);
        match expected.filter(|expected| *expected != self.records + self.bad_keys) {
            Some(expected) => Err(Damage::Count { expected }),
            None => Ok(()),
        }
    }
}

/// Whether zero bytes up to the end of the block are all that follows the content. If not, the end
/// marker is probably a damaged length, with records behind it.
fn check_padding(path: &Path, content_bytes: u64) -> Result<(), Damage> {
    let io_error = |source| TcmError::Io { offset: content_bytes, source };
    let file = std::fs::File::open(path).map_err(io_error)?;
    let rest_bytes = file.metadata().map_err(io_error)?.len().saturating_sub(content_bytes);
    let expected = content_bytes.next_multiple_of(BLOCK_BYTES as u64) - content_bytes;
    let mut padding = [0; BLOCK_BYTES];
    let is_padding = rest_bytes == expected && {
        let len = usize::try_from(expected).expect("padding is shorter than a block");
        file.read_exact_at(&mut padding[..len], content_bytes).map_err(io_error)?;
        padding.iter().all(|byte| *byte == 0)
    };
    let offset = content_bytes - 8;
    if is_padding { Ok(()) } else { Err(Damage::BehindEnd { offset, rest_bytes }) }
}

/// How many keys are there that were there before.
fn count_duplicates(mut keys: Vec<u64>) -> usize {
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    all - keys.len()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.damage.is_none() { "ok" } else { "DAMAGED" };
        let Self { records, record_bytes, duplicate_keys, empty_values, bad_keys, .. } = self;
        write!(f, "{word}, {records} records, {record_bytes} bytes")?;
        for (count, name) in [
            (*duplicate_keys as u64, "duplicate keys"),
            (*empty_values, "empty values"),
            (*bad_keys, "bad keys"),
        ] {
            if count > 0 {
                write!(f, ", {count} {name}")?;
            }
        }
        write!(f, "{}", self.manifest)?;
        self.damage.as_ref().map_or(Ok(()), |damage| write!(f, ": {damage}"))
    }
}

//! A file with the records of a channel, as applications keep a local copy of one.
//!
//! ```text
//! u64 number of records | (u64 key, u64 length, value) ...       all little-endian
//! ```
//!
//! Source: spec `file-formats` 11. The original's reader and writer use the same bytes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::Key;

/// How often another name for the temporary file is tried.
const NAME_TRIES: u32 = 1000;

/// Writes records to a file. It is written under another name beside `path` and takes its place
/// when it is complete; if that fails, `path` stays as it was. Returns the number of records.
pub fn save<V: AsRef<[u8]>>(
    path: &Path,
    records: impl IntoIterator<Item = (Key, V)>,
) -> io::Result<u64> {
    let (file, temporary) = create_beside(path)?;
    let mut out = BufWriter::new(file);
    let mut count = 0_u64;
    out.write_all(&count.to_le_bytes())?;
    for (key, value) in records {
        let value = value.as_ref();
        out.write_all(&key.0.to_le_bytes())?;
        out.write_all(&(value.len() as u64).to_le_bytes())?;
        out.write_all(value)?;
        count += 1;
    }
    // The number comes last: a file that was cut off has none.
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&count.to_le_bytes())?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    Ok(count)
}

/// Reads all records of a file, in its order.
pub fn load(path: &Path) -> io::Result<Vec<(Key, Bytes)>> {
    let file = File::open(path)?;
    let mut left = file.metadata()?.len();
    let mut input = BufReader::new(file);
    let count = number(&mut input, path)?;
    left = left.saturating_sub(8);
    let mut records = Vec::new();
    for _ in 0..count {
        let (key, len) = (number(&mut input, path)?, number(&mut input, path)?);
        // Nothing is allocated that the file does not have.
        left = left.saturating_sub(16).checked_sub(len).ok_or_else(|| cut_off(path))?;
        let mut value = vec![0; usize::try_from(len).map_err(|_| cut_off(path))?];
        input.read_exact(&mut value).map_err(|_| cut_off(path))?;
        records.push((Key(key), value.into()));
    }
    Ok(records)
}

fn number(input: &mut impl io::Read, path: &Path) -> io::Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes).map_err(|_| cut_off(path))?;
    Ok(u64::from_le_bytes(bytes))
}

fn cut_off(path: &Path) -> io::Error {
    let text = format!("{}: the file ends within a record: it was cut off", path.display());
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    for number in 0..NAME_TRIES {
        let mut name = name.clone();
        name.push(format!(".{number}"));
        let temporary = path.with_file_name(name);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return Ok((created?, temporary)),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "no free name for a temporary file"))
}

#[cfg(test)]
mod tests {
    use dht_testkit::from_hex;

    use super::*;

    #[test]
    fn a_file_has_the_bytes_of_the_specification_and_reads_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("channel");
        let records = [(Key(0), Bytes::from_static(b"abc")), (Key(1), Bytes::from_static(b"de"))];
        assert_eq!(save(&path, records.clone()).expect("a folder of ours"), 2);
        let bytes = from_hex(
            "02 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
             03 00 00 00 00 00 00 00 61 62 63 01 00 00 00 00
             00 00 00 02 00 00 00 00 00 00 00 64 65",
        );
        assert_eq!(fs::read(&path).expect("it is there"), bytes);
        assert_eq!(load(&path).expect("our own"), records);
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
        for len in 0..bytes.len() {
            fs::write(&path, &bytes[..len]).expect("a folder of ours");
            assert!(load(&path).expect_err("cut off").to_string().contains("cut off"));
        }
        let huge = [&1_u64.to_le_bytes()[..], &[0; 8], &u64::MAX.to_le_bytes()].concat();
        fs::write(&path, huge).expect("a folder of ours");
        assert!(load(&path).is_err());
    }

    #[test]
    fn a_write_that_fails_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("channel");
        save(&path, [(Key(1), b"old")]).expect("a folder of ours");
        let records = [1, 2].map(|key| (Key(key), b"new"));
        let failing = records.into_iter().inspect(|(key, _)| assert_ne!(*key, Key(2), "no more"));
        let panicked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| save(&path, failing)));
        assert!(panicked.is_err());
        assert_eq!(load(&path).expect("the old one")[0].1, "old");
    }
}

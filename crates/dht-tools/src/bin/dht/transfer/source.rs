//! Where an import comes from.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use dht_dump::{DumpReader, Entry, OsDisk};
use dht_tools::json_lines::{self, Lines};
use dht_types::Key;
use futures_util::{Stream, stream};
use tokio::sync::mpsc;

use super::{Form, is_standard};
use crate::failure::Failure;

/// Records that were read and wait to be put.
const RECORDS_READ_AHEAD: usize = 64;

/// A record, or why there is no other.
type Record = Result<(Key, Vec<u8>), Failure>;

/// The records of a file, in its order.
pub(super) enum Source {
    Json(Lines<Box<dyn BufRead + Send>>, PathBuf),
    Tcm(Box<DumpReader>, PathBuf),
}

impl Source {
    pub(super) fn open(form: Form, file: &Path) -> Result<Self, Failure> {
        match form {
            Form::Json if is_standard(file) => {
                Ok(Self::Json(Lines::new(Box::new(BufReader::new(io::stdin()))), file.to_owned()))
            }
            Form::Json => {
                let opened = File::open(file);
                let opened =
                    opened.map_err(|error| Failure::Input { path: file.to_owned(), error })?;
                Ok(Self::Json(Lines::new(Box::new(BufReader::new(opened))), file.to_owned()))
            }
            Form::Tcm if is_standard(file) => {
                Err(Failure::Usage("a dump cannot come from standard input".to_owned()))
            }
            Form::Tcm => {
                let opened = DumpReader::open(&OsDisk, file);
                let opened = opened.map_err(|error| damaged(file, error.to_string()))?;
                Ok(Self::Tcm(Box::new(opened), file.to_owned()))
            }
        }
    }

    /// Reads a file to its end: nothing is to be put of one that is damaged. The number of its
    /// records; `None` for standard input, which can be read only once.
    pub(super) fn check(form: Form, file: &Path) -> Result<Option<u64>, Failure> {
        if is_standard(file) {
            return Ok(None);
        }
        let (mut source, mut count) = (Self::open(form, file)?, 0);
        while source.record()?.is_some() {
            count += 1;
        }
        match source {
            Self::Json(..) => {}
            Self::Tcm(reader, file) => {
                reader.verify().map_err(|error| damaged(&file, error.to_string()))?;
            }
        }
        Ok(Some(count))
    }

    /// The records behind the first few, read by a thread of its own: an input that is slow must
    /// not keep what was read from being put.
    pub(super) fn read_ahead(self, skip: usize) -> impl Stream<Item = Record> {
        let (record_tx, mut records) = mpsc::channel(RECORDS_READ_AHEAD);
        // Not joined: standard input may stay silent for ever, and the program end nevertheless.
        std::thread::spawn(move || {
            for record in self.skip(skip) {
                let failed = record.is_err();
                if record_tx.blocking_send(record).is_err() || failed {
                    return;
                }
            }
        });
        stream::poll_fn(move |cx| records.poll_recv(cx))
    }

    fn record(&mut self) -> Result<Option<(Key, Vec<u8>)>, Failure> {
        match self {
            Self::Json(lines, file) => {
                let line = lines.next().map_err(|error| damaged(file, error.to_string()))?;
                let Some(line) = line else { return Ok(None) };
                let record = json_lines::parse(line);
                let number = lines.number();
                record.map(Some).map_err(|error| damaged(file, format!("line {number}: {error}")))
            }
            Self::Tcm(reader, file) => match reader.next() {
                Ok(Some(Entry::Record { key, value })) => Ok(Some((key, value.to_vec()))),
                Ok(Some(Entry::BadKey { offset, .. })) => {
                    Err(damaged(file, format!("the record at offset {offset} has no valid key")))
                }
                Ok(None) => Ok(None),
                Err(error) => Err(damaged(file, error.to_string())),
            },
        }
    }
}

impl Iterator for Source {
    type Item = Record;

    fn next(&mut self) -> Option<Self::Item> {
        self.record().transpose()
    }
}

fn damaged(path: &Path, what: String) -> Failure {
    Failure::Damaged { path: path.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_told_by_line_before_anything_happens() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("records");
        let good = r#"{"key":"0000000000000001","text":"a"}"#;
        std::fs::write(&file, format!("{good}\n{good}")).expect("our folder");
        assert_eq!(Source::check(Form::Json, &file).expect("whole"), Some(2));
        std::fs::write(&file, format!("{good}\n{{\n")).expect("our folder");
        let error = Source::check(Form::Json, &file).expect_err("damaged").to_string();
        assert!(error.contains("line 2: not JSON"), "{error}");
        let error = Source::check(Form::Tcm, &file).expect_err("no dump").to_string();
        assert!(error.contains("records"), "{error}");
        assert_eq!(Source::check(Form::Json, Path::new("-")).expect("not read"), None);
    }
}

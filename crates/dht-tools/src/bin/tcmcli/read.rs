//! A dump file as lines on standard output.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use dht_dump::{Entry, OsDisk, TcmError, open_dump};

use crate::{complain, form::Form};

/// Why a dump was not printed to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// What stands before the damage was printed.
    #[error(transparent)]
    Dump(#[from] TcmError),
    /// Told one by one; everything else was printed.
    #[error("{0} records have no valid key and were left out")]
    BadKeys(u64),
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Prints the records of a dump in file order. That nobody reads the output to its end is no error.
pub(crate) fn print(form: Form, path: &Path, out: &mut impl Write) -> Result<(), ReadError> {
    let mut out = BufWriter::new(out);
    match print_records(form, path, &mut out) {
        Err(ReadError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn print_records(form: Form, path: &Path, out: &mut impl Write) -> Result<(), ReadError> {
    let mut reader = open_dump(&OsDisk, path)?;
    let mut bad_keys = 0;
    let end = loop {
        match reader.next() {
            Ok(Some(Entry::Record { key, value })) => form.write(out, key, value)?,
            Ok(Some(Entry::BadKey { offset, .. })) => {
                bad_keys += 1;
                complain(&format!("{}: bad key in the record at offset {offset}", path.display()));
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    // What was read is worth printing also if the rest is damaged.
    out.flush()?;
    end?;
    if bad_keys > 0 { Err(ReadError::BadKeys(bad_keys)) } else { Ok(()) }
}

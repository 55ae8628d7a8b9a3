//! Lines on standard input as a dump file.

use std::{
    io::{self, BufRead, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use dht_dump::{Disk, DiskError, DumpOptions, DumpWriter, OsDisk};

use crate::form::{Form, FormError};

/// Longest line in bytes. A longer one is no record, but a file that has no lines.
const LINE_BYTES_MAX: usize = 1 << 30;

/// Why no dump was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("line {line}: {error}")]
    Line { line: u64, error: FormError },
    /// Compat: scripts may look for the text, and for the file that the original leaves behind.
    #[error("{error}\nIt is line {line}; {} is unfinished", unfinished.display())]
    TextLine { line: u64, error: FormError, unfinished: PathBuf },
    #[error("line {line} is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong { line: u64 },
    #[error("cannot read standard input: {0}")]
    Input(io::Error),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Makes the dump `target` of the records in `input`, in their order, if all of it is records.
pub(crate) fn make(form: Form, input: impl BufRead, target: &Path) -> Result<(), WriteError> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    // There is nothing to keep, unless somebody has made the file since we looked.
    let options = DumpOptions { direct: false, keep_backup: true };
    let mut writer = DumpWriter::create_file(&disk, target, options)?;
    let mut lines = Lines { input, line: Vec::new(), number: 0 };
    while let Some(line) = lines.next()? {
        match form.parse(line) {
            Ok((key, value)) => writer.record(key, &value)?,
            Err(error) => return Err(refused(form, lines.number, error, writer)),
        }
    }
    writer.finish()?;
    Ok(())
}

fn refused(form: Form, line: u64, error: FormError, writer: DumpWriter) -> WriteError {
    match form {
        Form::Text => WriteError::TextLine { line, error, unfinished: writer.leave_unfinished() },
        Form::Json => WriteError::Line { line, error },
    }
}

/// The lines of an input, without their ends.
struct Lines<R> {
    input: R,
    line: Vec<u8>,
    /// Number of the line that was returned last, from 1.
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// The next line. The last one need not have an end: the original loses it then.
    fn next(&mut self) -> Result<Option<&[u8]>, WriteError> {
        self.line.clear();
        self.number += 1;
        let mut input = self.input.by_ref().take(LINE_BYTES_MAX as u64 + 1);
        let read = input.read_until(b'\n', &mut self.line).map_err(WriteError::Input)?;
        if read > LINE_BYTES_MAX {
            return Err(WriteError::LineTooLong { line: self.number });
        }
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        Ok((read > 0).then_some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_any_bytes_and_the_last_one_needs_no_end() {
        let mut lines = Lines { input: &b"a\n\n\xff\0\nlast"[..], line: Vec::new(), number: 0 };
        for expected in [&b"a"[..], b"", b"\xff\0", b"last"] {
            assert_eq!(lines.next().unwrap(), Some(expected));
        }
        assert_eq!(lines.number, 4);
        assert_eq!(lines.next().unwrap(), None);
    }
}
